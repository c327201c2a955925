package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// sizedAlone looks at an app whose warm pool the brain sizes by itself: it aims at a seat at least, before
// anybody came, and the router knows.
func sizedAlone(ctx context.Context, t *testing.T, app string) {
	t.Helper()
	testkit.Retry(ctx, t, "the brain sizes the warm pool", func() error {
		c, err := capacity(ctx, app)
		if err == nil && (c.Warm < 1 || c.Warm > 3) {
			err = fmt.Errorf("it aims at %d idle seats", c.Warm)
		}
		return err
	})
}

// advised has the command measure the seats that somebody plays in, and not the idle ones. They are too few
// for advice.
func advised(ctx context.Context, t *testing.T, app string, played int) {
	t.Helper()
	// Nomad hears of a seat later than the brain: before that, nothing could be measured.
	testkit.Retry(ctx, t, "Nomad knows that the seat is ready", func() error {
		if events := taskEvents(t, app); !strings.Contains(events, "ready") {
			return fmt.Errorf("the task events are %s", events)
		}
		return nil
	})
	testkit.Retry(ctx, t, "the seat is measured", func() error {
		out, err := exec.CommandContext(ctx, filepath.Join(binDir, "nearcast"), "app", "advise", app, "--watch", "1s", "--json", "--nomad", site.Nomad().Address()).Output()
		if err != nil {
			return fmt.Errorf("nearcast app advise: %w", err)
		}
		var advice []struct {
			Job, Refused        string
			Seats, Measurements int
			CPU, Memory         struct{ Has, Measured int }
			Notes               []string // of seats that could not be measured
		}
		if err := json.Unmarshal(out, &advice); err != nil {
			return fmt.Errorf("read %s: %w", out, err)
		}
		if len(advice) != 1 || advice[0].Job != app || advice[0].Seats != played || advice[0].Measurements != played || len(advice[0].Notes) > 0 ||
			played > 0 && (advice[0].CPU.Measured < 1 || advice[0].Memory.Measured < 10) ||
			advice[0].CPU.Has != 100 || advice[0].Memory.Has != 128 || !strings.Contains(advice[0].Refused, "too little") {
			return fmt.Errorf("the advice is %s", out)
		}
		return nil
	})
}
