package cellinit

import (
	"os"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/seat/cell"
)

// appProcesses lists the processes of the app: all but this one and the other programs
// with their descendants.
func (r *runner) appProcesses() []procfs.ProcStat {
	r.mu.Lock()
	others := map[int]bool{}
	for name, pid := range r.programs {
		if name != cell.App {
			others[pid] = true
		}
	}
	r.mu.Unlock()
	return cell.Descendants(os.Getpid(), others)
}

// signalTimeout is how long signalApp looks for new processes: an app could fork
// without end, and this process must still notice the end of its connection.
const signalTimeout = 2 * time.Second

// signalApp signals every process of the app, one after the other, until there is no
// new one: a process that was forked meanwhile did not get the signal. It returns how
// many it found.
func (r *runner) signalApp(s syscall.Signal) int {
	seen := map[int]bool{}
	begin := time.Now()
	for found := true; found && time.Since(begin) < signalTimeout; {
		found = false
		for _, stat := range r.appProcesses() {
			if !seen[stat.PID] {
				seen[stat.PID], found = true, true
				syscall.Kill(stat.PID, s)
			}
		}
	}
	return len(seen)
}

// serversTimeout is how long display and sound have to remove their files.
const serversTimeout = time.Second

// endServers ends the app, and lets display and sound end in order.
func (r *runner) endServers() {
	r.signalApp(unix.SIGKILL)
	r.mu.Lock()
	for name, pid := range r.programs {
		if name != cell.App {
			syscall.Kill(pid, unix.SIGTERM)
		}
	}
	r.mu.Unlock()
	for begin := time.Now(); time.Since(begin) < serversTimeout; time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		left := len(r.programs)
		r.mu.Unlock()
		if left == 0 {
			return
		}
	}
}

// endAll kills and reaps every process below this one.
func (r *runner) endAll() {
	for {
		for _, p := range cell.Descendants(os.Getpid(), nil) {
			syscall.Kill(p.PID, unix.SIGKILL)
		}
		// Without waiting for the next end: what was forked meanwhile was not killed, and
		// would not end.
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == syscall.ECHILD {
			return
		}
		if pid == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}
