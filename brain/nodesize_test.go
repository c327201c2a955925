package brain

import (
	"log/slog"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// A seat fits on a node if both its numbers do, and the node is of the job's pool.
func TestNoNodeIsLargeEnough(t *testing.T) {
	node := func(pool string, mhz, mb int) wire.Node {
		return wire.Node{Healthy: true, Pool: pool, MHz: mhz, MemoryMB: mb}
	}
	site := []wire.Node{node("stream-cpu", 16000, 8000), node("stream-cpu", 4000, 64000), node("stream-gpu", 32000, 64000), {Pool: "stream-cpu", MHz: 99999, MemoryMB: 99999}}
	for name, c := range map[string]struct {
		nodes []wire.Node
		app   App
		why   string
	}{
		"fits":                        {site, App{Pool: "stream-cpu", MHz: 16000, MemoryMB: 8000}, ""},
		"only on another pool":        {site, App{Pool: "stream-cpu", MHz: 20000, MemoryMB: 100}, "wants 20000 MHz, the largest has 16000"},
		"of every pool":               {site, App{Pool: "all", MHz: 20000, MemoryMB: 100}, ""},
		"each number on another node": {site, App{Pool: "stream-cpu", MHz: 12000, MemoryMB: 32000}, "wants 12000 MHz and 32000 MB of memory, and no node has both"},
		"neither":                     {site, App{Pool: "stream-cpu", MHz: 20000, MemoryMB: 90000}, "wants 20000 MHz, the largest has 16000; wants 90000 MB of memory, the largest has 64000"},
		"a pool without a node":       {site, App{Pool: "stream-new", MHz: 90000, MemoryMB: 100}, ""},
		"no nodes":                    {nil, App{MHz: 90000, MemoryMB: 100}, ""},
		"an older node":               {[]wire.Node{node("", 4000, 0), node("stream-gpu", 32000, 64000)}, App{Pool: "stream-cpu", MHz: 4000, MemoryMB: 90000}, ""},
		"a node of unknown size":      {[]wire.Node{node("", 0, 0), node("stream-cpu", 4000, 8000)}, App{Pool: "stream-cpu", MHz: 9000}, "wants 9000 MHz, the largest has 4000"},
		"a node without its pool":     {[]wire.Node{node("", 4000, 8000)}, App{Pool: "stream-cpu", MHz: 9000}, "wants 9000 MHz, the largest has 4000"},
	} {
		t.Run(name, func(t *testing.T) {
			st := newState("east", slog.New(slog.DiscardHandler), newMetrics(nil), time.Now)
			st.nodesAre(c.nodes)
			end, want := c.app.tooLarge(st.sizes), wire.End{}
			if c.why != "" {
				want = wire.End{Reason: wire.ReasonError, Code: wire.CodeTooLarge, Detail: "no node is large enough: " + c.why}
			}
			if end == nil {
				end = &wire.End{}
			}
			if *end != want {
				t.Errorf("%v, want %v", *end, want)
			}
		})
	}
}
