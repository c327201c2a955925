package brain

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// check says why a ticket does not open this brain.
func (b *Broker) check(token string) (ticket.Claims, *wire.Problem) {
	claims, err := b.cfg.Verifier.Verify(token)
	switch {
	case errors.Is(err, ticket.ErrExpired):
		return claims, &wire.Problem{Type: wire.ProblemTicket, Title: "The ticket is expired", Status: 401,
			Detail: "Press Play again, or renew the ticket while waiting."}
	case err != nil:
		return claims, &wire.Problem{Type: wire.ProblemTicket, Title: "The ticket is not valid", Status: 401,
			Detail: "Take the ticket from POST /v1/sessions as it is."}
	case !claims.Allows(b.cfg.Site):
		return claims, &wire.Problem{Type: wire.ProblemTicket, Title: "The ticket is for another site", Status: 401,
			Detail: "Connect to the brain_url that came with the ticket."}
	}
	return claims, nil
}

// admit serves a person who comes with a ticket: she waits in line until a seat
// takes her.
func (b *Broker) admit(c *conn, hello wire.Message, began time.Time) outcome {
	claims, problem := b.check(hello.Ticket)
	if problem != nil {
		return refused(*problem)
	}
	if problem := b.admissible(claims); problem != nil {
		return refused(*problem)
	}
	w := newWaiter(claims, hello.Ticket, began)
	if err := b.enqueue(w); err != nil {
		return toAnotherBrain()
	}
	defer b.leave(w)
	var early [][]byte // what the seat is to get once it is there
	sdp := hello.SDP
	for {
		// An offer comes before news: who may go in need not hear of the line.
		select {
		case seat := <-w.offers:
			if v, done := b.tryClaim(c, w, seat, sdp, early); done {
				return v
			}
			continue
		case v := <-w.outcome:
			return v
		default:
		}
		select {
		case seat := <-w.offers:
			if v, done := b.tryClaim(c, w, seat, sdp, early); done {
				return v
			}
		case v := <-w.outcome:
			return v
		case m := <-w.updates:
			if send(c.ws, m) != nil {
				return outcome{}
			}
		case <-c.gone.Done():
			return outcome{}
		case <-b.closing:
			return toAnotherBrain()
		case data := <-c.raw:
			var m wire.Message
			json.Unmarshal(data, &m) // it is valid JSON; of a wrong shape it has no type
			switch m.Type {
			case wire.MsgTicket:
				renewed, problem := b.check(m.Ticket)
				if problem == nil && (renewed.Session != claims.Session || renewed.App != claims.App) {
					problem = &wire.Problem{Type: wire.ProblemTicket, Title: "The ticket is for another session", Status: 401,
						Detail: "Renew the ticket of this session."}
				}
				if problem != nil {
					return refused(*problem)
				}
				b.renew(w, renewed, m.Ticket)
			case wire.MsgLeave:
				return ended(wire.End{Reason: wire.ReasonLeft})
			case wire.MsgOffer:
				sdp, early = m.SDP, nil // candidates before it belonged to the offer before
			case wire.MsgCandidate:
				if len(early) == maxEarly {
					return refused(malformed("Too many candidates before there is a seat."))
				}
				early = append(early, data)
			default:
				return refused(malformed("Only ticket, offer, candidate and leave may be sent while waiting."))
			}
		}
	}
}

// admissible says why nobody can wait for an app now.
func (b *Broker) admissible(claims ticket.Claims) *wire.Problem {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.view.jobsKnown {
		return nil // just started: she waits until it is known
	}
	a, ok := b.view.jobs.Apps[claims.App]
	if !ok {
		p := unknownApp(claims.App)
		return &p
	}
	now := b.now()
	f := b.view.failures[claims.App]
	if f == nil || !f.running(a.Version, now) {
		return nil
	}
	t := b.view.tally(a, func(string) bool { return false }, now)
	if t.idle+t.old+t.allStarting+t.busy+t.ending > 0 {
		return nil
	}
	p := startFailedProblem(f.why)
	return &p
}
