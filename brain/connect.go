package brain

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	helloWithin = 10 * time.Second
	writeWithin = 5 * time.Second
	pingEvery   = 20 * time.Second
	// A person's page sends a few dozen candidates at once, and little after that.
	floodBurst = 256
	floodRate  = 50 // messages per second
)

// sockets counts people's WebSockets, so that Shutdown can wait for them.
type sockets struct {
	mu      sync.Mutex
	open    sync.WaitGroup
	closing chan struct{} // closed when people are to go to another brain
}

func newSockets() *sockets { return &sockets{closing: make(chan struct{})} }

func (s *sockets) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// enter counts a socket. It reports false once the brain is closing.
func (s *sockets) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosing() {
		return false
	}
	s.open.Add(1)
	return true
}

func (s *sockets) leave() { s.open.Done() }

func (s *sockets) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isClosing() {
		close(s.closing)
	}
}

// wait waits until all sockets have left.
func (s *sockets) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		s.open.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close connections: %w", ctx.Err())
	}
}

// conn is a person's socket after hello.
type conn struct {
	ws *websocket.Conn
	// messages are the person's messages as they came. They are relayed verbatim.
	messages chan []byte
	gone     context.Context // ends when the socket is lost
}

// connect serves GET /v1/connect.
func (b *Broker) connect(rw http.ResponseWriter, r *http.Request) {
	if !b.sockets.enter() {
		writeProblem(rw, unavailable("This brain is closing. Connect again to reach another brain."))
		return
	}
	defer b.sockets.leave()

	// Any page may embed an app, so any origin may connect. The ticket decides,
	// and cookies play no part.
	ws, err := websocket.Accept(rw, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer ws.CloseNow()
	ws.SetReadLimit(wire.MaxMessage)
	began := time.Now()
	hello, ok := b.hello(r.Context(), ws)
	if !ok {
		return
	}

	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	c := &conn{ws: ws, messages: make(chan []byte, 16), gone: ctx}
	readers := make(chan struct{})
	go func() {
		defer close(readers)
		defer stop()
		b.read(ctx, c)
	}()
	go keepAlive(ctx, ws, stop)
	defer func() {
		stop()
		ws.CloseNow()
		<-readers
	}()
	var o outcome
	if hello.Resume != "" {
		o = b.resume(c, hello)
	} else {
		o = b.admit(c, hello, began)
	}
	b.finish(ws, o)
}

// hello reads the first message. Where it reports false, the socket is closed.
func (b *Broker) hello(ctx context.Context, ws *websocket.Conn) (hello wire.Message, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, helloWithin)
	defer cancel()
	go func() { // a person that has not said hello does not delay Shutdown
		select {
		case <-b.sockets.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	kind, data, err := ws.Read(ctx)
	switch {
	case err != nil:
		ws.Close(websocket.StatusPolicyViolation, "no hello message came in time")
	case kind != websocket.MessageText || json.Unmarshal(data, &hello) != nil:
		b.finish(ws, refused(malformed("The first message must be a JSON object in a text frame.")))
	case hello.Type != wire.MsgHello:
		b.finish(ws, refused(malformed("The first message must be hello.")))
	case (hello.Ticket == "") == (hello.Resume == ""):
		b.finish(ws, refused(malformed("hello must have a ticket or a resume token, and not both.")))
	default:
		return hello, true
	}
	return wire.Message{}, false
}

// finish sends the last message and closes.
func (b *Broker) finish(ws *websocket.Conn, o outcome) {
	if o.message.Type != "" {
		if p := o.message.Problem; p != nil {
			b.metrics.refusals.WithLabelValues(p.Type).Inc()
		}
		if send(ws, o.message) != nil {
			return
		}
	}
	if o.code != 0 {
		ws.Close(websocket.StatusCode(o.code), string(o.message.Type))
	}
}

// read passes on what the person sends, until they are gone or flood.
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
				Detail: fmt.Sprintf("Send at most %d messages at once and %d per second.", floodBurst, floodRate)}))
			return
		}
		if kind != websocket.MessageText || !json.Valid(data) {
			b.finish(c.ws, refused(malformed("Each message must be a JSON object in a text frame.")))
			return
		}
		select {
		case c.messages <- data:
		case <-ctx.Done():
			return
		}
	}
}

// keepAlive notices a person whose network fails silently.
func keepAlive(ctx context.Context, ws *websocket.Conn, lost context.CancelFunc) {
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
