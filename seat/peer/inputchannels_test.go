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

// A page has one channel of each kind: with more of them it would have more than the rate.
func TestOneChannelOfEachKind(t *testing.T) {
	s, c := newSeat(t, nil), newClient(t)
	connect(t, s, c)
	testkit.Must(t, c.input.SendText(`{"t":"ping","seq":1}`))
	wait(t, c.pongs, "pong") // the first channel of all was taken
	testkit.Must(t, c.pointer.SendText(`{"t":"move","x":0.5,"y":0.5,"n":1}`))
	for in := wait(t, s.inputs, "move"); in.Type != wire.InputMove; in = wait(t, s.inputs, "move") {
	}
	for _, label := range []string{wire.ChannelInput, wire.ChannelPointer, "other"} {
		closed := make(chan bool)
		more, err := c.pc.CreateDataChannel(label, nil)
		testkit.Must(t, err)
		more.OnClose(func() { close(closed) })
		wait(t, closed, "end of a second channel "+label)
	}
	testkit.Must(t, c.input.SendText(`{"t":"key","code":"KeyQ","p":true}`))
	for in := wait(t, s.inputs, "key"); in.Type != wire.InputKey; in = wait(t, s.inputs, "key") {
	}
	if mark := s.Tell([]byte("x")); mark == 0 {
		t.Error("the page is not told on its first channel any more")
	}
}
