package brain

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestRoomClasses(t *testing.T) {
	for _, step := range []struct {
		was   wire.Room
		share float64
		want  wire.Room
	}{
		{"", 0, ""}, {"", 0.69, ""}, {"", 0.7, wire.RoomBusy}, {"", 0.94, wire.RoomBusy}, {"", 0.95, wire.RoomFull},
		// Back only when it is clearly less.
		{wire.RoomFull, 0.9, wire.RoomFull}, {wire.RoomFull, 0.84, wire.RoomBusy}, {wire.RoomFull, 0.65, wire.RoomBusy}, {wire.RoomFull, 0.5, ""},
		{wire.RoomBusy, 0.61, wire.RoomBusy}, {wire.RoomBusy, 0.94, wire.RoomBusy}, {wire.RoomBusy, 0.59, ""},
	} {
		if got := room(step.was, step.share); got != step.want {
			t.Errorf("%q at %v becomes %q, want %q", step.was, step.share, got, step.want)
		}
	}
}

// TestWaits keeps all processors busy: what waits for one is seen.
func TestWaits(t *testing.T) {
	w := newWaits()
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	for range 200 {
		all.Go(func() {
			for ctx.Err() == nil {
				for i := 0; i < 1_000_000; i++ { // a millisecond that nothing interrupts but the scheduler
				}
			}
		})
	}
	testkit.Until(t, "work waits for a processor", func() bool { return w.typical() > longestWait })
}

// TestRoom fills a brain: it says so once to Consul, and to load balancers, while those
// who are there learn that it lives; and it says when there is room again.
func TestRoom(t *testing.T) {
	var mu sync.Mutex
	var said []wire.Room
	log := slog.New(slog.DiscardHandler)
	metrics := newMetrics(nil)
	b := &Broker{log: log, metrics: metrics, state: newState("dc1", log, metrics, time.Now), sockets: newSockets(),
		guard: guard.New(guard.Limits{Proven: 10}, nil),
		cfg:   Config{Room: func(r wire.Room) { mu.Lock(); said = append(said, r); mu.Unlock() }}}
	b.state.seatsChanged(nil)
	b.state.jobsChanged(JobsChange{All: true})
	leave := make(chan struct{})
	people := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if err := guard.Of(r.Context()).Prove(); err != nil {
			t.Error(err)
		}
		rw.WriteHeader(http.StatusOK)
		rw.(http.Flusher).Flush()
		<-leave
	}))
	b.guard.Attach(people.Config)
	people.Listener = b.guard.Listener(people.Listener)
	people.Start()
	defer people.Close()
	public := b.Handler()
	status := func(path string) int {
		rw := httptest.NewRecorder()
		public.ServeHTTP(rw, httptest.NewRequest("GET", path, nil))
		return rw.Code
	}
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	all.Go(func() { b.followRoom(ctx) })
	if status("/room") != 200 {
		t.Error("an empty brain has no room")
	}
	for range 10 {
		res, err := people.Client().Get(people.URL)
		testkit.Must(t, err)
		defer res.Body.Close()
	}
	testkit.Until(t, "the brain says that it is full", func() bool { return status("/room") == 503 })
	if got := status("/healthz"); got != 200 {
		t.Errorf("/healthz of a full brain: %d", got)
	}
	close(leave)
	people.CloseClientConnections()
	testkit.Until(t, "there is room again", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return status("/room") == 200 && len(said) > 0 && said[len(said)-1] == wire.RoomEnough
	})
	mu.Lock()
	defer mu.Unlock()
	// On a busy machine, work that waited for a processor makes it busy in between.
	if !slices.Contains(said, wire.RoomFull) || said[len(said)-1] != wire.RoomEnough {
		t.Errorf("said %q", said)
	}
	for i := 1; i < len(said); i++ {
		if said[i] == said[i-1] {
			t.Errorf("said twice: %q", said)
		}
	}
}
