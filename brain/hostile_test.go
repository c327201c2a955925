package brain_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

func candidate(n, size int) wire.Message {
	text := fmt.Sprintf("candidate:%d 1 udp 2122260223 203.0.113.7 40000 typ host ", n)
	text += strings.Repeat("x", max(0, size-len(text)))
	data, _ := json.Marshal(map[string]string{"candidate": text})
	return wire.Message{Type: wire.MsgCandidate, Candidate: data}
}

// refusedWith skips to a refusal.
func (p *person) refusedWith(kind string, status int) {
	p.t.Helper()
	for {
		m, err := p.next()
		if err != nil {
			p.t.Fatalf("waiting for a refusal %s: %v", kind, err)
		}
		if m.Type == wire.MsgRefused {
			if m.Problem.Type != kind || m.Problem.Status != status {
				p.t.Errorf("refused with %+v, want %s", m.Problem, kind)
			}
			return
		}
	}
}

func TestLimitsOfMessages(t *testing.T) {
	s := newSite(t, brain.App{ID: "viewer", Version: 1, Max: 0}, brain.App{ID: "game", Version: 1, Max: 1})
	b := s.brain("b1")
	for name, m := range map[string]wire.Message{
		"candidate": candidate(1, wire.MaxCandidate),
		"leave":     {Type: wire.MsgLeave, SDP: strings.Repeat("x", 2000)},
		"unknown":   {Type: "unheard-of", SDP: strings.Repeat("x", 2000)},
		"ticket":    {Type: wire.MsgTicket, Ticket: strings.Repeat("x", 12<<10)},
	} {
		p := s.play(b, "viewer")
		p.expect(wire.MsgQueued)
		p.send(m)
		p.refusedWith(wire.ProblemTooLarge, 413)
		t.Log(name)
	}
	p := s.play(b, "viewer")
	p.expect(wire.MsgQueued)
	p.send(wire.Message{Type: wire.MsgOffer, SDP: strings.Repeat("x", wire.MaxOffer)})
	p.closed(int(websocket.StatusMessageTooBig))

	// Of many candidates, 16 wait for the seat, and none is a reason to refuse.
	p = s.play(b, "game")
	p.expect(wire.MsgStarting)
	for i := range 40 {
		p.send(candidate(i, 0))
	}
	s.until("24 candidates are dropped", func() bool { return b.value("nearcast_brain_candidates_dropped_total") == 24 })
	s.until("a seat is dispatched", func() bool { return s.nomad.dispatched() == 1 })
	x := s.seat("game", "game/dispatch-v1-1", "alloc-1", wire.SeatIdle)
	p.expect(wire.MsgGranted)
	p.expect(wire.MsgAnswer)
	s.until("the seat has the first 16", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.heard) == 1+wire.MaxEarly
	})
	s.until("nothing is held once it is answered", func() bool { return b.value("nearcast_brain_held_bytes") == 0 })
}

// raw opens a WebSocket by hand, from an address of loopback.
func raw(t *testing.T, b *replica, from string) (net.Conn, *bufio.Reader) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	c, err := d.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "GET /v1/connect HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("upgrade from %s: %v %v", from, resp, err)
	}
	return c, r
}

// untilCut sends a byte each 50 ms until the brain has closed the connection, which r reads, and
// returns how long that took.
func untilCut(c net.Conn, r io.Reader, b byte) time.Duration {
	begin := time.Now()
	gone := make(chan struct{})
	go func() { io.Copy(io.Discard, r); close(gone) }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			return time.Since(begin)
		case <-tick.C:
			c.Write([]byte{b})
		}
	}
}

func TestTricklingFrameIsCut(t *testing.T) {
	s := newSite(t)
	b := s.brain("b1")
	c, r := raw(t, b, "127.0.1.1")
	c.Write([]byte{0x81, 0x80 | 126, 0x10, 0, 0, 0, 0, 0}) // 4096 bytes are to come
	if d := untilCut(c, r, ' '); d > 7*time.Second {
		t.Errorf("a message that trickles was cut after %v", d)
	}
	s.until("it is counted", func() bool { return b.cuts("slow") == 1 })
}

func TestTricklingRequestIsCut(t *testing.T) {
	s := newSite(t)
	b := s.brain("b1")
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("GET /v1/connect HTTP/1.1\r\nHost: x\r\nX-Slow: "))
	if d := untilCut(c, c, 'a'); d > 12*time.Second {
		t.Errorf("a request that trickles was cut after %v", d)
	}
}

