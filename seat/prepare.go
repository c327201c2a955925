package seat

import (
	"github.com/nearcast/nearcast/internal/wire"
)

// prepare keeps an idle seat for a session whose person has not pressed Play. The seat stays
// idle, any other claim takes it, and it is as it was when that ends: the app was told
// nothing, and the session may still claim the seat.
func (s *stateMachine) prepare(h holder) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.used[h.session]:
		return errUsed
	case s.now.State == wire.SeatEnding:
		return errEnding
	case !s.now.State.Free() || s.prepared != nil || h.try < s.tries[h.session]:
		return errBusy
	}
	s.prepared, s.preparedAt, s.now.Prepared = &h, s.clock.Now(), true
	s.armTimer()
	s.changed(s.now.State, s.now)
	return nil
}

// unprepare ends what prepare began, if the session has not begun.
func (s *stateMachine) unprepare(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.preparedLocked(session) {
		s.unprepareLocked()
	}
}

func (s *stateMachine) unprepareLocked() {
	s.prepared, s.now.Prepared = nil, false
	s.armTimer()
	s.changed(s.now.State, s.now)
}

// play gives the seat to the session for which it is prepared. It reports false where it is
// not, any more.
func (s *stateMachine) play(session string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.preparedLocked(session) {
		return false
	}
	h := *s.prepared
	s.claims, s.granted = 0, true // the attachment is there
	if h.try > 0 {
		s.tries[session] = h.try
	}
	s.take(h)
	return true
}

// isPrepared reports whether the seat waits for the session's person to press Play.
func (s *stateMachine) isPrepared(session string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.preparedLocked(session)
}

func (s *stateMachine) preparedLocked(session string) bool {
	return s.prepared != nil && s.prepared.session == session
}

// checkReach returns nil if session holds the seat, or the seat is prepared for it, else
// errEnding or errNotHolder.
func (s *stateMachine) checkReach(session string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.preparedLocked(session) {
		return nil
	}
	return s.checkHolderLocked(session)
}
