package brain_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/testkit/otlp"
	"github.com/nearcast/nearcast/internal/trace"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestTracePrepare: the launch of a person whose pointer rests on Play ends with Play, or says that they
// have gone. What was prepared is a part of it, and so is a claim, where nothing could be prepared.
func TestTracePrepare(t *testing.T) {
	collector := otlp.Start()
	t.Cleanup(collector.Close)
	var tracer *trace.Tracer
	t.Run("environment", func(t *testing.T) { // which a test that runs beside others may not set
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
		t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
		var err error
		if tracer, err = trace.FromEnv("brain", slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(tracer.Close)
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 2, Max: 2})
	s.nomad.placed = s.ready
	published := s.published("game")
	b := s.brainWith("b1", func(c *brain.Config) { c.Trace = tracer })
	s.until("the warm pool is published", func() bool { return published().Capacity.Idle == 2 })
	// spans of a session, by name, once its launch has ended.
	spans := func(session string) map[string]otlp.Span {
		t.Helper()
		at := map[string]otlp.Span{}
		s.until("the launch of "+session+" has ended", func() bool {
			for _, x := range collector.Spans("session", session) {
				at[x.Name] = x
			}
			_, ok := at["brain broker"]
			return ok
		})
		if x := at["brain broker"]; x.Attributes["prepared"] != "true" || x.Attributes["app"] != "game" || x.Error != "" {
			t.Errorf("the launch is %+v", x)
		}
		for name, x := range at {
			if name != "brain broker" && (x.Parent != at["brain broker"].ID || x.Trace != at["brain broker"].Trace) {
				t.Errorf("%s is no part of the launch: %+v", name, at)
			}
		}
		return at
	}
	gone, _ := s.prepared(b, "game")
	gone.ws.CloseNow()
	if at := spans(gone.session); at["brain broker"].Attributes["ended"] == "" || at["brain prepare"].Attributes["seat"] == "" {
		t.Errorf("of a person who went: %+v", at)
	}
	s.idle(b, "game", 2, 0)
	var first *person
	var seat string
	s.until("a seat is prepared", func() bool { // once the brain knows that the other one is back
		first, _ = s.prepare(b, "game")
		m, err := first.next()
		if err != nil || m.Type != wire.MsgGranted {
			first.ws.CloseNow()
			return false
		}
		seat = m.Grant.Seat
		first.expect(wire.MsgAnswer)
		return true
	})
	second, _ := s.prepare(b, "game")
	second.expect(wire.MsgUnprepared)
	rested := time.Now()
	first.send(wire.Message{Type: wire.MsgPlay})
	first.expect(wire.MsgGranted)
	at := spans(first.session) // the session goes on
	if x := at["brain broker"]; len(at) != 2 || x.Attributes["ended"] != "" || x.End.Before(rested) || at["brain prepare"].Attributes["seat"] != seat || at["brain prepare"].End.After(rested) {
		t.Errorf("of a person who pressed Play: %+v", at)
	}
	second.send(wire.Message{Type: wire.MsgPlay})
	second.expect(wire.MsgGranted)
	at = spans(second.session)
	if _, queued := at["brain queue"]; len(at) != 3 || !queued || at["brain claim"].Attributes["seat"] == "" {
		t.Errorf("of a person for whom nothing was prepared: %+v", at)
	}
}
