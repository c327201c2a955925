package testkit

import (
	"io"
	"log/slog"
	"sync"
	"testing"
)

// Output is t.Output for goroutines that may go on when the test has ended, as those of
// connections do that a server has let go: it takes what they write then, and shows it
// nowhere. With t.Output and t.Log that is a data race with the test's end, which fails the
// package and names no test.
func Output(t testing.TB) io.Writer {
	o := &untilEnd{w: t.Output()}
	t.Cleanup(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.w = io.Discard
	})
	return o
}

// Logger writes to Output.
func Logger(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(Output(t), nil)) }

type untilEnd struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *untilEnd) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}
