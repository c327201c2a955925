package seat

import (
	"errors"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

var (
	errBusy      = errors.New("the seat is not free")
	errUsed      = errors.New("the session was on this seat before")
	errEnding    = errors.New("the seat is ending")
	errNotHolder = errors.New("the session does not hold the seat")
)

// clock is the time source of the state machine. Tests replace it.
type clock interface {
	Now() time.Time
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }
func (realClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// limits bound how long a seat stays in its states. Zero is no limit.
type limits struct {
	lease, grace, idle, max, prepare time.Duration
}

// stateMachine decides which session holds the seat, until when, and how the
// seat ends. It does nothing else. It is safe for concurrent use.
//
//	starting ─ready─▶ idle ─claim─▶ claimed ─connected─▶ streaming ─lost─▶ detached
//	                   ▲               │ lease, release      ▲                │
//	                   └───────────────┘                     └───connected────┘
//
// A seat whose app was told a session's parameters is spent: it ends where it would
// become idle. An idle seat may be prepared for a session (prepare.go). It stays idle.
//
// Each state can change to ending, once and for good.
type stateMachine struct {
	clock  clock
	limits limits
	// changed is called after every change, in order, while the state machine
	// is locked: it must be quick and must not call the state machine.
	changed func(from wire.SeatState, now wire.Seat)
	ended   chan struct{} // closed once end is known

	mu         sync.Mutex
	now        wire.Seat
	used       map[string]bool   // every session that was granted this seat
	tries      map[string]uint64 // the largest index with which a session was to claim
	claims     int               // of the session that holds the seat: their grant is on its way
	granted    bool              // an attachment has had the session's grant
	spent      bool              // no session after this one may have the seat
	prepared   *holder           // who has not pressed Play yet, while the seat is idle
	preparedAt time.Time
	end        wire.End
	entered    time.Time // when the present state began
	streaming  time.Time // when the session first streamed
	lastInput  time.Time
	sessionMax time.Duration // of the session that holds the seat; 0 is no limit
	timer      int           // generation: a timer of an earlier one is ignored
	stopTimer  func() bool
}

func newStateMachine(first wire.Seat, l limits, c clock, changed func(from wire.SeatState, now wire.Seat)) *stateMachine {
	s := &stateMachine{clock: c, limits: l, changed: changed, ended: make(chan struct{}), now: first, used: map[string]bool{}, tries: map[string]uint64{}}
	s.entered = c.Now()
	s.now.State, s.now.Since = wire.SeatStarting, s.entered.UTC()
	return s
}

// snapshot returns the seat as it is registered.
func (s *stateMachine) snapshot() wire.Seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// notify calls changed although nothing changed.
func (s *stateMachine) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed(s.now.State, s.now)
}

// progress records how far a starting seat is.
func (s *stateMachine) progress(p wire.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.State != wire.SeatStarting {
		return
	}
	s.now.Progress = p
	s.changed(wire.SeatStarting, s.now)
}

// ready makes a starting seat idle.
func (s *stateMachine) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.State != wire.SeatStarting {
		return errEnding
	}
	s.now.Progress = wire.Progress{Phase: wire.PhaseReady, Fraction: 1}
	s.enter(wire.SeatIdle, "")
	return nil
}

// checkHolder returns nil if session holds the seat, else errEnding or errNotHolder.
func (s *stateMachine) checkHolder(session string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checkHolderLocked(session)
}

func (s *stateMachine) checkHolderLocked(session string) error {
	switch {
	case s.now.State == wire.SeatEnding:
		return errEnding
	case !s.now.State.Busy() || s.now.Session != session:
		return errNotHolder
	}
	return nil
}

// connected records that the session's browser is connected.
func (s *stateMachine) connected(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checkHolderLocked(session) != nil || s.now.State == wire.SeatStreaming {
		return
	}
	if s.streaming.IsZero() {
		s.streaming = s.clock.Now()
		s.lastInput = s.streaming
	}
	s.enter(wire.SeatStreaming, session)
}

// lost records that the session's browser was lost.
func (s *stateMachine) lost(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checkHolderLocked(session) == nil && s.now.State == wire.SeatStreaming {
		s.enter(wire.SeatDetached, session)
	}
}

// measured notes what the session is like, while it streams. Without m, nobody is told of q yet.
func (s *stateMachine) measured(session string, m *wire.Measured, q *wire.Quality) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.State != wire.SeatStreaming || s.now.Session != session {
		return
	}
	s.now.Quality = q
	if m != nil {
		s.now.Measured = m
		s.changed(wire.SeatStreaming, s.now)
	}
}

