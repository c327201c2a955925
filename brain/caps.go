package brain

import (
	"fmt"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// DefaultPerNetwork is how many sessions of one app the anonymous people of a /24, or of
// a /48 of IPv6, may have at once: an office or a class, and not a site's every seat.
const DefaultPerNetwork = 32

// overCap says why a person may not have another session, nil where they may. People
// that wait at other replicas are not counted: the seats that they get are. mu is held.
func (st *state) overCap(claims ticket.Claims) *wire.Problem {
	bySubject := claims.Subject != "" && claims.MaxSessions > 0
	byNetwork := claims.Subject == "" && claims.Network != "" && st.perNetwork > 0
	if !bySubject && !byNetwork {
		return nil
	}
	most, of := claims.MaxSessions, "The subject of this launch"
	if byNetwork {
		most, of = st.perNetwork, "Your network"
	}
	count := 0
	var first time.Time // when the first of them ends at the latest
	key := holderOf(claims.Subject, claims.Network, claims.App)
	for u := range st.view.byHolder[key] {
		session, until := u.seat.Session, u.seat.Until
		if !u.seat.State.Busy() {
			session, until = u.seat.holder.Session, time.Time{} // it was granted a moment ago
		}
		if session == claims.Session {
			continue
		}
		count++
		if !until.IsZero() && (first.IsZero() || until.Before(first)) {
			first = until
		}
	}
	for w := range st.holders[key] {
		if !w.ended && w.session != claims.Session {
			count++
		}
	}
	if count < most {
		return nil
	}
	detail := fmt.Sprintf("%s has %d sessions at %s, and may have %d at once.", of, count, st.site, most)
	if byNetwork {
		detail = fmt.Sprintf("%s has %d sessions of %s at %s, and may have %d at once.", of, count, claims.App, st.site, most)
	}
	if !first.IsZero() {
		detail += fmt.Sprintf(" The first of them ends at %s at the latest.", first.UTC().Format("15:04 UTC on 2 January"))
	}
	return &wire.Problem{Type: wire.ProblemSessions, Title: "Too many sessions at once", Status: 429, Detail: detail + " End one of them, or wait."}
}
