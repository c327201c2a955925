package brain_test

import (
	"context"
	"io"
	"log/slog"
	"sync"

	"github.com/nearcast/nearcast/internal/feed"
	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// node is a node's registrar as brains see it.
type node struct {
	seats *feed.Source[wire.Seat]
	me    *identity.Identity
	stop  func()
}

// node registers a node, and streams its seats to all brains of the site until the test
// ends or it is stopped. id tells registrars apart that share the Consul agent.
func (s *site) node(id string) *node {
	s.t.Helper()
	n := &node{seats: feed.NewSource[wire.Seat](), me: testkit.Identity(s.t)}
	ctx, cancel := context.WithCancel(s.ctx)
	registration := s.fleet.RegisterNode(ctx, id, wire.Node{Key: n.me.Key(), Class: wire.LoadCalm})
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	done := make(chan struct{})
	go func() {
		defer close(done)
		feed.Spread[wire.Seat]{Source: n.seats, Me: n.me, Path: wire.FeedPath, Log: log}.Run(ctx, brainsOf(s.fleet))
	}()
	var once sync.Once
	n.stop = func() {
		once.Do(func() {
			cancel()
			registration.Close()
			<-done
		})
	}
	return n
}

func brainsOf(f *fleet.Fleet) func(context.Context, func([]feed.Follower)) {
	return func(ctx context.Context, now func([]feed.Follower)) {
		<-f.WatchInstances(ctx, wire.BrainService, func(list []wire.Instance) {
			var followers []feed.Follower
			for _, one := range list {
				if one.Internal != "" {
					followers = append(followers, feed.Follower{Address: one.Internal, Key: one.Key})
				}
			}
			now(followers)
		}).Done()
	}
}
