package brain

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

const (
	attachWithin = 1500 * time.Millisecond
	// backWithin is how long a lost seat is looked for before its person is told.
	backWithin = 6 * time.Second
)

// link is an attached seat.
type link struct {
	ws    *websocket.Conn
	grant wire.Grant
	raw   []byte // the granted message as it came
}

// refusal is a seat's answer other than 101.
type refusal struct{ status int }

func (r refusal) Error() string { return fmt.Sprintf("the seat answered %d", r.status) }

// attach opens a seat with a ticket (that is the claim) or a resume token. The
// connection may have been dialled ahead.
func (b *Broker) attach(ctx context.Context, address, token string, ahead *dialled) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, attachWithin)
	defer cancel()
	client := b.seats
	if ahead != nil {
		transport := &http.Transport{DisableKeepAlives: true, DialContext: ahead.take}
		client = &http.Client{Transport: transport}
	}
	ws, resp, err := websocket.Dial(ctx, "ws://"+address+wire.AttachPath, &websocket.DialOptions{
		HTTPClient: client, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, refusal{resp.StatusCode}
		}
		return nil, err
	}
	ws.SetReadLimit(2 * wire.MaxMessage)
	_, data, err := ws.Read(ctx)
	var m wire.Message
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err == nil && (m.Type != wire.MsgGranted || m.Grant == nil) {
		err = fmt.Errorf("the seat's first message is %q, not granted", m.Type)
	}
	if err != nil {
		ws.CloseNow()
		return nil, err
	}
	return &link{ws: ws, grant: *m.Grant, raw: data}, nil
}

// dialled is a connection that is dialled while something else is waited for.
type dialled struct {
	done chan struct{}
	conn net.Conn
	err  error
}

