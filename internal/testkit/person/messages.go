package person

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// messages is a person's end of wire.ChannelMessages: a page that has been loaded just now.
type messages struct {
	channel *webrtc.DataChannel
	came    chan string   // of the app
	may     chan struct{} // closed when the page may send

	mu     sync.Mutex
	head   *wire.MessageFrame
	data   []byte
	got    uint64
	chunks uint64
	sent   uint64
}

func (p *Person) openMessages() {
	p.t.Helper()
	m := &p.messages
	m.came, m.may = make(chan string, 256), make(chan struct{})
	var err error
	m.channel, err = p.pc.CreateDataChannel(wire.ChannelMessages, nil)
	testkit.Must(p.t, err)
	m.channel.OnMessage(func(msg webrtc.DataChannelMessage) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if msg.IsString {
			f, err := wire.ParseMessageFrame(msg.Data)
			switch {
			case err != nil:
				p.t.Errorf("the seat says %q: %v", msg.Data, err)
			case f.Type == wire.FrameHello:
				close(m.may)
			case f.Type == wire.FrameMessage:
				m.head = &f
			}
		} else {
			m.data = append(m.data, msg.Data...)
			m.chunks++
		}
		if m.head == nil {
			return
		}
		if len(m.data) == m.head.Size {
			m.got = m.head.Seq
			m.came <- string(m.data)
			m.head, m.data = nil, nil
		}
		p.frame(wire.MessageFrame{Type: wire.FrameAck, Seq: m.got, Chunks: m.chunks})
	})
}

func (p *Person) frame(f wire.MessageFrame) {
	if raw, err := json.Marshal(f); err == nil {
		_ = p.messages.channel.SendText(string(raw)) // fails when the person has gone
	}
}

// Talk begins to exchange messages with the app, as a page does after Play. It has had the
// app's messages up to one.
func (p *Person) Talk(page string, got uint64) *Person {
	p.t.Helper()
	testkit.Within(p.t, patience, "the channel of messages", func() bool { return p.messages.channel.ReadyState() == webrtc.DataChannelStateOpen })
	p.frame(wire.MessageFrame{Type: wire.FrameHello, Page: page, Got: got, Seq: got})
	select {
	case <-p.messages.may:
	case <-time.After(patience):
		p.t.Fatal("the seat does not let the page send messages")
	}
	return p
}

// Say sends the app a message of JSON.
func (p *Person) Say(text string) {
	p.t.Helper()
	m := &p.messages
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent++
	p.frame(wire.MessageFrame{Type: wire.FrameMessage, Seq: m.sent, Size: len(text)})
	for at := 0; at < len(text); at += wire.MaxMessageChunk {
		testkit.Must(p.t, m.channel.Send([]byte(text[at:min(len(text), at+wire.MaxMessageChunk)])))
	}
}

// Said waits for the next message of the app.
func (p *Person) Said() string {
	p.t.Helper()
	select {
	case text := <-p.messages.came:
		return text
	case <-time.After(patience):
		p.t.Fatal("the app says nothing")
		return ""
	}
}

// Had is how many messages of the app have come.
func (p *Person) Had() uint64 {
	p.messages.mu.Lock()
	defer p.messages.mu.Unlock()
	return p.messages.got
}

// Ping is how long an empty word takes to the seat and back, on the channel for input.
func (p *Person) Ping() time.Duration {
	p.t.Helper()
	began := time.Now()
	p.Input(wire.Input{Type: wire.InputPing, Seq: 1})
	select {
	case <-p.pongs:
	case <-time.After(patience):
		p.t.Fatal("the seat does not answer a ping")
	}
	return time.Since(began)
}
