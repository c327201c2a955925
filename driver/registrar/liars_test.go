package registrar

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestLiars are stream hosts that were taken over. What they may not say is not told.
func TestLiars(t *testing.T) {
	long := strings.Repeat("x", 200)
	for name, lie := range map[string]func(*wire.Seat){
		"another allocation":       func(s *wire.Seat) { s.ID = "two" },
		"another machine":          func(s *wire.Seat) { s.Address = "192.0.2.1:4000" },
		"a name for an address":    func(s *wire.Seat) { s.Address = "localhost:4000" },
		"no port":                  func(s *wire.Seat) { s.Address = "127.0.0.1:0" },
		"no key":                   func(s *wire.Seat) { s.Key = "" },
		"a long key":               func(s *wire.Seat) { s.Key += long },
		"a state that is none":     func(s *wire.Seat) { s.State = "free" },
		"a phase that is none":     func(s *wire.Seat) { s.Progress.Phase = "x" },
		"a long session":           func(s *wire.Seat) { s.State, s.Session = wire.SeatClaimed, long },
		"a session with a line":    func(s *wire.Seat) { s.State, s.Session = wire.SeatClaimed, "a\nb" },
		"a long subject":           func(s *wire.Seat) { s.Subject = long },
		"long meta":                func(s *wire.Seat) { s.Meta = map[string]string{"order": long + long} },
		"busy, and waits for Play": func(s *wire.Seat) { s.State, s.Session, s.Prepared = wire.SeatClaimed, "s-1", true },
		"busy without a session":   func(s *wire.Seat) { s.State = wire.SeatStreaming },
		"more than whole progress": func(s *wire.Seat) { s.Progress.Fraction = 2 },
		"stills for all":           func(s *wire.Seat) { s.Stills = "all" },
		"for ever":                 func(s *wire.Seat) { s.Until = time.Now().Add(10 * 365 * 24 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistrar(t, t.TempDir(), "127.0.0.1:1")
			h := newStreamHost(t, "one")
			background(t, func(ctx context.Context) { r.Follow(ctx, h.task) })
			testkit.Until(t, "the seat is known", func() bool { return r.count()[wire.SeatIdle] == 1 })
			was := h.seat
			h.say(lie)
			testkit.Until(t, "the liar is not told of", func() bool { return len(r.count()) == 0 })
			h.say(func(s *wire.Seat) { *s = was })
			testkit.Until(t, "it is told of again", func() bool { return r.count()[wire.SeatIdle] == 1 })
		})
	}
	t.Run("whose driver knows better", func(t *testing.T) {
		h := newStreamHost(t, "one")
		said := h.seat
		said.App, said.Job, said.Version, said.Node, said.Since = "another", "another/dispatch", 9, "node-9", time.Now().Add(time.Hour)
		said.Prepared, said.Meta = true, map[string]string{"order": "4711"}
		said.Progress.Detail = strings.Repeat("ü", maxDetail)
		seat, err := checked(h.task, said, time.Now())
		testkit.Must(t, err)
		if seat.App != "viewer" || seat.Job != h.task.Job || seat.Version != 3 || seat.Node != "node-1" || !seat.Prepared || seat.Meta["order"] != "4711" ||
			seat.Since.After(time.Now()) || len(seat.Progress.Detail) > maxDetail {
			t.Errorf("told %+v", seat)
		}
	})
	t.Run("that is another seat of its node", func(t *testing.T) {
		r := newRegistrar(t, t.TempDir(), "127.0.0.1:1")
		one, two := newStreamHost(t, "one"), newStreamHost(t, "two")
		for _, h := range []*streamHost{one, two} {
			background(t, func(ctx context.Context) { r.Follow(ctx, h.task) })
		}
		testkit.Until(t, "both are known", func() bool { return r.count()[wire.SeatIdle] == 2 })
		two.say(func(s *wire.Seat) { s.Key = one.seat.Key })
		testkit.Until(t, "one of them is", func() bool { return r.count()[wire.SeatIdle] == 1 })
		two.say(func(s *wire.Seat) { *s = good(t, "two"); s.Address = one.seat.Address })
		two.say(func(s *wire.Seat) { s.State, s.Session = wire.SeatClaimed, "s-1" })
		r.mu.Lock()
		known := slices.Collect(maps.Keys(r.last))
		r.mu.Unlock()
		if !slices.Equal(known, []string{"one"}) {
			t.Errorf("known: %v", known)
		}
	})
	t.Run("that never pauses", func(t *testing.T) {
		r := newRegistrar(t, t.TempDir(), "127.0.0.1:1")
		h := newStreamHost(t, "one")
		wrote := 0
		h.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for out := json.NewEncoder(w); ; wrote++ {
				h.seat.Progress.Fraction = float64(wrote%2) / 2
				if out.Encode(h.seat) != nil {
					return
				}
			}
		})
		began := time.Now()
		stop := background(t, func(ctx context.Context) { r.Follow(ctx, h.task) })
		testkit.Until(t, "the seat is known", func() bool { return r.count()[wire.SeatIdle] == 1 })
		select {
		case <-time.After(2 * time.Second):
		case <-t.Context().Done():
		}
		stop()
		h.die()
		// The buffers of two sockets, and what was read.
		if most := 4000 + int(time.Since(began).Seconds())*perSecond; wrote > most {
			t.Errorf("it said %d records", wrote)
		}
	})
	t.Run("that says more than a record", func(t *testing.T) {
		r := newRegistrar(t, t.TempDir(), "127.0.0.1:1")
		h := newStreamHost(t, "one")
		h.seat.Progress.Detail = strings.Repeat("x", maxLine)
		asked := make(chan struct{}, 100)
		inner := h.server.Handler
		h.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { asked <- struct{}{}; inner.ServeHTTP(w, q) })
		background(t, func(ctx context.Context) { r.Follow(ctx, h.task) })
		<-asked
		<-asked // the first answer was given up
		if len(r.count()) != 0 {
			t.Error("it is told of")
		}
	})
}
