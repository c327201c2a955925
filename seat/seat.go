package seat

import (
	"errors"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

var (
	// errBusy: the seat is not free.
	errBusy = errors.New("the seat is not free")
	// errUsed: the session was here before.
	errUsed = errors.New("the session was on this seat before")
	// errEnding: the seat accepts nothing any more.
	errEnding = errors.New("the seat is ending")
	// errNotHolder: the session does not hold the seat.
	errNotHolder = errors.New("the session does not hold the seat")
)

// clock is time as the seat sees it, so that tests need not wait for it.
type clock interface {
	Now() time.Time
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }
func (realClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// limits bound a seat's states; zero is no limit.
type limits struct {
	lease, grace, idle, max time.Duration
}

// seat is the state machine of one seat, and nothing else: who may have it,
// until when, and how it ended. It is safe for concurrent use.
//
//	starting ─ready─▶ idle ─claim─▶ claimed ─connected─▶ streaming ─lost─▶ detached
//	                   ▲               │ lease, release      ▲                │
//	                   └───────────────┘                     └───connected────┘
//
// and from each to ending, once, for good.
type seat struct {
	clock  clock
	limits limits
	// changed is told of every change, in order. It is called with the seat
	// locked: it must be quick and must not call the seat.
	changed func(from wire.SeatState, now wire.Seat)
	ended   chan struct{} // closed once end is known

	mu      sync.Mutex
	now     wire.Seat
	used    map[string]bool // sessions that were granted this seat, ever
	end     wire.End
	entered time.Time // into the present state
	first   time.Time // of the session's streaming
	touched time.Time // last input
	timer   int       // generation: a timer that fired too late knows itself
	stop    func() bool
}

func newSeat(first wire.Seat, l limits, c clock, changed func(from wire.SeatState, now wire.Seat)) *seat {
	s := &seat{clock: c, limits: l, changed: changed, ended: make(chan struct{}), now: first, used: map[string]bool{}}
	s.entered = c.Now()
	s.now.State, s.now.Since = wire.SeatStarting, s.entered.UTC()
	return s
}

// view is the seat as others may see it.
func (s *seat) view() wire.Seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// tell tells of the seat as it is.
func (s *seat) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed(s.now.State, s.now)
}

// progress says how far a starting seat is.
func (s *seat) progress(p wire.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.State != wire.SeatStarting {
		return
	}
	s.now.Progress = p
	s.changed(wire.SeatStarting, s.now)
}

// ready makes a starting seat idle.
func (s *seat) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.State != wire.SeatStarting {
		return errEnding
	}
	s.now.Progress = wire.Progress{Phase: wire.PhaseReady, Fraction: 1}
	s.enter(wire.SeatIdle, "")
	return nil
}

// claim gives an idle seat to session: of all who ask, to exactly one.
func (s *seat) claim(session string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.now.State == wire.SeatEnding:
		return errEnding
	case s.used[session]:
		return errUsed
	case !s.now.State.Free():
		return errBusy
	}
	s.used[session] = true
	s.first, s.touched = time.Time{}, time.Time{}
	s.enter(wire.SeatClaimed, session)
	return nil
}

// holder reports whether session has the seat.
func (s *seat) holder(session string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held(session)
}

func (s *seat) held(session string) error {
	switch {
	case s.now.State == wire.SeatEnding:
		return errEnding
	case !s.now.State.Busy() || s.now.Session != session:
		return errNotHolder
	}
	return nil
}

// connected says that the session's browser is connected.
func (s *seat) connected(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held(session) != nil || s.now.State == wire.SeatStreaming {
		return
	}
	if s.first.IsZero() {
		s.first = s.clock.Now()
		s.touched = s.first
	}
	s.enter(wire.SeatStreaming, session)
}

// lost says that the session's browser was lost.
func (s *seat) lost(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held(session) == nil && s.now.State == wire.SeatStreaming {
		s.enter(wire.SeatDetached, session)
	}
}

// touch says that the session's person did something. False if she may not.
func (s *seat) touch(session string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.State != wire.SeatStreaming || s.now.Session != session {
		return false
	}
	s.touched = s.clock.Now() // the running timer looks again when it fires
	return true
}

// release takes a claim back whose browser never connected.
func (s *seat) release(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held(session) == nil && s.now.State == wire.SeatClaimed {
		s.enter(wire.SeatIdle, "")
	}
}

// leave ends the seat if session holds it.
func (s *seat) leave(session string, end wire.End) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.held(session); err != nil {
		return err
	}
	s.finish(end)
	return nil
}

// retire ends the seat if it is idle.
func (s *seat) retire() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.now.State.Free() {
		return errBusy
	}
	s.finish(wire.End{Reason: wire.ReasonRetired})
	return nil
}

// endWith ends the seat from any state; the first reason stands.
func (s *seat) endWith(end wire.End) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finish(end)
}

// how is how the seat ended; it is known once ended is closed.
func (s *seat) how() wire.End {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

func (s *seat) finish(end wire.End) {
	if s.now.State == wire.SeatEnding {
		return
	}
	s.end = end
	s.enter(wire.SeatEnding, s.now.Session)
	close(s.ended)
}

// enter changes the state. The seat is locked.
func (s *seat) enter(state wire.SeatState, session string) {
	from := s.now.State
	s.entered = s.clock.Now()
	s.now.State, s.now.Session, s.now.Since = state, session, s.entered.UTC()
	s.arm()
	s.changed(from, s.now)
}

// deadline is one thing that time will do to the seat.
type deadline struct {
	at  time.Time
	act func()
}

// next is the deadline that comes first in the present state, if any.
func (s *seat) next() (deadline, bool) {
	var all []deadline
	add := func(from time.Time, limit time.Duration, act func()) {
		if limit > 0 && !from.IsZero() {
			all = append(all, deadline{from.Add(limit), act})
		}
	}
	over := func(reason wire.Reason) func() { return func() { s.finish(wire.End{Reason: reason}) } }
	switch s.now.State {
	case wire.SeatClaimed:
		add(s.entered, s.limits.lease, func() { s.enter(wire.SeatIdle, "") })
	case wire.SeatDetached:
		add(s.entered, s.limits.grace, over(wire.ReasonLost))
		fallthrough
	case wire.SeatStreaming:
		add(s.first, s.limits.max, over(wire.ReasonTimeLimit))
		add(s.touched, s.limits.idle, over(wire.ReasonIdle))
	}
	if len(all) == 0 {
		return deadline{}, false
	}
	soonest := all[0]
	for _, d := range all[1:] {
		if d.at.Before(soonest.at) {
			soonest = d
		}
	}
	return soonest, true
}

// arm sets the timer for the next deadline. The seat is locked.
func (s *seat) arm() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
	s.timer++
	d, ok := s.next()
	if !ok {
		return
	}
	generation := s.timer
	s.stop = s.clock.AfterFunc(max(d.at.Sub(s.clock.Now()), 0), func() { s.expire(generation) })
}

func (s *seat) expire(generation int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if generation != s.timer {
		return
	}
	d, ok := s.next()
	if !ok {
		return
	}
	if d.at.After(s.clock.Now()) { // input came meanwhile
		s.arm()
		return
	}
	d.act()
}
