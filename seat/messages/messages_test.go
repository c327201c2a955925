package messages

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a box with its app's end.
type rig struct {
	*testing.T
	box *Box
	url string
}

func newRig(t *testing.T) *rig {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	b := Open(Config{Listener: l})
	t.Cleanup(func() { testkit.Must(t, b.Close()) })
	_, url, _ := strings.Cut(b.Env()[0], "=")
	return &rig{t, b, url}
}

// connect is a WebSocket of the app.
func (r *rig) connect(query string) *websocket.Conn {
	r.Helper()
	conn, _, err := websocket.Dial(testkit.Context(r, time.Minute), r.url+query, nil)
	testkit.Must(r, err)
	conn.SetReadLimit(wire.MaxAppMessage)
	r.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func (r *rig) send(c *websocket.Conn, m string) {
	r.Helper()
	testkit.Must(r, c.Write(testkit.Context(r, time.Minute), websocket.MessageText, []byte(m)))
}

func (r *rig) read(c *websocket.Conn) string {
	r.Helper()
	_, m, err := c.Read(testkit.Context(r, time.Minute))
	testkit.Must(r, err)
	return string(m)
}

// page is the far end of a channel: an honest page, until a test has it do else.
type page struct {
	r  *rig
	id string
	at *Page

	mu    sync.Mutex
	quiet bool // says nothing by itself
	begun bool // a message came: the next one follows it
	got   uint64
	hello bool
	taken uint64 // by the app, of what it sent
	seq   uint64
	head  *wire.MessageFrame
	data  []byte
	have  []string
	in    chan func() // what it has to say, in order
	count uint64
}

func (r *rig) page(id string, got uint64) *page {
	p := &page{r: r, id: id, got: got, in: make(chan func(), 4096)}
	p.at = r.box.Page(p.told)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for say := range p.in {
			say()
		}
	}()
	r.Cleanup(func() { p.at.Gone(); close(p.in); <-done })
	return p
}

// open says hello, and waits for the answer where there has to be one.
func (p *page) open() *page {
	p.r.Helper()
	p.say(wire.MessageFrame{Type: wire.FrameHello, Page: p.id, Got: p.got, Seq: p.got})
	return p
}

func (p *page) greeted() *page {
	p.r.Helper()
	testkit.Until(p.r, "the page may send", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.hello
	})
	return p
}

func (p *page) say(f wire.MessageFrame) error {
	raw, _ := json.Marshal(f)
	return p.at.Heard(raw, true)
}

// told is what the box says. It is called under the box's mutex.
func (p *page) told(message []byte, text bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if text {
		f, err := wire.ParseMessageFrame(message)
		switch {
		case err != nil:
			p.r.Errorf("the seat says %q: %v", message, err)
		case f.Type == wire.FrameHello:
			p.hello, p.seq, p.taken = true, f.Got, f.Seq
		case f.Type == wire.FrameAck:
			p.taken = f.Seq
		case p.head != nil || f.Seq <= p.got || p.begun && f.Seq != p.got+1:
			p.r.Errorf("the seat sends message %d after %d", f.Seq, p.got)
		default:
			p.head, p.begun, p.got = &f, true, f.Seq-1
		}
	} else {
		if len(message) > wire.MaxMessageChunk || p.head == nil {
			p.r.Errorf("the seat sends %d bytes, head %v", len(message), p.head)
			return
		}
		p.count++
		p.data = append(p.data, message...)
	}
	if p.head != nil && len(p.data) == p.head.Size {
		p.got++
		p.have, p.head, p.data = append(p.have, string(p.data)), nil, nil
	}
	if p.quiet {
		return
	}
	ack := wire.MessageFrame{Type: wire.FrameAck, Seq: p.got, Chunks: p.count}
	select {
	case p.in <- func() { _ = p.say(ack) }: // an error is of a page that went
	default:
		p.r.Error("the page has too much to say")
	}
}

func (p *page) hush(quiet bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quiet = quiet
}

