package feed

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/identity"
)

const (
	dialWithin = 3 * time.Second
	// A lost connection is made again at once, then after twice as long each time.
	firstPause = 100 * time.Millisecond
	mostPause  = 2 * time.Second
	// steady is how long a connection lasts that was no failure.
	steady = 10 * time.Second
)

// Follower is a process of the site that takes a feed.
type Follower struct {
	Address string // host:port of its internal listener
	Key     string // of its record in Consul
}

// Spread keeps a source streaming to followers, whom it dials.
//
//	s := feed.Spread[wire.Seat]{Source: seats, Me: me, Path: wire.FeedPath, Log: log}
//	s.Run(ctx, func(ctx context.Context, now func([]feed.Follower)) { … }) // until ctx ends
type Spread[T any] struct {
	Source *Source[T]
	Me     *identity.Identity
	Path   string // of the WebSocket at a follower
	Log    *slog.Logger
}

// Run streams until ctx ends. watch calls now with all followers that there are, at each
// change, until its context ends. One that is no longer named is left at once.
func (s Spread[T]) Run(ctx context.Context, watch func(ctx context.Context, now func([]Follower))) {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	running := map[Follower]context.CancelFunc{}
	watch(ctx, func(list []Follower) {
		mu.Lock()
		defer mu.Unlock()
		named := make(map[Follower]bool, len(list))
		for _, to := range list {
			named[to] = true
			if running[to] == nil && ctx.Err() == nil {
				one, stop := context.WithCancel(ctx)
				running[to] = stop
				all.Go(func() { s.keep(one, to) })
			}
		}
		for to, stop := range running {
			if !named[to] {
				stop()
				delete(running, to)
			}
		}
	})
}

// keep streams to one follower, and dials it again and again.
func (s Spread[T]) keep(ctx context.Context, to Follower) {
	pause := firstPause
	for failures := 0; ctx.Err() == nil; {
		began := time.Now()
		err := s.once(ctx, to)
		switch {
		case ctx.Err() != nil:
			return
		case time.Since(began) > steady:
			pause, failures = firstPause, 0
			s.Log.Info("a feed ended; connecting again", "to", to.Address, "error", err)
		default:
			if failures++; failures == 3 {
				s.Log.Warn("a feed cannot be told; retrying", "to", to.Address, "error", err)
			}
		}
		// With jitter, so that the nodes of a site do not come back together.
		t := time.NewTimer(pause/2 + rand.N(pause))
		pause = min(2*pause, mostPause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

func (s Spread[T]) once(ctx context.Context, to Follower) error {
	dial, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: s.Me.Client(to.Key), DisableKeepAlives: true, Proxy: nil}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ws, _, err := websocket.Dial(dial, "wss://"+to.Address+s.Path, &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		return fmt.Errorf("connect to %s: %w", to.Address, err)
	}
	return s.Source.Stream(ctx, ws)
}
