package brain

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// tryClaim claims the seat that w is offered, and relays if it is granted. It
// reports false where w is to go on waiting.
func (b *Broker) tryClaim(c *conn, w *waiter, seat wire.Seat, sdp string, early [][]byte) (outcome, bool) {
	first, token, claims := b.markUsed(w)
	if time.Now().After(claims.Expires.Add(ticket.Leeway)) {
		return refused(wire.Problem{Type: wire.ProblemTicket, Title: "The ticket is expired", Status: 401,
			Detail: "Renew the ticket while waiting; press Play again now."}), true
	}
	var ahead *dialled
	if first {
		// The way to the seat is made while Consul answers.
		ahead = dialAhead(c.gone, seat.Address)
		defer ahead.drop()
		ctx, cancel := context.WithTimeout(c.gone, 3*time.Second)
		ok, err := b.cfg.Fleet.UseTicket(ctx, w.session, wire.UsedTicket{
			Brain: b.cfg.ID, Expires: markUntil(claims)})
		cancel()
		if err != nil {
			b.log.Error("mark a ticket as used", "session", w.session, "error", err)
			return refused(unavailable("The registry of this site does not answer. Press Play again.")), true
		}
		if !ok {
			return refused(wire.Problem{Type: wire.ProblemTicketUsed, Title: "The ticket was used before", Status: 403,
				Detail: "A ticket opens one session. Press Play again, or resume with the session's token."}), true
		}
	}
	l, err := b.attach(c.gone, seat.Address, token, ahead)
	if err != nil {
		return b.lostRace(c, w, seat, err)
	}
	b.metrics.claims.WithLabelValues("granted").Inc()
	b.metrics.firstClaim.Observe(time.Since(w.since).Seconds())
	b.log.Info("granted", "session", w.session, "app", w.app, "seat", seat.ID, "after", time.Since(w.since).Round(time.Microsecond))
	b.granted(w, seat)
	if sendRaw(c.ws, l.raw) != nil {
		l.ws.CloseNow() // the seat's lease or grace takes care of it
		return outcome{}, true
	}
	return b.relay(c, l, w.app, sdp, early), true
}

// skew is how far any two clocks of the fleet may be apart: each is within half
// of it of the truth. A router dates the ticket, a brain and a seat judge it, and
// another brain sweeps the mark, all by their own clocks.
const skew = time.Minute

// markUntil is until when the mark of a used ticket is kept: after the last
// moment at which anybody takes any renewal of the ticket, by any clock.
func markUntil(claims ticket.Claims) time.Time {
	return claims.First.Add(ticket.MaxWait + ticket.TTL + ticket.Leeway + 2*skew).UTC()
}

// lostRace sorts out why a claim failed.
func (b *Broker) lostRace(c *conn, w *waiter, seat wire.Seat, err error) (outcome, bool) {
	var r refusal
	if c.gone.Err() != nil {
		return outcome{}, true
	}
	if !errors.As(err, &r) {
		b.metrics.claims.WithLabelValues("unreachable").Inc()
		b.log.Warn("a seat does not answer a claim", "seat", seat.ID, "address", seat.Address, "error", err)
		b.declined(w, seat, false)
		return outcome{}, false
	}
	switch r.status {
	case http.StatusUnauthorized:
		b.metrics.claims.WithLabelValues("refused").Inc()
		return refused(wire.Problem{Type: wire.ProblemTicket, Title: "The ticket is not valid", Status: 401,
			Detail: "The seat refused the ticket. Press Play again."}), true
	case http.StatusForbidden:
		b.metrics.claims.WithLabelValues("refused").Inc()
		return refused(wire.Problem{Type: wire.ProblemTicketUsed, Title: "The ticket was used before", Status: 403,
			Detail: "The seat refused the ticket. Press Play again."}), true
	}
	b.metrics.claims.WithLabelValues("lost").Inc()
	b.log.Debug("lost a claim", "session", w.session, "seat", seat.ID, "status", r.status)
	b.declined(w, seat, true)
	return outcome{}, false
}
