package seat

import (
	"sync"
	"time"
)

// paced tells something that an app can change in a loop: at once where there was little to
// tell, else when its time has come. What was between is left out, the last is told.
type paced struct {
	// tell tells the latest, and returns what it costs; 0 where there was nothing to tell. It
	// must not block.
	tell func() (cost int)
	// every is how long a cost of one takes, and credit what may be told at once after a rest.
	every, credit time.Duration

	mu    sync.Mutex
	next  time.Time   // nothing is told before
	timer *time.Timer // runs until next, while something is to be told
	over  bool
}

// changed says that there is something to tell.
func (p *paced) changed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.timer != nil {
		return
	}
	if wait := time.Until(p.next); wait > 0 {
		p.timer = time.AfterFunc(wait, p.due)
		return
	}
	p.act()
}

func (p *paced) due() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = nil
	if !p.over {
		p.act()
	}
}

// act tells. p.mu is held.
func (p *paced) act() {
	least := time.Now().Add(-p.credit)
	if p.next.Before(least) {
		p.next = least
	}
	p.next = p.next.Add(time.Duration(p.tell()) * p.every)
}

// stop returns when nothing is told any more.
func (p *paced) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	if p.timer != nil {
		p.timer.Stop()
	}
}