func TestPersonWithoutHelloIsCut(t *testing.T) {
	s := newSite(t)
	b := s.brain("b1")
	begin := time.Now()
	if _, err := s.dial(b).next(); err == nil {
		t.Error("a message without hello")
	}
	if d := time.Since(begin); d < 8*time.Second || d > 12*time.Second {
		t.Errorf("a person without hello was cut after %v, and has 10 s", d)
	}
}

func TestPingsWithoutEndAreCut(t *testing.T) {
	s := newSite(t)
	b := s.brain("b1")
	c, r := raw(t, b, "127.0.2.1")
	go io.Copy(io.Discard, r)
	for range 1000 { // until the brain closes
		if _, err := c.Write([]byte{0x89, 0x80, 0, 0, 0, 0}); err != nil {
			break
		}
	}
	s.until("it is cut", func() bool { return b.cuts("flood") >= 1 })
}

func TestPersonWhoDoesNotRead(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Max: 1})
	s.nomad.placed = s.ready
	b := s.brain("b1")
	p := s.play(b, "game")
	grant := p.expect(wire.MsgGranted).Grant
	x := s.at(grant.Seat)
	s.until("the seat has the offer", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.rec.State == wire.SeatStreaming
	})
	x.mu.Lock()
	ws := x.conn
	x.mu.Unlock()
	ctx, stop := context.WithCancel(s.ctx)
	talking := make(chan struct{})
	go func() {
		defer close(talking)
		for ctx.Err() == nil {
			data, _ := json.Marshal(wire.Message{Type: wire.MsgAnswer, SDP: strings.Repeat("x", wire.MaxOffer)})
			if ws.Write(ctx, websocket.MessageText, data) != nil {
				return
			}
		}
	}()
	s.until("the person is cut", func() bool { return b.cuts("unread") == 1 })
	stop()
	ws.CloseNow()
	<-talking
}

func TestRefusalsAreProblems(t *testing.T) {
	s := newSite(t, brain.App{ID: "viewer", Version: 1, Max: 0})
	b := s.brain("b1")
	problem := func(what string, status int, change func(*http.Request)) {
		t.Helper()
		req, _ := http.NewRequestWithContext(s.ctx, http.MethodGet, b.url+"/v1/connect", nil)
		for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} {
			req.Header.Set(k, v)
		}
		change(req)
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var p wire.Problem
		err = json.NewDecoder(resp.Body).Decode(&p)
		if resp.StatusCode != status || resp.Header.Get("Content-Type") != wire.ProblemType || err != nil || p.Status != status {
			t.Errorf("%s: %s, %s, %+v, %v", what, resp.Status, resp.Header.Get("Content-Type"), p, err)
		}
		if (status == 503 || status == 429) && resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", what)
		}
	}
	problem("no upgrade", 426, func(r *http.Request) { r.Header.Del("Upgrade") })
	problem("a bad key", 400, func(r *http.Request) { r.Header.Set("Sec-WebSocket-Key", "x") })
	b.Shutdown(s.ctx)
	problem("a brain that closes", 503, func(*http.Request) {})
}

// TestOneNetworkHarmsNoOther fills all that one network may have, by its own
// address and through a proxy, while a person of another network plays.
func TestOneNetworkHarmsNoOther(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Max: 2})
	s.nomad.placed = s.ready
	b := s.brain("b1")
	for range 100 {
		raw(t, b, "127.0.7.1")
	}
	s.until("36 of 100 idle sockets of one address are cut", func() bool {
		return b.cuts("network") == 36 && b.value("nearcast_brain_connections_unproven") == 64
	})
	p := s.play(b, "game") // from 127.0.0.1
	p.expect(wire.MsgGranted)

	// X-Forwarded-For of somebody who is no proxy does not make others suffer.
	from := func(local, forwarded string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
		c, err := d.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprintf(c, "GET /v1/connect HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nX-Forwarded-For: %s\r\n\r\n", forwarded)
		_, err = http.ReadResponse(bufio.NewReader(c), nil)
		return c, err
	}
	before := b.cuts("network")
	for range 30 {
		if _, err := from("127.0.8.1", "198.51.100.1"); err != nil {
			t.Fatal(err)
		}
	}
	for range 40 {
		if _, err := from("127.9.9.1", "198.51.100.1"); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.cuts("network"); n != before {
		t.Errorf("%v sockets were cut: 30 only said that they were of the network of 40", n-before)
	}
	for range 40 {
		if _, err := from("127.9.9.2", "198.51.100.1"); err != nil {
			t.Fatal(err)
		}
	}
	s.until("80 of one address through a proxy are 16 too many", func() bool { return b.cuts("network") == before+16 })
}
