package firefox

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"
)

type object = map[string]any

// conn is the WebSocket of a session of WebDriver BiDi.
type conn struct {
	socket *websocket.Conn
	done   chan struct{} // closed when nothing is read any more

	mu      sync.Mutex
	last    int
	waiting map[int]chan<- answer
	said    map[string][]string      // the errors of each tab
	asked   map[string]chan struct{} // what each tab asked before it was left
}

// answer is a message of Firefox: to a command, or an event.
type answer struct {
	ID      int             `json:"id"`
	Type    string          `json:"type"`
	Method  string          `json:"method"`
	Result  json.RawMessage `json:"result"`
	Error   string          `json:"error"`
	Message string          `json:"message"`
	Params  struct {
		Context string `json:"context"`
		Type    string `json:"type"`
		Level   string `json:"level"`
		Text    string `json:"text"`
		Source  struct {
			Context string `json:"context"`
		} `json:"source"`
	} `json:"params"`
}

const (
	maxAnswer = 16 << 20
	writeTime = 20 * time.Second
)

func newConn(socket *websocket.Conn) *conn {
	c := &conn{socket: socket, done: make(chan struct{}), waiting: map[int]chan<- answer{}, said: map[string][]string{}, asked: map[string]chan struct{}{}}
	socket.SetReadLimit(maxAnswer)
	go c.read()
	return c
}

func (c *conn) read() {
	defer close(c.done)
	for {
		_, raw, err := c.socket.Read(context.Background()) // until close
		if err != nil {
			return
		}
		var a answer
		if json.Unmarshal(raw, &a) != nil {
			continue // a command that waits for it says so
		}
		if a.Method == "browsingContext.userPromptOpened" && a.Params.Type == "beforeunload" {
			select {
			case c.questions(a.Params.Context) <- struct{}{}:
			default: // nobody looks at them
			}
		}
		c.mu.Lock()
		switch {
		case a.Type == "event" && a.Params.Level == "error":
			tab := a.Params.Source.Context
			c.said[tab] = append(c.said[tab], a.Params.Text)
		case c.waiting[a.ID] != nil:
			c.waiting[a.ID] <- a
		}
		c.mu.Unlock()
	}
}

// call sends a command, and decodes its result into out, if that is not nil.
func (c *conn) call(ctx context.Context, method string, params object, out any) error {
	answers := make(chan answer, 1)
	c.mu.Lock()
	c.last++
	id := c.last
	c.waiting[id] = answers
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}()
	raw, err := json.Marshal(object{"id": id, "method": method, "params": params})
	if err != nil {
		return err
	}
	// A write that is cut off would be the end of the connection, whatever the caller's patience.
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	if err := c.socket.Write(whole, websocket.MessageText, raw); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case a := <-answers:
		if a.Type != "success" {
			return fmt.Errorf("%s: %s: %s", method, a.Error, a.Message)
		}
		if out == nil {
			return nil
		}
		return json.Unmarshal(a.Result, out)
	case <-c.done:
		return fmt.Errorf("%s: Firefox has ended", method)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, context.Cause(ctx))
	}
}

func (c *conn) problems(tab string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.said[tab]...)
}

// questions are what a tab asked before it was left.
func (c *conn) questions(tab string) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked[tab] == nil {
		c.asked[tab] = make(chan struct{}, 64)
	}
	return c.asked[tab]
}

func (c *conn) close() {
	_ = c.socket.CloseNow()
	<-c.done
}
