package brain

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// check says why a ticket is not good at this brain.
func (b *Broker) check(token string) (ticket.Claims, *wire.Problem) {
	claims, err := b.cfg.Verifier.Verify(token)
	switch {
	case errors.Is(err, ticket.ErrExpired):
		return claims, new(lapsed())
	case err != nil:
		p := badTicket("The ticket is not valid", "Send the ticket exactly as POST /v1/sessions returned it.")
		return claims, &p
	case !claims.Allows(b.cfg.Site):
		p := badTicket("The ticket is for another site", "Connect to the brain_url that came with the ticket.")
		return claims, &p
	}
	return claims, nil
}

// admit serves a person who comes with a ticket. They wait in the queue until a
// seat takes them. parked is their offer, and the candidates that no seat has yet.
func (b *Broker) admit(c *conn, hello wire.Message, parked []said, began time.Time) outcome {
	claims, problem := b.admits(c, hello.Ticket)
	if problem != nil {
		return refused(*problem)
	}
	if b.sockets.isClosing() {
		return toAnotherBrain()
	}
	w := newWaiter(claims, hello.Ticket, began)
	b.traceBroker(w)
	o := b.wait(c, w, parked)
	traceOutcome(w.span, o)
	return o
}

// admits says who comes with a ticket, and why they cannot wait for a seat.
func (b *Broker) admits(c *conn, token string) (ticket.Claims, *wire.Problem) {
	claims, problem := b.check(token)
	if problem == nil {
		problem = b.state.admissible(claims)
	}
	if problem == nil {
		problem = full(c.guard.Prove())
	}
	return claims, problem
}

// wait has a person wait in the queue until a seat takes them.
func (b *Broker) wait(c *conn, w *waiter, parked []said) outcome {
	claims := w.claims
	b.state.enqueue(w)
	defer b.state.leave(w)
	queue := w.span.Child("brain queue")
	defer func() { queue.End() }()
	claim := func(seat wire.Seat) (outcome, bool) {
		queue.End()
		o, done := b.tryClaim(c, w, seat, parked)
		if !done {
			queue = w.span.Child("brain queue")
		}
		return o, done
	}
	early := 0 // candidates of this session so far
	for {
		// An offer comes before updates: a person with an offer needs no place.
		select {
		case seat := <-w.offers:
			if o, done := claim(seat); done {
				return o
			}
			continue
		case o := <-w.outcome:
			return o
		default:
		}
		select {
		case seat := <-w.offers:
			if o, done := claim(seat); done {
				return o
			}
		case o := <-w.outcome:
			return o
		case m := <-w.updates:
			if c.send(m) != nil {
				return outcome{}
			}
		case <-c.gone.Done():
			return outcome{}
		case <-b.sockets.closing.Done():
			return toAnotherBrain()
		case m := <-c.inbox:
			switch m.kind {
			case wire.MsgTicket:
				if problem := b.renew(w, claims, m); problem != nil {
					return refused(*problem)
				}
				c.release(m)
			case wire.MsgLeave:
				return ended(wire.End{Reason: wire.ReasonLeft})
			case wire.MsgOffer:
				c.release(parked...) // earlier candidates belong to the earlier offer
				parked = []said{m}
			case wire.MsgCandidate:
				if early++; early > wire.MaxEarly {
					b.metrics.dropped()
					c.release(m)
					continue
				}
				parked = append(parked, m)
			default:
				return refused(malformed("While waiting, the message type must be one of ticket, offer, candidate, leave."))
			}
		}
	}
}

// renew takes a waiting person's renewed ticket.
func (b *Broker) renew(w *waiter, claims ticket.Claims, m said) *wire.Problem {
	var message wire.Message
	json.Unmarshal(m.data, &message) // it is a JSON object; a wrong ticket is refused
	renewed, problem := b.check(message.Ticket)
	if problem != nil {
		return problem
	}
	if problem := b.state.closed(renewed); problem != nil {
		return problem
	}
	if renewed.Session != claims.Session || renewed.App != claims.App {
		return new(badTicket("The ticket is for another session", "Renew the ticket that hello had."))
	}
	b.state.renew(w, renewed, message.Ticket)
	return nil
}

// closedTo says why an app is not for the person of a ticket. The router has decided that; but an app may
// have been closed to the public since, and a ticket is renewed for an hour.
func closedTo(app App, claims ticket.Claims) *wire.Problem {
	if claims.Network == "" || app.Access == wire.AccessPublic || app.Access == "" {
		return nil // only an anonymous launch has a network
	}
	p := badTicket("The app is not open to everybody any more", "POST /v1/sessions again, with a launch token, or after a login.")
	return &p
}

// closed is closedTo for an app that is known.
func (st *state) closed(claims ticket.Claims) *wire.Problem {
	st.mu.Lock()
	defer st.mu.Unlock()
	app, ok := st.view.app(claims.App)
	if !st.view.jobsKnown || !ok {
		return nil
	}
	return closedTo(app, claims)
}

// admissible says why a person cannot wait for an app now.
func (st *state) admissible(claims ticket.Claims) *wire.Problem {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.view.jobsKnown || st.view.claimedBy(claims.Session) != nil {
		return nil // this brain has just started, and the person waits until the apps are known; or they have a seat
	}
	app, ok := st.view.app(claims.App)
	if !ok {
		p := unknownApp(claims.App)
		return &p
	}
	if p := closedTo(app, claims); p != nil {
		return p
	}
	now := st.now()
	f := st.view.failureOf(claims.App)
	if f == nil || !f.running(app.Version, now) {
		return nil
	}
	if a := st.view.apps[claims.App]; a.total() > a.counts.blocked {
		return nil
	}
	p := startFailed(f.why)
	return &p
}
