package peer

import (
	"sync"
	"sync/atomic"
	"time"
)

func (p *Peer) askKeyframe() {
	if p.keys.ask(time.Now(), p.rate.roundTrip()) && p.cfg.OnKeyframe != nil {
		p.call(p.cfg.OnKeyframe)
	}
}

const (
	// For this long after a request, the encoder is expected to deliver.
	keyframeOnItsWay = 300 * time.Millisecond
	// A browser repeats its request each 200 ms until a keyframe has arrived. A request that
	// comes within a round trip and this time after a keyframe was sent was made before it arrived.
	keyframeArriving = 100 * time.Millisecond
)

// keyframes merges requests for keyframes, so that the encoder gets one of many.
type keyframes struct {
	asks atomic.Uint64

	mu    sync.Mutex
	asked time.Time // zero when no request is pending
	last  time.Time // when the last keyframe was sent; zero before the first
}

// ask reports whether to pass on a request of a browser that is a round trip away.
func (k *keyframes) ask(now time.Time, trip time.Duration) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.asked.IsZero() && now.Sub(k.asked) < keyframeOnItsWay || now.Sub(k.last) < trip+keyframeArriving {
		return false
	}
	k.asked = now
	return true
}

// forget says that what was asked for or sent did not arrive.
func (k *keyframes) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked, k.last = time.Time{}, time.Unix(1, 0) // not zero: it has started
}

func (k *keyframes) sent(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked, k.last = time.Time{}, now
}

func (k *keyframes) started() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.last.IsZero()
}
