package seat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// bringUp makes the seat ready to be claimed. What it started before a failure
// stays in h, for takeDown.
func (h *host) bringUp(ctx context.Context) error {
	if err := h.bringContent(ctx); err != nil {
		return err
	}
	if err := h.bringDisplay(ctx); err != nil {
		return err
	}
	if err := h.stream.open(ctx); err != nil {
		return err
	}
	if err := h.bringApp(ctx); err != nil {
		return err
	}
	if err := h.stream.proven(ctx); err != nil {
		return err
	}
	return h.stream.settle()
}

func (h *host) phase(p wire.Phase, words string) {
	h.seat.progress(wire.Progress{Phase: p, Fraction: -1})
	h.journal.add(words, map[string]string{"phase": string(p)})
}

func (h *host) bringContent(ctx context.Context) error {
	if len(h.spec.Content) == 0 {
		return nil
	}
	h.phase(wire.PhaseContent, "bringing content")
	start := time.Now()
	meter := &throttle{every: 300 * time.Millisecond}
	var total int64
	content, err := h.parts.Content(ctx, func(done, all int64, _ string) {
		meter.do(done == all, func() {
			total = all
			p := wire.Progress{Phase: wire.PhaseContent, Fraction: -1, Detail: fmt.Sprintf("%s of %s", size(done), size(all))}
			if all > 0 {
				p.Fraction = float64(done) / float64(all)
			}
			h.seat.progress(p)
		})
	})
	if err != nil {
		return asEnd(err, wire.CodeContentStore)
	}
	h.content = content
	h.log.Info("content is here", "bytes", total, "took", time.Since(start).Round(time.Millisecond))
	return nil
}

func (h *host) bringDisplay(ctx context.Context) error {
	h.phase(wire.PhaseDisplay, "starting the display")
	var err error
	if h.display, err = h.parts.Display(ctx); err != nil {
		h.display = nil // and no interface around a nil pointer
		return asEnd(err, wire.CodeDisplay)
	}
	if h.spec.Display.Audio {
		if h.sound, err = h.parts.Sound(ctx); err != nil {
			h.sound = nil
			return asEnd(err, wire.CodeDisplay)
		}
	}
	h.run(h.watchDisplay)
	return nil
}

func (h *host) bringApp(ctx context.Context) error {
	h.phase(wire.PhaseApp, "starting the app")
	env := h.display.Env()
	if h.sound != nil {
		env = append(env, h.sound.Env()...)
	}
	app, err := h.parts.App(ctx, env)
	switch {
	case err == nil:
		h.mu.Lock() // StreamHostStatus tells its pid
		h.app = app
		h.mu.Unlock()
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return asEnd(err, wire.CodeAppNotFound)
	default:
		return asEnd(err, wire.CodeConfig)
	}

	limit := orElse(h.spec.StartTimeoutS, defaultStart)
	window, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	shown := make(chan error, 1)
	h.run(func() { shown <- h.display.WaitWindow(window) })
	select {
	case err = <-shown:
	case <-h.app.Done():
		return h.appExited()
	}
	switch {
	case err == nil:
		h.run(h.watchApp)
		return nil
	case closedWithin(h.app.Done(), 0):
		return h.appExited()
	case closedWithin(h.display.Done(), simultaneous):
		return h.displayDied()
	case ctx.Err() != nil:
		return ctx.Err()
	case window.Err() != nil:
		return fault(wire.CodeAppNoWindow, "%s showed no window within %v; see its log, or raise start_timeout", h.spec.Command, limit)
	}
	return asEnd(err, wire.CodeDisplay)
}

// simultaneous is within what time two deaths count as one. When the display
// dies, app and capture die of it: whichever is noticed first, the cause is the display.
const simultaneous = 300 * time.Millisecond

func (h *host) watchDisplay() {
	var sound <-chan struct{}
	if h.sound != nil {
		sound = h.sound.Done()
	}
	for {
		select {
		case <-h.seat.ended:
			return
		case <-h.display.Done():
			h.seat.endWith(h.displayDied())
			return
		case <-sound:
			sound = nil
			if closedWithin(h.seat.ended, 0) {
				return
			}
			h.log.Error("sound server died; the seat goes on without sound", "error", h.sound.Err())
			h.journal.add("the sound server died; the seat goes on without sound", nil)
		}
	}
}

func (h *host) watchApp() {
	select {
	case <-h.seat.ended:
	case <-h.app.Done():
		h.seat.endWith(h.appExited())
	}
}

func (h *host) appExited() wire.End {
	if closedWithin(h.display.Done(), simultaneous) {
		return h.displayDied()
	}
	code, signal := h.app.Exit()
	return wire.End{Reason: wire.ReasonAppExited, ExitCode: code, Signal: signal}
}

func (h *host) displayDied() wire.End {
	if err := h.display.Err(); err != nil {
		return asEnd(err, wire.CodeDisplay)
	}
	return fault(wire.CodeDisplay, "the display server ended")
}

func closedWithin(done <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	default:
	}
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// throttle does something now and then.
type throttle struct {
	every time.Duration
	mu    sync.Mutex
	last  time.Time
}

func (t *throttle) do(always bool, f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); always || now.Sub(t.last) >= t.every {
		t.last = now
		f()
	}
}

func size(n int64) string {
	if n < 10e6 {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d MB", n/1e6)
}
