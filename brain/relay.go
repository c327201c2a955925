package brain

import (
	"context"
	"encoding/json"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

// relay carries messages between a person and her seat until either is done.
func (b *Broker) relay(c *conn, l *attachment, app, sdp string, early [][]byte) outcome {
	session, seat := l.grant.Session, l.grant.Seat
	b.beginRelay(session, relayed{app: app, seat: seat, since: time.Now()})
	defer b.endRelay(session, seat)
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
func (b *Broker) pump(c *conn, l *attachment, open *[][]byte) (outcome, bool) {
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
				return outcome{}, false
			}
		case <-b.closing:
			return toAnotherBrain(), false
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
					return outcome{code: wire.CloseReplaced}, false
				}
				return outcome{}, true
			}
			if sendRaw(c.ws, got.data) != nil {
				return outcome{}, false
			}
			switch typeOf(got.data) {
			case wire.MsgAnswer:
				*open = nil
			case wire.MsgEnded:
				return outcome{code: wire.CloseEnded}, false
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

func (b *Broker) beginRelay(session string, a relayed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.relayed[session] = a
	b.metrics.sessions.Set(float64(len(b.relayed)))
}

func (b *Broker) endRelay(session, seat string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.relayed[session].seat == seat {
		delete(b.relayed, session)
	}
	b.metrics.sessions.Set(float64(len(b.relayed)))
}
