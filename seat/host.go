// Package seat is a seat: one copy of an app, brought up, given to one session,
// and taken down without a trace.
//
//	end := host.Run(ctx, spec, parts, log)
//
// Run returns when the seat has ended and everything that it started is gone.
// Its last act is exit.json in the run directory. When ctx ends, the seat ends
// as drained.
//
// # Bringing up
//
// content, then display and sound, then the encoder and the app, until the app
// shows a window and the encoder gave a first frame: a seat that is idle has
// proved that it can show a picture. Idle seats are frozen where the job says
// so, and capture rests. A failure at any moment ends the seat with a code of
// internal/wire/seat.go; the layer that knows why returns a wire.End, and all
// others pass it on.
//
// # Two doors
//
// On the control address (control of attach.go) brains claim the seat, return
// to it, end and retire it, as internal/wire/signal.go has it. On control.sock
// (control.go) the driver of this machine asks how it is and stops it.
//
// # Who decides
//
// seat.go alone knows who has the seat. Everything else follows its state: a
// change wakes one goroutine (mind), which brings app, capture, peer and link
// into the shape that the state asks for, and is free to skip what is past.
//
//	state      app      capture   peer, link
//	idle       frozen   rests     none
//	claimed    runs     runs      of the session; so that the first frame waits for ICE only
//	streaming  runs     runs      of the session
//	detached   runs     rests     of the session; what was held is released
//
// # Taking down
//
// last word to the person → peer → capture → input → app → sound and display →
// use of the cache → registry → exit.json → control.sock; each step has its
// time, and one that exceeds it is logged and left to the kernel, which takes
// every process started here down with this one.
package seat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	defaultStart = 60 * time.Second
	defaultLease = 15 * time.Second
	defaultGrace = 60 * time.Second
	// appStop is how long an app has to end by itself when nobody says otherwise.
	appStop = 5 * time.Second
)

// host is one seat at work.
type host struct {
	spec    wire.Spec
	parts   Parts
	log     *slog.Logger
	seat    *seat
	resume  *resumer
	stream  *stream
	journal *journal
	started time.Time

	// ctx lasts until the seat has ended and its last word is out.
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // the state changed
	tasks  tasks

	// registration is nil until the registry was told. It is apart from mu,
	// which may be held by who asks the seat, while changed is asked by the seat.
	registration atomic.Pointer[Registration]

	mu   sync.Mutex
	link *link
	stop wire.StopRequest

	// Made by bringUp, in this order.
	content io.Closer
	display Display
	sound   Sound
	app     App
}

// Run is the whole life of a seat.
func Run(ctx context.Context, spec wire.Spec, parts Parts, log *slog.Logger) wire.End {
	h := &host{
		spec: spec, parts: parts, log: log, journal: newJournal(), started: time.Now(),
		resume: newResumer(spec.Alloc, spec.App), wake: make(chan struct{}, 1),
		stop: wire.StopRequest{TimeoutMS: appStop.Milliseconds()},
	}
	return h.live(ctx)
}

func (h *host) live(ctx context.Context) wire.End {
	h.ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer h.cancel()

	local, err := listenControlSocket(h.spec.RunDir)
	if err != nil {
		return h.lastAct(fault(wire.CodeConfig, "%v", err))
	}
	closeLocal := serve(h.log, local, h.localControl())
	defer closeLocal()

	if err := check(h.spec); err != nil {
		return h.lastAct(asEnd(err, wire.CodeConfig))
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(h.spec.Listen.API, "0"))
	if err != nil {
		return h.lastAct(fault(wire.CodeConfig, "listen for brains on %q: %v; give an address of this machine", h.spec.Listen.API, err))
	}

	h.mu.Lock()
	h.seat = newSeat(wire.Seat{
		ID: h.spec.Alloc, App: h.spec.App, Job: h.spec.Job, Version: h.spec.Version, Node: h.spec.Node,
		Address: listener.Addr().String(), Progress: wire.Progress{Phase: wire.PhaseContent, Fraction: -1},
	}, limits{
		lease: orElse(h.spec.LeaseS, defaultLease), grace: orElse(h.spec.ReconnectGraceS, defaultGrace),
		idle: orElse(h.spec.IdleTimeoutS, 0), max: orElse(h.spec.MaxDurationS, 0),
	}, realClock{}, h.changed)
	h.mu.Unlock()
	h.stream = newStream(h)
	h.register()
	closeControl := serve(h.log, listener, h.control())

	go func() { // ends with h.ctx
		select {
		case <-ctx.Done():
			h.seat.endWith(wire.End{Reason: wire.ReasonDrained})
		case <-h.ctx.Done():
		}
	}()
	h.tasks.run(h.mind)

	up, stopBringing := context.WithCancel(h.ctx)
	go func() {
		defer stopBringing()
		select {
		case <-h.seat.ended:
		case <-up.Done():
		}
	}()
	if err := h.bringUp(up); err != nil {
		h.seat.endWith(asEnd(err, wire.CodeConfig))
	} else if err := h.seat.ready(); err == nil {
		h.log.Info("ready", "after", time.Since(h.started).Round(time.Millisecond))
	}
	stopBringing()
	<-h.seat.ended

	end := h.seat.how()
	h.log.Info("ending", "end", end.String())
	h.takeDown(end)
	closeControl()
	return h.lastAct(end)
}

