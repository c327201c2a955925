package seat

import (
	"encoding/json"

	"github.com/nearcast/nearcast/internal/wire"
)

// clips are the parts of a text that comes from the page.
type clips struct {
	text    []byte
	dropped bool // it is too long
}

// add takes a part, and returns the text when it is complete.
func (c *clips) add(m wire.Input) (text string, complete bool) {
	c.dropped = c.dropped || len(c.text)+len(m.Text) > wire.MaxClip
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

// pasted takes the person's clipboard, which they paste next.
func (s *stream) pasted(p *sessionPeer, m wire.Input) {
	if s.clipboard == nil || !wire.ClipboardTakes(s.h.spec.Display.Clipboard) {
		return
	}
	if text, complete := p.clips.add(m); complete {
		if err := s.clipboard.Put(text); err != nil {
			s.h.log.Debug("put text on the clipboard", "error", err)
		}
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
func (s *stream) copied(text string) {
	p := s.peer.Load()
	if p == nil {
		return
	}
	for more := true; more; {
		part := text[:min(len(text), wire.MaxClipPart)]
		for len(part) < len(text) && !utf8Start(text[len(part)]) {
			part = part[:len(part)-1]
		}
		text = text[len(part):]
		more = text != ""
		if raw, err := json.Marshal(wire.Clip{Type: "clip", Text: part, More: more}); err == nil {
			p.Tell(raw)
		}
	}
}

func utf8Start(b byte) bool { return b&0xc0 != 0x80 }
