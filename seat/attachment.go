package seat

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

// lastMessageTimeout bounds the delivery of an attachment's last message.
const lastMessageTimeout = 2 * time.Second

// attachment is the WebSocket between one brain and the seat. Messages are
// queued and sent in order, so that a sender never waits for a slow brain.
type attachment struct {
	session string
	conn    *websocket.Conn
	queue   chan []byte
	done    chan struct{}     // the writer ended
	params  map[string]string // of a session for which the seat is prepared
	view    *wire.View        // the person's window, as the page said last. For the reader

	mu     sync.Mutex
	closed bool
	code   websocket.StatusCode
	why    string
}

// queueLength bounds the memory that a brain which does not read can take. A
// whole session has a few dozen messages.
const queueLength = 256

func newAttachment(session string, conn *websocket.Conn) *attachment {
	conn.SetReadLimit(wire.MaxMessage)
	return &attachment{session: session, conn: conn, queue: make(chan []byte, queueLength), done: make(chan struct{})}
}

// send queues m, and reports whether it did. An attachment whose queue is full is closed: the
// session goes on, and its page returns with its resume token.
func (a *attachment) send(m wire.Message) bool {
	raw, err := json.Marshal(m)
	if err != nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	select {
	case a.queue <- raw:
		return true
	default:
		a.closeLocked(websocket.StatusPolicyViolation, "too slow")
		return false
	}
}

// finish queues m as the last message. The WebSocket closes with code after it.
func (a *attachment) finish(m *wire.Message, code websocket.StatusCode, why string) {
	if m != nil {
		a.send(*m)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closeLocked(code, why)
}

func (a *attachment) closeLocked(code websocket.StatusCode, why string) {
	if a.closed {
		return
	}
	a.closed, a.code, a.why = true, code, why
	close(a.queue)
}

// write sends queued messages until the attachment is finished or broken.
func (a *attachment) write() {
	defer close(a.done)
	for raw := range a.queue {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := a.conn.Write(ctx, websocket.MessageText, raw)
		cancel()
		if err != nil {
			_ = a.conn.CloseNow()
			a.finish(nil, websocket.StatusAbnormalClosure, "")
			for range a.queue { // drain it; finish has closed it
			}
			return
		}
	}
	a.mu.Lock()
	code, why := a.code, a.why
	a.mu.Unlock()
	// Close waits up to five seconds for the other side's close frame. A brain
	// that is gone must not delay the seat so long.
	timer := time.AfterFunc(lastMessageTimeout, func() { _ = a.conn.CloseNow() })
	defer timer.Stop()
	_ = a.conn.Close(code, why)
}

var errNotText = errors.New("message is not text")

// messageTimeout is how long a message may take from its first byte to its last.
const messageTimeout = 5 * time.Second

// read returns the next message.
func (a *attachment) read(ctx context.Context) (wire.Message, error) {
	var m wire.Message
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kind, r, err := a.conn.Reader(ctx)
	if err != nil {
		return m, err
	}
	defer time.AfterFunc(messageTimeout, cancel).Stop()
	raw, err := io.ReadAll(r)
	if err != nil {
		return m, err
	}
	if kind != websocket.MessageText {
		return m, errNotText
	}
	return m, json.Unmarshal(raw, &m)
}
