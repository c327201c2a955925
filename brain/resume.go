package brain

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// backWithin is how long a lost seat is looked for before its person is told.
const reattachWithin = 6 * time.Second

// resume serves a person who comes back with her seat's own token.
func (b *Broker) resume(c *conn, hello wire.Message) outcome {
	seat := seatOf(hello.Resume)
	if seat == "" {
		return refused(sessionOver("The resume token cannot be read."))
	}
	l, v := b.reattach(c, seat, hello.Resume, false)
	if l == nil {
		return v
	}
	b.metrics.claims.WithLabelValues("resumed").Inc()
	if sendRaw(c.ws, l.raw) != nil {
		l.ws.CloseNow()
		return outcome{}
	}
	b.log.Info("resumed", "session", l.grant.Session, "seat", seat)
	return b.relay(c, l, l.grant.App, hello.SDP, nil)
}

// reattach finds a seat again, or says what became of it. known is whether the
// seat was there a moment ago.
func (b *Broker) reattach(c *conn, seat, token string, known bool) (*attachment, outcome) {
	ctx, cancel := context.WithTimeout(c.gone, reattachWithin)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	over := false
	for try := 0; ; try++ {
		where := b.locate(seat)
		switch {
		case where.end != nil:
			return nil, ended(*where.end)
		case where.address != "" && !over && try%5 == 0:
			l, err := b.attach(ctx, where.address, token, nil)
			if err == nil {
				return l, outcome{}
			}
			var r refusal
			if errors.As(err, &r) {
				switch r.status {
				case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict:
					return nil, refused(sessionOver("The session of this token is over."))
				case http.StatusGone:
					over = true // ending: Nomad will say why in a moment
				}
			}
		case where.address == "" && where.settled && !known:
			return nil, refused(sessionOver("The seat of this session is gone."))
		}
		select {
		case <-tick.C:
		case <-b.closing:
			return nil, toAnotherBrain()
		case <-ctx.Done():
			if c.gone.Err() != nil {
				return nil, outcome{}
			}
			if where.running && !over {
				return nil, refused(unavailable("The seat runs but does not answer. Try to resume again."))
			}
			return nil, ended(wire.End{Reason: wire.ReasonError, Code: wire.CodeStreamHostDied,
				Detail: "the seat is gone and nobody could say why"})
		}
	}
}

// whereabouts is what is known of a seat.
type seatLocation struct {
	address string
	running bool      // Nomad or Consul have it
	settled bool      // Nomad and Consul have both been heard
	end     *wire.End // how it died
}

func (b *Broker) locate(seat string) seatLocation {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := seatLocation{settled: b.view.known()}
	// A seat that Consul lost sight of may well live where it was.
	if l := b.view.seatTracks[seat]; l != nil {
		w.address, w.running = l.last.Address, l.present
	}
	for _, child := range b.view.jobs.Children {
		if child.Alloc != seat {
			continue
		}
		if w.running = child.State != ChildDead; !w.running {
			w.end = child.End
			if w.end == nil {
				w.end = &wire.End{Reason: wire.ReasonError, Code: wire.CodeStreamHostDied,
					Detail: "the seat vanished without a word"}
			}
		}
		break
	}
	return w
}

// seatOf reads the seat's id from a resume token. Only the seat can check the
// token; what stands in it merely finds the way there.
func seatOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(token) > ticket.MaxToken {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Seat string `json:"seat"`
	}
	json.Unmarshal(payload, &claims)
	return claims.Seat
}
