// Package seat runs one seat: it starts an app on a display, gives it to one
// session, and ends it so that nothing stays behind.
//
//	spec, err := seat.ReadSpec(file)
//	…
//	end := seat.Run(ctx, spec, parts, log)
//
// Run returns when the seat has ended and everything that it started is gone.
// Its last action is to report how the seat ended. When ctx ends, the seat ends as
// drained.
//
// # Start
//
// Run fetches the content, and starts display, sound and encoder beside it, and then the
// app. The seat is idle when the app shows a window, or says that it is ready, and the encoder produced a frame: an
// idle seat has proved that it can show a picture. While the seat is idle, the
// capture is paused, and the app is frozen if the job says so.
//
// A failure at any time ends the seat with a code of internal/wire/seat.go. The
// layer that knows the cause returns it as a wire.End. All other layers pass it on.
//
// # Interfaces
//
// The seat API serves brains over TCP: claim the seat, return to it, end its
// session, retire it (internal/wire/signal.go). The control socket serves the
// driver on this node: status, events, the seat's record, stop, signal (internal/wire/streamhost.go).
//
// # States
//
// A state machine alone knows which session holds the seat. Everything else
// follows it: each change wakes one goroutine, which brings app, capture, peer
// and attachment into the condition of the table. It may skip a state that has
// passed already.
//
//	state      app      capture   peer, attachment
//	idle       frozen   paused    none
//	(prepared  runs     paused    of the session that may press Play; the seat is idle)
//	claimed    runs     runs      of the session: the first frame waits for ICE only
//	streaming  runs     runs      of the session
//	detached   runs     paused    of the session; held keys are released
//
// # End
//
// last message to the person → peer → capture → input → app → sound and display →
// content → record → report → control socket. Each step has a time limit. A
// step that exceeds it is logged and left to the keeper, which ends the whole cell
// when this process ends.
package seat

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/logs"
	"github.com/nearcast/nearcast/internal/wire"
)

const (
	defaultStartTimeout = 60 * time.Second
	defaultLease        = 15 * time.Second
	defaultGrace        = 60 * time.Second
	// defaultStopTimeout is how long an app has to end by itself, unless the
	// driver says otherwise.
	defaultStopTimeout = 5 * time.Second
)

// streamHost runs one seat.
type streamHost struct {
	spec         wire.Spec
	parts        Parts
	log          *slog.Logger
	state        *stateMachine
	resumeTokens *resumeTokens
	stream       *stream
	events       *eventLog
	begin        time.Time
	launch       *launchTrace

	// ctx lasts until the seat has ended and its last message is sent.
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // the state changed
	tasks  tasks
	// starting is the start of an app that starts when the seat is claimed.
	starting sync.WaitGroup

	// record is what the driver is told of the seat.
	record *record
	stills stills
	kills  kills

	mu          sync.Mutex
	attachment  *attachment
	stopRequest wire.StopRequest

	// Set by startUp; content may come after display and sound. The app may be set later, see starting.
	content io.Closer
	display Display
	sound   Sound
	app     App
}

// Run runs a seat from its start to its end.
func Run(ctx context.Context, spec wire.Spec, parts Parts, log *slog.Logger) wire.End {
	h := &streamHost{
		spec: spec, parts: parts, log: log, events: newEventLog(), record: newRecord(), begin: time.Now(),
		resumeTokens: newResumeTokens(spec.Alloc, spec.App), wake: make(chan struct{}, 1),
		stopRequest: wire.StopRequest{TimeoutMS: defaultStopTimeout.Milliseconds()},
	}
	h.launch = newLaunchTrace(parts.Trace, h.begin)
	return h.run(ctx)
}

func (h *streamHost) run(ctx context.Context) wire.End {
	h.ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer h.cancel()

	closeSocket := serve(h.log, h.parts.Control, h.controlAPI())
	defer closeSocket()

	if err := checkSpec(h.spec); err != nil {
		return h.reportEnd(asEnd(err, wire.CodeConfig))
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(h.spec.Listen.API, "0"))
	if err != nil {
		return h.reportEnd(fault(wire.CodeConfig, "listen for brains on %q: %v; give an address of this node", h.spec.Listen.API, err))
	}

	h.mu.Lock()
	h.state = newStateMachine(wire.Seat{
		ID: h.spec.Alloc, App: h.spec.App, Job: h.spec.Job, Version: h.spec.Version, Node: h.spec.Node,
		Address: listener.Addr().String(), Key: h.parts.Identity.Key(), Stills: h.spec.Stills, Progress: wire.Progress{Phase: wire.PhaseContent, Fraction: -1},
	}, limits{
		lease: secondsOr(h.spec.LeaseS, defaultLease), grace: secondsOr(h.spec.ReconnectGraceS, defaultGrace),
		idle: secondsOr(h.spec.IdleTimeoutS, 0), max: secondsOr(h.spec.MaxDurationS, 0), prepare: wire.PrepareFor,
	}, realClock{}, h.stateChanged)
	h.mu.Unlock()
	h.stream = newStream(h)
	h.state.notify()
	closeAPI := serveAPI(h.log, listener, h.parts.Identity.Server(h.parts.Peers, wire.BrainService, wire.DrainService), h.seatAPI())

	go func() { // ends with h.ctx
		select {
		case <-ctx.Done():
			h.state.endWith(wire.End{Reason: wire.ReasonDrained})
		case <-h.ctx.Done():
		}
	}()
	h.tasks.start(h.followState)
	if h.spec.Memory.Events != "" {
		h.tasks.start(h.watchMemory)
	}

	starting, stopStarting := context.WithCancel(h.ctx)
	go func() {
		defer stopStarting()
		select {
		case <-h.state.ended:
		case <-starting.Done():
		}
	}()
	if err := h.startUp(starting); err != nil {
		h.state.endWith(asEnd(err, wire.CodeConfig))
	} else {
		h.launch.isReady()
		if err := h.state.ready(); err == nil {
			h.log.Info("seat ready", "after", time.Since(h.begin).Round(time.Millisecond))
		}
	}
	stopStarting()
	<-h.state.ended

	end := h.explain(h.state.result())
	h.log.Info("seat ending", "end", end.String())
	h.shutDown(end)
	closeAPI()
	return h.reportEnd(end)
}

// stateChanged is called while the state machine is locked.
func (h *streamHost) stateChanged(from wire.SeatState, now wire.Seat) {
	if from != now.State {
		h.events.addState(from, now)
		h.log.Info("seat state", "state", now.State, "session", now.Session)
		logs.Set(h.log, "session", now.Session)
		if from == wire.SeatClaimed && now.State == wire.SeatIdle {
			h.launch.over("the browser did not connect in time")
		}
		if now.State == wire.SeatDetached || now.State == wire.SeatIdle {
			h.stream.releaseInput.Store(true)
		}
	}
	h.record.set(now)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// followState brings everything into the condition that the seat's state asks for.
func (h *streamHost) followState() {
	for {
		select {
		case <-h.state.ended:
			return // shutDown does the rest
		case <-h.wake:
		}
		now := h.state.snapshot()
		if now.State == wire.SeatStarting || now.State == wire.SeatEnding {
			continue
		}
		if former := h.formerHolder(); former != "" {
			end := h.endOfSession()
			ctx, cancel := context.WithTimeout(h.ctx, lastMessageTimeout)
			// In a goroutine of its own: it must not delay the next claim.
			h.tasks.start(func() { defer cancel(); h.sendEnded(ctx, former, end) })
		}
		if err := h.stream.follow(now); err != nil {
			h.state.endWith(asEnd(err, wire.CodeConfig))
		}
	}
}
