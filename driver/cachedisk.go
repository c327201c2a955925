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
	// probeTimeout is how long a try may take. A disk that is only busy takes seconds.
	probeTimeout = 30 * time.Second

	// A disk may take what is tried and fail again with the next seat. So after a seat, the
	// driver stays unhealthy for firstRest, and twice as long after each further one.
	firstRest = time.Minute
	maxRest   = time.Hour
)

// cacheDisk knows whether the disk of the content cache works.
type cacheDisk struct {
	now   func() time.Time
	first time.Duration // as firstRest
	probe func(dir string, size int) error

	// failed has a token when a seat ended because of the disk.
	failed chan struct{}

	mu     sync.Mutex
	why    string        // how the last such seat ended; empty once the disk works again
	rest   time.Duration // how long the driver stays unhealthy
	until  time.Time     // when that is over
	trying chan struct{} // closed when the try in progress has ended; nil where there is none
	result error         // of the last try
}

func newCacheDisk() *cacheDisk {
	return &cacheDisk{now: time.Now, first: firstRest, probe: probeDisk, failed: make(chan struct{}, 1)}
}

// seatFailed says that a seat ended because of the disk.
func (d *cacheDisk) seatFailed(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if now.Sub(d.until) < maxRest && d.rest > 0 {
		d.rest = min(2*d.rest, maxRest)
	} else {
		d.rest = d.first
	}
	d.why, d.until = why, now.Add(d.rest)
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
	case errors.Is(err, fs.ErrNotExist): // the settings' problem
		return "", ""
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("cache.dir: %v: name a directory that the agent may write to", err), ""
	case full && why != "":
		return which + "; it is full, so whether it works is not known: free some space", ""
	case full: // a seat that needs room evicts
		return "", ""
	case why != "":
		return fmt.Sprintf("%s; tried again: %v; %s", which, err, todo), ""
	case errors.Is(err, errSlowDisk):
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

var errSlowDisk = fmt.Errorf("a write did not end within %v", probeTimeout)

// try writes to the disk. A disk that fails may never answer: then the next try waits for
// the same write.
func (d *cacheDisk) try(dir string) error {
	d.mu.Lock()
	done := d.trying
	if done == nil {
		done = make(chan struct{})
		d.trying = done
		size := probeSize
		if d.why != "" {
			size = failedProbeSize
		}
		go func() {
			err := d.probe(dir, size)
			d.mu.Lock()
			defer d.mu.Unlock()
			d.result, d.trying = err, nil
			close(done)
		}()
	}
	d.mu.Unlock()
	select {
	case <-done:
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.result
	case <-time.After(probeTimeout):
		return errSlowDisk
	}
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
