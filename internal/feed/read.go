package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"
)

// ErrGap is Read's error where the other end does not speak as a feed does: a message is
// missing, or has more than it may.
var ErrGap = errors.New("the feed has a gap")

// answer is what a reader says now and then: which message it has taken.
type answer struct {
	Seq uint64 `json:"seq"`
}

// Read calls fn with each message that says something, in order, until the connection or
// ctx ends or fn returns an error. It closes the connection.
func Read[T any](ctx context.Context, ws *websocket.Conn, fn func(Message[T]) error) error {
	defer ws.CloseNow()
	ws.SetReadLimit(maxBytes)
	var (
		seq      uint64
		snapshot = true // not complete yet
		answered uint64
		last     time.Time
	)
	for {
		m, err := next[Message[T]](ctx, ws)
		if err != nil {
			return fmt.Errorf("read the feed: %w", err)
		}
		seq++
		switch {
		case m.Seq != seq:
			return fmt.Errorf("%w: message %d came as number %d", ErrGap, m.Seq, seq)
		case m.All != (seq == 1) || m.More && !snapshot || m.items() > MaxItems:
			return fmt.Errorf("%w: message %d is not well formed", ErrGap, m.Seq)
		}
		if snapshot || m.items() > 0 {
			if err := fn(m); err != nil {
				return err
			}
		}
		snapshot = m.More
		if now := time.Now(); seq-answered >= window/2 || now.Sub(last) >= beat/2 {
			answered, last = seq, now
			if err := reply(ctx, ws, answer{seq}); err != nil {
				return err
			}
		}
	}
}

func next[T any](ctx context.Context, ws *websocket.Conn) (m T, err error) {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	_, text, err := ws.Read(ctx)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	return m, err
}

func reply(ctx context.Context, ws *websocket.Conn, a answer) error {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	text, err := json.Marshal(a)
	if err == nil {
		err = ws.Write(ctx, websocket.MessageText, text)
	}
	if err != nil {
		return fmt.Errorf("answer the feed: %w", err)
	}
	return nil
}
