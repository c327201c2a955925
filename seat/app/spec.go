package app

import (
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// Descriptors that the parent process is given beside the standard three.
const (
	controlFD = 3 // connection to the stream host: messages, one JSON object a line
	specFD    = 4 // file with the spec
)

// spec is all the parent process needs to know.
type spec struct {
	Command  string       `json:"command"`
	Args     []string     `json:"args"`
	Env      []string     `json:"env"`
	Path     string       `json:"path"` // where a bare command is looked for
	Dir      string       `json:"dir"`
	Home     string       `json:"home"`
	Identity identity     `json:"identity"`
	Drop     bool         `json:"drop"` // there are privileges to give up
	Isolate  bool         `json:"isolate"`
	Loopback bool         `json:"loopback"` // a network namespace to bring up
	Mounts   []wire.Mount `json:"mounts"`
	Hide     []string     `json:"hide"`
	Show     []string     `json:"show"`
}

// file writes the spec to memory that can be inherited: unlike a pipe it can
// be read twice, before and after the parent process executes itself again.
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

// message is one line on the control connection.
type message struct {
	// Of the stream host: what to do.
	Op string `json:"op,omitempty"`
	ID int    `json:"id,omitempty"` // answered by a reply of the same id

	// Of the parent process: what happened.
	Event    string `json:"event,omitempty"`
	PID      int    `json:"pid,omitempty"`  // started: as the parent process sees it
	Code     string `json:"code,omitempty"` // failed: of wire.End
	Detail   string `json:"detail,omitempty"`
	ExitCode int    `json:"exit_code,omitempty"`

	Signal int `json:"signal,omitempty"`
}

const (
	opStart  = "start"
	opSignal = "signal" // to the application's main process
	opStop   = "stop"   // Signal to its process group
	opFreeze = "freeze"
	opThaw   = "thaw"
	opKill   = "kill"

	eventStarted = "started"
	eventFailed  = "failed"
	eventExited  = "exited"
	eventReply   = "reply"
)
