// Package ready says when a node can do its work, and tells the node's auto scaling group.
// The group's launch hook waits for it: until then the group counts the node as one that
// starts, gives it no people, and replaces no other node by it. A node that is not ready in
// time is given up: it writes down why, and the group puts another one in its place.
//
//	err := ready.Run(ctx, ready.Config{Look: look, Meta: imds, Group: client, Lifecycle: hook, Within: 40 * time.Minute})
//
// The process may be killed at any time: the next one looks again, and the group takes the
// same answer twice. After a reboot no group waits for the node, and at a fast first boot it
// does not wait yet; AWS answers the same to both. So Run repeats its answer until the node
// has been up for a while. It gives up no node that nobody waits for.
package ready

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nearcast/nearcast/provision/awsapi"
)

// Metadata is the instance metadata service.
type Metadata interface {
	Get(ctx context.Context, path string) (string, error)
}

// Group is the auto scaling group, whose hook waits for this node. Its answers to an action
// that is over are awsapi.ErrNoAction.
type Group interface {
	Complete(context.Context, awsapi.Lifecycle) error
	Abandon(context.Context, awsapi.Lifecycle) error
	Heartbeat(context.Context, awsapi.Lifecycle) error
}

// Result is what one look at one part of the node found. Err is nil if it is ready.
type Result struct {
	Part string // configuration, consul, nomad, …
	Err  error
}

// Config says what is looked at, and who is told.
type Config struct {
	// Look looks once at all parts.
	Look func(context.Context) []Result
	// Group is nil where no group waits.
	Group     Group
	Lifecycle awsapi.Lifecycle // an empty Instance is read from Meta
	Meta      Metadata
	// Keep keeps the reason why the node is given up where an operator finds it. It may be
	// nil.
	Keep func(ctx context.Context, instance, reason string) error

	// Mark notes on the node that it is given up, so that its drain does not wait. It may be nil.
	Mark func() error

	Within time.Duration // until the node is given up; default 40 min
	Poll   time.Duration // between looks; default 5 s
	Settle time.Duration // after it, a group that does not wait has waited before; default 10 min
	Log    *slog.Logger
}

// ErrGivenUp means that the node was not ready in time, and that its group was told.
var ErrGivenUp = errors.New("this node is given up")

// Run returns nil when the node is ready and its group knows it.
func Run(ctx context.Context, c Config) error {
	if c.Within == 0 {
		c.Within = 40 * time.Minute
	}
	if c.Poll == 0 {
		c.Poll = 5 * time.Second
	}
	if c.Settle == 0 {
		c.Settle = 10 * time.Minute
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	began := time.Now()
	over := time.NewTimer(c.Within)
	defer over.Stop()
	tick := time.NewTicker(c.Poll)
	defer tick.Stop()
	beaten, last := c.Group == nil, ""
	for {
		if !beaten {
			// What came before this process took time too: the hook's time begins again. A
			// group that does not wait yet has all of its time left.
			err := c.tell(ctx, "send a heartbeat", c.Group.Heartbeat)
			beaten = err == nil || errors.Is(err, awsapi.ErrNoAction)
		}
		missing := Missing(c.Look(ctx))
		if missing == "" && c.told(ctx, time.Since(began)) {
			c.Log.Info("the node is ready", "seconds", int(time.Since(began).Seconds()))
			return nil
		}
		if missing != last && missing != "" && ctx.Err() == nil {
			c.Log.Info("the node is not ready", "missing", missing)
			last = missing
		}
		select {
		case <-tick.C:
		case <-over.C:
			if c.Group == nil {
				return fmt.Errorf("the node is not ready after %s: %s", c.Within, missing)
			}
			if missing != "" && c.giveUp(ctx, missing) {
				return fmt.Errorf("%w: %s", ErrGivenUp, missing)
			}
		case <-ctx.Done():
			return errors.Join(ctx.Err(), errors.New(missing))
		}
	}
}

// Missing says in words which parts are not ready; "" if all are.
func Missing(results []Result) string {
	var words []string
	for _, r := range results {
		if r.Err != nil {
			words = append(words, r.Part+": "+r.Err.Error())
		}
	}
	return strings.Join(words, "; ")
}

// giveUp keeps the reason and tells the group. It reports whether the group ends the node:
// after a reboot none waits for it.
func (c *Config) giveUp(ctx context.Context, missing string) bool {
	if err := c.tell(ctx, "ask whether the group waits", c.Group.Heartbeat); errors.Is(err, awsapi.ErrNoAction) {
		c.Log.Warn("the node is not ready, and no group waits for it: it stays, and is looked at further on", "missing", missing)
		return false
	}
	if c.Keep != nil {
		reason := fmt.Sprintf("This node was not ready within %s.\n\n%s\n", c.Within, missing)
		if err := c.Keep(ctx, c.Lifecycle.Instance, reason); err != nil {
			c.Log.Error("cannot keep the reason why this node is given up", "error", err)
		}
	}
	c.Log.Error("giving up this node", "missing", missing)
	if err := c.tell(ctx, "give up this node", c.Group.Abandon); err != nil {
		return false // the hook's own time ends soon, with the same result
	}
	// Only now: a node that stays may have sessions, which its drain is to wait for.
	if c.Mark != nil {
		if err := c.Mark(); err != nil {
			c.Log.Error("cannot note that this node is given up", "error", err)
		}
	}
	return true
}

// told reports whether the group knows that the node is ready, or has waited before.
func (c *Config) told(ctx context.Context, up time.Duration) bool {
	if c.Group == nil {
		return true
	}
	err := c.tell(ctx, "say that the node is ready", c.Group.Complete)
	return err == nil || errors.Is(err, awsapi.ErrNoAction) && up >= c.Settle
}

// tell tells the group, which may not wait yet, or no longer.
func (c *Config) tell(ctx context.Context, what string, action func(context.Context, awsapi.Lifecycle) error) error {
	err := c.fill(ctx)
	if err == nil {
		err = action(ctx, c.Lifecycle)
	}
	if err != nil && !errors.Is(err, awsapi.ErrNoAction) && ctx.Err() == nil {
		c.Log.Warn("retrying: cannot "+what, "error", err)
	}
	return err
}

// fill asks for the instance's id once.
func (c *Config) fill(ctx context.Context) (err error) {
	if c.Lifecycle.Instance == "" {
		if c.Lifecycle.Instance, err = c.Meta.Get(ctx, "instance-id"); err != nil {
			return fmt.Errorf("get the instance's id: %w", err)
		}
	}
	return nil
}
