package console

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/nearcast/nearcast/internal/wire"
)

// remembered is how many of the last actions the page can show.
const remembered = 500

// Results of an action in the audit log. Begun stands before an action that changes something, so
// that one during which the console died is there, too.
const (
	resultBegun   = "begun"
	resultOK      = "ok"
	resultRefused = "refused"
	resultFailed  = "failed"
)

// Audit is the audit log: a line of JSON (wire.ConsoleAction) for each action, and one before it.
// Lines are only appended.
type Audit struct {
	open func() (io.WriteCloser, error)

	mu   sync.Mutex
	last []wire.ConsoleAction // the newest last
}

// AuditFile appends to a file, which is opened for each line: so it can be rotated at any time. "-" is
// the standard output.
func AuditFile(path string) (*Audit, error) {
	a := &Audit{open: func() (io.WriteCloser, error) {
		if path == "-" {
			return stdout{}, nil
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		return synced{f}, nil
	}}
	w, err := a.open() // not only when the first action fails by it
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	return a, w.Close()
}

type stdout struct{}

func (stdout) Write(b []byte) (int, error) { return os.Stdout.Write(b) }
func (stdout) Close() error                { return nil }

// synced is on the disk when it is closed.
type synced struct{ *os.File }

func (f synced) Close() error {
	err := f.File.Sync()
	if e := f.File.Close(); err == nil {
		err = e
	}
	return err
}

// Write appends a line.
func (a *Audit) Write(action wire.ConsoleAction) error {
	text, err := json.Marshal(action)
	if err != nil {
		return fmt.Errorf("encode a line of the audit log: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if action.Result != resultBegun {
		if a.last = append(a.last, action); len(a.last) > remembered {
			a.last = a.last[1:]
		}
	}
	w, err := a.open()
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	_, err = w.Write(append(text, '\n'))
	if e := w.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// Last are the last actions, the newest first.
func (a *Audit) Last() []wire.ConsoleAction {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]wire.ConsoleAction, 0, len(a.last))
	for i := len(a.last) - 1; i >= 0; i-- {
		out = append(out, a.last[i])
	}
	return out
}
