package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/coder/websocket"
)

// outlet is the connection to a follower.
type outlet struct {
	ws    *websocket.Conn
	acked atomic.Uint64 // the last message that the follower has taken, as it says
	heard chan struct{}
}

// room waits until the follower has taken all but window messages of those before seq.
func (o *outlet) room(ctx context.Context, seq uint64) error {
	for seq > o.acked.Load()+window {
		select {
		case <-o.heard:
		case <-ctx.Done():
			return fmt.Errorf("wait for the follower: %w", context.Cause(ctx))
		}
	}
	return nil
}

func (o *outlet) send(ctx context.Context, m Message[json.RawMessage]) error {
	if err := o.room(ctx, m.Seq); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode a message of the feed: %w", err)
	}
	within, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	if err := o.ws.Write(within, websocket.MessageText, text); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx) // says more
		}
		return fmt.Errorf("send a message of the feed: %w", err)
	}
	return nil
}

// hear reads the follower's answers, and returns when it is silent or gone.
func (o *outlet) hear(ctx context.Context) error {
	o.ws.SetReadLimit(100)
	for {
		got, err := next[answer](ctx, o.ws)
		if err != nil {
			return fmt.Errorf("hear the follower: %w", err)
		}
		o.acked.Store(got.Seq)
		select {
		case o.heard <- struct{}{}:
		default:
		}
	}
}