func (p *page) send(m string, raw bool) error {
	p.mu.Lock()
	p.seq++
	seq := p.seq
	p.mu.Unlock()
	err := p.say(wire.MessageFrame{Type: wire.FrameMessage, Seq: seq, Size: len(m), Bytes: raw})
	for at := 0; at < len(m) && err == nil; at += wire.MaxMessageChunk {
		err = p.at.Heard([]byte(m[at:min(len(m), at+wire.MaxMessageChunk)]), false)
	}
	return err
}

// wants waits until the page has these, and has no more.
func (p *page) wants(want ...string) {
	p.r.Helper()
	testkit.UntilSeen(p.r, fmt.Sprintf("the page has %.100q", want), func() (any, bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.have), len(p.have) >= len(want)
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if fmt.Sprint(p.have) != fmt.Sprint(want) {
		p.r.Errorf("the page has %.200q, want %.200q", p.have, want)
	}
}

func (p *page) wantsTaken(n uint64) {
	p.r.Helper()
	testkit.UntilSeen(p.r, fmt.Sprintf("the app has taken %d", n), func() (any, bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.taken, p.taken == n
	})
}

// Messages of all sizes go both ways, to all who listen.
func TestBothWays(t *testing.T) {
	r := newRig(t)
	one, two, mute := r.connect(""), r.connect(""), r.connect("?receive=0")
	p := r.page("p", 0).open().greeted()
	large := `"` + strings.Repeat("x", wire.MaxAppMessage-2) + `"`
	for i, m := range []string{`{"a":1}`, large, `"é"`} {
		testkit.Must(t, p.send(m, false))
		if a, b := r.read(one), r.read(two); a != m || b != m {
			t.Fatalf("the app got %.50q and %.50q, want %.50q", a, b, m)
		}
		p.wantsTaken(uint64(i + 1))
	}
	testkit.Must(t, p.send("\x00\xff", true))
	kind, m, err := one.Read(t.Context())
	if err != nil || kind != websocket.MessageBinary || string(m) != "\x00\xff" {
		t.Errorf("bytes came as %v %q, %v", kind, m, err)
	}
	testkit.Must(t, p.send("", true))
	if got := r.read(one); got != "" {
		t.Errorf("no bytes came as %q", got)
	}
	r.send(one, `1`)
	p.wants(`1`)
	r.send(mute, large)
	p.wants(`1`, large)
	r.send(two, `3`)
	p.wants(`1`, large, `3`)
}

// Whatever is lost with a connection comes by the next one, once and in order: for a page
// that goes on, and for one that was loaded again.
func TestNothingIsLostOrDoubled(t *testing.T) {
	r := newRig(t)
	app := r.connect("")
	for i := range 10 { // nobody is there
		r.send(app, fmt.Sprint(i))
	}
	p := r.page("one", 0)
	p.hush(true)
	p.open().greeted()
	p.wants("0", "1") // and no more: it does not say that they came
	p.at.Gone()
	p = r.page("one", 1).open()
	p.wants("1", "2", "3", "4", "5", "6", "7", "8", "9")
	p.greeted()
	testkit.Must(t, p.send(`"a"`, false))
	p.wantsTaken(1)
	// Half a message, then the connection goes.
	testkit.Must(t, p.say(wire.MessageFrame{Type: wire.FrameMessage, Seq: 2, Size: 3 * wire.MaxMessageChunk}))
	testkit.Must(t, p.at.Heard(make([]byte, wire.MaxMessageChunk), false))
	p.at.Gone()
	r.send(app, `"late"`)
	again := r.page("one", 10).open().greeted()
	if again.seq != 1 {
		t.Errorf("the seat has %d messages of the page, want 1", again.seq)
	}
	testkit.Must(t, again.send(`"b"`, false))
	again.wants(`"late"`)
	// Loaded again: numbers are new.
	fresh := r.page("two", 11).open().greeted()
	testkit.Must(t, fresh.send(`"c"`, false))
	for _, want := range []string{`"a"`, `"b"`, `"c"`} {
		if got := r.read(app); got != want {
			t.Errorf("the app got %s, want %s", got, want)
		}
	}
	// The first page comes back, as in a tab that took the session back.
	back := r.page("one", 11).open().greeted()
	if back.seq != 2 {
		t.Errorf("the seat has %d messages of the first page, want 2", back.seq)
	}
	if err := fresh.send(`"d"`, false); err == nil {
		t.Error("a page that was replaced can send")
	}
	fresh.wants()
}

// The app is not read while the page does not take what it sent, and the page may not send
// while the app takes nothing.
func TestBackPressure(t *testing.T) {
	r := newRig(t)
	app := r.connect("?receive=0")
	p := r.page("p", 0)
	p.hush(true)
	p.open().greeted()
	sent := make(chan int, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(sent)
		for i := range 300 {
			if app.Write(ctx, websocket.MessageBinary, make([]byte, 64<<10)) != nil {
				return
			}
			sent <- i
		}
	}()
	full := func() bool {
		r.box.mu.Lock()
		defer r.box.mu.Unlock()
		return r.box.outBytes == wire.MaxMessageBytesOpen
	}
	testkit.Until(t, "the box is full", full)
	// What the kernel takes beside it is some MiB.
	last := -1
	testkit.Until(t, "the app waits", func() bool {
		now := len(sent)
		waits := now == last
		last = now
		return waits && now < 200
	})
	p.hush(false)
	p.mu.Lock()
	ack := wire.MessageFrame{Type: wire.FrameAck, Seq: p.got, Chunks: p.count}
	p.mu.Unlock()
	testkit.Must(t, p.say(ack))
	testkit.Until(t, "all have come", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.have) == 300
	})
	cancel()
	for range sent {
	}

	for i := range wire.MaxMessagesOpen {
		testkit.Must(t, p.send(fmt.Sprint(i), false))
	}
	if err := p.send("64", false); err == nil {
		t.Error("the page may send more than the app takes")
	}
	// A page that comes then waits until the app has taken those.
	next := r.page("next", 300).open()
	next.mu.Lock()
	hello := next.hello
	next.mu.Unlock()
	if hello {
		t.Error("a new page may send while the former's messages wait")
	}
	listener := r.connect("")
	for i := range wire.MaxMessagesOpen {
		if got := r.read(listener); got != fmt.Sprint(i) {
			t.Fatalf("the app got %s, want %d", got, i)
		}
	}
	next.greeted()
}

