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

// held is what counts against a cap.
type held struct {
	session, app, subject, network string
	until                          time.Time
}

// holders are the sessions that hold a seat of the site or wait at this replica. mu is
// held.
func (st *state) holders(now time.Time) []held {
	var out []held
	for id, s := range st.view.seats {
		switch t := st.view.seatTracks[id]; {
		case s.State.Busy():
			out = append(out, held{s.Session, s.App, s.Subject, s.Network, s.Until})
		case t.taken(now) && t.holder.Session != "":
			// It was granted a moment ago, and Consul does not say so yet.
			out = append(out, held{t.holder.Session, s.App, t.holder.Subject, t.holder.Network, time.Time{}})
		}
	}
	for _, w := range st.waiters {
		if !w.ended {
			out = append(out, held{w.session, w.app, w.claims.Subject, w.claims.Network, time.Time{}})
		}
	}
	return out
}

// overCap says why a person may not have another session, nil where they may. People
// that wait at other replicas are not counted: the seats that they get are. mu is held.
func (st *state) overCap(claims ticket.Claims, now time.Time) *wire.Problem {
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
	for _, h := range st.holders(now) {
		if h.session == claims.Session || bySubject && h.subject != claims.Subject ||
			byNetwork && (h.network != claims.Network || h.app != claims.App) {
			continue
		}
		count++
		if !h.until.IsZero() && (first.IsZero() || h.until.Before(first)) {
			first = h.until
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
