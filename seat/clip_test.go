package seat

import (
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

// The job says which way text goes.
func TestClipboard(t *testing.T) {
	for mode, takes := range map[string][2]bool{
		"": {}, wire.ClipboardNone: {}, wire.ClipboardIn: {true, false}, wire.ClipboardOut: {false, true}, wire.ClipboardBoth: {true, true},
	} {
		t.Run(mode, func(t *testing.T) {
			r := newRigWith(t, func(r *rig) { r.spec.Display.Clipboard = mode }).idle()
			_, p, _ := r.play()
			p.OnInput(wire.Input{Type: wire.InputClip, Text: "hel", More: true})
			p.OnInput(wire.Input{Type: wire.InputClip, Text: "lo"})
			p.OnInput(wire.Input{Type: wire.InputKey, Code: "KeyC", Key: "c"})
			r.wait("the key", func() bool { return r.input.count("apply KeyC") == 1 })
			if got := r.clipboard.count("put hello") == 1; got != takes[0] {
				t.Errorf("the app got the text: %v", got)
			}
			if got := r.clipboard.count("look") == 1; got != takes[1] {
				t.Errorf("the app was asked for a copy: %v", got)
			}
			if n := r.input.count("apply "); n > 0 {
				t.Error("the text was played as input")
			}
			if !takes[1] {
				return
			}
			long := strings.Repeat("日", wire.MaxClipPart/3+1)
			r.clipboard.copied(long)
			if p.count(`tell {"t":"clip","text":"`+long[:len(long)-3]+`","more":true}`) != 1 || p.count(`tell {"t":"clip","text":"日"}`) != 1 {
				t.Error("the page was not told the copy in two parts, split between characters")
			}
		})
	}
}

// A text that is too long is dropped, and the next one is whole.
func TestClipsAreBounded(t *testing.T) {
	var c clips
	part := wire.Input{Text: strings.Repeat("x", wire.MaxClipPart), More: true}
	for range wire.MaxClip/wire.MaxClipPart + 5 {
		c.add(part)
		if len(c.text) > wire.MaxClip {
			t.Fatalf("%d bytes are held", len(c.text))
		}
	}
	if _, ok := c.add(wire.Input{Text: "end"}); ok {
		t.Error("the end of a text that is too long was taken for a text")
	}
	if text, ok := c.add(wire.Input{Text: "next"}); !ok || text != "next" {
		t.Errorf("then %q came", text)
	}
}
