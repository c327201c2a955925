package cellinit

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/cellroot"
)

// Arg is the argument that makes this executable a cell's first process.
const Arg = "init"

// runArg follows Arg in the second step.
const runArg = "run"

// Descriptors of the first process, after the standard three.
const (
	ConnFD = 3 // cell.Conn with the stream host
	SpecFD = 4 // memory file with the Spec
)

// FailedCode is the exit code of a first process that could not make the cell.
const FailedCode = 125

// Spec is everything that the first process must know.
type Spec struct {
	// Identity runs every program of the cell.
	Identity cell.Identity `json:"identity"`
	// Drop is whether the process has privileges to give up.
	Drop bool `json:"drop"`
	// Root is the cell's file system. Nil is no cell: the process is in the node's
	// namespaces.
	Root *cellroot.Root `json:"root,omitempty"`
	// OwnPids says that the process is the first of a new pid namespace.
	OwnPids bool `json:"own_pids"`
	// Loopback says that the network namespace is new: enable its loopback.
	Loopback bool `json:"loopback"`
	// MaxProcesses limits the processes and threads of the identity; 0 is no limit.
	MaxProcesses uint64 `json:"max_processes"`
	// AppNice is by how much the app's processes are nicer than display and sound server,
	// which share their cgroup, so that the app does not starve them. Where the cell has no
	// cgroup of its own it must be 0: other seats would starve the app.
	AppNice int `json:"app_nice,omitempty"`
	// UserNamespaces lets programs make user namespaces.
	UserNamespaces bool `json:"user_namespaces"`
	// I386 lets programs of 32-bit x86 run.
	I386 bool `json:"i386"`
}

// File is the spec in a memory file. Unlike a pipe, it can be read twice: in both
// steps of the first process.
func (s Spec) File() (*os.File, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode the cell's spec: %w", err)
	}
	return cell.MemoryFile("cell", b)
}

func readSpec() (s Spec, err error) {
	// A copy: the collector closes a file that is no longer used, and the second step
	// reads SpecFD again.
	f := duplicate(SpecFD)
	if f == nil {
		return s, errors.New("read the cell's spec: there is none")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return s, fmt.Errorf("read the cell's spec: %w", err)
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		return s, fmt.Errorf("read the cell's spec: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("read the cell's spec: %w", err)
	}
	return s, nil
}
