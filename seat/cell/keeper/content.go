package keeper

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/privilege"
)

// fetchCapabilities are what a root process needs to write into the task's directory
// and the node's cache, which may be another user's.
var fetchCapabilities = []int{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER}

// fetchEnd is how long a fetch that was cancelled may take to keep what arrived.
var fetchEnd = 5 * time.Second // tests change it

// fetch runs the process that fetches the app's files, and passes its progress on. It ends
// early when the stream host cancels it, makes another request, or ends: then nobody waits
// for the files. Other seats that want the same ones fetch for themselves. next is the
// request that ended it, which is to be carried out; it is nil where that was to cancel it.
func (k *keeper) fetch(requests <-chan cell.Request) (next *cell.Request, err error) {
	conn, theirs, err := cell.Pair()
	if err != nil {
		return nil, err
	}
	keeps := false // the process goes on, to keep in the cache what arrived
	defer func() {
		if !keeps {
			conn.Close()
		}
	}()
	defer theirs.Close()
	spec, err := os.Open(k.specPath())
	if err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	defer spec.Close()
	cmd := exec.Command(k.spec.StreamHost, cell.FetchArg)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs, nil, spec} // cell.KeeperFD, -, SpecFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	fetcher, err := start(cmd, func() error {
		if err := privilege.NoNew(); err != nil || !k.root {
			return err
		}
		return privilege.Keep(fetchCapabilities...)
	})
	if err != nil {
		return nil, fmt.Errorf("start to fetch content: %w", err)
	}
	theirs.Close()
	var cancelled atomic.Bool
	var other *cell.Request // of the watcher, until it has ended
	answered, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case r, ok := <-requests:
			if ok && r.Op != cell.RequestCancel {
				other = &r
			}
			cancelled.Store(true)
		case <-answered:
			return
		}
		fetcher.signal(syscall.SIGTERM)
		timer := time.NewTimer(fetchEnd)
		defer timer.Stop()
		select {
		case <-fetcher.done:
		case <-timer.C:
			fetcher.kill()
		}
	}()
	defer func() {
		close(answered)
		<-watched
		next = other
		if !keeps {
			fetcher.kill()
			<-fetcher.done
		}
	}()
	for {
		var n cell.Notice
		files, err := conn.Receive(&n)
		if cancelled.Load() {
			closeAll(files)
			if err != nil { // it has ended, and was heard until then
				return nil, errors.New("the fetch was cancelled")
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("the process that fetches content ended: %w", err)
		}
		switch {
		case n.Failed != nil:
			closeAll(files)
			return nil, *n.Failed
		case n.Answer != "":
			keeps, k.keeping = true, fetcher
			k.heard = make(chan struct{})
			go k.hearKeeping(conn)
			if len(files) == 1 {
				k.hold = files[0]
				return nil, nil
			}
			closeAll(files)
			return nil, nil
		}
		closeAll(files)
		if err := k.conn.Send(n); err != nil {
			return nil, err // the stream host has ended
		}
	}
}

// hearKeeping passes on that files of the seat are spoilt, until the process that keeps them ends.
func (k *keeper) hearKeeping(conn *cell.Conn) {
	defer close(k.heard)
	defer conn.Close()
	for {
		var n cell.Notice
		files, err := conn.Receive(&n)
		closeAll(files)
		if err != nil {
			return
		}
		if n.Spoilt != nil {
			k.log.Error("the disk of the node's cache failed: the seat ends, as its app may read wrong bytes", "error", n.Spoilt.Detail)
			_ = k.conn.Send(cell.Notice{Spoilt: n.Spoilt}) // the stream host may have ended
			return
		}
	}
}

// endKeeping gives the process that fetched a moment to keep what arrived, for the next seat.
func (k *keeper) endKeeping() {
	if k.keeping == nil {
		return
	}
	timer := time.NewTimer(fetchEnd)
	defer timer.Stop()
	select {
	case <-k.keeping.done:
	case <-timer.C:
		k.keeping.kill()
		<-k.keeping.done
	}
	<-k.heard
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