func dialAhead(ctx context.Context, address string) *dialled {
	d := &dialled{done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.conn, d.err = (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
	}()
	return d
}

func (d *dialled) take(context.Context, string, string) (net.Conn, error) {
	<-d.done
	conn, err := d.conn, d.err
	d.conn, d.err = nil, errors.New("dialled once")
	return conn, err
}

// drop closes the connection if nobody took it.
func (d *dialled) drop() {
	if conn, err := d.take(context.Background(), "", ""); err == nil {
		conn.Close()
	}
}

// tryClaim claims the seat that w is offered, and relays if it is granted. It
// reports false where w is to go on waiting.
func (b *Broker) tryClaim(c *conn, w *waiter, seat wire.Seat, sdp string, early [][]byte) (verdict, bool) {
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
		return verdict{}, true
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
func (b *Broker) lostRace(c *conn, w *waiter, seat wire.Seat, err error) (verdict, bool) {
	var r refusal
	if c.gone.Err() != nil {
		return verdict{}, true
	}
	if !errors.As(err, &r) {
		b.metrics.claims.WithLabelValues("unreachable").Inc()
		b.log.Warn("a seat does not answer a claim", "seat", seat.ID, "address", seat.Address, "error", err)
		b.declined(w, seat, false)
		return verdict{}, false
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
	return verdict{}, false
}

// relay carries messages between a person and her seat until either is done.
func (b *Broker) relay(c *conn, l *link, app, sdp string, early [][]byte) verdict {
	session, seat := l.grant.Session, l.grant.Seat
	b.attachedTo(session, attached{app: app, seat: seat, since: time.Now()})
	defer b.detachedFrom(session, seat)
	// open is the offer that waits for its answer, and its candidates: if the
	// seat's connection breaks, nobody knows whether they arrived.
	var open [][]byte
	if sdp != "" {
		offer, err := json.Marshal(wire.Message{Type: wire.MsgOffer, SDP: sdp})
		if err == nil {
			open = append([][]byte{offer}, early...)
		}
	}
	for {
		for _, data := range open {
			if sendRaw(l.ws, data) != nil {
				break // reading says why
			}
		}
		v, lost := b.pump(c, l, &open)
		l.ws.CloseNow()
		if !lost {
			return v
		}
		again, v := b.reattach(c, seat, l.grant.Resume, true)
		if again == nil {
			return v
		}
		b.log.Info("attached to a seat again", "session", session, "seat", seat)
		l = again
	}
}

// pump relays over one connection to the seat. It reports true where that
// connection was lost and the person is still there.
func (b *Broker) pump(c *conn, l *link, open *[][]byte) (verdict, bool) {
	type word struct {
		data []byte
		err  error
	}
	ctx, stop := context.WithCancel(context.Background())
	fromSeat := make(chan word)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			_, data, err := l.ws.Read(ctx)
			select {
			case fromSeat <- word{data, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	defer func() {
		stop()
		l.ws.CloseNow()
		<-done
	}()
	for {
		select {
		case <-c.gone.Done():
			// Her socket is lost, and the seat keeps its grace. But if the last
			// thing she sent was that she leaves, the seat is to hear it.
			for {
				select {
				case data := <-c.raw:
					sendRaw(l.ws, data)
					continue
				default:
				}
				return verdict{}, false
			}
		case <-b.closing:
			return goElsewhere(), false
		case data := <-c.raw:
			switch typeOf(data) {
			case wire.MsgOffer:
				*open = [][]byte{data}
			case wire.MsgCandidate:
				if n := len(*open); n > 0 && n < maxEarly {
					*open = append(*open, data)
				}
			}
			if sendRaw(l.ws, data) != nil {
				continue // reading says why
			}
		case got := <-fromSeat:
			if got.err != nil {
				if websocket.CloseStatus(got.err) == wire.CloseReplaced {
					return verdict{code: wire.CloseReplaced}, false
				}
				return verdict{}, true
			}
			if sendRaw(c.ws, got.data) != nil {
				return verdict{}, false
			}
			switch typeOf(got.data) {
			case wire.MsgAnswer:
				*open = nil
			case wire.MsgEnded:
				return verdict{code: wire.CloseEnded}, false
			}
		}
	}
}

func typeOf(data []byte) wire.MessageType {
	var m struct {
		Type wire.MessageType `json:"type"`
	}
	json.Unmarshal(data, &m) // whatever is no message has no type
	return m.Type
}

// resume serves a person who comes back with her seat's own token.
func (b *Broker) resume(c *conn, hello wire.Message) verdict {
	seat := seatOf(hello.Resume)
	if seat == "" {
		return refused(resumeOver("The resume token cannot be read."))
	}
	l, v := b.reattach(c, seat, hello.Resume, false)
	if l == nil {
		return v
	}
	b.metrics.claims.WithLabelValues("resumed").Inc()
	if sendRaw(c.ws, l.raw) != nil {
		l.ws.CloseNow()
		return verdict{}
	}
	b.log.Info("resumed", "session", l.grant.Session, "seat", seat)
	return b.relay(c, l, l.grant.App, hello.SDP, nil)
}

// reattach finds a seat again, or says what became of it. known is whether the
// seat was there a moment ago.
func (b *Broker) reattach(c *conn, seat, token string, known bool) (*link, verdict) {
	ctx, cancel := context.WithTimeout(c.gone, backWithin)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	over := false
	for try := 0; ; try++ {
		where := b.where(seat)
		switch {
		case where.end != nil:
			return nil, ended(*where.end)
		case where.address != "" && !over && try%5 == 0:
			l, err := b.attach(ctx, where.address, token, nil)
			if err == nil {
				return l, verdict{}
			}
			var r refusal
			if errors.As(err, &r) {
				switch r.status {
				case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict:
					return nil, refused(resumeOver("The session of this token is over."))
				case http.StatusGone:
					over = true // ending: Nomad will say why in a moment
				}
			}
		case where.address == "" && where.settled && !known:
			return nil, refused(resumeOver("The seat of this session is gone."))
		}
		select {
		case <-tick.C:
		case <-b.closing:
			return nil, goElsewhere()
		case <-ctx.Done():
			if c.gone.Err() != nil {
				return nil, verdict{}
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
type whereabouts struct {
	address string
	running bool      // Nomad or Consul have it
	settled bool      // Nomad and Consul have both been heard
	end     *wire.End // how it died
}

func (b *Broker) where(seat string) whereabouts {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := whereabouts{settled: b.view.known()}
	// A seat that Consul lost sight of may well live where it was.
	if l := b.view.lives[seat]; l != nil {
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

func (b *Broker) attachedTo(session string, a attached) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attached[session] = a
	b.metrics.sessions.Set(float64(len(b.attached)))
}

func (b *Broker) detachedFrom(session, seat string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.attached[session].seat == seat {
		delete(b.attached, session)
	}
	b.metrics.sessions.Set(float64(len(b.attached)))
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
