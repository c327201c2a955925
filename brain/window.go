package brain

import "time"

// Bounds of a window, and what moves it.
const (
	leastOffers = 4
	startOffers = 32
	mostOffers  = 256
	// A claim asks Consul and the seat, which are near: tens of milliseconds. One that takes
	// longer than slowClaim waits for something that is busy already.
	slowClaim = 400 * time.Millisecond
	// shrinkEvery lets what is on its way end before the window shrinks again.
	shrinkEvery = time.Second
)

// window is how many seats a brain offers at once that are not claimed yet. It follows how
// fast claims are done, as TCP's window follows the network: it grows with each quick claim,
// and halves once a second while claims are slow or seats do not answer. A fixed bound that a
// busy brain cannot keep up with makes all claims fail in time, and then none is granted.
// People beyond the window wait in the queue, where they cost nothing.
type window struct {
	size   float64
	shrunk time.Time
}

func newWindow() *window { return &window{size: startOffers} }

// offers is how many seats may be offered.
func (w *window) offers() int { return int(w.size) }

// claimed notes a claim that the seat has answered, and how long it took from the offer.
func (w *window) claimed(took time.Duration, now time.Time) {
	if took > slowClaim {
		w.shrink(now)
		return
	}
	w.size = min(mostOffers, w.size+1/w.size)
}

// shrink notes a claim that took too long.
func (w *window) shrink(now time.Time) {
	if now.Sub(w.shrunk) < shrinkEvery {
		return
	}
	w.size, w.shrunk = max(leastOffers, w.size/2), now
}
