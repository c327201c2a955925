package brain

import "time"

// Idle is how many seats of an app this brain could offer now.
func (b *Broker) Idle(app string) int {
	b.state.mu.Lock()
	defer b.state.mu.Unlock()
	a, _ := b.state.view.app(app)
	return len(b.state.view.freeSeats(a, time.Now()))
}
