package brain

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	helloWithin = 10 * time.Second
	writeWithin = 5 * time.Second
	pingEvery   = 20 * time.Second
	// A person's page sends a few dozen candidates at once, and then next to nothing.
	floodBurst = 256
	floodRate  = 50 // messages a second
	// maxEarly is how many messages may come before a seat is there to take them.
	maxEarly = 64
)

var errClosing = errors.New("this brain is closing")

// conn is a person's socket.
type conn struct {
	ws *websocket.Conn
	// raw are her messages as they came: they are relayed verbatim.
	raw  chan []byte
	gone context.Context // ends when the socket is lost
}

// connect serves GET /v1/connect.
func (b *Broker) connect(rw http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	if b.stopped {
		b.mu.Unlock()
		writeProblem(rw, unavailable("This brain is closing. Connect again to reach another."))
		return
	}
	b.conns.Add(1)
	b.mu.Unlock()
	defer b.conns.Done()

	// Any page may embed an app, so any origin may connect: what counts is the
	// ticket, and nothing here goes by cookies.
	ws, err := websocket.Accept(rw, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer ws.CloseNow()
	ws.SetReadLimit(wire.MaxMessage)
	began := time.Now()

	first, cancel := context.WithTimeout(r.Context(), helloWithin)
	go func() { // who has not said hello yet does not hold up the closing
		select {
		case <-b.closing:
			cancel()
		case <-first.Done():
		}
	}()
	kind, data, err := ws.Read(first)
	cancel()
	var hello wire.Message
	switch {
	case err != nil:
		ws.Close(websocket.StatusPolicyViolation, "no hello came")
		return
	case kind != websocket.MessageText || json.Unmarshal(data, &hello) != nil:
		b.finish(ws, refused(malformed("The first message is not a JSON object in a text frame.")))
		return
	case hello.Type != wire.MsgHello:
		b.finish(ws, refused(malformed("The first message has to be hello.")))
		return
	case (hello.Ticket == "") == (hello.Resume == ""):
		b.finish(ws, refused(malformed("hello needs either a ticket or a resume token.")))
		return
	}

	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	c := &conn{ws: ws, raw: make(chan []byte, 16), gone: ctx}
	readers := make(chan struct{})
	go func() {
		defer close(readers)
		defer stop()
		b.read(ctx, c)
	}()
	go b.keepAlive(ctx, ws, stop)
	defer func() {
		stop()
		ws.CloseNow()
		<-readers
	}()
	var v outcome
	if hello.Resume != "" {
		v = b.resume(c, hello)
	} else {
		v = b.admit(c, hello, began)
	}
	b.finish(ws, v)
}

// finish says the last word and closes.
func (b *Broker) finish(ws *websocket.Conn, v outcome) {
	if v.message.Type != "" {
		if p := v.message.Problem; p != nil {
			b.metrics.refusals.WithLabelValues(p.Type).Inc()
		}
		if send(ws, v.message) != nil {
			return
		}
	}
	if v.code != 0 {
		ws.Close(websocket.StatusCode(v.code), string(v.message.Type))
	}
}

// read hands on what the person sends, and ends when she is gone or floods.
func (b *Broker) read(ctx context.Context, c *conn) {
	allowance, last := float64(floodBurst), time.Now()
	for {
		kind, data, err := c.ws.Read(ctx)
		if err != nil {
			return
		}
		now := time.Now()
		allowance = min(floodBurst, allowance+now.Sub(last).Seconds()*floodRate)
		last = now
		if allowance--; allowance < 0 {
			b.finish(c.ws, refused(wire.Problem{Type: wire.ProblemMalformed, Title: "Too many messages", Status: 429,
				Detail: "Send fewer messages: candidates and offers only."}))
			return
		}
		if kind != websocket.MessageText || !json.Valid(data) {
			b.finish(c.ws, refused(malformed("A message is not a JSON object in a text frame.")))
			return
		}
		select {
		case c.raw <- data:
		case <-ctx.Done():
			return
		}
	}
}

// keepAlive notices a person whose network went away without a word.
func (b *Broker) keepAlive(ctx context.Context, ws *websocket.Conn, lost context.CancelFunc) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ping, cancel := context.WithTimeout(ctx, pingEvery/2)
		err := ws.Ping(ping)
		cancel()
		if err != nil {
			lost()
			return
		}
	}
}

func send(ws *websocket.Conn, m wire.Message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return sendRaw(ws, data)
}

func sendRaw(ws *websocket.Conn, data []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeWithin)
	defer cancel()
	return ws.Write(ctx, websocket.MessageText, data)
}
