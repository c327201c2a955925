package brain

import (
	"context"
	"encoding/json"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

// relay carries messages between a person and their seat until one of them is
// done. unanswered is an offer without an answer, and its candidates. When the
// attachment breaks, nobody knows whether they arrived, so they are sent again.
func (b *Broker) relay(c *conn, a *attachment, app string, unanswered []said) outcome {
	session, seat := a.grant.Session, a.grant.Seat
	if a.lease == nil { // else it begins with the session
		b.state.beginRelay(session, relayedSession{app: app, seat: seat, since: time.Now()})
	}
	defer b.state.endRelay(session, seat)
	b.renewTURN(c)
	for {
		for _, m := range unanswered {
			if sendRaw(a.ws, m.data) != nil {
				break // the read says why
			}
		}
		o, lost := b.pump(c, a, &unanswered)
		a.ws.CloseNow()
		if !lost || a.lease != nil { // nobody has begun anything that they could come back to
			return o
		}
		again, o := b.reattach(c, seat, a.grant.Resume, true)
		if again == nil {
			return o
		}
		b.log.Info("reattached", "session", session, "seat", seat)
		a = again
	}
}

// pump relays over one attachment. It reports true where the attachment was lost
// and the person is still there.
func (b *Broker) pump(c *conn, a *attachment, unanswered *[]said) (outcome, bool) {
	type received struct {
		data []byte
		err  error
	}
	ctx, stop := context.WithCancel(context.Background())
	fromSeat := make(chan received)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			_, data, err := a.ws.Read(ctx)
			select {
			case fromSeat <- received{data, err}:
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
		a.ws.CloseNow()
		<-done
	}()
	for {
		select {
		case <-c.gone.Done():
			// The seat waits for its grace. If the person's last message was leave,
			// the seat needs it to end at once.
			for {
				select {
				case m := <-c.inbox:
					sendRaw(a.ws, m.data)
					continue
				default:
				}
				return outcome{}, false
			}
		case <-b.sockets.closing.Done():
			return toAnotherBrain(), false
		case m := <-c.inbox:
			kept := false
			switch n := len(*unanswered); {
			case m.kind == wire.MsgOffer:
				c.release(*unanswered...)
				*unanswered, kept = []said{m}, true
			case m.kind == wire.MsgCandidate && n > 0 && n <= wire.MaxEarly:
				*unanswered, kept = append(*unanswered, m), true
			}
			if m.kind == wire.MsgPlay && a.lease != nil {
				if problem := a.lease.play(); problem != nil {
					return refused(*problem), false
				}
			}
			sendRaw(a.ws, m.data) // if that fails, the read says why
			if !kept {
				c.release(m)
			}
		case got := <-fromSeat:
			if got.err != nil {
				if websocket.CloseStatus(got.err) == wire.CloseReplaced {
					return outcome{code: wire.CloseReplaced}, false
				}
				return outcome{}, true
			}
			if c.sendRaw(got.data) != nil {
				return outcome{}, false
			}
			switch typeOf(got.data) {
			case wire.MsgGranted:
				if a.lease != nil {
					a.lease.began()
					a.lease = nil
				}
			case wire.MsgAnswer:
				c.release(*unanswered...)
				*unanswered = nil
			case wire.MsgEnded:
				return outcome{code: wire.CloseEnded}, false
			}
		}
	}
}

// typeOf is a message's type, empty where the data is not a message.
func typeOf(data []byte) wire.MessageType {
	var m struct {
		Type wire.MessageType `json:"type"`
	}
	json.Unmarshal(data, &m)
	return m.Type
}
