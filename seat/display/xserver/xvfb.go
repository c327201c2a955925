package xserver

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/nearcast/nearcast/internal/wire"
)

// newProgram is the server to run for a Config whose Server was chosen.
func newProgram(cfg Config) (program, error) {
	switch cfg.Server.Server {
	case wire.ServerXorg:
		return xorg(cfg)
	case wire.ServerXdummy:
		return xdummy(cfg)
	}
	return xvfb(cfg)
}

func xvfb(cfg Config) (program, error) {
	path, err := exec.LookPath("Xvfb")
	if err != nil {
		return program{}, fmt.Errorf("find Xvfb: %w (Debian: apt-get install xvfb)", err)
	}
	return program{
		name: "Xvfb", path: path, authority: AuthorityPath(cfg.Runner),
		args:    []string{"-screen", "0", fmt.Sprintf("%dx%dx24", cfg.Width, cfg.Height)},
		reasons: func(printed []string) []string { return slices.Clone(printed[max(0, len(printed)-5):]) },
	}, nil
}

// AuthorityPath is the cookie file of the display's clients, and of servers in the cell.
func AuthorityPath(r interface{ Runtime() string }) string {
	return filepath.Join(r.Runtime(), "Xauthority")
}
