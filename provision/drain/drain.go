package drain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/provision/awsapi"
)

// Metadata is the instance metadata service.
type Metadata interface {
	Get(ctx context.Context, path string) (string, error)
}

// Group is the auto scaling group's hook that waits for this node.
type Group interface {
	Complete(context.Context, awsapi.Lifecycle) error
	Heartbeat(context.Context, awsapi.Lifecycle) error
}

// Node is this node in Nomad.
type Node interface {
	// Drain begins a drain, or gives the one under way another deadline.
	Drain(ctx context.Context, deadline time.Duration, why string) error
	// Drained returns when nothing runs on the node that a drain ends.
	Drained(ctx context.Context) error
}

// Config says what a node's end consists of. What is nil is left out.
type Config struct {
	Meta      Metadata
	Now       bool // the operator drains the node; Meta is not asked
	Group     Group
	Lifecycle awsapi.Lifecycle // Instance is asked of Meta where it is empty
	Node      Node
	Name      string // of the node, as seats know it
	// Seats tells of the site's seats until ctx ends.
	Seats func(ctx context.Context, fn func([]wire.Seat))
	// Leave takes the node out of Consul.
	Leave func(ctx context.Context) error

	// Deadline is how long sessions may go on where a group waits. Default: 110
	// minutes, for a hook of two hours.
	Deadline time.Duration
	Poll     time.Duration // of Meta; default 5 s, as AWS advises
	Beat     time.Duration // between signs of life to the group; default 5 min
	Log      *slog.Logger
}

// reserve is what ending takes after the last session: a spot node's time is
// given to the second.
const reserve = 15 * time.Second

// notice is what the cloud said.
type notice struct {
	why   string
	until time.Time // of the drain
	hook  bool      // a group waits to be told
}

// Run waits for the cloud's notice, ends the node, and returns nil then.
func Run(ctx context.Context, c Config) error {
	if c.Deadline == 0 {
		c.Deadline = 110 * time.Minute
	}
	if c.Poll == 0 {
		c.Poll = 5 * time.Second
	}
	if c.Beat == 0 {
		c.Beat = 5 * time.Minute
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	first, err := c.watch(ctx, notice{})
	if err != nil {
		return err
	}
	c.Log.Warn("this node's work is to end", "why", first.why, "until", first.until.Format(time.RFC3339))
	if c.Group != nil && c.Lifecycle.Instance == "" {
		if c.Lifecycle.Instance, err = c.Meta.Get(ctx, "instance-id"); err != nil {
			return fmt.Errorf("find the instance's id: %w", err)
		}
	}
	last := c.end(ctx, first)
	if err := ctx.Err(); err != nil {
		return err // told to stop ourselves; the next process goes on
	}
	if c.Leave != nil {
		leaving, cancel := context.WithTimeout(ctx, reserve/2)
		if err := c.Leave(leaving); err != nil {
			c.Log.Warn("consul will notice by itself that this node is gone", "error", err)
		}
		cancel()
	}
	if last.hook && c.Group != nil {
		if err := c.until(ctx, last.until.Add(reserve), "let the group go on", func(ctx context.Context) error {
			return c.Group.Complete(ctx, c.Lifecycle)
		}); err != nil {
			return err
		}
	}
	c.Log.Info("nothing runs on this node any more")
	return nil
}

// watch returns when the cloud says more than it said before: first that there
// is an end at all, later that it comes sooner.
func (c Config) watch(ctx context.Context, known notice) (notice, error) {
	tick := time.NewTicker(c.Poll)
	defer tick.Stop()
	for quiet := true; ; {
		now, err := c.look(ctx, time.Now())
		if err == nil && now.why != "" && (known.why == "" || now.until.Before(known.until.Add(-c.Poll)) && now.why != known.why) {
			now.hook = now.hook || known.hook
			return now, nil
		}
		if err != nil && quiet && ctx.Err() == nil {
			c.Log.Warn("cannot hear whether this node is to end", "error", err)
		}
		quiet = err == nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return notice{}, ctx.Err()
		}
	}
}

