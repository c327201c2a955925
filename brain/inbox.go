package brain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// said is a message of a person.
type said struct {
	kind wire.MessageType
	data []byte
	held int // bytes that are counted for it
}

const (
	// messageWithin is how long a message may take from its first byte to its last.
	messageWithin = 5 * time.Second
	// A person's page sends a few dozen candidates at once, and little after that.
	floodBurst = 128
	floodRate  = 20 // messages per second
	// An offer costs the seat a new peer. A page makes one at once, and then one
	// each five seconds while no picture comes.
	offerBurst = 8
	offerEvery = 2 * time.Second
	// maxCandidates is how many candidates a socket may bring in all: a page that
	// changes its network each minute for an hour, with four each.
	maxCandidates = 256
	// small is the largest message that has neither SDP nor ticket.
	small = 1 << 10
)

var (
	errNotText = errors.New("the message is not a JSON object in a text frame")
	errTooMuch = errors.New("too many bytes are held for the connection")
)

// largest is the largest message of a type, in bytes.
func largest(kind wire.MessageType) int {
	switch kind {
	case wire.MsgHello, wire.MsgPrepare, wire.MsgOffer:
		return wire.MaxOffer
	case wire.MsgCandidate:
		return wire.MaxCandidate
	case wire.MsgTicket:
		return ticket.MaxToken + small
	}
	return small
}

// flood is how much a person may say. It is for the one goroutine that reads.
type flood struct{ messages, offers *rate.Limiter }

func newFlood() *flood {
	return &flood{messages: rate.NewLimiter(floodRate, floodBurst), offers: rate.NewLimiter(rate.Every(offerEvery), offerBurst)}
}

func (f *flood) takes(now time.Time) bool { return f.messages.AllowN(now, 1) }

// receive reads the next message. While it comes in, no more is held than has
// come.
func (c *conn) receive(ctx context.Context) (m said, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kind, r, err := c.ws.Reader(ctx)
	if err != nil {
		return m, err
	}
	slow := time.AfterFunc(messageWithin, func() {
		c.cut(cutSlow)
		cancel()
	})
	defer slow.Stop()
	defer func() {
		if err != nil {
			c.release(m)
			m = said{}
		}
	}()
	for {
		if len(m.data) == cap(m.data) {
			n := max(small, 2*cap(m.data))
			if !c.guard.Reserve(n - m.held) {
				return m, errTooMuch
			}
			m.data, m.held = append(make([]byte, 0, n), m.data...), n
		}
		n, err := r.Read(m.data[len(m.data):cap(m.data)])
		m.data = m.data[:len(m.data)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return m, err
		}
	}
	var head struct {
		Type wire.MessageType `json:"type"`
	}
	if kind != websocket.MessageText || json.Unmarshal(m.data, &head) != nil {
		return m, errNotText
	}
	m.kind = head.Type
	return m, nil
}

// release ends the counting of messages that are not held any more.
func (c *conn) release(list ...said) {
	for _, m := range list {
		c.guard.Release(m.held)
	}
}

// read passes on what the person sends, until they are gone or send too much.
func (b *Broker) read(c *conn, flood *flood) {
	candidates := 0
	for {
		m, err := c.receive(c.gone)
		p := (*wire.Problem)(nil)
		now := time.Now()
		switch {
		case err == errNotText:
			p = new(malformed("Each message must be a JSON object in a text frame."))
		case err == errTooMuch:
			p = new(unavailable("This brain holds too much already. Connect again."))
		case err != nil:
			return
		case !flood.takes(now):
			p = new(tooMuch(fmt.Sprintf("Send at most %d messages at once and %d per second.", floodBurst, floodRate)))
		case m.kind == wire.MsgOffer && !flood.offers.AllowN(now, 1):
			p = new(tooMuch(fmt.Sprintf("Send at most %d offers at once, and then one each %v.", offerBurst, offerEvery)))
		case len(m.data) > largest(m.kind):
			p = new(tooLarge(m.kind))
		}
		if p != nil {
			if p.Status == 429 {
				c.cut(cutFlood)
			}
			b.finish(c, refused(*p))
			return
		}
		if m.kind == wire.MsgCandidate {
			if candidates++; candidates > maxCandidates {
				b.metrics.dropped()
				c.release(m)
				continue
			}
		}
		select {
		case c.inbox <- m:
		case <-c.gone.Done():
			return
		}
	}
}
