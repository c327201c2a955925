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
// reports false where w goes on waiting.
func (b *Broker) tryClaim(c *conn, w *waiter, seat wire.Seat, sdp string, early [][]byte) (outcome, bool) {
	first, token, claims := b.state.markUsed(w)
	if time.Now().After(claims.Expires.Add(ticket.Leeway)) {
		return refused(badTicket("The ticket has expired", "Press Play again. A page that waits must renew its ticket in time.")), true
	}
	var ahead *dialled
	if first {
		// Dial the seat while Consul answers.
		ahead = dialAhead(c.gone, seat.Address)
		defer ahead.drop()
		ctx, cancel := context.WithTimeout(c.gone, 3*time.Second)
		ok, err := b.cfg.Fleet.UseTicket(ctx, w.session, wire.UsedTicket{
			Brain: b.cfg.ID, Expires: markUntil(claims)})
		cancel()
		if err != nil {
			b.log.Error("cannot mark the ticket as used", "session", w.session, "error", err)
			return refused(unavailable("Consul does not answer at this site. Press Play again.")), true
		}
		if !ok {
			return refused(ticketUsed("A ticket starts one session. Press Play again, or resume with the session's resume token.")), true
		}
	}
	a, err := b.seats.attach(c.gone, seat.Address, token, ahead)
	if err != nil {
		return b.claimFailed(c, w, seat, err)
	}
	b.metrics.claims.WithLabelValues("granted").Inc()
	b.metrics.firstClaim.Observe(time.Since(w.since).Seconds())
	b.log.Info("granted", "session", w.session, "app", w.app, "seat", seat.ID, "after", time.Since(w.since).Round(time.Microsecond))
	b.state.granted(w, seat)
	if sendRaw(c.ws, a.raw) != nil {
		a.ws.CloseNow() // the seat's lease ends the session
		return outcome{}, true
	}
	return b.relay(c, a, w.app, sdp, early), true
}

// claimFailed decides what a failed claim means for w.
func (b *Broker) claimFailed(c *conn, w *waiter, seat wire.Seat, err error) (outcome, bool) {
	if c.gone.Err() != nil {
		return outcome{}, true
	}
	var r refusal
	if !errors.As(err, &r) {
		b.metrics.claims.WithLabelValues("unreachable").Inc()
		b.log.Warn("a seat does not answer a claim", "seat", seat.ID, "address", seat.Address, "error", err)
		b.state.declined(w, seat, false)
		return outcome{}, false
	}
	switch r.status {
	case http.StatusUnauthorized:
		b.metrics.claims.WithLabelValues("refused").Inc()
		return refused(badTicket("The ticket is not valid", "The seat refused the ticket. Press Play again.")), true
	case http.StatusForbidden:
		b.metrics.claims.WithLabelValues("refused").Inc()
		return refused(ticketUsed("The seat refused the ticket. Press Play again.")), true
	}
	b.metrics.claims.WithLabelValues("lost").Inc()
	b.log.Debug("lost a claim", "session", w.session, "seat", seat.ID, "status", r.status)
	b.state.declined(w, seat, true)
	return outcome{}, false
}

// skew is how far any two clocks of the fleet may differ: each is within half of
// it. A router dates the ticket, a brain and a seat check it, and another brain
// sweeps the mark, each by its own clock.
const skew = time.Minute

// markUntil is until when the mark of a used ticket is kept: later than anybody
// accepts any renewal of the ticket, by any clock.
func markUntil(claims ticket.Claims) time.Time {
	return claims.First.Add(ticket.MaxWait + ticket.TTL + ticket.Leeway + 2*skew).UTC()
}
