package drain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/provision/awsapi"
)

// rebalance is where the cloud advises to leave a spot node: it is likelier than before that the
// node is taken, which may happen in minutes or never.
const rebalance = "events/recommendations/rebalance"

// advice is what was found at the last look.
type advice struct {
	given bool
	fault string
}

// advise looks whether the cloud advises to leave the node, and tells the driver. Nothing is ended
// or drained for that: the group starts another node, and then ends this one with notice.
func (c Config) advise(ctx context.Context, last *advice, now time.Time) {
	if c.Leaving == nil || c.Now {
		return
	}
	text, err := c.Meta.Get(ctx, rebalance)
	given := err == nil
	if errors.Is(err, awsapi.ErrNoMetadata) {
		err = nil
	}
	if given {
		err = c.Leaving(now)
	}
	if given && !last.given {
		c.Log.Warn("the cloud advises to leave this node: people get the seats of other nodes first", "recommendation", text)
	}
	fault := ""
	if err != nil {
		fault = err.Error()
	}
	if fault != "" && fault != last.fault && ctx.Err() == nil {
		c.Log.Warn("cannot read, or tell, whether the cloud advises to leave this node", "error", err)
	}
	*last = advice{given, fault}
}

// TellLeaving tells the driver on this node, by a file in its run directory.
func TellLeaving(runDir string) func(time.Time) error {
	return func(now time.Time) error {
		text, err := json.Marshal(wire.Leaving{At: now.UTC()})
		if err != nil {
			return fmt.Errorf("encode that the node leaves: %w", err)
		}
		file := filepath.Join(runDir, wire.LeavingFile)
		if err := renameio.WriteFile(file, text, 0o600, renameio.WithTempDir(runDir), renameio.WithStaticPermissions(0o600)); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
		return nil
	}
}
