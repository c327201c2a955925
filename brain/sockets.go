package brain

import (
	"context"
	"fmt"
	"sync"
)

// sockets counts people's WebSockets, so that Shutdown can wait for them.
type sockets struct {
	mu      sync.Mutex
	open    sync.WaitGroup
	closing context.Context // ends when people are to go to another brain
	end     context.CancelFunc
}

func newSockets() *sockets {
	closing, end := context.WithCancel(context.Background())
	return &sockets{closing: closing, end: end}
}

func (s *sockets) isClosing() bool { return s.closing.Err() != nil }

// enter counts a socket. It reports false once the brain is closing.
func (s *sockets) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosing() {
		return false
	}
	s.open.Add(1)
	return true
}

func (s *sockets) leave() { s.open.Done() }

func (s *sockets) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
}

// wait waits until all sockets have left.
func (s *sockets) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		s.open.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close connections: %w", ctx.Err())
	}
}