// recordInput records that the session's person did something. It returns false
// if the session does not stream, so that its input must not be applied.
func (s *stateMachine) recordInput(session string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.State != wire.SeatStreaming || s.now.Session != session {
		return false
	}
	s.lastInput = s.clock.Now() // the running timer reads it when it fires
	return true
}

// endSession ends the seat if session holds it.
func (s *stateMachine) endSession(session string, end wire.End) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkHolderLocked(session); err != nil {
		return err
	}
	s.endLocked(end)
	return nil
}

// retire ends the seat if it is idle.
func (s *stateMachine) retire() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.now.State.Free() {
		return errBusy
	}
	s.endLocked(wire.End{Reason: wire.ReasonRetired})
	return nil
}

// stopFetching ends the seat if it still fetches its content.
func (s *stateMachine) stopFetching() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.State != wire.SeatStarting || s.now.Progress.Phase != wire.PhaseContent {
		return errBusy
	}
	s.endLocked(wire.End{Reason: wire.ReasonRetired, Detail: "nobody waited any more for the content that it fetched"})
	return nil
}

// endWith ends the seat from any state. Only the first end counts.
func (s *stateMachine) endWith(end wire.End) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(end)
}

// result returns how the seat ended. It is empty until ended is closed.
func (s *stateMachine) result() wire.End {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

func (s *stateMachine) endLocked(end wire.End) {
	if s.now.State == wire.SeatEnding {
		return
	}
	s.end = end
	s.enter(wire.SeatEnding, s.now.Session)
	close(s.ended)
}

// enter changes the state. The caller holds s.mu.
func (s *stateMachine) enter(state wire.SeatState, session string) {
	from := s.now.State
	s.entered = s.clock.Now()
	s.now.State, s.now.Session, s.now.Since = state, session, s.entered.UTC()
	s.prepared, s.now.Prepared = nil, false
	if session == "" {
		s.now.Subject, s.now.Network, s.now.Customer, s.now.Meta, s.now.Until = "", "", "", nil, time.Time{}
		s.now.Measured, s.now.Quality = nil, nil
	}
	s.armTimer()
	s.changed(from, s.now)
}

// deadline is a change that happens when its time comes.
type deadline struct {
	at  time.Time
	act func()
}

// nextDeadline returns the earliest deadline of the present state, if any.
func (s *stateMachine) nextDeadline() (deadline, bool) {
	var all []deadline
	add := func(from time.Time, limit time.Duration, act func()) {
		if limit > 0 && !from.IsZero() {
			all = append(all, deadline{from.Add(limit), act})
		}
	}
	endFor := func(reason wire.Reason) func() { return func() { s.endLocked(wire.End{Reason: reason}) } }
	switch s.now.State {
	case wire.SeatIdle:
		if s.prepared != nil {
			add(s.preparedAt, s.limits.prepare, s.unprepareLocked)
		}
	case wire.SeatClaimed:
		add(s.entered, s.limits.lease, s.unclaim)
	case wire.SeatDetached:
		add(s.entered, s.limits.grace, endFor(wire.ReasonLost))
		fallthrough
	case wire.SeatStreaming:
		add(s.streaming, s.limits.max, endFor(wire.ReasonTimeLimit))
		add(s.streaming, s.sessionMax, endFor(wire.ReasonTimeLimit))
		add(s.lastInput, s.limits.idle, endFor(wire.ReasonIdle))
	}
	if len(all) == 0 {
		return deadline{}, false
	}
	earliest := all[0]
	for _, d := range all[1:] {
		if d.at.Before(earliest.at) {
			earliest = d
		}
	}
	return earliest, true
}

// armTimer sets the timer to the next deadline. The caller holds s.mu.
func (s *stateMachine) armTimer() {
	if s.stopTimer != nil {
		s.stopTimer()
		s.stopTimer = nil
	}
	s.timer++
	d, ok := s.nextDeadline()
	if !ok {
		return
	}
	generation := s.timer
	s.stopTimer = s.clock.AfterFunc(max(d.at.Sub(s.clock.Now()), 0), func() { s.expire(generation) })
}

func (s *stateMachine) expire(generation int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if generation != s.timer {
		return
	}
	d, ok := s.nextDeadline()
	if !ok {
		return
	}
	if d.at.After(s.clock.Now()) { // input moved it
		s.armTimer()
		return
	}
	d.act()
}
