package seat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/internal/wire"
)

// startUp makes the seat ready to be claimed. If it fails, shutDown ends what it
// has started.
func (h *streamHost) startUp(ctx context.Context) error {
	if h.spec.FetchOnly {
		if err := h.fetchContent(ctx); err != nil {
			return err
		}
		h.events.add("the content is in the node's cache", nil)
		return wire.End{Reason: wire.ReasonRetired, Detail: "it was to fetch content only"}
	}
	if err := h.beforeApp(ctx); err != nil {
		return err
	}
	if h.spec.StartOnClaim {
		// Else the pool would be full of seats that fail each person.
		if err := h.parts.CheckApp(ctx); err != nil {
			return appFault(err)
		}
	} else if err := h.startApp(ctx, h.defaults()); err != nil {
		return err
	}
	if err := h.stream.waitFirstFrame(ctx); err != nil {
		return err
	}
	return h.stream.follow(wire.Seat{State: wire.SeatIdle})
}

// beforeApp does what the app needs: it fetches the content, and starts the display and the
// capture. Both go on at the same time, so that a start takes as long as the longer of them. What
// fails first ends the other, but for an encoder that loads: that is waited for.
func (h *streamHost) beforeApp(ctx context.Context) error {
	if len(h.spec.Content) == 0 || !h.spec.CellFirst() {
		if err := h.fetchContent(ctx); err != nil {
			return err
		}
		h.enterPhase(wire.PhaseDisplay, "starting the display")
		if err := h.startDisplay(ctx); err != nil {
			return err
		}
		return h.stream.open(ctx)
	}
	both, ctx := errgroup.WithContext(ctx)
	fetched, started := make(chan struct{}), make(chan struct{})
	both.Go(func() error {
		if err := h.fetchContent(ctx); err != nil {
			return err
		}
		close(fetched)
		select {
		case <-started:
		default: // the person is told of what is not there yet
			h.enterPhase(wire.PhaseDisplay, "starting the display")
		}
		return nil
	})
	both.Go(func() error {
		if err := h.startDisplay(ctx); err != nil {
			return err
		}
		close(started)
		if err := h.stream.open(ctx); err != nil {
			return err
		}
		return h.stream.restUntil(ctx, fetched)
	})
	return both.Wait()
}

func (h *streamHost) enterPhase(p wire.Phase, message string) {
	h.state.progress(wire.Progress{Phase: p, Fraction: -1})
	h.events.add(message, map[string]string{"phase": string(p)})
	h.log.Info(message, "phase", p)
}

func (h *streamHost) fetchContent(ctx context.Context) error {
	if len(h.spec.Content) == 0 {
		return nil
	}
	if h.spec.CellFirst() && h.parts.Cell != nil { // its time is not the store's
		if err := h.parts.Cell(ctx); err != nil {
			return asEnd(err, wire.CodeConfig)
		}
	}
	h.enterPhase(wire.PhaseContent, "fetching content")
	start := time.Now()
	limit := &throttle{every: 300 * time.Millisecond}
	var total, arrived int64
	limited := ctx
	if h.spec.ContentTimeoutS > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, time.Duration(h.spec.ContentTimeoutS)*time.Second)
		defer cancel()
	}
	content, err := h.parts.Content(limited, func(done, all int64, _ string) {
		arrived, total = done, all
		limit.do(done == all, func() {
			p := wire.Progress{Phase: wire.PhaseContent, Fraction: -1, Detail: fmt.Sprintf("%s of %s", megabytes(done), megabytes(all))}
			if all > 0 {
				p.Fraction = float64(done) / float64(all)
			}
			h.state.progress(p)
		})
	})
	if err != nil && ctx.Err() == nil && errors.Is(limited.Err(), context.DeadlineExceeded) {
		return fault(wire.CodeContentTimeout, "%s of %s arrived within %v; what arrived is kept for the next seat; raise content_timeout, or fetch less", megabytes(arrived), megabytes(total), time.Duration(h.spec.ContentTimeoutS)*time.Second)
	}
	if err != nil {
		return asEnd(err, wire.CodeContentStore)
	}
	h.content = content
	h.tasks.start(h.watchContent)
	h.log.Info("content fetched", "bytes", total, "took", time.Since(start).Round(time.Millisecond))
	return nil
}

// startDisplay starts the display, and the sound server beside it. Where both fail, the display
// is the cause: its end is the end of the cell.
func (h *streamHost) startDisplay(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	sound := make(chan error, 1)
	go func() { sound <- h.startSound(ctx) }()
	var err error
	if h.display, err = h.parts.Display(ctx); err != nil {
		h.display = nil // not an interface that holds a nil pointer
		stop()
		<-sound
		return asEnd(err, wire.CodeDisplay)
	}
	if err := <-sound; err != nil {
		return asEnd(err, wire.CodeDisplay)
	}
	h.tasks.start(h.watchDisplay)
	return nil
}

func (h *streamHost) startSound(ctx context.Context) (err error) {
	if !h.spec.Display.Audio {
		return nil
	}
	if h.sound, err = h.parts.Sound(ctx); err != nil {
		h.sound = nil
	}
	return err
}

// startApp starts the app, and returns when it is presentable: it shows a window, or says so.
func (h *streamHost) startApp(ctx context.Context, params map[string]string) error {
	h.enterPhase(wire.PhaseApp, "starting the app")
	env := h.display.Env()
	if h.sound != nil {
		env = append(env, h.sound.Env()...)
	}
	if h.stream.messages != nil {
		env = append(env, h.stream.messages.Env()...)
	}
	app, err := h.parts.App(ctx, env, params)
	if err != nil {
		return appFault(err)
	}
	h.mu.Lock() // serveStatus reads it
	h.app = app
	h.mu.Unlock()

	limit := secondsOr(h.spec.StartTimeoutS, defaultStartTimeout)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	shown := make(chan error, 1)
	h.tasks.start(func() { shown <- h.waitPresentable(limited) })
	select {
	case err = <-shown:
	case <-h.app.Done():
		return h.appEnd()
	}
	switch {
	case err == nil:
		h.log.Info("the app is presentable")
		h.tasks.start(h.watchApp)
		h.stream.waitPainted()
		h.log.Info("the window counts as drawn")
		return nil
	case closedWithin(h.app.Done(), 0):
		return h.appEnd()
	case closedWithin(h.display.Done(), simultaneous):
		return h.displayEnd()
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil && h.spec.ReadyByApp:
		return fault(wire.CodeAppNotReady, "%s did not say within %v that it is ready (nearcast-app ready); see its log, or raise start_timeout", h.spec.Command, limit)
	case limited.Err() != nil:
		return fault(wire.CodeAppNoWindow, "%s showed no window within %v; see its log, or raise start_timeout", h.spec.Command, limit)
	}
	return asEnd(err, wire.CodeDisplay)
}

// waitPresentable returns when the app can be shown to a person.
func (h *streamHost) waitPresentable(ctx context.Context) error {
	if !h.spec.ReadyByApp {
		return h.display.WaitWindow(ctx)
	}
	select {
	case <-h.stream.messages.Ready():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// appFault is the end of a seat whose app cannot be started.
func appFault(err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return asEnd(err, wire.CodeAppNotFound)
	}
	return asEnd(err, wire.CodeConfig)
}
