package seat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nearcast/nearcast/internal/params"
	"github.com/nearcast/nearcast/internal/wire"
)

// ReadSpec reads the spec that the driver wrote.
func ReadSpec(r io.Reader) (spec wire.Spec, err error) {
	if err := json.NewDecoder(r).Decode(&spec); err != nil {
		return spec, fmt.Errorf("read spec: %w", err)
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
	_, err := params.Values(spec.Params, nil, params.Token)
	return errors.Join(
		need(err == nil, fmt.Sprintf("params: %v", err)),
		need(spec.Alloc != "", "alloc is missing"),
		need(spec.App != "", "app is missing"),
		need(spec.Command != "", "command is missing"),
		need(spec.TaskDir != "", "task_dir is missing"),
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
