package brain

import (
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// A person may come back with a ticket by which a seat is claimed: the brain that claimed it
// has died before it could say so, or their socket was lost. They are offered that seat,
// before anybody is served in line. What a node tells of the seat may come after the person;
// then they wait so long. The ticket's record decides in any case (ticketUse).

// claimedBy is the seat that a session has claimed, and whose browser has not connected.
func (v *view) claimedBy(session string) *unit {
	if u := v.seatOf(session); u != nil && u.seat.State == wire.SeatClaimed {
		return u
	}
	return nil
}

// comesBack notes a session whose person waits here, if a seat is claimed for it.
func (v *view) comesBack(session string) {
	if session != "" && v.claimedBy(session) != nil && v.waits(session) {
		v.returned[session] = true
	}
}

// bringBack offers their own seats to people who have come back. mu is held.
func (st *state) bringBack(now time.Time) {
	if st.paused {
		return
	}
	for session := range st.view.returned {
		w, u := st.waiters[session], st.view.claimedBy(session)
		if w != nil && u != nil && u.seat.unreachable(now) {
			continue // it is asked again in a moment: see timePassed
		}
		delete(st.view.returned, session)
		if w != nil && w.waits() && u != nil {
			st.offer(w, u, now)
		}
	}
}
