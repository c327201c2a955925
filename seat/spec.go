package seat

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// LoadSpec reads the spec that the driver wrote.
func LoadSpec(path string) (wire.Spec, error) {
	var spec wire.Spec
	raw, err := os.ReadFile(path)
	if err != nil {
		return spec, fmt.Errorf("read spec: %w", err)
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		return spec, fmt.Errorf("parse spec %s: %w", path, err)
	}
	if spec.RunDir == "" {
		return spec, fmt.Errorf("spec %s has no run_dir", path)
	}
	return spec, nil
}

// checkSpec returns every reason why a seat cannot run with the spec.
func checkSpec(spec wire.Spec) error {
	need := func(ok bool, what string) error {
		if ok {
			return nil
		}
		return fault(wire.CodeConfig, "spec: %s", what)
	}
	dir, err := os.Stat(spec.TaskDir)
	return errors.Join(
		need(spec.Alloc != "", "alloc is missing"),
		need(spec.App != "", "app is missing"),
		need(spec.Command != "", "command is missing"),
		need(err == nil && dir.IsDir(), fmt.Sprintf("task_dir %q is not a directory", spec.TaskDir)),
		need(spec.Display.Width > 0 && spec.Display.Height > 0 && spec.Display.FPS > 0, "display needs width, height and fps"),
		need(spec.Listen.API != "", "listen.api is missing: give the IP on which brains reach the seat"),
	)
}

// secondsOr is a setting of the spec in seconds, or otherwise if it is not set.
func secondsOr(seconds int, otherwise time.Duration) time.Duration {
	if seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	return otherwise
}
