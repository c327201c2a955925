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

	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/provision/awsapi"
)

// Metadata is the instance metadata service.
type Metadata interface {
	Get(ctx context.Context, path string) (string, error)
}

// Group is the auto scaling group, whose hook waits for this node.
type Group interface {
	Complete(context.Context, awsapi.Lifecycle) error
	Heartbeat(context.Context, awsapi.Lifecycle) error
}

// Node drains this node in Nomad.
type Node interface {
	// Drain starts a drain, or gives the running one another deadline.
	Drain(ctx context.Context, deadline time.Duration, why string) error
	// Drained returns when the drain is complete.
	Drained(ctx context.Context) error
}

// Config says what ends a node. Parts that are nil are left out.
type Config struct {
	Meta      Metadata
	Now       bool // the operator drains the node: do not wait for Meta's notice
	Group     Group
	Lifecycle awsapi.Lifecycle // an empty Instance is read from Meta
	Node      Node
	// Seats gives the seats of this node, as the driver knows them.
	Seats func(ctx context.Context) ([]wire.Seat, error)
	// Leaving tells the driver that the cloud advises to leave the node: a rebalance recommendation.
	// It is called at each look while that holds.
	Leaving func(now time.Time) error
	// Identity is this process's own key, by which the node's seats know it.
	Identity *identity.Identity
	// GivenUp reports whether the node never became ready, or was given up later with a dead Nomad: that
	// drains nothing, and is not asked. The end of Sessions is waited for all the same.
	GivenUp func() bool
	// Sessions counts the sessions of people on this node, without Nomad. An error counts as one.
	Sessions func(context.Context) (int, error)
	// Leave takes the node out of Consul.
	Leave func(ctx context.Context) error

	// Deadline is how long sessions may continue when a group waits. Default: 110
	// minutes, for a hook of two hours.
	Deadline time.Duration
	Poll     time.Duration // between reads of Meta; default 5 s, as AWS advises
	Beat     time.Duration // between heartbeats to the group; default 5 min
	Log      *slog.Logger
}

// reserve is the time that the end takes after the last session: a spot node ends at an
// exact second.
const reserve = 15 * time.Second

// notice is the cloud's announcement.
type notice struct {
	why   string
	until time.Time // of the drain
	hook  bool      // a group's hook waits
}

// Run waits for the cloud's notice and ends the node. Then it returns nil.
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
	c.Log.Warn("draining this node", "why", first.why, "until", first.until.Format(time.RFC3339))
	if c.Group != nil && c.Lifecycle.Instance == "" {
		if c.Lifecycle.Instance, err = c.Meta.Get(ctx, "instance-id"); err != nil {
			return fmt.Errorf("get the instance's id: %w", err)
		}
	}
	if c.GivenUp != nil && c.GivenUp() {
		c.Log.Warn("this node is given up: there is nothing to drain")
		c.Node = nil
	}
	last := c.end(ctx, first)
	if err := ctx.Err(); err != nil {
		return err // this process is stopped; the next one continues
	}
	if c.Leave != nil {
		leaving, cancel := context.WithTimeout(ctx, reserve/2)
		if err := c.Leave(leaving); err != nil {
			c.Log.Warn("cannot leave consul", "error", err)
		}
		cancel()
	}
	if last.hook && c.Group != nil {
		if err := c.until(ctx, last.until.Add(reserve), "complete the lifecycle hook", func(ctx context.Context) error {
			err := c.Group.Complete(ctx, c.Lifecycle)
			if errors.Is(err, awsapi.ErrNoAction) {
				return nil // the group has gone on
			}
			return err
		}); err != nil {
			return err
		}
	}
	c.Log.Info("the node is drained")
	return nil
}

// watch returns when the cloud has news: first that the node ends at all, later that it
// ends sooner than known.
func (c Config) watch(ctx context.Context, known notice) (notice, error) {
	tick := time.NewTicker(c.Poll)
	defer tick.Stop()
	var advised advice
	for quiet := true; ; {
		c.advise(ctx, &advised, time.Now())
		now, err := c.look(ctx, time.Now())
		if err == nil && now.why != "" && (known.why == "" || now.until.Before(known.until.Add(-c.Poll)) && now.why != known.why) {
			now.hook = now.hook || known.hook
			return now, nil
		}
		if err != nil && quiet && ctx.Err() == nil {
			c.Log.Warn("cannot read whether this node is to end", "error", err)
		}
		quiet = err == nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return notice{}, ctx.Err()
		}
	}
}

