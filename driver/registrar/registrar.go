package registrar

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/nearcast/nearcast/internal/feed"
	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// holderFile has the name of the registrar of a run directory.
	holderFile = "registrar"
	lookEvery  = time.Second
	loadEvery  = 5 * time.Second
)

// Config is what a Registrar is made of.
type Config struct {
	// Dir is the driver's run directory.
	Dir    string
	Consul wire.ConsulRef
	Listen wire.Listen // of new seats
	Pool   string      // of the node, in Nomad; empty is not known
	MHz    int         // of the node, as Nomad measured it
	Log    *slog.Logger
}

// Registrar is the registrar of one node.
type Registrar struct {
	cfg   Config
	log   *slog.Logger
	seats *feed.Source[wire.Seat]

	mu   sync.Mutex
	last map[string]wire.Seat // what the seats are, as the feed has it but for what was measured
	load steady               // of the node, as the feed has it
	// untold are the seats of which only what was measured has changed.
	untold map[string]wire.Seat
}

// New makes a Registrar. Tasks may be followed before Run.
func New(cfg Config) *Registrar {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Registrar{cfg: cfg, log: cfg.Log, seats: feed.NewSource[wire.Seat](), last: map[string]wire.Seat{}, untold: map[string]wire.Seat{}}
}

// Run tells the site of the node, until ctx ends or a later registrar of the same run
// directory has taken over.
func (r *Registrar) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	name := rand.Text()
	if err := r.take(name); err != nil {
		r.log.Error("cannot become the node's registrar: brains learn of no seats of this node", "error", err)
		return
	}
	me, err := identity.New()
	if err != nil {
		r.log.Error("cannot become the node's registrar: brains learn of no seats of this node", "error", err)
		return
	}
	registry, err := fleet.Open(fleet.Config{Address: r.cfg.Consul.Address, Token: r.cfg.Consul.Token, Log: r.log})
	if err != nil {
		r.log.Error("cannot become the node's registrar: brains learn of no seats of this node", "error", err)
		return
	}
	defer registry.Close()

	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { r.serveDrain(ctx) })
	all.Go(func() {
		feed.Spread[wire.Seat]{Source: r.seats, Me: me, Path: wire.FeedPath, Log: r.log}.Run(ctx, brains(registry))
	})
	all.Go(func() { r.tellLoad(ctx, registry, me.Key()) })
	r.log.Info("registrar of this node", "consul", r.cfg.Consul.Address, "key", me.Key())
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	measured := time.NewTicker(wire.MeasuredEvery)
	defer measured.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-measured.C:
			r.tellMeasured()
		case <-tick.C:
			if now, err := os.ReadFile(r.holder()); err == nil && string(now) != name {
				r.log.Info("another plugin process is this node's registrar now")
				return
			}
		}
	}
}

// brains are the brains of the site that live.
func brains(registry *fleet.Fleet) func(context.Context, func([]feed.Follower)) {
	return func(ctx context.Context, now func([]feed.Follower)) {
		<-registry.WatchInstances(ctx, wire.BrainService, func(list []wire.Instance) {
			var followers []feed.Follower
			for _, one := range list {
				// One that is of an earlier release has no internal listener, or no key.
				if one.Internal != "" && one.Key != "" && one.Healthy {
					followers = append(followers, feed.Follower{Address: one.Internal, Key: one.Key})
				}
			}
			now(followers)
		}).Done()
	}
}

func (r *Registrar) holder() string { return filepath.Join(r.cfg.Dir, holderFile) }

func (r *Registrar) take(name string) error {
	if err := os.MkdirAll(r.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make the run directory: %w", err)
	}
	err := renameio.WriteFile(r.holder(), []byte(name), 0o600, renameio.WithTempDir(r.cfg.Dir), renameio.WithStaticPermissions(0o600))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("take over the run directory: %w", err)
	}
	return nil
}

// tellLoad keeps the node in Consul, with its load, until ctx ends.
func (r *Registrar) tellLoad(ctx context.Context, registry *fleet.Fleet, key string) {
	// Registrars that share a Consul agent, as on one machine, have run directories of
	// their own. The name stays the same after a restart.
	sum := fnv.New64a()
	sum.Write([]byte(r.cfg.Dir))
	meter := newMeter(r.cfg.Dir)
	node := func() wire.Node {
		n := meter.node()
		r.tellClass(n.Class, time.Now())
		n.Key, n.Media, n.Seats, n.Pool, n.MHz = key, mediaOf(r.cfg.Listen), r.count(), r.cfg.Pool, r.cfg.MHz
		return n
	}
	registration := registry.RegisterNode(ctx, hex.EncodeToString(sum.Sum(nil)[:4]), node())
	defer registration.Close()
	tick := time.NewTicker(loadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			registration.Set(node())
		}
	}
}

func (r *Registrar) count() map[wire.SeatState]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[wire.SeatState]int{}
	for _, seat := range r.last {
		out[seat.State]++
	}
	return out
}
