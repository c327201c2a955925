package brain

import (
	"context"
	"net/http"
	runtimemetrics "runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// Shares of a limit at which a brain is busy and full, and how much lower a share must be
// for a better class again: else a brain at the border would write its class each second.
const (
	busyFrom = 0.7
	fullFrom = 0.95
	roomBack = 0.1
	// Granting is saturated where work waits for a processor. That is as a share of
	// longestWait, so that a wait of 70 ms makes a brain busy.
	longestWait = 100 * time.Millisecond
	roomEvery   = time.Second
)

// room says how much room a brain has, from the largest of its shares of a limit and the
// class that it had. Strangers do not count: a flood of them, which the guard ends, must
// not send a site's people away.
func room(was wire.Room, share float64) wire.Room {
	least := func(from float64, class wire.Room) float64 {
		if was == class || was == wire.RoomFull && class == wire.RoomBusy {
			return from - roomBack
		}
		return from
	}
	switch {
	case share >= least(fullFrom, wire.RoomFull):
		return wire.RoomFull
	case share >= least(busyFrom, wire.RoomBusy):
		return wire.RoomBusy
	}
	return wire.RoomEnough
}

// waits measures how long work waited for a processor.
type waits struct {
	sample []runtimemetrics.Sample
	before []uint64
}

func newWaits() *waits {
	w := &waits{sample: []runtimemetrics.Sample{{Name: "/sched/latencies:seconds"}}}
	w.typical()
	return w
}

// typical is what nine of ten pieces of work waited at most since the last call.
func (w *waits) typical() time.Duration {
	runtimemetrics.Read(w.sample)
	if w.sample[0].Value.Kind() != runtimemetrics.KindFloat64Histogram {
		return 0
	}
	h := w.sample[0].Value.Float64Histogram()
	since := make([]uint64, len(h.Counts))
	total := uint64(0)
	for i, n := range h.Counts {
		since[i] = n
		if i < len(w.before) {
			since[i] -= w.before[i]
		}
		total += since[i]
	}
	w.before = append(w.before[:0], h.Counts...)
	counted := uint64(0)
	for i, n := range since {
		if counted += n; total > 0 && counted*10 >= total*9 {
			// Bucket i begins at Buckets[i]; the first one begins at minus infinity.
			return time.Duration(max(0, h.Buckets[i]) * float64(time.Second))
		}
	}
	return 0
}

// roomState is the class of a brain, for its public listener.
type roomState struct{ now atomic.Pointer[wire.Room] }

func (r *roomState) get() wire.Room {
	if class := r.now.Load(); class != nil {
		return *class
	}
	return wire.RoomEnough
}

// followRoom tells Config.Room each change of the class until ctx ends. What is waited
// for counts as the mean of the last seconds, so that one pause makes no brain full.
func (b *Broker) followRoom(ctx context.Context) {
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	waited, mean := newWaits(), 0.0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		mean += (min(1, float64(waited.typical())/float64(longestWait)) - mean) / 5
		was := b.room.get()
		now := room(was, max(mean, b.guard.Taken()))
		if now == was {
			continue
		}
		b.room.now.Store(&now)
		b.log.Info("the room of this brain changed", "room", string(now), "before", string(was))
		if b.cfg.Room != nil {
			b.cfg.Room(now)
		}
	}
}

// getRoom is for a load balancer in front of several brains: 503 while no more people
// should be sent here. Those who are here stay, as /healthz goes on to say.
func (b *Broker) getRoom(rw http.ResponseWriter, r *http.Request) {
	if b.room.get() == wire.RoomFull {
		writeProblem(rw, unavailable("This brain has all the people that it can serve."))
		return
	}
	b.healthz(rw, r)
}
