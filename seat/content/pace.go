package content

import (
	"context"
	"sync"
	"time"
)

const (
	minInFlight   = 4
	firstInFlight = 32
	maxInFlight   = 256

	// paceWindow is the shortest time over which a limit is judged.
	paceWindow = 200 * time.Millisecond
	// requestWorth is how many bytes a request counts for, beside those that it brings:
	// small objects cost requests, large ones cost bytes.
	requestWorth = 64 << 10
	// paceHold is for how many windows a limit stays that a larger one did not improve.
	paceHold = 15
)

// pace limits how many requests a fetch has in flight. The limit grows by half while that
// brings more in the same time, and is halved when the store refuses or drops requests: so
// it finds what store, network and node take.
type pace struct {
	now func() time.Time

	mu       sync.Mutex
	max      int
	limit    int
	inFlight int
	waiting  []chan struct{}

	since   time.Time // start of the window
	work    int64     // done in it
	count   int       // requests done in it
	full    bool      // the limit held a request back in it
	rate    float64   // of the last limit that was judged
	proved  int       // the last limit that brought more than the one before
	hold    int       // windows until a larger limit is tried
	refused time.Time // when the limit was halved
}

func newPace() *pace {
	return &pace{now: time.Now, max: maxInFlight, limit: firstInFlight, proved: firstInFlight}
}

// newSteadyPace has so many requests in flight at most, from the start.
func newSteadyPace(limit int) *pace {
	p := newPace()
	p.max, p.limit, p.proved = limit, limit, limit
	return p
}

// begin waits until one more request may be in flight.
func (p *pace) begin(ctx context.Context) error {
	p.mu.Lock()
	if p.inFlight < p.limit && len(p.waiting) == 0 {
		p.inFlight++
		p.mu.Unlock()
		return nil
	}
	p.full = true
	turn := make(chan struct{})
	p.waiting = append(p.waiting, turn)
	p.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		select {
		case <-turn: // just now
			p.inFlight--
			p.admit()
		default:
			for i, w := range p.waiting {
				if w == turn {
					p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
					break
				}
			}
		}
		return ctx.Err()
	}
}

// end says that a request has ended, with how many bytes, and whether the store refused
// or dropped it.
func (p *pace) end(bytes int64, refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight--
	p.work += bytes + requestWorth
	p.count++
	now := p.now()
	if p.since.IsZero() {
		p.since = now
	}
	if refused {
		// Requests that were in flight together count once.
		if now.Sub(p.refused) > time.Second {
			p.refused = now
			p.limit = max(minInFlight, p.limit/2)
			p.proved, p.rate, p.hold = p.limit, 0, paceHold
			p.restart(now)
		}
	} else if took := now.Sub(p.since); took >= paceWindow && p.count >= p.limit {
		p.judge(float64(p.work) / took.Seconds())
		p.restart(now)
	}
	p.admit()
}

func (p *pace) restart(now time.Time) { p.since, p.work, p.count, p.full = now, 0, 0, false }

// judge decides on the limit by what the window brought.
func (p *pace) judge(rate float64) {
	switch {
	case !p.full:
		// There was nothing more to ask for: it says nothing about the limit.
	case p.hold > 0:
		p.hold--
		p.rate = rate
	case p.rate == 0 || rate > 1.05*p.rate:
		p.rate, p.proved = rate, p.limit
		p.limit = min(p.max, p.limit+(p.limit+1)/2)
	default:
		p.limit, p.hold, p.rate = p.proved, paceHold, rate
	}
}

// admit lets those in who wait, in their order. The caller holds mu.
func (p *pace) admit() {
	for len(p.waiting) > 0 && p.inFlight < p.limit {
		p.inFlight++
		close(p.waiting[0])
		p.waiting = p.waiting[1:]
	}
}
