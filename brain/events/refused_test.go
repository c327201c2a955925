package events

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcast/nearcast/internal/wire"
)

// TestRefused has an endpoint refuse what is of more sessions than the window has events, and take
// what is of others. In the end it takes all.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wire.Webhook{ID: "shop", Customer: "shop"})
		refuses := true
		w.answer = func(_ string, e wire.Event) int {
			if refuses && strings.HasPrefix(e.Subject, "bad") {
				return 500
			}
			return 200
		}
		w.every = time.Minute // or this test would take long
		defer w.lead("b1")()
		const bad = 700 // with two events each
		for i := range bad {
			w.session(fmt.Sprint("bad", i), "streaming")
		}
		for i := range 40 {
			w.session(fmt.Sprint("good", i), "streaming")
			after(8 * time.Minute)
			if got, want := w.ids("shop"), 2*(i+1); len(got) != want {
				t.Fatalf("after %d sessions of others the endpoint got %d events", i+1, len(got))
			}
		}
		w.mu.Lock()
		refuses = false
		w.mu.Unlock()
		after(7 * time.Hour)
		got := map[string][]string{}
		for _, id := range w.ids("shop") {
			session, event, _ := strings.Cut(id, "-")
			got[session] = append(got[session], event)
		}
		for i := range bad {
			if events := got[fmt.Sprint("bad", i)]; !slices.Equal(events, []string{"1-requested", "2-started"}) {
				t.Fatalf("in the end session %d has %q", i, events)
			}
		}
		if left := w.keys("pending/"); len(left) != 0 {
			t.Errorf("stored still: %q", left)
		}
	})
}

// TestOldSessions has a session that began more than a day ago: its start is new to the webhook.
func TestOldSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wire.Webhook{ID: "shop", Customer: "shop"})
		w.now.Sessions["a"] = Session{App: "game", Customer: "shop", State: "streaming", Since: time.Now().Add(-30 * time.Hour), Seat: "a"}
		defer w.lead("b1")()
		after(3 * time.Second)
		if got := w.ids("shop"); !slices.Equal(got, []string{"a-1-requested", "a-2-started"}) {
			t.Errorf("it got %q", got)
		}
	})
}

// TestSlowStore has a store that takes five seconds for each write: nothing that is shorter is missed.
func TestSlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wire.Webhook{ID: "shop", Customer: "shop"}, wire.Webhook{ID: "all"})
		w.slow = 5 * time.Second
		defer w.lead("b1")()
		after(7 * time.Second)
		for _, state := range []string{"streaming", "detached", "streaming", ""} {
			w.session("a", state)
			after(time.Second)
		}
		after(time.Minute)
		for _, hook := range []string{"shop", "all"} {
			if got := w.ids(hook); !slices.Equal(got, []string{"a-1-requested", "a-2-started", "a-3-detached", "a-4-resumed", "a-5-ended"}) {
				t.Errorf("%s got %q", hook, got)
			}
		}
	})
}

// TestNone has webhooks at a brain that has no store.
func TestNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, log := newWorld(t, wire.Webhook{ID: "shop"}), &strings.Builder{}
		reg := prometheus.NewRegistry()
		n := NewNone(Config{Registry: w, Log: slog.New(slog.NewTextHandler(log, nil)), Metrics: reg})
		go n.Lead(t.Context(), nil)
		w.watch <- map[string]wire.Webhook{"shop": {}, "bank": {}}
		synctest.Wait()
		families, err := reg.Gather()
		if err != nil || len(families) != 1 {
			t.Fatal(families, err)
		}
		if got := families[0].GetMetric()[0].GetGauge().GetValue(); got != 2 || strings.Count(log.String(), "--events") != 1 {
			t.Errorf("%g, %s", got, log)
		}
	})
}

// TestPlain has an endpoint whose error is long, and draws on terminals.
func TestPlain(t *testing.T) {
	if got := plain(errors.New("x509: \x1b[2Jé\n" + strings.Repeat("é", 1000))); len(got) > maxError+3 || strings.ContainsAny(got, "\x1b\n\ufffd") || !strings.HasPrefix(got, "x509: ?[2Jé?é") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
