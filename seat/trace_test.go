package seat

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit/otlp"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/trace"
	"github.com/nearcast/nearcast/internal/wire"
)

// traced is a seat that traces launches.
func traced(t *testing.T) (*rig, *otlp.Collector, *trace.Tracer) {
	t.Helper()
	collector := otlp.Start()
	t.Cleanup(collector.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	r := buildRig(t)
	made := func(part string) *trace.Tracer {
		tracer, err := trace.FromEnv(part, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return tracer
	}
	r.tracer = made("seat")
	brain := made("brain")
	t.Cleanup(brain.Close)
	r.start(ticket.NewVerifier(r.signer.Public()))
	return r.idle(), collector, brain
}

// launched starts a session that sees its first picture. carried is the traceparent of its ticket.
func (r *rig) launched(path, carried string, header ...string) string {
	r.t.Helper()
	session := ticket.NewSession()
	token, _, err := r.signer.Sign(ticket.Claims{Session: session, App: "viewer", Version: 3, Sites: []string{"here"}, Trace: carried})
	if err != nil {
		r.t.Fatal(err)
	}
	conn, status, _ := r.attachBy(path, token, header...)
	if conn == nil {
		r.t.Fatalf("claim: %d", status)
	}
	r.expect(conn, wire.MsgGranted)
	r.send(conn, wire.Message{Type: wire.MsgOffer, SDP: "offer-1"})
	p := <-r.peers
	r.expect(conn, wire.MsgAnswer)
	p.OnState(PeerConnected)
	if path == wire.PreparePath {
		r.send(conn, wire.Message{Type: wire.MsgPlay})
		r.expect(conn, wire.MsgGranted)
	}
	r.waitState(wire.SeatStreaming)
	r.video.frame(Frame{Keyframe: true})
	// What a page does later is no part of the launch.
	r.send(conn, wire.Message{Type: wire.MsgOffer, SDP: "offer-2"})
	<-r.peers
	r.expect(conn, wire.MsgAnswer)
	r.send(conn, wire.Message{Type: wire.MsgLeave})
	r.waitEnd()
	return session
}

func names(spans []otlp.Span) (out []string) {
	for _, s := range spans {
		out = append(out, s.Name)
	}
	slices.Sort(out)
	return out
}

// TestTrace: the parts of a launch are spans below the brain's, of one trace, each with the session.
func TestTrace(t *testing.T) {
	r, collector, brain := traced(t)
	claim, other := brain.Start("", "brain claim", "x"), brain.Start("", "router place", "x")
	session := r.launched(wire.AttachPath, other.Parent(), wire.TraceHeader, claim.Parent())
	claim.End()
	brain.Close()
	of, spans := collector.Spans("session", "x")[0], collector.Spans("session", session)
	if want := []string{"seat ICE", "seat answer", "seat first frame", "seat launch", "seat offer"}; !slices.Equal(names(spans), want) {
		t.Fatalf("the spans are %q, want %q", names(spans), want)
	}
	launch := spans[slices.IndexFunc(spans, func(s otlp.Span) bool { return s.Name == "seat launch" })]
	for _, s := range spans {
		parent := launch.ID
		if s.Name == launch.Name {
			parent = of.ID
		}
		if s.Trace != of.Trace || s.Parent != parent || s.Error != "" || s.Service != "nearcast-seat" || s.End.Before(s.Start) {
			t.Errorf("%s is %+v", s.Name, s)
		}
	}
}

// TestTracePrepared: so it is where the seat was prepared; the rest before Play is a part of its own.
// The brain is one of before, which says nothing of traces, so the ticket's counts.
func TestTracePrepared(t *testing.T) {
	r, collector, brain := traced(t)
	place := brain.Start("", "router place", "x")
	session := r.launched(wire.PreparePath, place.Parent(), wire.TraceHeader, "nonsense")
	place.End()
	brain.Close()
	of, spans := collector.Spans("session", "x")[0], collector.Spans("session", session)
	if want := []string{"seat ICE", "seat answer", "seat first frame", "seat launch", "seat offer", "seat rest before Play"}; !slices.Equal(names(spans), want) {
		t.Errorf("the spans are %q, want %q", names(spans), want)
	}
	for _, s := range spans {
		if s.Trace != of.Trace || s.Name == "seat launch" && s.Parent != of.ID {
			t.Errorf("%s is %+v", s.Name, s)
		}
	}
}

// TestTraceWithoutPicture: a launch that comes to nothing says where it stopped.
func TestTraceWithoutPicture(t *testing.T) {
	r, collector, _ := traced(t)
	session := ticket.NewSession()
	conn, _, _ := r.attach(r.ticket(session, "viewer"))
	r.expect(conn, wire.MsgGranted)
	r.send(conn, wire.Message{Type: wire.MsgLeave})
	r.waitEnd()
	spans := collector.Spans("session", session)
	if want := []string{"seat launch", "seat offer"}; !slices.Equal(names(spans), want) {
		t.Errorf("the spans are %q, want %q", names(spans), want)
	}
	for _, s := range spans {
		if s.Error == "" {
			t.Errorf("%s does not say that it failed: %+v", s.Name, s)
		}
	}
}

// TestTraceOfAStart: a seat that became ready after Play says how long it took; one that was ready
// before does not.
func TestTraceOfAStart(t *testing.T) {
	_, collector, tracer := traced(t)
	l := newLaunchTrace(tracer, time.Now().Add(-9*time.Second))
	l.isReady()
	l.begin("late", origin{first: l.ready.Add(-5 * time.Second)}, false)
	l.begin("later", origin{first: l.ready.Add(time.Second)}, true)
	l.gone("late")
	l.gone("later")
	tracer.Close()
	if got := names(collector.Spans("session", "later")); !slices.Equal(got, []string{"seat launch", "seat offer"}) {
		t.Errorf("the spans of the second are %q", got)
	}
	spans := collector.Spans("session", "late")
	if !slices.Equal(names(spans), []string{"seat launch", "seat offer", "seat start"}) || spans[0].Name != "seat start" || spans[0].End.Sub(spans[0].Start) < 9*time.Second {
		t.Errorf("the spans of the first are %+v", spans)
	}
}

// TestTraceOrder: each step is there once, in its order, whatever comes twice, late, or of another
// session.
func TestTraceOrder(t *testing.T) {
	collector := otlp.Start()
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	tracer, err := trace.FromEnv("seat", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := newLaunchTrace(tracer, time.Now())
	l.begin("a", origin{first: time.Now()}, true)
	l.begin("a", origin{first: time.Now()}, true) // the claim was repeated
	l.played("a")                                 // before the offer came
	for _, step := range []int{stepAnswer, stepICE, stepAnswer, stepICE, stepFrame, stepOffer} {
		l.reach("a", step)
		l.reach("b", stepDone)
		l.gone("a") // who has pressed Play, and connects anew
	}
	l.reach("a", stepDone)
	l.reach("a", stepFrame)
	tracer.Close()
	spans := collector.Spans("session", "a")
	if want := []string{"seat ICE", "seat answer", "seat first frame", "seat launch", "seat offer"}; !slices.Equal(names(spans), want) {
		t.Errorf("the spans are %q, want %q", names(spans), want)
	}
	if spans := collector.Spans("session", "b"); len(spans) > 0 {
		t.Errorf("a session without a launch has %+v", spans)
	}
}
