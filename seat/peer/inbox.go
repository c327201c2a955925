package peer

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// inputsPerSecond is more than hands can make: a 1000 Hz mouse and a keyboard.
	inputsPerSecond = 2000
	inputsBurst     = 400
	maxInput        = 1 << 10 // bytes
	malformedLog    = 5 * time.Second
)

// inbox reads the data channels that the browser opened.
//
// A flood does not reach the app. Moves beyond the rate are dropped, since a
// later one makes them good. The reliable channel is read no faster than the
// rate instead, so that SCTP's flow control holds the browser back: nothing on
// it may be lost, or a key would stay pressed.
type inbox struct {
	ctx     context.Context
	log     *slog.Logger
	onInput func(wire.Input)

	serial sync.Mutex // OnInput runs on one goroutine at a time
	logged atomic.Int64

	taken, dropped, malformed atomic.Uint64
}

func newInbox(ctx context.Context, log *slog.Logger, onInput func(wire.Input)) *inbox {
	return &inbox{ctx: ctx, log: log, onInput: onInput}
}

// accept takes a channel of the browser.
func (b *inbox) accept(ch *webrtc.DataChannel) {
	switch ch.Label() {
	case wire.ChannelInput, wire.ChannelPointer:
	default:
		b.log.Debug("unknown data channel", "label", ch.Label())
		ch.Close()
		return
	}
	lossy := ch.Label() == wire.ChannelPointer
	bucket := bucket{tokens: inputsBurst}
	// Messages of one channel come one after the other, on its own goroutine.
	ch.OnMessage(func(msg webrtc.DataChannelMessage) {
		for {
			wait := bucket.take(time.Now())
			if wait == 0 {
				break
			}
			if lossy {
				b.dropped.Add(1)
				return
			}
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-b.ctx.Done():
				timer.Stop()
				return
			}
		}
		b.message(ch, msg.Data)
	})
}

func (b *inbox) message(ch *webrtc.DataChannel, data []byte) {
	in, ok := parse(data)
	switch {
	case !ok:
		b.malformed.Add(1)
		now, last := time.Now().UnixNano(), b.logged.Load()
		if now-last > int64(malformedLog) && b.logged.CompareAndSwap(last, now) {
			b.log.Warn("malformed input ignored", "channel", ch.Label(), "bytes", len(data), "total", b.malformed.Load())
		}
	case in.Type == wire.InputPing:
		if pong, err := json.Marshal(wire.Pong{Type: "pong", Seq: in.Seq}); err == nil {
			// A browser that does not read gets no more of them.
			if ch.BufferedAmount() < 16<<10 {
				ch.SendText(string(pong))
			}
		}
	default:
		b.taken.Add(1)
		b.serial.Lock()
		defer b.serial.Unlock()
		b.onInput(in)
	}
}

// parse reads an input. Its fields' meaning is for who injects it.
func parse(data []byte) (in wire.Input, ok bool) {
	if len(data) > maxInput || json.Unmarshal(data, &in) != nil {
		return in, false
	}
	switch in.Type {
	case wire.InputMove, wire.InputRel, wire.InputDown, wire.InputUp, wire.InputWheel, wire.InputKey, wire.InputBlur, wire.InputPing:
		return in, true
	}
	return in, false
}

// bucket is a token bucket of one goroutine.
type bucket struct {
	tokens float64
	last   time.Time
}

// take returns 0 and takes a token, or how long to wait for one.
func (b *bucket) take(now time.Time) time.Duration {
	if !b.last.IsZero() {
		b.tokens = min(inputsBurst, b.tokens+now.Sub(b.last).Seconds()*inputsPerSecond)
	}
	b.last = now
	if b.tokens >= 1 {
		b.tokens--
		return 0
	}
	// Waking for each single one would cost more than the input itself.
	return 5 * time.Millisecond
}
