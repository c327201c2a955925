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
	// inputsPerSecond is more than a 1000 Hz mouse and a keyboard make.
	inputsPerSecond = 2000
	inputsBurst     = 400
	maxInput        = 1 << 10              // bytes
	maxClip         = 6 * wire.MaxClipPart // a byte of text is six of JSON at most
	malformedLog    = 5 * time.Second      // at most one log line in this time
)

// inputChannels reads the data channels that the browser opened, one of each kind.
//
// A flood of input does not reach the app. On the lossy channel, moves above the
// rate are dropped: a later move replaces them. On the reliable channel nothing may
// be lost, or a key would stay pressed. It is read no faster than the rate, so that
// SCTP's flow control slows the browser down.
type inputChannels struct {
	ctx     context.Context
	log     *slog.Logger
	onInput func(wire.Input)

	serial  sync.Mutex                         // held while onInput runs
	page    atomic.Pointer[webrtc.DataChannel] // the reliable channel
	pointer atomic.Pointer[webrtc.DataChannel] // the lossy one
	logged  atomic.Int64

	sending sync.Mutex // held while something is sent on page
	sent    uint64     // bytes on page

	taken, dropped, malformed atomic.Uint64
	spent                     atomic.Int64 // on those that were taken, from their arrival on, in ns
}

func newInputChannels(ctx context.Context, log *slog.Logger, onInput func(wire.Input)) *inputChannels {
	return &inputChannels{ctx: ctx, log: log, onInput: onInput}
}

// accept handles a channel that the browser opened. There is one of each: the rate is of a
// page, and each channel takes memory.
func (c *inputChannels) accept(ch *webrtc.DataChannel) {
	lossy, taken := ch.Label() == wire.ChannelPointer, false
	switch ch.Label() {
	case wire.ChannelInput:
		taken = c.page.CompareAndSwap(nil, ch)
	case wire.ChannelPointer:
		taken = c.pointer.CompareAndSwap(nil, ch)
	}
	if !taken {
		c.log.Debug("data channel closed: it is unknown, or there is one", "label", ch.Label())
		ch.Close()
		return
	}
	bucket := bucket{tokens: inputsBurst}
	// The messages of a channel come one after the other, on one goroutine.
	ch.OnMessage(func(msg webrtc.DataChannelMessage) {
		came := time.Now()
		for {
			wait := bucket.take(time.Now(), cost(msg.Data))
			if wait == 0 {
				break
			}
			if lossy {
				c.dropped.Add(1)
				return
			}
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-c.ctx.Done():
				timer.Stop()
				return
			}
		}
		c.message(ch, msg.Data, came)
	})
}

func (c *inputChannels) message(ch *webrtc.DataChannel, data []byte, came time.Time) {
	in, ok := parse(data)
	switch {
	case !ok:
		c.malformed.Add(1)
		now, last := time.Now().UnixNano(), c.logged.Load()
		if now-last > int64(malformedLog) && c.logged.CompareAndSwap(last, now) {
			c.log.Warn("malformed input ignored", "channel", ch.Label(), "bytes", len(data), "total", c.malformed.Load())
		}
	case in.Type == wire.InputPing:
		if pong, err := json.Marshal(wire.Pong{Type: "pong", Seq: in.Seq}); err == nil {
			c.send(ch, pong, 16<<10)
		}
		if in.Report != nil {
			c.serial.Lock()
			defer c.serial.Unlock()
			c.onInput(wire.Input{Type: wire.InputPing, Report: in.Report.Bounded()})
		}
	default:
		c.taken.Add(1)
		c.serial.Lock()
		defer c.serial.Unlock()
		c.onInput(in)
		c.spent.Add(int64(time.Since(came)))
	}
}

// tell sends the page a message. The result is for arrived, and 0 where it was not sent.
func (c *inputChannels) tell(message []byte) (mark uint64) {
	ch := c.page.Load()
	if ch == nil {
		return 0
	}
	return c.send(ch, message, 2<<20)
}

// send sends a message on a channel, unless more than most bytes wait on it: a page that
// does not read gets no more of them.
func (c *inputChannels) send(ch *webrtc.DataChannel, message []byte, most uint64) (mark uint64) {
	c.sending.Lock()
	defer c.sending.Unlock()
	if ch.ReadyState() != webrtc.DataChannelStateOpen || ch.BufferedAmount() >= most || ch.SendText(string(message)) != nil {
		return 0
	}
	if ch != c.page.Load() {
		return 0
	}
	c.sent += uint64(len(message))
	return c.sent
}

// arrived reports whether the browser has confirmed all up to a mark.
func (c *inputChannels) arrived(mark uint64) bool {
	ch := c.page.Load()
	if ch == nil {
		return false
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	return c.sent-min(c.sent, ch.BufferedAmount()) >= mark
}

// parse reads an input. Package input checks the values of its fields.
func parse(data []byte) (in wire.Input, ok bool) {
	if len(data) > maxClip || json.Unmarshal(data, &in) != nil {
		return in, false
	}
	if in.Type == wire.InputClip {
		return in, len(in.Text) <= wire.MaxClipPart && (in.Offer == nil || in.Offer.Valid())
	}
	if len(data) > maxInput {
		return in, false
	}
	switch in.Type {
	case wire.InputMove, wire.InputRel, wire.InputDown, wire.InputUp, wire.InputWheel, wire.InputKey, wire.InputText, wire.InputClip, wire.InputCursor, wire.InputBlur, wire.InputView, wire.InputPads, wire.InputPad, wire.InputTouch, wire.InputClose, wire.InputPing:
		return in, true
	}
	return in, false
}

// bucket is a token bucket, for one goroutine.
type bucket struct {
	tokens float64
	last   time.Time
}

// cost is how many tokens a message takes. A long one is a text of many keys; a longer
// one is of a clipboard, which is no keys.
func cost(data []byte) float64 {
	switch n := len(data); {
	case n <= 128:
		return 1
	case n <= maxInput:
		return float64(n / 4)
	default:
		return min(inputsBurst, float64(n/64))
	}
}

// take takes tokens and returns 0, or returns how long to wait for them.
func (b *bucket) take(now time.Time, tokens float64) time.Duration {
	if !b.last.IsZero() {
		b.tokens = min(inputsBurst, b.tokens+now.Sub(b.last).Seconds()*inputsPerSecond)
	}
	b.last = now
	if b.tokens >= tokens {
		b.tokens -= tokens
		return 0
	}
	// To wake up for each token would cost more than the input itself.
	return 5 * time.Millisecond
}
