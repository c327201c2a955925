package dev

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// State is what a running cluster says about itself in its folder.
type State struct {
	// PID is the process that runs the cluster, Started its start time in clock ticks
	// since boot. Together they name one process for good: a pid alone is used again.
	PID     int    `json:"pid"`
	Started uint64 `json:"started"`

	Dir    string `json:"dir"`
	RunDir string `json:"run_dir"`
	Site   string `json:"site,omitempty"`
	// Sites are the sites of a planet. Each has its own state in SiteDir.
	Sites []string `json:"sites,omitempty"`
	// Namespace is the file of the network namespace that the cluster runs in. For a
	// planet it is the person's.
	Namespace string `json:"namespace,omitempty"`
	Address   string `json:"address,omitempty"` // that the servers listen on
	Ports     Ports  `json:"ports"`
	URL       string `json:"url"`

	Tools     map[string]string `json:"tools"` // paths of the servers
	Processes []ProcessStatus   `json:"processes"`
}

// ProcessStatus is one part of the cluster: a child process, or the process of a
// Nomad job.
type ProcessStatus struct {
	Name     string    `json:"name"`
	State    string    `json:"state"`
	PID      int       `json:"pid,omitempty"`
	Started  uint64    `json:"started,omitempty"`
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`
	LastExit string    `json:"last_exit,omitempty"`
	Log      string    `json:"log"`

	exits    int    // since it was last ready
	notReady string // why the last check failed
}

const (
	stateFile = "state.json"
	lockName  = "lock"
)

// ErrNotRunning says that no cluster runs in a folder.
var ErrNotRunning = errors.New("no dev cluster is running")

// ReadState reads the state in dir. It is ErrNotRunning where the folder has none.
// The cluster may have been killed since: see Running.
func ReadState(dir string) (State, error) {
	var s State
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("%w in %s; start one with: make up", ErrNotRunning, dir)
	}
	if err != nil {
		return s, fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("parse %s: %w", filepath.Join(dir, stateFile), err)
	}
	return s, nil
}

// Running reports whether the process that runs the cluster is alive.
func (s State) Running() bool { return alive(s.PID, s.Started) }

func writeState(s State) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(s.Dir, stateFile), append(text, '\n'), 0o644)
}
