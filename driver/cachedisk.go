package driver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// probeName is the file in the cache's directory that a try writes.
	probeName = ".probe"
	probeSize = 1 << 20
	// failedProbeSize is what is written where a seat ended for the disk: more of it is tried.
	failedProbeSize = 16 << 20
	// probeTimeout is how long a try is waited for. A disk that is only busy takes seconds.
	probeTimeout = 30 * time.Second
	// hangs is after how long a write that has not ended makes the disk one that takes none.
	hangs = 2 * time.Minute

	// A disk may take what is tried and fail again with the next seat. So after a seat, the
	// driver stays unhealthy for firstRest, and twice as long after each further one.
	firstRest = time.Minute
	maxRest   = time.Hour
)

// cacheDisk knows whether the disk of the content cache works.
type cacheDisk struct {
	now   func() time.Time
	first time.Duration // as firstRest
	waits time.Duration // as probeTimeout
	probe func(dir string, size int) error

	// failed has a token when a seat ended because of the disk.
	failed chan struct{}

	mu     sync.Mutex
	why    string        // how the last such seat ended; empty once the disk works again
	rest   time.Duration // how long the driver stays unhealthy
	until  time.Time     // when that is over
	trying *try          // in progress; nil where there is none
}

// try is a write to the disk. A disk that fails may never answer.
type try struct {
	size   int
	began  time.Time
	done   chan struct{} // closed when it has ended
	result error
}

func newCacheDisk() *cacheDisk {
	return &cacheDisk{now: time.Now, first: firstRest, waits: probeTimeout, probe: probeDisk, failed: make(chan struct{}, 1)}
}

// seatFailed says that a seat ended because of the disk.
func (d *cacheDisk) seatFailed(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch now := d.now(); {
	case now.Before(d.until): // of the same fault: a sync fails for all seats that write
	case d.rest > 0 && now.Sub(d.until) < maxRest:
		d.rest = min(2*d.rest, maxRest)
		d.until = now.Add(d.rest)
	default:
		d.rest = d.first
		d.until = now.Add(d.rest)
	}
	d.why = why
	select {
	case d.failed <- struct{}{}:
	default:
	}
}

// look says whether seats may use the disk. A problem makes the driver unhealthy, and a note
// does not.
func (d *cacheDisk) look(dir string) (problem, note string) {
	const todo = "look at the kernel's log (journalctl -k), and replace the disk or the node"
	d.mu.Lock()
	why, until := d.why, d.until
	d.mu.Unlock()
	which := fmt.Sprintf("the disk of the cache (%s)", dir)
	if why != "" {
		which += " failed under a seat: " + why
	}
	if why != "" && d.now().Before(until) {
		return fmt.Sprintf("%s; it is tried again at %s; %s", which, until.UTC().Format("15:04:05 UTC"), todo), ""
	}
	err := d.try(dir)
	full := errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
	switch {
	case err == nil:
		d.works(until)
		return "", ""
	case why == "" && errors.Is(err, fs.ErrNotExist): // the settings' problem
		return "", ""
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("cache.dir: %v: name a directory that the agent may write to", err), ""
	case full && why != "":
		return fmt.Sprintf("%s; it is full, so whether it works is not known: free %d MiB, such as files in %s that no seat uses",
			which, failedProbeSize>>20, filepath.Join(dir, "objects")), ""
	case full: // a seat that needs room evicts
		return "", ""
	case why != "":
		return fmt.Sprintf("%s; tried again: %v; %s", which, err, todo), ""
	case errors.Is(err, errSlowDisk) && d.tries() < hangs:
		return "", fmt.Sprintf("%s is slow: %v", which, err)
	}
	return fmt.Sprintf("%s takes no writes: %v; %s", which, err, todo), ""
}

// works forgets the failure whose rest was over at that time. One that came since counts.
func (d *cacheDisk) works(until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.until.Equal(until) {
		d.why = ""
	}
}

var errSlowDisk = errors.New("a write has not ended")

// tries is for how long a try has gone on; 0 where there is none.
func (d *cacheDisk) tries() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trying == nil {
		return 0
	}
	return d.now().Sub(d.trying.began)
}

// try writes to the disk. Where an earlier try has not ended, it waits for that one, and tries
// again where that one was too small.
func (d *cacheDisk) try(dir string) error {
	late := time.NewTimer(d.waits)
	defer late.Stop()
	for {
		t, size := d.begin(dir)
		select {
		case <-t.done:
			if t.size >= size || t.result != nil {
				return t.result
			}
		case <-late.C:
			return errSlowDisk
		}
	}
}

// begin begins a try, or returns the one that goes on, and how much is to be tried.
func (d *cacheDisk) begin(dir string) (t *try, size int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	size = probeSize
	if d.why != "" {
		size = failedProbeSize
	}
	if d.trying != nil {
		return d.trying, size
	}
	t = &try{size: size, began: d.now(), done: make(chan struct{})}
	d.trying = t
	go func() {
		t.result = d.probe(dir, size)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.trying = nil
		close(t.done)
	}()
	return t, size
}

// probeDisk writes a file to the disk and removes it.
func probeDisk(dir string, size int) (err error) {
	path := filepath.Join(dir, probeName)
	// One that a killed plugin left. A new file takes other blocks of the disk, too.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the last try: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("try the disk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("try the disk: %w", err)
	}
	if err := f.Sync(); err != nil {
		// Also where it says that there is no space: the file system had some for it.
		return fmt.Errorf("what was written did not reach it: %v", err)
	}
	return nil
}
