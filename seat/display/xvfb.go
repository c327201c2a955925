package display

import (
	"fmt"
	"os/exec"
	"slices"

	"github.com/nearcast/nearcast/internal/wire"
)

// newProgram is the server to run for a Config whose Server was chosen.
func newProgram(cfg Config) (program, error) {
	if cfg.Server.Server == wire.ServerXorg {
		return xorg(cfg)
	}
	return xvfb(cfg)
}

func xvfb(cfg Config) (program, error) {
	path, err := exec.LookPath("Xvfb")
	if err != nil {
		return program{}, fmt.Errorf("find Xvfb: %w (Debian: apt-get install xvfb)", err)
	}
	return program{
		name: "Xvfb", path: path, user: cfg.Credential,
		args:    []string{"-screen", "0", fmt.Sprintf("%dx%dx24", cfg.Width, cfg.Height)},
		reasons: func(printed []string) []string { return slices.Clone(printed[max(0, len(printed)-5):]) },
	}, nil
}
