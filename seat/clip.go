package seat

import (
	"context"
	"encoding/json"
	"maps"
	"sync"

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

// appCopy is what the app copied last, until the page has it.
type appCopy struct {
	mu      sync.Mutex
	session string                   // whose input came last
	kinds   map[wire.ClipKind][]byte // nil: the page has it
	of      string                   // the session that kinds are for
	page    *sessionPeer             // was told; nil: none yet
	mark    uint64                   // of what it was told
}

// mayCopy reports whether input may make an app copy: by a key, a button, a finger that comes
// or goes, a text (a screen keyboard's letters are such), or a button of a gamepad.
func mayCopy(m wire.Input) bool {
	switch m.Type {
	case wire.InputKey, wire.InputText, wire.InputDown, wire.InputUp:
		return true
	case wire.InputTouch:
		return m.N == 0
	case wire.InputPad:
		return m.Pad != nil && m.Pad.Buttons != 0
	}
	return false
}

// lookForCopy looks for what the app copies by this input.
func (s *stream) lookForCopy(p *sessionPeer, m wire.Input) {
	if s.clipboard == nil || !wire.ClipboardGives(s.h.spec.Display.Clipboard) || !mayCopy(m) {
		return
	}
	s.copy.mu.Lock()
	s.copy.session = p.session
	s.copy.mu.Unlock()
	s.clipboard.Look()
}

// copied takes what the app copied. It is for the person whose input came last.
func (s *stream) copied(kinds map[wire.ClipKind][]byte) {
	s.copy.mu.Lock()
	defer s.copy.mu.Unlock()
	s.copy.kinds, s.copy.of, s.copy.page = kinds, s.copy.session, nil
	if p := s.peer.Load(); p != nil {
		s.copy.tell(p)
	}
}

// tellCopy tells a page what the app copied, if no page of its session has it: the line was
// cut, or the page was loaded again.
func (s *stream) tellCopy(p *sessionPeer) {
	s.copy.mu.Lock()
	defer s.copy.mu.Unlock()
	s.copy.tell(p)
}

func (s *stream) forgetCopy() {
	s.copy.mu.Lock()
	defer s.copy.mu.Unlock()
	s.copy.kinds, s.copy.page = nil, nil
}

// tell tells p, unless it was told or another page of the person has it. c.mu is held.
func (c *appCopy) tell(p *sessionPeer) {
	if c.kinds == nil || c.page == p || c.of != p.session {
		return
	}
	if c.page != nil && c.page.Arrived(c.mark) {
		c.kinds, c.page = nil, nil
		return
	}
	if mark := p.tellCopy(c.kinds); mark > 0 {
		c.page, c.mark = p, mark
	}
}

// tellCopy tells the page of a copy. The result is 0 where it was not sent whole, else for
// Peer.Arrived.
func (p *sessionPeer) tellCopy(kinds map[wire.ClipKind][]byte) (mark uint64) {
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
		return 0
	}
	for first, more := true, true; more; first = false {
		part := text[:min(len(text), wire.MaxClipPart)]
		for len(part) < len(text) && !utf8Start(text[len(part)]) {
			part = part[:len(part)-1]
		}
		text = text[len(part):]
		more = text != ""
		told := wire.Clip{Type: "clip", First: first, Text: part, More: more}
		if !more {
			told.Offer = offer
		}
		raw, err := json.Marshal(told)
		if err != nil {
			return 0
		}
		if mark = p.Tell(raw); mark == 0 {
			return 0
		}
	}
	return mark
}

func utf8Start(b byte) bool { return b&0xc0 != 0x80 }
