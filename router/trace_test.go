package router

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit/otlp"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/trace"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestTrace: a launch says in its span where it went and why, and its ticket says where the trace
// goes on. What a browser says of traces counts for nothing.
func TestTrace(t *testing.T) {
	const forged = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ask := wire.LaunchRequest{App: "chess", RTTMS: map[string]float64{"east": 20, "west": 90}}
	launch := func(g *rig) (wire.LaunchResponse, ticket.Claims) {
		t.Helper()
		out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", ask, "traceparent", forged, "baggage", "session=x", "tracestate", "a=b")
		claims, err := ticket.NewVerifier(g.signer.Public()).Verify(out.Ticket)
		if err != nil {
			t.Fatal(err)
		}
		return out, claims
	}
	if _, claims := launch(newRig(t)); claims.Trace != "" {
		t.Errorf("a router that does not trace signs %q", claims.Trace)
	}

	collector := otlp.Start()
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	tracer, err := trace.FromEnv("router", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	g := newRig(t, func(c *Config) { c.Trace = tracer })
	out, claims := launch(g)
	renewed := into[wire.TicketRenewal](g, 200, "POST", "/v1/sessions/"+out.Session+"/ticket", nil, "Authorization", "Bearer "+out.Ticket)
	if again, err := ticket.NewVerifier(g.signer.Public()).Verify(renewed.Ticket); err != nil || again.Trace != claims.Trace {
		t.Errorf("the renewed ticket has %q, %v", again.Trace, err)
	}
	tracer.Close()
	spans := collector.Spans("session", out.Session)
	if len(spans) != 1 {
		t.Fatalf("%d spans: %+v", len(spans), spans)
	}
	s := spans[0]
	if s.Name != "router place" || s.Attributes["site"] != out.Site || s.Attributes["app"] != "chess" || s.Attributes["entry"] != "east" ||
		s.Attributes["verdict"] != out.Candidates[0].Reason || !strings.Contains(s.Attributes["other_sites"], "west: "+out.Candidates[1].Reason) {
		t.Errorf("the span is %+v of %+v", s, out)
	}
	if want := "00-" + s.Trace + "-" + s.ID + "-01"; claims.Trace != want || strings.Contains(claims.Trace, forged[3:35]) || s.Parent != "" {
		t.Errorf("the ticket carries %q, want %q", claims.Trace, want)
	}
}
