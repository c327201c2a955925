package web_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// said is a seat's end of wire.ChannelMessages, over all connections: an app that takes all.
type said struct {
	mu    sync.Mutex
	dc    *webrtc.DataChannel // the last page's, once it has said hello
	pages map[string]uint64   // messages of each
	page  string
	in    []string // of all pages
	out   []string
	has   uint64 // the page has confirmed so many
	deaf  bool   // what the page confirms is lost
	head  *wire.MessageFrame
	data  []byte
	count uint64
}

func (m *said) serve(t *testing.T, dc *webrtc.DataChannel) {
	dc.OnMessage(func(msg webrtc.DataChannelMessage) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !msg.IsString {
			m.count++
			m.data = append(m.data, msg.Data...)
			m.complete(dc)
			return
		}
		f, err := wire.ParseMessageFrame(msg.Data)
		switch {
		case err != nil:
			t.Errorf("the page says %q: %v", msg.Data, err)
		case f.Type == wire.FrameHello:
			if m.pages == nil {
				m.pages = map[string]uint64{}
			}
			m.dc, m.page, m.count, m.head, m.data = dc, f.Page, 0, nil, nil
			m.has = max(m.has, f.Seq)
			m.tell(dc, wire.MessageFrame{Type: wire.FrameHello, Got: m.pages[f.Page], Seq: m.pages[f.Page]})
			for i := max(m.has, f.Got); i < uint64(len(m.out)); i++ {
				m.send(dc, i+1)
			}
		case f.Type == wire.FrameAck:
			if !m.deaf {
				m.has = max(m.has, f.Seq)
			}
		case f.Seq != m.pages[m.page]+1 || m.head != nil:
			t.Errorf("the page sends message %d after %d", f.Seq, m.pages[m.page])
		default:
			m.head = &f
			m.complete(dc)
		}
	})
}

func (m *said) complete(dc *webrtc.DataChannel) {
	if m.head == nil || len(m.data) < m.head.Size {
		m.tell(dc, wire.MessageFrame{Type: wire.FrameAck, Seq: m.pages[m.page], Chunks: m.count})
		return
	}
	text := string(m.data)
	if m.head.Bytes {
		text = fmt.Sprintf("%d bytes", len(m.data))
	}
	m.in, m.head, m.data = append(m.in, text), nil, nil
	m.pages[m.page]++
	m.tell(dc, wire.MessageFrame{Type: wire.FrameAck, Seq: m.pages[m.page], Chunks: m.count})
}

func (m *said) tell(dc *webrtc.DataChannel, f wire.MessageFrame) {
	raw, _ := json.Marshal(f)
	_ = dc.SendText(string(raw)) // a page that is gone hears nothing
}

func (m *said) send(dc *webrtc.DataChannel, seq uint64) {
	text := m.out[seq-1]
	m.tell(dc, wire.MessageFrame{Type: wire.FrameMessage, Seq: seq, Size: len(text)})
	for at := 0; at < len(text); at += wire.MaxMessageChunk {
		_ = dc.Send([]byte(text[at:min(len(text), at+wire.MaxMessageChunk)]))
	}
}

// say is the app's.
func (m *said) say(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out = append(m.out, text)
	if m.dc != nil {
		m.send(m.dc, uint64(len(m.out)))
	}
}

func (v *visit) appHas(want ...string) {
	v.Helper()
	m := &v.site.said
	testkit.UntilSeen(v, fmt.Sprintf("the app has %.200q", want), func() (any, bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.in), slices.Equal(m.in, want)
	})
}

// listens has each page of the visit collect what the app says, from its begin on.
const listens = `window.came = []; document.addEventListener('message', ({ detail: { data } }) => {
	came.push(typeof data === 'string' && data.length > 99 ? data.length : data);
}, true);`

// walkMessages has page and app speak, over a reload and over a lost connection: nothing is
// lost or doubled.
func walkMessages(v *visit) {
	v.before(listens)
	v.open("/play/viewer")
	if why := evaluate[string](v, `nearcast.messages.send(1).then(() => 'sent', (error) => error.message)`); why != "there is no session" {
		v.Errorf("before Play: %s", why)
	}
	m := &v.site.said
	m.say(`"early"`)
	v.press(".play-button")
	b := v.site.nextBrain()
	v.script(`window.sent = nearcast.messages.send({ n: 1 })`) // before there is a seat
	v.site.serve(b, false)
	v.state("streaming")
	evaluate[bool](v, `sent.then(() => true)`)
	large := make([]byte, 200<<10)
	for i := range large {
		large[i] = 'x'
	}
	m.say(`{"a":1}`)
	m.say(`"` + string(large) + `"`)
	v.until(`JSON.stringify(came) === '["early",{"a":1},204800]'`)
	evaluate[bool](v, `Promise.all([nearcast.messages.send(new Uint8Array(256 << 10)), nearcast.messages.send('é')]).then(() => true)`)
	v.appHas(`{"n":1}`, "262144 bytes", `"é"`)

	// The page takes a message, and its word of that is lost; then it is loaded again.
	m.mu.Lock()
	m.deaf = true
	m.mu.Unlock()
	m.say(`4`)
	v.until(`came.at(-1) === 4`)
	v.script(`nearcast.messages.send('last')`)
	v.appHas(`{"n":1}`, "262144 bytes", `"é"`, `"last"`)
	v.reload()
	b = v.site.nextBrain()
	m.mu.Lock()
	m.deaf, m.dc = false, nil
	m.mu.Unlock()
	m.say(`5`)
	v.site.serve(b, true)
	v.state("streaming")
	m.say(`6`)
	v.until(`JSON.stringify(came) === '[5,6]'`)
	evaluate[bool](v, `nearcast.messages.send('anew').then(() => true)`)
	v.appHas(`{"n":1}`, "262144 bytes", `"é"`, `"last"`, `"anew"`)

	// The connection is lost, and with it what is on its way.
	st := v.site.seats[len(v.site.seats)-1]
	st.line.cut.Store(true)
	m.say(`7`)
	v.script(`window.sent = [1, 2].map((n) => nearcast.messages.send({ lost: n }))`)
	st.close()
	b = v.site.backAgain()
	b.say(wire.Message{Type: wire.MsgAnswer}) // the seat has no connection to keep
	v.site.answer(b, b.hear(wire.MsgOffer).SDP)
	v.state("streaming")
	evaluate[bool](v, `Promise.all(sent).then(() => true)`)
	v.appHas(`{"n":1}`, "262144 bytes", `"é"`, `"last"`, `"anew"`, `{"lost":1}`, `{"lost":2}`)
	v.until(`JSON.stringify(came) === '[5,6,7]'`)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.pages) != 2 {
		v.Errorf("%d pages said hello, want that of each load", len(m.pages))
	}
}
