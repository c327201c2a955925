package seat

import (
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// claim grants an idle seat to session. Of concurrent claims by several sessions exactly
// one succeeds.
func (s *stateMachine) claim(session string) error { return s.claimFor(holder{session: session}) }

// holder is who claims a seat: brains count their sessions by subject and network.
type holder struct {
	session, subject, network, customer string
	meta                                map[string]string
	max                                 time.Duration // of the ticket; 0 leaves it to the seat
	// last says that no other session gets the seat, even if this one's browser never
	// connects: the app knows its parameters.
	last bool
	// try is wire.TryHeader: of a session's claims those with a smaller one than was seen
	// are refused.
	try uint64
}

// claimFor is claim, and says for whom. The session that has claimed the seat may claim it
// again until its browser connects, since the grant may be lost with a brain. That changes
// nothing: the lease goes on. Each claim that succeeds is followed by attached or unattached.
func (s *stateMachine) claimFor(h holder) error {
	session := h.session
	s.mu.Lock()
	defer s.mu.Unlock()
	repeated := s.now.State == wire.SeatClaimed && s.now.Session == session
	switch {
	case s.used[session] && !repeated:
		return errUsed // also while the seat ends: the session had it
	case s.now.State == wire.SeatEnding:
		return errEnding
	case h.try < s.tries[session]:
		return errBusy
	}
	if h.try > 0 {
		s.tries[session] = h.try
	}
	if repeated {
		s.claims++
		return nil
	}
	if !s.now.State.Free() {
		return errBusy
	}
	s.claims, s.granted = 1, false
	s.take(h)
	return nil
}

// take gives an idle seat to a session. The caller holds s.mu.
func (s *stateMachine) take(h holder) {
	s.used[h.session] = true
	s.spent = h.last
	s.streaming, s.lastInput, s.sessionMax = time.Time{}, time.Time{}, h.max
	s.now.Subject, s.now.Network, s.now.Customer, s.now.Meta, s.now.Until = h.subject, h.network, h.customer, h.meta, time.Time{}
	for _, limit := range []time.Duration{s.limits.max, h.max} {
		until := s.clock.Now().Add(limit).UTC()
		if limit > 0 && (s.now.Until.IsZero() || until.Before(s.now.Until)) {
			s.now.Until = until
		}
	}
	s.enter(wire.SeatClaimed, h.session)
}

// attached notes that an attachment has the grant of a claim. first is true for the
// session's first, and late if the session has claimed again meanwhile: then that claim's
// attachment counts.
func (s *stateMachine) attached(session string, try uint64) (first, late bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checkHolderLocked(session) != nil {
		return false, false
	}
	s.claims--
	if try < s.tries[session] {
		return false, true
	}
	first, s.granted = !s.granted, true
	return first, false
}

// unattached notes that the grant of a claim arrived nowhere. If it was the session's only
// one, the seat is as if it was not claimed: who comes back with the ticket may claim it.
func (s *stateMachine) unattached(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checkHolderLocked(session) != nil {
		return
	}
	if s.claims--; s.claims > 0 || s.granted || s.now.State != wire.SeatClaimed {
		return
	}
	delete(s.used, session)
	s.spent = false // the app was told nothing
	s.unclaim()
}

// unclaim makes the seat idle again, unless its app may serve nobody else.
func (s *stateMachine) unclaim() {
	if s.spent {
		s.endLocked(wire.End{Reason: wire.ReasonLost, Detail: "the browser did not connect in time"})
		return
	}
	s.enter(wire.SeatIdle, "")
}

// releaseClaim makes the seat idle again if session claimed it and its browser
// never connected.
func (s *stateMachine) releaseClaim(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checkHolderLocked(session) == nil && s.now.State == wire.SeatClaimed {
		s.unclaim()
	}
}
