package app

import (
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// Descriptors of the parent process, after the standard three.
const (
	connFD = 3 // connection with the stream host: messages, one JSON object a line
	specFD = 4 // file with the spec
)

// spec is everything that the parent process must know.
type spec struct {
	Command  string       `json:"command"`
	Args     []string     `json:"args"`
	Env      []string     `json:"env"`
	Path     string       `json:"path"` // where a command without a slash is looked up
	Dir      string       `json:"dir"`
	Home     string       `json:"home"`
	Identity identity     `json:"identity"`
	Drop     bool         `json:"drop"` // the process has privileges to give up
	Isolate  bool         `json:"isolate"`
	Loopback bool         `json:"loopback"` // the network namespace is new: enable its loopback
	Mounts   []wire.Mount `json:"mounts"`
	Hide     []string     `json:"hide"`
	Show     []string     `json:"show"`
}

// file writes the spec to a memory file that the parent process inherits. Unlike a
// pipe, it can be read twice: in both steps of the parent process.
func (s spec) file() (*os.File, error) {
	fd, err := unix.MemfdCreate("app-spec", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "app-spec")
	if err := json.NewEncoder(f).Encode(s); err != nil {
		f.Close()
		return nil, fmt.Errorf("write memory file: %w", err)
	}
	return f, nil
}

func readSpec() (spec, error) {
	f := os.NewFile(specFD, "app-spec")
	info, err := f.Stat()
	if err != nil {
		return spec{}, fmt.Errorf("read spec: %w", err)
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		return spec{}, fmt.Errorf("read spec: %w", err)
	}
	var s spec
	if err := json.Unmarshal(b, &s); err != nil {
		return spec{}, fmt.Errorf("read spec: %w", err)
	}
	return s, nil
}

// message is one line on the connection between stream host and parent process.
type message struct {
	// From the stream host: an order.
	Op string `json:"op,omitempty"`
	ID int    `json:"id,omitempty"` // the reply has the same id

	// From the parent process: what happened.
	Event    string `json:"event,omitempty"`
	PID      int    `json:"pid,omitempty"`  // started: in the parent process's pid namespace
	Code     string `json:"code,omitempty"` // failed: the code of wire.End
	Detail   string `json:"detail,omitempty"`
	ExitCode int    `json:"exit_code,omitempty"`

	Signal int `json:"signal,omitempty"`
}

const (
	opStart  = "start"
	opSignal = "signal" // to the app's main process
	opStop   = "stop"   // Signal to its process group
	opFreeze = "freeze"
	opThaw   = "thaw"
	opKill   = "kill"

	eventStarted = "started"
	eventFailed  = "failed"
	eventExited  = "exited"
	eventReply   = "reply"
)
