package seat

import "sync"

// tasks are goroutines that the seat waits for when it shuts down.
type tasks struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

func (t *tasks) start(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed { // too late to be waited for; f finds everything closed and returns
		go f()
		return
	}
	t.wg.Go(f)
}

func (t *tasks) wait() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.wg.Wait()
}
