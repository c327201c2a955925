package peer

import (
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/netline"
	"github.com/nearcast/nearcast/internal/wire"
)

// The seat knows what of its messages the browser got, also when the line is cut and the
// peer is closed.
func TestArrived(t *testing.T) {
	l := netline.New(t, netline.Way{Delay: 20 * time.Millisecond})
	s, c := newSeat(t, func(cfg *Config) { cfg.Listen = wire.Listen{Media: "127.0.0.1", Loopback: true} }), newClient(t)
	join(t, l, s, c)
	wait(t, c.open, "open channel")
	wait(t, c.open, "open channel")
	testkit.Must(t, c.input.SendText(`{"t":"ping","seq":1}`))
	wait(t, c.pongs, "pong")
	first := s.Tell([]byte(`{"t":"first"}`))
	if first == 0 {
		t.Fatal("nothing was sent")
	}
	testkit.Until(t, "the first message arrived", func() bool { return s.Arrived(first) })
	l.Set(netline.Way{Cut: true})
	second := s.Tell([]byte(`{"t":"second"}`))
	if second == 0 || s.Arrived(second) || !s.Arrived(first) {
		t.Errorf("over a cut line, message %d arrived: %v; message %d: %v", second, s.Arrived(second), first, s.Arrived(first))
	}
	testkit.Must(t, s.Close())
	if s.Arrived(second) || !s.Arrived(first) {
		t.Errorf("after the end, the second message arrived: %v, and the first: %v", s.Arrived(second), s.Arrived(first))
	}
	if s.Tell([]byte("x")) != 0 {
		t.Error("a closed peer sends")
	}
}
