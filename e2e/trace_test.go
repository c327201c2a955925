package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/testkit/otlp"
)

// traced checks that a launch which is on the page now is one trace over router, brain and seat.
// below says of each span which one it is a part of; others may be there, too.
func traced(ctx context.Context, t *testing.T, page *browser.Page, below map[string]string) {
	t.Helper()
	var seat string
	testkit.Must(t, page.Eval(ctx, "nearcast.seat", &seat))
	var spans []otlp.Span
	at := map[string]otlp.Span{}
	testkit.Retry(ctx, t, "the launch is traced", func() error {
		of := collector.Spans("seat", seat)
		if seat == "" || len(of) == 0 {
			return fmt.Errorf("no span is of the seat %q", seat)
		}
		spans = collector.Spans("session", of[0].Attributes["session"])
		clear(at)
		for _, s := range spans {
			at[s.Name] = s
		}
		for name := range below {
			if _, ok := at[name]; !ok {
				return fmt.Errorf("there is no span %q among %+v", name, spans)
			}
		}
		return nil
	})
	root := at["router place"]
	if root.Parent != "" || root.Attributes["site"] == "" || root.Attributes["verdict"] == "" {
		t.Errorf("the first span is %+v", root)
	}
	for _, s := range spans {
		t.Logf("%-15s %-22s +%6.1f ms, %7.1f ms, %v", s.Service, s.Name, float64(s.Start.Sub(root.Start).Microseconds())/1000, float64(s.End.Sub(s.Start).Microseconds())/1000, s.Attributes)
		if s.Trace != root.Trace {
			t.Errorf("%s is of another trace", s.Name)
		}
	}
	for name, parent := range below {
		if at[name].Parent != at[parent].ID {
			t.Errorf("%s is no part of %q: %+v", name, parent, spans)
		}
	}
}

var launchParts = map[string]string{
	"router place": "", "brain broker": "router place", "brain queue": "brain broker", "brain claim": "brain broker",
	"seat launch": "brain claim", "seat offer": "seat launch", "seat answer": "seat launch", "seat ICE": "seat launch", "seat first frame": "seat launch",
}
