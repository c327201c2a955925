package brain

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// tryClaim claims the seat that w is offered, or the one for which the ticket is used
// already, and relays if it is granted. It reports false where w goes on waiting.
func (b *Broker) tryClaim(c *conn, w *waiter, seat wire.Seat, parked []said) (outcome, bool) {
	token, claims := b.state.ticketOf(w)
	if time.Now().After(claims.Expires.Add(ticket.Leeway)) {
		return refused(lapsed()), true
	}
	span := traceClaim(w, "brain claim", seat)
	defer span.End()
	// Dial the seat while Consul answers.
	ahead := b.seats.dial(c.gone, seat)
	defer ahead.drop()
	ctx, cancel := context.WithTimeout(c.gone, 3*time.Second)
	err := w.use.name(wire.UsedTicket{Brain: b.cfg.ID, Seat: seat.ID, Expires: markUntil(claims)},
		func(want wire.UsedTicket, at uint64) (wire.UsedTicket, uint64, bool, error) {
			return b.cfg.Fleet.UseTicket(ctx, w.session, want, at)
		})
	cancel()
	switch {
	case errors.Is(err, errMoved):
		return outcome{code: wire.CloseReplaced}, true
	case errors.Is(err, errTicketUsed):
		return refused(ticketUsed("A ticket starts one session. Press Play again, or resume with the session's resume token.")), true
	case err != nil:
		if c.gone.Err() == nil {
			b.log.Warn("cannot mark a ticket as used; its person waits", "session", w.session, "error", err)
		}
		b.state.unmarked(w)
		return outcome{}, c.gone.Err() != nil
	case w.use.record.Seat != seat.ID:
		ahead.drop()
		ahead = nil
		was := b.awaitSeat(c, w.use.record.Seat, func(at seatLocation) bool { return at.end != nil || at.seat.Address != "" })
		if was.over() {
			return refused(ticketUsed("The seat of this ticket is gone. Press Play again.")), true
		}
		if was.seat.Address == "" {
			return refused(unavailable("The seat of this ticket is not known here yet. Connect again.")), true
		}
		seat = was.seat
	}
	a, err := b.seats.attach(c.gone, seat, wire.AttachPath, credential{token: token, try: w.use.index, trace: span.Parent()}, ahead)
	if err != nil {
		span.Fail(err.Error())
		return b.claimFailed(c, w, seat, claims, err)
	}
	b.metrics.claims.WithLabelValues("granted").Inc()
	b.metrics.firstClaim.Observe(time.Since(w.since).Seconds())
	b.log.Info("granted", "session", w.session, "app", w.app, "seat", seat.ID, "after", time.Since(w.since).Round(time.Microsecond))
	b.state.granted(w, seat)
	if b.sendGrant(c, a) != nil {
		a.ws.CloseNow() // the seat's lease ends the session
		return outcome{}, true
	}
	span.End()
	w.span.End()
	return b.relay(c, a, w.app, parked), true
}

// hearWithin is how long it may take until Nomad and a node have told of a seat's start or
// end.
const hearWithin = 5 * time.Second

// awaitSeat says what is known of a seat that may have the session. It waits until that
// is enough.
func (b *Broker) awaitSeat(c *conn, seat string, enough func(seatLocation) bool) seatLocation {
	late := time.NewTimer(hearWithin)
	defer late.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		at := b.state.locate(seat)
		if enough(at) {
			return at
		}
		select {
		case <-tick.C:
		case <-late.C:
			return at
		case <-b.sockets.closing.Done():
			return at
		case <-c.gone.Done():
			return at
		}
	}
}

// claimFailed decides what a failed claim means for w.
func (b *Broker) claimFailed(c *conn, w *waiter, seat wire.Seat, claims ticket.Claims, err error) (outcome, bool) {
	if c.gone.Err() != nil {
		return outcome{}, true
	}
	var r refusal
	errors.As(err, &r)
	// In its last seconds a ticket may be good by one clock and not by another.
	if r.status == http.StatusUnauthorized && time.Now().After(claims.Expires) {
		b.metrics.claims.WithLabelValues("refused").Inc()
		return refused(lapsed()), true
	}
	why, label := seatTaken, "lost"
	switch w.use.refused(err) {
	case meansUsed:
		b.metrics.claims.WithLabelValues("refused").Inc()
		return refused(ticketUsed("The seat refused the ticket. Press Play again.")), true
	case meansAgain:
		b.metrics.claims.WithLabelValues("unreachable").Inc()
		// A seat that has just ended does not answer either.
		if b.awaitSeat(c, seat.ID, seatLocation.over).over() {
			return refused(ticketUsed("The seat of this ticket is gone. Press Play again.")), true
		}
		b.log.Warn("a seat does not answer a person who may have it", "session", w.session, "seat", seat.ID, "error", err)
		return refused(unavailable("The seat of this ticket does not answer. Connect again.")), true
	case meansSick:
		why, label = seatSick, ""
		b.metrics.sickSeat(seat.Node, r.clock)
		say := []any{"seat", seat.ID, "node", seat.Node, "job", seat.Job}
		if r.clock != nil {
			say = append(say, "clock_off", r.clock.Round(time.Millisecond).String())
		}
		b.log.Error("a seat refuses a good ticket: its node has a wrong clock or old ticket keys; it is set aside", say...)
	case meansUnreachable:
		why, label = seatUnreachable, "unreachable"
		b.log.Warn("a seat does not answer a claim", "seat", seat.ID, "address", seat.Address, "error", err)
	default:
		b.log.Debug("lost a claim", "session", w.session, "seat", seat.ID, "status", r.status)
	}
	if label != "" {
		b.metrics.claims.WithLabelValues(label).Inc()
	}
	b.state.declined(w, seat, why)
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