// look asks once. Of two notices, the one with less time counts.
func (c Config) look(ctx context.Context, now time.Time) (n notice, err error) {
	if c.Now {
		return notice{why: "its operator drains it", until: now.Add(c.Deadline)}, nil
	}
	state, err := c.Meta.Get(ctx, "autoscaling/target-lifecycle-state")
	if err != nil && !errors.Is(err, awsapi.ErrNoMetadata) {
		return n, err
	}
	if state == "Terminated" {
		n = notice{why: "its group takes it out", until: now.Add(c.Deadline), hook: true}
	}
	text, err := c.Meta.Get(ctx, "spot/instance-action")
	if errors.Is(err, awsapi.ErrNoMetadata) {
		return n, nil
	}
	if err != nil {
		return n, err
	}
	var action struct {
		Action string    `json:"action"`
		Time   time.Time `json:"time"`
	}
	if err := json.Unmarshal([]byte(text), &action); err != nil {
		return n, fmt.Errorf("read the spot notice %q: %w", text, err)
	}
	if until := action.Time.Add(-reserve); n.why == "" || until.Before(n.until) {
		n.why, n.until = "spot: "+action.Action, until
	}
	return n, nil
}

// end drains until nothing is left or the time is up, and returns the notice
// that counted in the end.
func (c Config) end(ctx context.Context, n notice) notice {
	var all sync.WaitGroup
	defer all.Wait()
	background, stop := context.WithCancel(ctx)
	defer stop()
	if c.Seats != nil {
		all.Go(func() { c.Seats(background, c.retire(background)) })
	}
	if n.hook && c.Group != nil {
		all.Go(func() { c.beat(background) })
	}
	sooner := make(chan notice)
	all.Go(func() {
		for known := n; ; {
			next, err := c.watch(background, known)
			if err != nil {
				return
			}
			select {
			case sooner <- next:
				known = next
			case <-background.Done():
				return
			}
		}
	})
	for {
		turn, cancel := context.WithCancel(background)
		done := make(chan error, 1)
		all.Go(func() { done <- c.drain(turn, n) })
		select {
		case err := <-done:
			cancel()
			if err != nil && ctx.Err() == nil {
				c.Log.Error("the time is up, and the drain is not done", "error", err)
			}
			return n
		case next := <-sooner:
			c.Log.Warn("this node is to end sooner", "why", next.why, "until", next.until.Format(time.RFC3339))
			cancel()
			<-done
			n = next
		}
	}
}

// drain has Nomad end what runs here. At the deadline Nomad stops what is left;
// that takes a moment more, which the reserve has.
func (c Config) drain(ctx context.Context, n notice) error {
	if c.Node == nil {
		return nil
	}
	return c.until(ctx, n.until.Add(reserve/3), "drain", func(ctx context.Context) error {
		if err := c.Node.Drain(ctx, max(time.Second, time.Until(n.until)), n.why); err != nil {
			return err
		}
		return c.Node.Drained(ctx)
	})
}

// until tries something again until it works or the time is up.
func (c Config) until(ctx context.Context, deadline time.Time, what string, do func(context.Context) error) error {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	pause := 250 * time.Millisecond
	for {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			c.Log.Warn("trying again", "what", what, "error", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			pause = min(2*pause, 5*time.Second)
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s: %w", what, errors.Join(ctx.Err(), err))
		}
	}
}

// beat tells the group that this node is at it.
func (c Config) beat(ctx context.Context) {
	tick := time.NewTicker(c.Beat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := c.Group.Heartbeat(ctx, c.Lifecycle); err != nil && ctx.Err() == nil {
				c.Log.Warn("cannot ask the group for more time", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

var seatHTTP = &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil}}

// retire asks each of this node's seats that nobody holds to end. One that was
// claimed meanwhile says no and goes on.
func (c Config) retire(ctx context.Context) func([]wire.Seat) {
	asked := map[string]bool{}
	return func(seats []wire.Seat) {
		for _, seat := range seats {
			if seat.Node != c.Name || !seat.State.Free() {
				delete(asked, seat.ID)
				continue
			}
			if asked[seat.ID] {
				continue
			}
			asked[seat.ID] = true
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+seat.Address+wire.RetirePath, strings.NewReader("{}"))
			if err != nil {
				c.Log.Warn("a seat has no address", "seat", seat.ID, "error", err)
				continue
			}
			req.Header.Set("Content-Type", "application/json")
			res, err := seatHTTP.Do(req)
			if err != nil {
				delete(asked, seat.ID)
				c.Log.Warn("cannot retire an idle seat", "seat", seat.ID, "error", err)
				continue
			}
			res.Body.Close()
			c.Log.Info("asked an idle seat to end", "seat", seat.ID, "app", seat.App, "answer", res.StatusCode)
		}
	}
}
