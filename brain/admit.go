package brain

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// maxEarly is how many candidates a person may send for one offer before a seat
// can take them.
const maxEarly = 64

// check says why a ticket is not good at this brain.
func (b *Broker) check(token string) (ticket.Claims, *wire.Problem) {
	claims, err := b.cfg.Verifier.Verify(token)
	switch {
	case errors.Is(err, ticket.ErrExpired):
		p := badTicket("The ticket has expired", "Press Play again. A page that waits must renew its ticket in time.")
		return claims, &p
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
// seat takes them.
func (b *Broker) admit(c *conn, hello wire.Message, began time.Time) outcome {
	claims, problem := b.check(hello.Ticket)
	if problem == nil {
		problem = b.state.admissible(claims)
	}
	if problem != nil {
		return refused(*problem)
	}
	if b.sockets.isClosing() {
		return toAnotherBrain()
	}
	w := newWaiter(claims, hello.Ticket, began)
	b.state.enqueue(w)
	defer b.state.leave(w)
	var early [][]byte // candidates that no seat has yet
	sdp := hello.SDP
	for {
		// An offer comes before updates: a person with an offer needs no place.
		select {
		case seat := <-w.offers:
			if o, done := b.tryClaim(c, w, seat, sdp, early); done {
				return o
			}
			continue
		case o := <-w.outcome:
			return o
		default:
		}
		select {
		case seat := <-w.offers:
			if o, done := b.tryClaim(c, w, seat, sdp, early); done {
				return o
			}
		case o := <-w.outcome:
			return o
		case m := <-w.updates:
			if send(c.ws, m) != nil {
				return outcome{}
			}
		case <-c.gone.Done():
			return outcome{}
		case <-b.sockets.closing:
			return toAnotherBrain()
		case data := <-c.messages:
			var m wire.Message
			json.Unmarshal(data, &m) // it is valid JSON; without a type it is refused below
			switch m.Type {
			case wire.MsgTicket:
				renewed, problem := b.check(m.Ticket)
				if problem == nil && (renewed.Session != claims.Session || renewed.App != claims.App) {
					p := badTicket("The ticket is for another session", "Renew the ticket that hello had.")
					problem = &p
				}
				if problem != nil {
					return refused(*problem)
				}
				b.state.renew(w, renewed, m.Ticket)
			case wire.MsgLeave:
				return ended(wire.End{Reason: wire.ReasonLeft})
			case wire.MsgOffer:
				sdp, early = m.SDP, nil // earlier candidates belong to the earlier offer
			case wire.MsgCandidate:
				if len(early) == maxEarly {
					return refused(malformed(fmt.Sprintf("Send at most %d candidates before a seat is granted.", maxEarly)))
				}
				early = append(early, data)
			default:
				return refused(malformed("While waiting, the message type must be one of ticket, offer, candidate, leave."))
			}
		}
	}
}

// admissible says why a person cannot wait for an app now.
func (st *state) admissible(claims ticket.Claims) *wire.Problem {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.view.jobsKnown {
		return nil // this brain has just started; the person waits until the apps are known
	}
	app, ok := st.view.app(claims.App)
	if !ok {
		p := unknownApp(claims.App)
		return &p
	}
	now := st.now()
	f := st.view.failureOf(claims.App)
	if f == nil || !f.running(app.Version, now) {
		return nil
	}
	t := st.view.tally(app, func(string) bool { return false }, now)
	if t.idle+t.old+t.allStarting+t.busy+t.ending > 0 {
		return nil
	}
	p := startFailed(f.why)
	return &p
}
