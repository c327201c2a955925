package registrar

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/feed"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// What a seat measures waits until it is told with that of all others; what happens to the seat does
// not wait, and takes it along. Figures that cannot be are cut.
func TestMeasuredWaits(t *testing.T) {
	r := New(Config{Dir: t.TempDir(), Consul: wire.ConsulRef{Address: "127.0.0.1:1"}, Log: logTo(t)})
	one, two := newStreamHost(t, "one"), newStreamHost(t, "two")
	for _, h := range []*streamHost{one, two} {
		background(t, func(ctx context.Context) { r.Follow(ctx, h.task) })
		h.say(func(s *wire.Seat) { s.State, s.Session = wire.SeatStreaming, "s-"+s.ID })
	}
	testkit.Until(t, "both are known", func() bool { return r.count()[wire.SeatStreaming] == 2 })
	for _, h := range []*streamHost{one, two} {
		h.say(func(s *wire.Seat) {
			s.Measured, s.Quality = &wire.Measured{At: time.Now(), RTTMS: 30, Loss: 9}, &wire.Quality{DurationS: 5}
		})
	}
	waiting := func() int { r.mu.Lock(); defer r.mu.Unlock(); return len(r.untold) }
	testkit.Until(t, "both wait", func() bool { return waiting() == 2 })
	if now := told(t, r); now["one"].Measured != nil || now["two"].Measured != nil {
		t.Errorf("they are told at once: %+v", now)
	}
	one.say(func(s *wire.Seat) { s.State = wire.SeatDetached })
	testkit.Until(t, "one has changed", func() bool { return waiting() == 1 })
	if now := told(t, r)["one"]; now.State != wire.SeatDetached || now.Measured == nil || now.Quality == nil || now.Measured.Loss != 1 {
		t.Errorf("the change is told as %+v, measured %+v", now, now.Measured)
	}
	r.tellMeasured()
	if now := told(t, r)["two"]; now.Measured == nil || now.Measured.RTTMS != 30 || waiting() != 0 {
		t.Errorf("the other is told as %+v", now)
	}
	two.die()
	testkit.Until(t, "it is gone", func() bool { return r.count()[wire.SeatStreaming] == 0 })
	r.tellMeasured()
	if now := told(t, r); len(now) != 1 {
		t.Errorf("told is %+v", now)
	}
}

// told is what the feed has now.
func told(t *testing.T, r *Registrar) map[string]wire.Seat {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		defer close(done)
		if ws, err := websocket.Accept(w, req, nil); err == nil {
			r.seats.Stream(req.Context(), ws)
		}
	}))
	defer server.Close()
	ws, _, err := websocket.Dial(ctx, server.URL, nil)
	testkit.Must(t, err)
	var out map[string]wire.Seat
	feed.Read(ctx, ws, feed.Whole(func(m feed.Message[wire.Seat]) error {
		out = m.Set
		return context.Canceled
	}))
	<-done
	return out
}
