package brain

import (
	"context"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

// prepare serves a person who has not pressed Play. Where a seat is to spare, it is kept for
// them for wire.PrepareFor, and their connection comes up. Else they are told so at once, and
// their ticket and offer wait here as long. They never wait in the queue, and no session of
// theirs counts or is shown, before they press Play.
func (b *Broker) prepare(c *conn, hello wire.Message, parked []said, began time.Time) (o outcome) {
	claims, problem := b.admits(c, hello.Ticket)
	if problem != nil {
		return refused(*problem)
	}
	if b.sockets.isClosing() {
		return toAnotherBrain()
	}
	w := newWaiter(claims, hello.Ticket, began)
	b.traceBroker(w)
	w.span.Set("prepared", "true")
	defer func() { traceOutcome(w.span, o) }()
	if l := b.state.lend(w, c.guard.Network()); l != nil {
		l.b = b
		a, means := b.tryPrepare(c, l)
		if a != nil {
			defer b.state.giveBack(l, meansTaken)
			if b.sendGrant(c, a) != nil {
				a.ws.CloseNow() // which ends the seat's lease
				return outcome{}
			}
			return b.relay(c, a, w.app, parked)
		}
		b.state.giveBack(l, means)
	}
	if c.send(wire.Message{Type: wire.MsgUnprepared}) != nil {
		return outcome{}
	}
	return b.awaitPlay(c, w, parked)
}

// tryPrepare has a seat prepared, or says what it means that it was not. The ticket's record
// names the seat as it does for a claim, so that the ticket starts one session, also where it
// is shown to other brains meanwhile. With a record, a ticket is prepared nowhere: each is lent
// a seat once.
func (b *Broker) tryPrepare(c *conn, l *lease) (*attachment, refusalMeans) {
	w, seat := l.w, l.seat
	span := traceClaim(w, "brain prepare", seat)
	defer span.End()
	ahead := b.seats.dial(c.gone, seat)
	defer ahead.drop()
	ctx, cancel := context.WithTimeout(c.gone, time.Second)
	defer cancel()
	err := w.use.name(wire.UsedTicket{Brain: b.cfg.ID, Seat: seat.ID, Expires: markUntil(w.claims)},
		func(want wire.UsedTicket, at uint64) (wire.UsedTicket, uint64, bool, error) {
			return b.cfg.Fleet.UseTicket(ctx, w.session, want, at)
		})
	if err != nil || w.use.record.Seat != seat.ID || !w.use.chosen {
		return nil, meansTaken
	}
	a, err := b.seats.attach(c.gone, seat, wire.PreparePath, credential{token: w.token, try: w.use.index, trace: span.Parent()}, ahead)
	if err != nil {
		span.Fail(err.Error())
		b.log.Debug("cannot prepare a seat", "session", w.session, "seat", seat.ID, "error", err)
		return nil, w.use.refused(err)
	}
	b.metrics.claims.WithLabelValues("prepared").Inc()
	b.log.Debug("prepared", "session", w.session, "app", w.app, "seat", seat.ID)
	a.lease = l
	return a, meansTaken
}

// awaitPlay keeps the ticket and the offer of a person for whom no seat is to spare, until
// they press Play.
func (b *Broker) awaitPlay(c *conn, w *waiter, parked []said) outcome {
	late := time.NewTimer(wire.PrepareFor)
	defer late.Stop()
	for {
		select {
		case <-late.C:
			return outcome{code: int(websocket.StatusNormalClosure)}
		case <-c.gone.Done():
			return outcome{}
		case <-b.sockets.closing.Done():
			return toAnotherBrain()
		case m := <-c.inbox:
			switch {
			case m.kind == wire.MsgPlay:
				c.release(m)
				w.since, w.rested = time.Now(), true
				return b.wait(c, w, parked)
			case m.kind == wire.MsgCandidate && len(parked) <= wire.MaxEarly:
				parked = append(parked, m)
			case m.kind == wire.MsgCandidate:
				b.metrics.dropped()
				c.release(m)
			case m.kind == wire.MsgLeave:
				return ended(wire.End{Reason: wire.ReasonLeft})
			default:
				return refused(malformed("Before Play, the message type must be one of play, candidate, leave."))
			}
		}
	}
}
