package seat

import (
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// A program that the kernel ended for want of memory explains the seat's end only if that was a
// moment before. Browsers lose a process of theirs, and go on for hours.
const (
	killsEvery = time.Second
	killsFor   = 10 // looks
)

// kills remembers how many programs of the seat the kernel had ended for want of memory.
type kills struct {
	mu   sync.Mutex
	seen [killsFor]int64
	next int
}

// saw takes one look, and forgets the oldest.
func (k *kills) saw(n int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen[k.next] = n
	k.next = (k.next + 1) % killsFor
}

// before is how many there were killsFor looks ago.
func (k *kills) before() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.seen[k.next]
}

// watchMemory looks until the seat ends.
func (h *streamHost) watchMemory() {
	tick := time.NewTicker(killsEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.kills.saw(h.spec.Memory.Kills())
		case <-h.state.ended:
			return
		}
	}
}

// explain is an end of the seat by its true cause.
func (h *streamHost) explain(end wire.End) wire.End {
	return h.spec.Memory.Explain(end, h.kills.before())
}
