package cell

import (
	"context"
	"net"
	"os"
)

// Runner starts the programs of a seat: in its cell (Client), or without one on
// this node (Local).
type Runner interface {
	// Start starts a program with these files as its descriptors 0, 1, 2 …; a nil
	// file is /dev/null. The program does not inherit anything else.
	Start(ctx context.Context, p Program, files ...*os.File) (*Process, error)
	// WriteFile makes a file that only the seat's user can read.
	WriteFile(path string, content []byte) error
	// Dial connects to a Unix socket.
	Dial(path string) (*net.UnixConn, error)
	// Remove removes a file.
	Remove(path string) error
	// Open returns a descriptor of a file, made with O_PATH.
	Open(path string) (*os.File, error)
	// Runtime is a private directory for sockets and cookies of the seat's programs.
	Runtime() string
	// DisplayNumber is the number that the display must have, or -1 for any that is free.
	DisplayNumber() int
}

// Process is a program that runs. Its methods are safe for concurrent use.
type Process struct {
	// PID is the process id as this process sees it; 0 if the program ended before
	// it could be found.
	PID int

	done   chan struct{}
	result Result // before done is closed
	signal func(sig int, group bool) error
}

// NewProcess is a process that ends when end is called, once. signal sends a signal.
func NewProcess(pid int, signal func(sig int, group bool) error) (p *Process, end func(Result)) {
	p = &Process{PID: pid, done: make(chan struct{}), signal: signal}
	return p, func(r Result) {
		p.result = r
		close(p.done)
	}
}

// Result is how a program ended: with an exit code or by a signal.
type Result struct{ ExitCode, Signal int }

// Done is closed when the program has ended. Where it is the app, every process of
// the app has ended then.
func (p *Process) Done() <-chan struct{} { return p.done }

// Result is how the program ended. It is known once Done is closed.
func (p *Process) Result() Result {
	<-p.done
	return p.result
}

// Signal sends a signal to the program's main process, or to its process group. It
// does nothing once the program has ended.
func (p *Process) Signal(sig int, group bool) error {
	select {
	case <-p.done:
		return nil
	default:
		return p.signal(sig, group)
	}
}