// changed follows the seat's state. It is called with the seat locked.
func (h *host) changed(from wire.SeatState, now wire.Seat) {
	if from != now.State {
		h.journal.state(from, now)
		h.log.Info("seat", "state", now.State, "session", now.Session)
		if now.State == wire.SeatDetached || now.State == wire.SeatIdle {
			h.stream.release.Store(true)
		}
	}
	if registration := h.registration.Load(); registration != nil {
		(*registration).Update(now)
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// mind brings everything into the shape that the seat's state asks for.
func (h *host) mind() {
	for {
		select {
		case <-h.seat.ended:
			return // takeDown has it now
		case <-h.wake:
		}
		now := h.seat.view()
		if now.State == wire.SeatStarting || now.State == wire.SeatEnding {
			continue
		}
		if stranger := h.stranger(); stranger != "" {
			end := h.partingWord(stranger)
			ctx, cancel := context.WithTimeout(h.ctx, farewell)
			// Not in the way of who claims the seat next.
			h.tasks.run(func() { defer cancel(); h.dismiss(ctx, stranger, end) })
		}
		if err := h.stream.follow(now); err != nil {
			h.seat.endWith(asEnd(err, wire.CodeConfig))
		}
	}
}

// stranger is the session of a link that does not hold the seat any more. The
// seat is asked, and not its view of a moment ago: a link may be of a claim since.
func (h *host) stranger() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.link != nil && errors.Is(h.seat.holder(h.link.session), errNotHolder) {
		return h.link.session
	}
	return ""
}

func (h *host) takeDown(end wire.End) {
	bounded := func(what string, limit time.Duration, do func() error) {
		done := make(chan error, 1)
		go func() { done <- do() }()
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case err := <-done:
			if err != nil {
				h.log.Warn("take down", "step", what, "error", err)
			}
		case <-timer.C:
			h.log.Error("take down takes too long; left to the kernel", "step", what, "limit", limit)
		}
	}

	ctx, cancel := context.WithTimeout(h.ctx, farewell)
	h.dismiss(ctx, h.seat.view().Session, end)
	cancel()
	h.cancel() // bring-up, links and offers end with it
	bounded("media", 8*time.Second, h.stream.close)
	h.mu.Lock()
	stop := h.stop
	h.mu.Unlock()
	if h.app != nil {
		limit := time.Duration(stop.TimeoutMS) * time.Millisecond
		bounded("app", limit+5*time.Second, func() error { return h.app.Stop(stop.Signal, limit) })
	}
	if h.sound != nil {
		bounded("sound", 5*time.Second, h.sound.Close)
	}
	if h.display != nil {
		bounded("display", 5*time.Second, h.display.Close)
	}
	if h.content != nil {
		bounded("content", 5*time.Second, h.content.Close)
	}
	if registration := h.registration.Load(); registration != nil {
		bounded("registration", 3*time.Second, func() error { (*registration).Close(); return nil })
	}
	bounded("tasks", 5*time.Second, func() error { h.tasks.wait(); return nil })
}

// lastAct tells the driver how it ended, in both ways.
func (h *host) lastAct(end wire.End) wire.End {
	h.journal.add(end.String(), map[string]string{"reason": string(end.Reason), "code": end.Code})
	if err := WriteExit(h.spec.RunDir, wire.Exit{Nonce: h.spec.Nonce, Time: time.Now().UTC(), End: end}); err != nil {
		h.log.Error("write exit", "error", err)
	}
	h.journal.close()
	return end
}

func (h *host) run(f func()) { h.tasks.run(f) }

// register makes the seat known. Without a registry a seat lives on: whoever
// knows its address can still claim it.
func (h *host) register() {
	// Not under h.ctx: an ending seat stays in the registry until it is gone.
	registration, err := h.parts.Register(context.WithoutCancel(h.ctx), h.seat.view())
	if err != nil {
		h.log.Error("register", "error", err)
		return
	}
	h.registration.Store(&registration)
	h.seat.tell() // what changed meanwhile
}

// serve serves handler on l until the returned function is called, which lets
// answers under way be finished, a moment at most.
func serve(log *slog.Logger, l net.Listener, handler http.Handler) (stop func()) {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("serve", "address", l.Addr().String(), "error", err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		<-done
	}
}

// tasks are goroutines whose end is waited for.
type tasks struct {
	mu   sync.Mutex
	over bool
	wg   sync.WaitGroup
}

func (t *tasks) run(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over { // too late to be waited for; what it needs is closed already
		go f()
		return
	}
	t.wg.Go(f)
}

func (t *tasks) wait() {
	t.mu.Lock()
	t.over = true
	t.mu.Unlock()
	t.wg.Wait()
}

func orElse(seconds int, otherwise time.Duration) time.Duration {
	if seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	return otherwise
}

// fault is an end by a fault.
func fault(code, format string, args ...any) wire.End {
	return wire.End{Reason: wire.ReasonError, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// asEnd is err where it is an end already, and else a fault with code.
func asEnd(err error, code string) wire.End {
	var end wire.End
	if errors.As(err, &end) {
		return end
	}
	return fault(code, "%v", err)
}

// check refuses a spec that no seat can be made of.
func check(spec wire.Spec) error {
	need := func(ok bool, what string) error {
		if ok {
			return nil
		}
		return fault(wire.CodeConfig, "spec: %s", what)
	}
	dir, err := os.Stat(spec.TaskDir)
	return errors.Join(
		need(spec.Alloc != "", "alloc is missing"),
		need(spec.App != "", "app is missing"),
		need(spec.Command != "", "command is missing"),
		need(err == nil && dir.IsDir(), fmt.Sprintf("task_dir %q is not a directory", spec.TaskDir)),
		need(spec.Display.Width > 0 && spec.Display.Height > 0 && spec.Display.FPS > 0, "display needs width, height and fps"),
		need(spec.Listen.API != "", "listen.api is missing: the IP on which brains reach the seat"),
	)
}