// look reads the metadata once. Of two notices, the one with less time counts.
func (c Config) look(ctx context.Context, now time.Time) (n notice, err error) {
	if c.Now {
		return notice{why: "the operator drains it", until: now.Add(c.Deadline)}, nil
	}
	state, err := c.Meta.Get(ctx, "autoscaling/target-lifecycle-state")
	if err != nil && !errors.Is(err, awsapi.ErrNoMetadata) {
		return n, err
	}
	if state == "Terminated" {
		n = notice{why: "its auto scaling group terminates it", until: now.Add(c.Deadline), hook: true}
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

// end drains until nothing is left or the time is over. It returns the notice that counted
// at the end.
func (c Config) end(ctx context.Context, n notice) notice {
	var all sync.WaitGroup
	defer all.Wait()
	background, stop := context.WithCancel(ctx)
	defer stop()
	if c.Seats != nil {
		all.Go(func() { c.retire(background) })
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
				c.Log.Error("the drain did not complete in time", "error", err)
			}
			return n
		case next := <-sooner:
			c.Log.Warn("this node ends sooner than announced", "why", next.why, "until", next.until.Format(time.RFC3339))
			cancel()
			<-done
			n = next
		}
	}
}

// drain has Nomad drain the node. At the deadline Nomad stops what is left; the reserve
// covers the moment that this takes.
func (c Config) drain(ctx context.Context, n notice) error {
	if c.Node == nil {
		return c.left(ctx, n)
	}
	return c.until(ctx, n.until.Add(reserve/3), "drain", func(ctx context.Context) error {
		if err := c.Node.Drain(ctx, max(time.Second, time.Until(n.until)), n.why); err != nil {
			return err
		}
		return c.Node.Drained(ctx)
	})
}

// until calls do until it works or the time is over.
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
			c.Log.Warn("retrying", "what", what, "error", err)
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

// beat sends heartbeats, so that the group waits while the node drains.
func (c Config) beat(ctx context.Context) {
	tick := time.NewTicker(c.Beat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := c.Group.Heartbeat(ctx, c.Lifecycle); err != nil && ctx.Err() == nil {
				c.Log.Warn("cannot send a heartbeat to the group", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// seatWithin is how long a seat may take to answer.
const seatWithin = 3 * time.Second

// retireEvery is how often the node's seats are looked at. A seat is asked again that could
// not be asked: the key of this process is perhaps not in Consul yet.
const retireEvery = time.Second

// retire asks each free seat of this node to end, until ctx ends. A seat that was claimed in
// the meantime refuses, and continues.
func (c Config) retire(ctx context.Context) {
	clients := c.Identity.Clients(seatWithin)
	defer clients.Close()
	tick := time.NewTicker(retireEvery)
	defer tick.Stop()
	asked, quiet := map[string]bool{}, true
	for {
		seats, err := c.Seats(ctx)
		if err != nil && quiet && ctx.Err() == nil {
			c.Log.Warn("cannot ask the driver for the seats of this node; retrying", "error", err)
		}
		quiet = err == nil
		for _, seat := range seats {
			switch {
			case !seat.State.Free():
				delete(asked, seat.ID)
			case !asked[seat.ID]:
				asked[seat.ID] = c.ask(ctx, clients, seat)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// ask asks a seat to end if it is idle, and reports whether it does.
func (c Config) ask(ctx context.Context, clients *identity.Clients, seat wire.Seat) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+seat.Address+wire.RetirePath, strings.NewReader("{}"))
	if err != nil {
		c.Log.Warn("the address of a seat is not valid", "seat", seat.ID, "error", err)
		return true
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := clients.To(seat.Key).Do(req)
	if err != nil {
		if ctx.Err() == nil {
			c.Log.Warn("cannot retire an idle seat; trying again", "seat", seat.ID, "error", err)
		}
		return false
	}
	res.Body.Close()
	if res.StatusCode != http.StatusNoContent && res.StatusCode != http.StatusGone {
		c.Log.Warn("an idle seat does not end; asking again", "seat", seat.ID, "app", seat.App, "status", res.StatusCode)
		return false
	}
	c.Log.Info("an idle seat ends", "seat", seat.ID, "app", seat.App)
	return true
}
