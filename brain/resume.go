package brain

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// reattachWithin is how long a lost seat is looked for before the session counts
// as ended.
const reattachWithin = 6 * time.Second

// resume serves a person who comes back with a resume token.
func (b *Broker) resume(c *conn, hello wire.Message, offer []said) outcome {
	_, seat := ticket.ReadResume(hello.Resume)
	if seat == "" {
		return refused(sessionOver("The resume token cannot be read."))
	}
	// Only its seat can check the token. But a person who knows the id of a seat that
	// lives, 122 random bits, has had it: they do not count among strangers while they
	// wait for the seat.
	if b.state.locate(seat).running {
		if p := full(c.guard.Prove()); p != nil {
			return refused(*p)
		}
	}
	a, o := b.reattach(c, seat, hello.Resume, false)
	if a == nil {
		return o
	}
	if p := full(c.guard.Prove()); p != nil {
		a.ws.CloseNow()
		return refused(*p)
	}
	b.metrics.claims.WithLabelValues("resumed").Inc()
	if b.sendGrant(c, a) != nil {
		a.ws.CloseNow()
		return outcome{}
	}
	b.log.Info("resumed", "session", a.grant.Session, "seat", seat)
	return b.relay(c, a, a.grant.App, offer)
}

// seatLocation is where a seat is and what is known of it.
type seatLocation struct {
	seat    wire.Seat // its last record; the zero value where there is none
	running bool      // Nomad has it alive
	settled bool      // Nomad has answered, and the nodes were heard
	end     *wire.End // how it died, if it is dead
}

// over says whether the seat runs no more.
func (at seatLocation) over() bool { return at.end != nil || at.settled && !at.running }

// reattach attaches to a seat again, or says what became of it. known says
// whether this brain was attached to it a moment ago.
func (b *Broker) reattach(c *conn, seat, token string, known bool) (*attachment, outcome) {
	ctx, cancel := context.WithTimeout(c.gone, reattachWithin)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	ending := false
	for try := 0; ; try++ {
		at := b.state.locate(seat)
		switch {
		case at.end != nil:
			return nil, ended(*at.end)
		case at.seat.Address != "" && !ending && try%5 == 0:
			a, err := b.seats.attach(ctx, at.seat, wire.AttachPath, credential{token: token}, nil)
			if err == nil {
				return a, outcome{}
			}
			var r refusal
			if errors.As(err, &r) {
				switch r.status {
				case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict:
					return nil, refused(sessionOver("The session of this resume token has ended."))
				case http.StatusGone:
					ending = true // Nomad will say why in a moment
				}
			}
		case at.seat.Address == "" && at.settled && !known:
			return nil, refused(sessionOver("The seat of this session is gone."))
		}
		select {
		case <-tick.C:
		case <-b.sockets.closing.Done():
			return nil, toAnotherBrain()
		case <-ctx.Done():
			if c.gone.Err() != nil {
				return nil, outcome{}
			}
			if at.running && !ending {
				return nil, refused(unavailable("The seat runs but does not answer. Resume again."))
			}
			return nil, ended(wire.End{Reason: wire.ReasonError, Code: wire.CodeStreamHostDied,
				Detail: "the seat is gone, and neither Nomad nor its node says why"})
		}
	}
}
