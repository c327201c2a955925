package brain

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// The ports are looked up again where none are known, or they are old, and only where
// somebody asks.
func TestPortsAreLookedUpAgain(t *testing.T) {
	st := newState("east", slog.New(slog.DiscardHandler), newMetrics(nil), time.Now)
	if st.portsWanted() {
		t.Error("they are wanted before anybody asks")
	}
	if got := st.mediaPorts(time.Now()); len(got) > 0 || !st.portsWanted() {
		t.Errorf("%q, wanted: %v", got, st.portsWanted())
	}
	st.nodesAre([]wire.Node{
		{Healthy: true, Media: []string{"203.0.113.7:20000-20999"}}, {Media: []string{"203.0.113.8:40000-40999"}},
		{Healthy: true, Media: []string{"203.0.113.9:39-39", "203.0.113.9:38-38", "203.0.113.9:37-37", "203.0.113.9:36-36"}},
		{Healthy: true, Media: []string{"203.0.113.9:0-words", "203.0.113.9:1-70000", "203.0.113.9:", "20000-20999"}},
	})
	want := []string{"20000-20999", "36-36", "37-37", "38-38"} // maxPorts of them
	if got := st.mediaPorts(time.Now()); !slices.Equal(got, want) || st.portsWanted() {
		t.Errorf("%q, want %q; wanted: %v", got, want, st.portsWanted())
	}
	st.mediaPorts(time.Now().Add(portsFor + time.Second))
	if !st.portsWanted() {
		t.Error("old ones are not looked up again")
	}
}
