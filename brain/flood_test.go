package brain_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"github.com/nearcast/nearcast/internal/wire"
)

// Of the 5,000 sockets an ordinary run has fewer:
//
//	go test ./brain -run TestHostileSockets -sockets 5000 -v
var (
	hostileSockets = flag.Int("sockets", 700, "sockets of TestHostileSockets")
	hostileRate    = flag.Int("rate", 200, "how many of them connect in a second, at first and after they were cut")
)

const upgrade = "GET /v1/connect HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

// frame is a masked text frame's header, for n bytes that are to come.
func frame(n int) []byte { return []byte{0x81, 0x80 | 126, byte(n >> 8), byte(n), 0, 0, 0, 0} }

// strangers are the ways in which a socket is hostile. Each returns when the brain
// has cut it.
var strangers = []func(ctx context.Context, c net.Conn){
	func(ctx context.Context, c net.Conn) { io.Copy(io.Discard, c) }, // idle, without a request
	func(ctx context.Context, c net.Conn) { // idle, as a WebSocket
		io.WriteString(c, upgrade)
		io.Copy(io.Discard, c)
	},
	func(ctx context.Context, c net.Conn) { // trickles a request
		io.WriteString(c, "GET /v1/connect HTTP/1.1\r\nX: ")
		trickle(ctx, c, 'x')
	},
	func(ctx context.Context, c net.Conn) { // trickles a hello, most of which has come
		io.WriteString(c, upgrade)
		c.Write(append(frame(wire.MaxOffer-1), make([]byte, wire.MaxOffer-100)...))
		trickle(ctx, c, ' ')
	},
	func(ctx context.Context, c net.Conn) { // babbles pings
		io.WriteString(c, upgrade)
		go io.Copy(io.Discard, c)
		for ctx.Err() == nil {
			if _, err := c.Write([]byte{0x89, 0x80, 0, 0, 0, 0}); err != nil {
				return
			}
			pause(ctx, 5*time.Millisecond)
		}
	},
	func(ctx context.Context, c net.Conn) { // says hello with a forged ticket, as large as it may be
		io.WriteString(c, upgrade)
		hello := fmt.Appendf(nil, `{"type":"hello","ticket":"forged","sdp":"%0*d"}`, wire.MaxOffer-100, 0)
		c.Write(append(frame(len(hello)), hello...))
		io.Copy(io.Discard, c)
	},
}

func trickle(ctx context.Context, c net.Conn, b byte) {
	go io.Copy(io.Discard, c)
	for ctx.Err() == nil {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		pause(ctx, 500*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// TestHostileSockets keeps many hostile sockets at a brain, from many networks, while
// honest people launch.
func TestHostileSockets(t *testing.T) {
	s := newSite(t)
	const each = 10
	for i := range 10 * each {
		s.seat("game", fmt.Sprintf("game/dispatch-v1-%d", i), fmt.Sprintf("alloc-%d", i), wire.SeatIdle)
	}
	b := s.process("b1", "game", 200)
	launch := func() (time.Duration, error) {
		begin := time.Now()
		token, session := s.ticket("game", 0)
		ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
		defer cancel()
		for ctx.Err() == nil { // a page tries again, too
			ws, _, err := websocket.Dial(ctx, "ws://"+b.address+"/v1/connect", &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
			if err != nil {
				pause(ctx, 100*time.Millisecond)
				continue
			}
			p := &person{t: t, ws: ws, session: session}
			hello, _ := json.Marshal(wire.Message{Type: wire.MsgHello, Ticket: token, SDP: "offer"})
			err = ws.Write(ctx, websocket.MessageText, hello)
			for err == nil {
				var m wire.Message
				if m, err = p.next(); err != nil {
					break // the place went to somebody else; again
				}
				switch m.Type {
				case wire.MsgRefused:
					ws.CloseNow()
					return 0, m.Problem
				case wire.MsgAnswer:
					took := time.Since(begin)
					p.send(wire.Message{Type: wire.MsgLeave})
					ws.CloseNow()
					return took, nil
				}
			}
			ws.CloseNow()
			pause(ctx, 100*time.Millisecond)
		}
		return 0, ctx.Err()
	}
	measure := func(what string) {
		t.Helper()
		var times []time.Duration
		for range each {
			took, err := launch()
			if err != nil {
				t.Fatalf("%s: %v; cuts: %s", what, err, b.cuts())
			}
			times = append(times, took)
		}
		slices.Sort(times)
		t.Logf("%s: %d launches, median %v, slowest %v; brain's memory at most %d MB", what, each,
			times[each/2].Round(time.Millisecond), times[each-1].Round(time.Millisecond), b.peak()>>20)
	}
	measure("in peace")

	ctx, stop := context.WithCancel(s.ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	var open, opened atomic.Int64
	pace := rate.NewLimiter(rate.Limit(*hostileRate), 1)
	for i := range *hostileSockets {
		all.Go(func() {
			from := net.IPv4(127, byte(1+i/5000), byte(i/20%250), byte(1+i%20)) // twenty of each /24
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: 5 * time.Second}
			for pace.Wait(ctx) == nil {
				c, err := dialer.DialContext(ctx, "tcp", b.address)
				if err == nil {
					open.Add(1)
					opened.Add(1)
					end := context.AfterFunc(ctx, func() { c.Close() })
					strangers[i%len(strangers)](ctx, c)
					end()
					c.Close()
					open.Add(-1)
				}
				pause(ctx, time.Duration(rand.Int64N(int64(time.Second))))
			}
		})
	}
	var most atomic.Int64
	all.Go(func() {
		for ctx.Err() == nil {
			most.Store(max(most.Load(), b.files()))
			pause(ctx, 50*time.Millisecond)
		}
	})
	s.until("the strangers are there", func() bool { return opened.Load() >= int64(*hostileSockets) })
	measure("under attack")
	t.Logf("%d hostile sockets were opened, %d at the end; the brain had at most %d files open; cuts: %s", opened.Load(), open.Load(), most.Load(), b.cuts())
	// 512 strangers, and the connections to Consul, seats and the person.
	if n := most.Load(); n > 512+60 {
		t.Errorf("the brain had %d files open", n)
	}
	if peak := b.peak(); peak > memoryLimit {
		t.Errorf("the brain had %d MB, and its job has %d MB", peak>>20, memoryLimit>>20)
	}
}
