package person

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// clips is a person's end of wire.ChannelClip.
type clips struct {
	channel *webrtc.DataChannel
	chunks  chan []byte // answers of the seat

	mu      sync.Mutex
	given   map[wire.ClipKind][]byte
	offered wire.ClipOffer // of the seat
	part    string         // of a text that goes on
	copied  string         // the last text, whole
}

// hear takes what the seat tells of what the app copied.
func (c *clips) hear(told wire.Clip) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if told.Offer != nil {
		c.offered = *told.Offer
	}
	if c.part += told.Text; !told.More {
		c.copied, c.part = c.part, ""
	}
}

func (p *Person) openClips() {
	p.t.Helper()
	var err error
	p.clips.channel, err = p.pc.CreateDataChannel(wire.ChannelClip, nil)
	testkit.Must(p.t, err)
	p.clips.chunks = make(chan []byte, 64)
	p.clips.channel.OnMessage(func(m webrtc.DataChannelMessage) {
		if !m.IsString {
			p.clips.chunks <- m.Data
			return
		}
		var a wire.ClipAsk
		p.clips.mu.Lock()
		defer p.clips.mu.Unlock()
		if json.Unmarshal(m.Data, &a) == nil {
			_ = p.clips.channel.Send(p.clips.given[a.Kind][a.At : a.At+a.Size])
		}
	})
}

// Paste offers what the person copied elsewhere, as a page does before the key that pastes.
func (p *Person) Paste(text string, kinds map[wire.ClipKind][]byte) {
	p.t.Helper()
	p.clips.mu.Lock()
	p.clips.given = kinds
	p.clips.mu.Unlock()
	p.Input(wire.Input{Type: wire.InputClip, Text: text,
		Offer: &wire.ClipOffer{ID: 1, Text: len(kinds[wire.ClipText]), HTML: len(kinds[wire.ClipHTML]), PNG: len(kinds[wire.ClipPNG])}})
}

// Offered is what the seat offered last of what the app copied.
func (p *Person) Offered() wire.ClipOffer {
	p.clips.mu.Lock()
	defer p.clips.mu.Unlock()
	return p.clips.offered
}

// Copied is the text that the app copied last, where the seat told it without being asked: a short one.
func (p *Person) Copied() string {
	p.clips.mu.Lock()
	defer p.clips.mu.Unlock()
	return p.clips.copied
}

// Fetch gets a kind of what the seat offered, one chunk after the other.
func (p *Person) Fetch(kind wire.ClipKind) (all []byte) {
	p.t.Helper()
	o := p.Offered()
	for len(all) < o.Size(kind) {
		raw, err := json.Marshal(wire.ClipAsk{ID: o.ID, Kind: kind, At: len(all), Size: min(wire.MaxClipChunk, o.Size(kind)-len(all))})
		testkit.Must(p.t, err)
		testkit.Must(p.t, p.clips.channel.SendText(string(raw)))
		select {
		case chunk := <-p.clips.chunks:
			if len(chunk) == 0 {
				p.t.Fatalf("the seat has %s no more after %d bytes", kind, len(all))
			}
			all = append(all, chunk...)
		case <-time.After(patience):
			p.t.Fatalf("no more of %s came after %d bytes", kind, len(all))
		}
	}
	return all
}
