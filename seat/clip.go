package seat

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/nearcast/nearcast/internal/wire"
)

// clips are the parts of a text that comes from the page.
type clips struct {
	text    []byte
	dropped bool // it is too long
}

// add takes a part, and returns the text when it is complete.
func (c *clips) add(m wire.Input) (text string, complete bool) {
	c.dropped = c.dropped || len(c.text)+len(m.Text) > wire.MaxClipText
	if c.dropped {
		c.text = nil
	}
	c.text = append(c.text, m.Text...)
	if m.More {
		return "", false
	}
	text, complete = string(c.text), !c.dropped
	c.text, c.dropped = nil, false
	return text, complete
}

// pasted takes the person's clipboard, which they paste next. What is only offered comes
// when the app reads it: the key that pastes need not wait for it.
func (s *stream) pasted(p *sessionPeer, m wire.Input) {
	if s.clipboard == nil || !wire.ClipboardTakes(s.h.spec.Display.Clipboard) {
		return
	}
	text, complete := p.clips.add(m)
	if !complete {
		return
	}
	put := Clip{Text: text}
	if m.Offer.Valid() {
		put.Offer = *m.Offer
		p.link.offered(put.Offer)
		put.Read = func(ctx context.Context, kind wire.ClipKind, at int) ([]byte, error) {
			return p.link.read(ctx, put.Offer.ID, kind, at)
		}
	}
	if err := s.clipboard.Put(put); err != nil {
		s.h.log.Debug("put on the clipboard", "error", err)
	}
}

// clipHeard takes what the page says on wire.ChannelClip.
func (s *stream) clipHeard(p *sessionPeer, message []byte, text bool) {
	if s.clipboard != nil && s.h.state.checkHolder(p.session) == nil {
		p.link.heard(message, text)
	}
}

// mayCopy looks for what the app copied, after input that may have made it copy.
func (s *stream) mayCopy(m wire.Input) {
	if s.clipboard == nil || !wire.ClipboardGives(s.h.spec.Display.Clipboard) {
		return
	}
	if m.Type == wire.InputUp || m.Type == wire.InputKey && !m.Pressed {
		s.clipboard.Look()
	}
}

// copied tells the page what the app copied.
func (s *stream) copied(kinds map[wire.ClipKind][]byte) {
	p := s.peer.Load()
	if p == nil {
		return
	}
	kinds = maps.Clone(kinds)
	var text string
	if data := kinds[wire.ClipText]; len(data) <= wire.MaxClipText {
		text = string(data)
		delete(kinds, wire.ClipText)
	}
	var offer *wire.ClipOffer
	if len(kinds) > 0 && p.TakesClips() {
		offer = p.link.give(kinds)
	}
	if text == "" && offer == nil {
		return
	}
	for more := true; more; {
		part := text[:min(len(text), wire.MaxClipPart)]
		for len(part) < len(text) && !utf8Start(text[len(part)]) {
			part = part[:len(part)-1]
		}
		text = text[len(part):]
		more = text != ""
		told := wire.Clip{Type: "clip", Text: part, More: more}
		if !more {
			told.Offer = offer
		}
		if raw, err := json.Marshal(told); err == nil {
			p.Tell(raw)
		}
	}
}

func utf8Start(b byte) bool { return b&0xc0 != 0x80 }
