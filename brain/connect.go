package brain

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/wire"
)

const (
	writeWithin = 5 * time.Second
	pingEvery   = 20 * time.Second
)

// conn is a person's socket.
type conn struct {
	ws    *websocket.Conn
	guard *guard.Conn
	// cut counts a connection that is ended for what it does.
	cut func(why string)
	// inbox are the person's messages as they came. They are relayed verbatim.
	inbox chan said
	gone  context.Context // ends when the socket is lost
	stop  context.CancelFunc
}

// connect serves GET /v1/connect.
func (b *Broker) connect(rw http.ResponseWriter, r *http.Request) {
	if !b.sockets.enter() {
		writeProblem(rw, unavailable("This brain is closing. Connect again to reach another brain."))
		return
	}
	accepted := false
	defer func() {
		if !accepted {
			b.sockets.leave()
		}
	}()
	if p := b.welcome(r); p != nil {
		b.metrics.refusals.WithLabelValues(p.Type).Inc()
		writeProblem(rw, *p)
		return
	}

	ctx, stop := context.WithCancel(context.Background())
	c := &conn{guard: guard.Of(r.Context()), inbox: make(chan said, 8), gone: ctx, stop: stop, cut: b.metrics.cut}
	flood := newFlood()
	// Any page may embed an app, so any origin may connect. The ticket decides,
	// and cookies play no part.
	ws, err := websocket.Accept(smallBuffers{rw}, r, &websocket.AcceptOptions{InsecureSkipVerify: true,
		OnPingReceived: func(context.Context, []byte) bool {
			if !flood.takes(time.Now()) {
				c.cut(cutFlood)
				stop()
				return false
			}
			return true
		}})
	if err != nil {
		stop()
		return // Accept has answered
	}
	accepted = true
	c.ws = ws
	ws.SetReadLimit(wire.MaxOffer)
	// In a goroutine of its own, because the server's keeps a large stack, the request
	// and its buffers: that would be a third of a session's memory.
	go func() {
		defer b.sockets.leave()
		defer stop()
		defer ws.CloseNow()
		defer b.survive()
		b.serve(c, flood, time.Now())
	}()
}

// serve serves a person from hello to their last message.
func (b *Broker) serve(c *conn, flood *flood, began time.Time) {
	hello, offer, ok := b.hello(c)
	if !ok {
		return
	}

	readers := make(chan struct{})
	go func() {
		defer close(readers)
		defer b.survive()
		defer c.stop()
		b.read(c, flood)
	}()
	keepAlive(c)
	defer func() {
		c.stop()
		c.ws.CloseNow()
		<-readers
	}()
	var o outcome
	switch {
	case hello.Type == wire.MsgPrepare:
		o = b.prepare(c, hello, offer, began)
	case hello.Resume != "":
		o = b.resume(c, hello, offer)
	default:
		o = b.admit(c, hello, offer, began)
	}
	b.finish(c, o)
}

// survive keeps a fault in the handling of one person's messages from ending the
// sessions of all others, as net/http does for its handlers.
func (b *Broker) survive() {
	if fault := recover(); fault != nil {
		b.log.Error("serving a person failed", "fault", fault, "stack", string(debug.Stack()))
	}
}

// hello reads the first message and the offer in it. Where it reports false, the
// socket is closed.
func (b *Broker) hello(c *conn) (hello wire.Message, offer []said, ok bool) {
	ctx, cancel := context.WithTimeout(c.gone, b.patience())
	defer cancel()
	// A person that has not said hello does not delay Shutdown.
	defer context.AfterFunc(b.sockets.closing, cancel)()
	first, err := c.receive(ctx)
	switch {
	case err == errNotText || err == nil && json.Unmarshal(first.data, &hello) != nil:
		b.finish(c, refused(malformed("The first message must be a JSON object in a text frame.")))
	case err != nil:
		if ctx.Err() == context.DeadlineExceeded {
			c.cut(cutHello)
		}
		c.ws.Close(websocket.StatusPolicyViolation, "no hello message came in time")
	case hello.Type != wire.MsgHello && hello.Type != wire.MsgPrepare:
		b.finish(c, refused(malformed("The first message must be hello, or prepare.")))
	case hello.Type == wire.MsgPrepare && (hello.Ticket == "" || hello.Resume != "" || hello.SDP == ""):
		b.finish(c, refused(malformed("prepare must have a ticket and an offer, and no resume token.")))
	case (hello.Ticket == "") == (hello.Resume == ""):
		b.finish(c, refused(malformed("hello must have a ticket or a resume token, and not both.")))
	default:
		if hello.SDP != "" {
			first.kind = wire.MsgOffer
			if first.data, err = json.Marshal(wire.Message{Type: wire.MsgOffer, SDP: hello.SDP, Restart: hello.Restart, View: hello.View}); err != nil {
				return hello, nil, false
			}
			return hello, []said{first}, true
		}
		c.release(first)
		return hello, nil, true
	}
	return wire.Message{}, nil, false
}

// finish sends the last message and closes.
func (b *Broker) finish(c *conn, o outcome) {
	if o.message.Type != "" {
		if p := o.message.Problem; p != nil {
			b.metrics.refusals.WithLabelValues(p.Type).Inc()
		}
		if c.send(o.message) != nil {
			return
		}
	}
	if o.code != 0 {
		c.ws.Close(websocket.StatusCode(o.code), string(o.message.Type))
	}
}

// keepAlive notices a person whose network fails silently, or who does not read.
// It needs no goroutine of its own between two pings.
func keepAlive(c *conn) {
	var timer *time.Timer
	timer = time.AfterFunc(pingEvery, func() {
		ping, cancel := context.WithTimeout(c.gone, pingEvery/2)
		defer cancel()
		if err := c.ws.Ping(ping); err != nil {
			if c.gone.Err() == nil {
				c.cut(cutSilent)
			}
			c.stop()
			return
		}
		timer.Reset(pingEvery)
	})
	context.AfterFunc(c.gone, func() { timer.Stop() })
}

func (c *conn) send(m wire.Message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return c.sendRaw(data)
}

// sendRaw sends to a person. Who does not read is cut.
func (c *conn) sendRaw(data []byte) error {
	err := sendRaw(c.ws, data)
	if errors.Is(err, context.DeadlineExceeded) {
		c.cut(cutUnread)
	}
	return err
}

func sendRaw(ws *websocket.Conn, data []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeWithin)
	defer cancel()
	return ws.Write(ctx, websocket.MessageText, data)
}
