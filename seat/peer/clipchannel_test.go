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

type clipMessage struct {
	data []byte
	text bool
}

// clipPair is a seat and a page with a channel of clipboards, on a line.
func clipPair(t *testing.T) (s *seat, c *client, l *netline.Line, page *webrtc.DataChannel, heard, answers chan clipMessage) {
	t.Helper()
	heard, answers = make(chan clipMessage, 100), make(chan clipMessage, 1000)
	l = netline.New(t, netline.Way{})
	s = newSeat(t, func(cfg *Config) {
		cfg.Listen = wire.Listen{Media: "127.0.0.1", Loopback: true}
		cfg.OnClip = func(data []byte, text bool) { heard <- clipMessage{bytes.Clone(data), text} }
	})
	c = newClient(t)
	page, err := c.pc.CreateDataChannel(wire.ChannelClip, nil)
	testkit.Must(t, err)
	page.OnMessage(func(m webrtc.DataChannelMessage) { answers <- clipMessage{m.Data, m.IsString} })
	join(t, l, s, c)
	testkit.Until(t, "the channel is open", func() bool { return s.TakesClips() && page.ReadyState() == webrtc.DataChannelStateOpen })
	return s, c, l, page, heard, answers
}

// Words and bytes go both ways. A message that is too long ends the channel, and no other.
func TestClipChannel(t *testing.T) {
	s, c, _, page, heard, answers := clipPair(t)
	chunk := bytes.Repeat([]byte("x"), wire.MaxClipChunk)
	testkit.Must(t, page.SendText("an ask"))
	testkit.Must(t, page.Send(chunk))
	if m := wait(t, heard, "words"); string(m.data) != "an ask" || !m.text {
		t.Errorf("the seat heard %q, text %v", m.data, m.text)
	}
	if m := wait(t, heard, "bytes"); !bytes.Equal(m.data, chunk) || m.text {
		t.Errorf("the seat heard %d bytes, text %v", len(m.data), m.text)
	}
	s.TellClip([]byte("an ask"), true)
	s.TellClip(nil, false)
	s.TellClip(chunk, false)
	for i, want := range []clipMessage{{[]byte("an ask"), true}, {nil, false}, {chunk, false}} {
		if m := wait(t, answers, "answer"); !bytes.Equal(m.data, want.data) || m.text != want.text {
			t.Errorf("message %d has %d bytes, text %v", i, len(m.data), m.text)
		}
	}
	testkit.Must(t, page.Send(append(chunk, 'x')))
	testkit.Until(t, "the channel is closed", func() bool { return !s.TakesClips() })
	testkit.Must(t, c.input.SendText(`{"t":"key","code":"KeyA","p":true}`))
	if in := wait(t, s.inputs, "a key"); in.Code != "KeyA" {
		t.Errorf("then came %+v", in)
	}
}

// A page that asks and does not read costs no more than a bound, also where the answers
// are empty.
func TestUnreadClips(t *testing.T) {
	for name, answer := range map[string][]byte{"chunks": make([]byte, wire.MaxClipChunk), "empty answers": nil} {
		t.Run(name, func(t *testing.T) {
			s, _, l, _, _, _ := clipPair(t)
			l.Set(netline.Way{Cut: true})
			ch := s.clip.Load()
			most := uint64(0)
			for deadline := time.Now().Add(30 * time.Second); s.TakesClips(); {
				s.TellClip(answer, false)
				most = max(most, ch.BufferedAmount())
				if time.Now().After(deadline) {
					t.Fatal("the channel goes on")
				}
			}
			if most > maxClipWaiting+wire.MaxClipChunk || answer == nil && most > maxEmptyWaiting+1 {
				t.Errorf("%d bytes waited", most)
			}
		})
	}
}

// Where nobody wants clipboards there is no channel for them.
func TestNoClipChannel(t *testing.T) {
	l := netline.New(t, netline.Way{})
	s := newSeat(t, func(cfg *Config) { cfg.Listen = wire.Listen{Media: "127.0.0.1", Loopback: true} })
	c := newClient(t)
	page, err := c.pc.CreateDataChannel(wire.ChannelClip, nil)
	testkit.Must(t, err)
	closed := make(chan bool, 1)
	page.OnClose(func() { closed <- true })
	join(t, l, s, c)
	wait(t, closed, "end of the channel")
	if s.TakesClips() {
		t.Error("the seat takes clipboards")
	}
}
