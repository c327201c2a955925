// Package app runs the one untrusted process of a seat.
package app

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// InitArg is the argument with which this executable is started again as the
// application's parent.
const InitArg = "app-init"

// InitMain is the main function of the application's parent process. The main
// of every program that calls Start begins with
//
//	if len(os.Args) > 1 && os.Args[1] == app.InitArg {
//		app.InitMain() // does not return
//	}
func InitMain() {}

// Config says what to run, and how far to trust it.
type Config struct {
	Command string
	Args    []string
	// Env is the whole environment: nothing is inherited. HOME and
	// XDG_RUNTIME_DIR are added if missing. Put display.Env() in.
	Env map[string]string
	// Dir is the working directory.
	Dir string
	// Home is a private directory for HOME and XDG_RUNTIME_DIR, made if it does
	// not exist. Empty is Dir/.nearcast.
	Home string
	// User is a name or uid[:gid]; empty is the user of this process.
	User string
	// Stdout and Stderr are paths of a FIFO or a file; empty is /dev/null.
	Stdout, Stderr string
	Isolate        bool
	// Network is wire.NetworkNone or wire.NetworkHost.
	Network string
	Mounts  []wire.Mount
	// Hide lists paths to cover; Show lists paths below them to keep.
	Hide, Show []string
	// Cgroup is a cgroup directory for the application; empty is that of this process.
	Cgroup string
	Log    *slog.Logger
}

// Process is a running application with all its descendants.
type Process struct{}

// Start starts the application. The context bounds the start only. An error
// that the job's author can mend is a wire.End.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	return nil, errors.New("not built yet")
}

// PID is the application's process id as this process sees it.
func (p *Process) PID() int { return 0 }

// Pids lists the application and its descendants.
func (p *Process) Pids() []int { return nil }

// Done is closed when the application and all its descendants are gone.
func (p *Process) Done() <-chan struct{} { return nil }

// Exit is the application's exit code, or the signal that ended it. It is
// known once Done is closed.
func (p *Process) Exit() (code, signal int) { return 0, 0 }

// Signal sends the named signal ("SIGHUP") to the application's main process.
func (p *Process) Signal(name string) error { return nil }

// Freeze stops the application and its descendants.
func (p *Process) Freeze() error { return nil }

// Thaw lets a frozen application go on.
func (p *Process) Thaw() error { return nil }

// Stop thaws the application, sends it the named signal (empty is SIGTERM), and
// kills what is left after the timeout. It returns when nothing is left.
func (p *Process) Stop(signal string, timeout time.Duration) error { return nil }
