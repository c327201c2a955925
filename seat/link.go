package seat

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

// farewell is how long a last message has to be delivered.
const farewell = 2 * time.Second

// link is one brain's WebSocket. Messages are queued, so that nobody who has
// something to say waits for a slow brain; they go out in order.
type link struct {
	session string
	conn    *websocket.Conn
	queue   chan []byte
	done    chan struct{} // the writer ended

	mu     sync.Mutex
	closed bool
	code   websocket.StatusCode
	why    string
}

// queueLength bounds what a brain that does not read may keep in memory; a
// session has a few dozen messages in its whole life.
const queueLength = 256

func newLink(session string, conn *websocket.Conn) *link {
	conn.SetReadLimit(wire.MaxMessage)
	return &link{session: session, conn: conn, queue: make(chan []byte, queueLength), done: make(chan struct{})}
}

// send queues m. A link that does not keep up is cut: the session goes on, and
// its page comes back with its resume token.
func (l *link) send(m wire.Message) {
	raw, err := json.Marshal(m)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	select {
	case l.queue <- raw:
	default:
		l.close(websocket.StatusPolicyViolation, "too slow")
	}
}

// finish queues m as the last message and closes with code after it.
func (l *link) finish(m *wire.Message, code websocket.StatusCode, why string) {
	if m != nil {
		l.send(*m)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close(code, why)
}

func (l *link) close(code websocket.StatusCode, why string) {
	if l.closed {
		return
	}
	l.closed, l.code, l.why = true, code, why
	close(l.queue)
}

// write sends what is queued until the link is finished or broken.
func (l *link) write() {
	defer close(l.done)
	for raw := range l.queue {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := l.conn.Write(ctx, websocket.MessageText, raw)
		cancel()
		if err != nil {
			_ = l.conn.CloseNow()
			l.finish(nil, websocket.StatusAbnormalClosure, "")
			for range l.queue { // until closed, which it is
			}
			return
		}
	}
	l.mu.Lock()
	code, why := l.code, l.why
	l.mu.Unlock()
	// Close waits for the other side's own close, five seconds at most; a
	// brain that is gone must not hold the seat up so long.
	timer := time.AfterFunc(farewell, func() { _ = l.conn.CloseNow() })
	defer timer.Stop()
	_ = l.conn.Close(code, why)
}

var errNotText = errors.New("message is not text")

// read is the next message.
func (l *link) read(ctx context.Context) (wire.Message, error) {
	var m wire.Message
	kind, raw, err := l.conn.Read(ctx)
	if err != nil {
		return m, err
	}
	if kind != websocket.MessageText {
		return m, errNotText
	}
	return m, json.Unmarshal(raw, &m)
}