// A connection that wants some messages gets these, and those that it did not confirm are
// not lost.
func TestReceiveSome(t *testing.T) {
	r := newRig(t)
	p := r.page("p", 0).open().greeted()
	for i := range 5 {
		testkit.Must(t, p.send(fmt.Sprint(i), false))
	}
	lost := r.connect("?receive=1")
	if got := r.read(lost); got != "0" {
		t.Fatalf("got %s", got)
	}
	testkit.Must(t, lost.CloseNow()) // before its answer to the ping
	two := r.connect("?receive=2")
	for _, want := range []string{"0", "1"} {
		if got := r.read(two); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if _, _, err := two.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("after its last message it got %v", err)
	}
	all := r.connect("")
	for _, want := range []string{"2", "3", "4"} {
		if got := r.read(all); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	p.wantsTaken(5)
}

// A page that breaks the rules is refused, and changes nothing for the next one.
func TestHostilePage(t *testing.T) {
	for name, do := range map[string]func(*page) error{
		"without hello":        func(p *page) error { return p.say(wire.MessageFrame{Type: wire.FrameAck}) },
		"hello without a name": func(p *page) error { return p.say(wire.MessageFrame{Type: wire.FrameHello}) },
		"hello twice":          func(p *page) error { p.open(); return p.say(wire.MessageFrame{Type: wire.FrameHello, Page: "q"}) },
		"has what never was":   func(p *page) error { return p.say(wire.MessageFrame{Type: wire.FrameHello, Page: "q", Got: 2}) },
		"has all there can be": func(p *page) error {
			return p.say(wire.MessageFrame{Type: wire.FrameHello, Page: "q", Got: 1<<64 - 1})
		},
		"confirms too much":   func(p *page) error { p.open(); return p.say(wire.MessageFrame{Type: wire.FrameAck, Seq: 9}) },
		"confirms chunks":     func(p *page) error { p.open(); return p.say(wire.MessageFrame{Type: wire.FrameAck, Chunks: 9}) },
		"leaves a number out": func(p *page) error { p.open(); p.seq = 1; return p.send("1", false) },
		"bytes of nothing":    func(p *page) error { p.open(); return p.at.Heard([]byte("x"), false) },
		"a short chunk": func(p *page) error {
			p.open()
			testkit.Must(p.r, p.say(wire.MessageFrame{Type: wire.FrameMessage, Seq: 1, Size: 100}))
			return p.at.Heard([]byte("x"), false)
		},
		"a message within another": func(p *page) error {
			p.open()
			testkit.Must(p.r, p.say(wire.MessageFrame{Type: wire.FrameMessage, Seq: 1, Size: 100}))
			return p.say(wire.MessageFrame{Type: wire.FrameMessage, Seq: 2, Size: 100})
		},
		"no JSON": func(p *page) error { p.open(); return p.send("{", false) },
		"no text": func(p *page) error { p.open(); return p.send("\"\xff\"", false) },
		"too many bytes": func(p *page) error {
			p.open()
			for range wire.MaxMessageBytesOpen / wire.MaxAppMessage {
				testkit.Must(p.r, p.send(strings.Repeat("x", wire.MaxAppMessage), true))
			}
			return p.send("x", true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p := r.page("p", 0)
			p.hush(true)
			if do(p) == nil {
				t.Error("it is not refused")
			}
			if p.say(wire.MessageFrame{Type: wire.FrameHello, Page: "p"}) == nil {
				t.Error("it goes on")
			}
			app := r.connect("?receive=0")
			r.send(app, `"for an honest one"`)
			r.page("q", 0).open().wants(`"for an honest one"`)
		})
	}
}

// Of the programs on the loopback only those with the secret speak here, and they are bounded.
func TestHostileApp(t *testing.T) {
	r := newRig(t)
	at, err := url.Parse(r.url)
	testkit.Must(t, err)
	ask := func(method, host, path string, headers map[string]string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+at.Host+path, nil)
		testkit.Must(t, err)
		req.Host = host
		for name, value := range headers {
			req.Header.Set(name, value)
		}
		transport := &http.Transport{DisableKeepAlives: true}
		resp, err := transport.RoundTrip(req)
		testkit.Must(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	upgrade := map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Origin": "https://stranger.example"}
	for _, tt := range []struct {
		method, host, path string
		headers            map[string]string
		want               int
	}{
		{"GET", at.Host, "/", upgrade, http.StatusNotFound},
		{"GET", at.Host, "/guess", upgrade, http.StatusNotFound},
		{"GET", at.Host, "/guess" + wire.QuitPath, nil, http.StatusNotFound},
		{"GET", "stranger.example", at.Path, upgrade, http.StatusMisdirectedRequest},
		{"POST", "stranger.example:" + at.Port(), at.Path + wire.QuitPath, nil, http.StatusMisdirectedRequest},
		{"GET", at.Host, at.Path + wire.QuitPath, nil, http.StatusMethodNotAllowed},
		{"POST", at.Host, at.Path + "/other", nil, http.StatusNotFound},
		{"GET", at.Host, at.Path + "?receive=-1", upgrade, http.StatusBadRequest},
		{"GET", at.Host, at.Path + "?receive=x", upgrade, http.StatusBadRequest},
		{"GET", at.Host, at.Path, nil, http.StatusUpgradeRequired},
		{"POST", "localhost:" + at.Port(), at.Path + wire.ReadyPath, nil, http.StatusNoContent},
		{"POST", at.Host, at.Path + wire.ReadyPath, nil, http.StatusNoContent},
	} {
		if got := ask(tt.method, tt.host, tt.path, tt.headers); got != tt.want {
			t.Errorf("%s %s at %s: %d, want %d", tt.method, tt.path, tt.host, got, tt.want)
		}
	}
	select {
	case <-r.box.Ready():
	default:
		t.Error("the app said that it is ready")
	}
	select {
	case <-r.box.Quit():
		t.Error("a stranger ended the session")
	default:
	}
	for name, tt := range map[string]struct {
		kind websocket.MessageType
		data []byte
		want websocket.StatusCode
	}{
		"no JSON":  {websocket.MessageText, []byte("hello"), websocket.StatusInvalidFramePayloadData},
		"no text":  {websocket.MessageText, []byte("\"\xff\""), websocket.StatusInvalidFramePayloadData},
		"too long": {websocket.MessageBinary, make([]byte, wire.MaxAppMessage+1), websocket.StatusMessageTooBig},
	} {
		c := r.connect("")
		_ = c.Write(t.Context(), tt.kind, tt.data) // the seat may close before it has all
		if _, _, err := c.Read(testkit.Context(t, time.Minute)); websocket.CloseStatus(err) != tt.want {
			t.Errorf("%s: the connection ends with %v, want %d", name, err, tt.want)
		}
	}
	clients := func(want int) {
		t.Helper()
		testkit.UntilSeen(t, fmt.Sprintf("%d connections", want), func() (any, bool) {
			r.box.mu.Lock()
			defer r.box.mu.Unlock()
			return len(r.box.clients), len(r.box.clients) == want
		})
	}
	clients(0)
	var all []*websocket.Conn
	for range maxClients {
		all = append(all, r.connect("?receive=0"))
	}
	if _, resp, err := websocket.Dial(t.Context(), r.url, nil); err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one connection more: %v", err)
	}
	// Those that wait for room and are gone do not hold a place.
	for i := range wire.MaxMessagesOpen {
		r.send(all[0], fmt.Sprint(i))
	}
	testkit.Until(t, "the box is full", func() bool {
		r.box.mu.Lock()
		defer r.box.mu.Unlock()
		return len(r.box.out) == wire.MaxMessagesOpen
	})
	for _, c := range all[1:] {
		r.send(c, `"waits"`)
	}
	for _, c := range all[1:] {
		testkit.Must(t, c.CloseNow())
	}
	clients(1)
	r.connect("")
	p := r.page("p", 0).open()
	var want []string
	for i := range wire.MaxMessagesOpen {
		want = append(want, fmt.Sprint(i))
	}
	p.wants(want...)
}

// Chunks that come late wait where a person's keys wait too: then fewer are sent.
func TestKeysDoNotWait(t *testing.T) {
	r := newRig(t)
	p := r.page("p", 0)
	p.hush(true)
	p.open()
	r.send(r.connect("?receive=0"), `"`+strings.Repeat("x", wire.MaxAppMessage-2)+`"`)
	wantChunks := func(want uint64) {
		t.Helper()
		testkit.UntilSeen(t, fmt.Sprintf("%d chunks", want), func() (any, bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.count, p.count >= want
		})
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.count != want {
			t.Fatalf("%d chunks were sent, want %d", p.count, want)
		}
	}
	wantChunks(windowLeast)
	ago := func(d time.Duration) {
		r.box.mu.Lock()
		defer r.box.mu.Unlock()
		for i := range p.at.open {
			p.at.open[i] = time.Now().Add(-d)
		}
	}
	ago(time.Millisecond)
	testkit.Must(t, p.say(wire.MessageFrame{Type: wire.FrameAck, Chunks: 2}))
	wantChunks(2 + 4) // quick: the window grows with each
	ago(time.Second)
	testkit.Must(t, p.say(wire.MessageFrame{Type: wire.FrameAck, Chunks: 6}))
	wantChunks(6 + windowLeast) // late: it shrinks
}
