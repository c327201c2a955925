package peer

import (
	"bytes"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/netline"
	"github.com/nearcast/nearcast/internal/wire"
)

// messagesPair is a seat and a page with a channel of messages, on a line.
func messagesPair(t *testing.T) (s *seat, c *client, l *netline.Line, page *webrtc.DataChannel, heard, answers chan clipMessage, ended chan struct{}) {
	t.Helper()
	heard, answers, ended = make(chan clipMessage, 100), make(chan clipMessage, 1000), make(chan struct{}, 1)
	l = netline.New(t, netline.Way{})
	s = newSeat(t, func(cfg *Config) {
		cfg.Listen = wire.Listen{Media: "127.0.0.1", Loopback: true}
		cfg.OnMessage = func(data []byte, text bool) { heard <- clipMessage{bytes.Clone(data), text} }
		cfg.OnMessagesEnd = func() { ended <- struct{}{} }
	})
	c = newClient(t)
	page, err := c.pc.CreateDataChannel(wire.ChannelMessages, nil)
	testkit.Must(t, err)
	page.OnMessage(func(m webrtc.DataChannelMessage) { answers <- clipMessage{m.Data, m.IsString} })
	join(t, l, s, c)
	testkit.Until(t, "the channel is open", func() bool { return s.talks() && page.ReadyState() == webrtc.DataChannelStateOpen })
	return s, c, l, page, heard, answers, ended
}

func (s *seat) talks() bool {
	ch := s.messages.Load()
	return ch != nil && ch.ReadyState() == webrtc.DataChannelStateOpen
}

// Words and bytes go both ways. A part that is too long ends the channel, and no other.
func TestMessageChannel(t *testing.T) {
	s, c, _, page, heard, answers, ended := messagesPair(t)
	chunk := bytes.Repeat([]byte("x"), wire.MaxMessageChunk)
	testkit.Must(t, page.SendText("words"))
	testkit.Must(t, page.Send(chunk))
	s.TellMessage([]byte("words"), true)
	s.TellMessage(chunk, false)
	for _, came := range []chan clipMessage{heard, answers} {
		for _, want := range []clipMessage{{[]byte("words"), true}, {chunk, false}} {
			if m := wait(t, came, "message"); !bytes.Equal(m.data, want.data) || m.text != want.text {
				t.Errorf("a message has %d bytes, text %v", len(m.data), m.text)
			}
		}
	}
	testkit.Must(t, page.Send(append(chunk, 'x')))
	testkit.Until(t, "the channel is closed", func() bool { return !s.talks() })
	wait(t, ended, "the end of the channel")
	testkit.Must(t, c.input.SendText(`{"t":"key","code":"KeyA","p":true}`))
	if in := wait(t, s.inputs, "a key"); in.Code != "KeyA" {
		t.Errorf("then came %+v", in)
	}
}

// A page that does not read costs no more than a bound.
func TestUnreadMessages(t *testing.T) {
	s, _, l, _, _, _, _ := messagesPair(t)
	l.Set(netline.Way{Cut: true})
	ch, part, most := s.messages.Load(), make([]byte, wire.MaxMessageChunk), uint64(0)
	for deadline := time.Now().Add(30 * time.Second); s.talks(); {
		s.TellMessage(part, false)
		most = max(most, ch.BufferedAmount())
		if time.Now().After(deadline) {
			t.Fatal("the channel goes on")
		}
	}
	if most > maxMessagesWaiting+wire.MaxMessageChunk {
		t.Errorf("%d bytes waited", most)
	}
}
