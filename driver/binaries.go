package driver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// find looks for a binary at each call, so that it can be installed and upgraded while
// the agent runs. configured is the value of its option.
func find(name, option, configured string) (string, error) {
	if configured != "" {
		if _, err := exec.LookPath(configured); err != nil {
			return "", fmt.Errorf("%s: %w", option, err)
		}
		return configured, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if _, err := exec.LookPath(beside); err == nil {
			return beside, nil
		}
	}
	if found, err := exec.LookPath(name); err == nil {
		return filepath.Abs(found)
	}
	return "", fmt.Errorf("%s is not installed: put it into PATH or beside the plugin, or set %s in the plugin's config", name, option)
}

func (s *settings) findStreamHost() (string, error) {
	return find("stream-host", "stream_host", s.streamHost)
}

func (s *settings) findSeatKeeper() (string, error) {
	if s.seatKeeper == "" && s.streamHost != "" {
		// They belong together.
		beside := filepath.Join(filepath.Dir(s.streamHost), "seat-keeper")
		if _, err := exec.LookPath(beside); err == nil {
			return beside, nil
		}
	}
	return find("seat-keeper", "seat_keeper", s.seatKeeper)
}
