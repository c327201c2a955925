package dev

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// State is what a running cluster says of itself in its folder.
type State struct {
	// PID is the supervisor, Started its start time in clock ticks since boot:
	// together they name a process for good, where a pid alone is used again.
	PID     int    `json:"pid"`
	Started uint64 `json:"started"`

	Dir    string `json:"dir"`
	RunDir string `json:"run_dir"` // of the driver; may lie elsewhere, see runDir
	Site   string `json:"site,omitempty"`
	// Sites are those of a planet, each with a cluster in SiteDir; its own
	// state is there.
	Sites []string `json:"sites,omitempty"`
	// Namespace is the file of the network namespace that the cluster runs in,
	// or where the person sits, of a planet.
	Namespace string `json:"namespace,omitempty"`
	Host      string `json:"host,omitempty"` // that the servers listen on
	Ports     Ports  `json:"ports"`
	URL       string `json:"url"`

	Tools     map[string]string `json:"tools"` // paths of the servers
	Processes []ProcessStatus   `json:"processes"`
}

// ProcessStatus is one child of the cluster.
type ProcessStatus struct {
	Name      string    `json:"name"`
	State     string    `json:"state"`
	PID       int       `json:"pid,omitempty"`
	Started   uint64    `json:"started,omitempty"`
	Since     time.Time `json:"since"`
	Restarts  int       `json:"restarts"`
	LastDeath string    `json:"last_death,omitempty"`
	Log       string    `json:"log"`

	deaths    int // since it was last ready
	lastProbe string
}

const (
	stateFile = "state.json"
	lockName  = "lock"
)

// ErrNotRunning says that no cluster runs in a folder.
var ErrNotRunning = errors.New("no dev cluster is running")

// ReadState reads the state in dir. It is ErrNotRunning where the folder has
// none; a state without a running supervisor is returned as it is, see Running.
func ReadState(dir string) (State, error) {
	var s State
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("%w in %s", ErrNotRunning, dir)
	}
	if err != nil {
		return s, fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("parse %s: %w", filepath.Join(dir, stateFile), err)
	}
	return s, nil
}

// Running reports whether the cluster's supervisor lives.
func (s State) Running() bool { return alive(s.PID, s.Started) }

func writeState(s State) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(s.Dir, stateFile), append(text, '\n'), 0o644)
}

// writeFile replaces a file whole or not at all.
func writeFile(path string, text []byte, mode fs.FileMode) error {
	temp := path + ".new"
	if err := os.WriteFile(temp, text, mode); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// errLocked says that a supervisor runs in a folder.
var errLocked = errors.New("another dev cluster runs here")

// lockDir makes this process the one supervisor of dir.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}
