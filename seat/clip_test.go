package seat

import (
	"bytes"
	"errors"
	"fmt"
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
			r.clipboard.copied(map[wire.ClipKind][]byte{wire.ClipText: []byte(long)})
			if p.count(`tell {"t":"clip","first":true,"text":"`+long[:len(long)-3]+`","more":true}`) != 1 || p.count(`tell {"t":"clip","text":"日"}`) != 1 {
				t.Error("the page was not told the copy in two parts, split between characters")
			}
		})
	}
}

// All that can make an app copy has the seat look, and what moves does not.
func TestInputThatCopies(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.Display.Clipboard, r.spec.Display.Gamepads = wire.ClipboardOut, true }).idle()
	_, p, _ := r.play()
	finger := []wire.Touch{{ID: 1, X: 0.5, Y: 0.5}}
	for _, c := range []struct {
		name  string
		m     wire.Input
		looks bool
	}{
		{"a key is pressed", wire.Input{Type: wire.InputKey, Code: "KeyC", Key: "c", Pressed: true}, true},
		{"a key is released", wire.Input{Type: wire.InputKey, Code: "KeyC", Key: "c"}, true},
		{"a screen keyboard's letter", wire.Input{Type: wire.InputText, Text: "y"}, true},
		{"a button is pressed", wire.Input{Type: wire.InputDown}, true},
		{"a button is released", wire.Input{Type: wire.InputUp}, true},
		{"a finger comes", wire.Input{Type: wire.InputTouch, Touches: finger}, true},
		{"a finger goes", wire.Input{Type: wire.InputTouch}, true},
		{"a gamepad's button", wire.Input{Type: wire.InputPad, Pad: &wire.Pad{Buttons: wire.PadSouth}, N: 1}, true},
		{"a stick", wire.Input{Type: wire.InputPad, Pad: &wire.Pad{LeftX: 9}, N: 2}, false},
		{"a finger moves", wire.Input{Type: wire.InputTouch, Touches: finger, N: 1}, false},
		{"the mouse moves", wire.Input{Type: wire.InputMove, X: 0.5, Y: 0.5}, false},
		{"the mouse moves, locked", wire.Input{Type: wire.InputRel, DX: 1}, false},
		{"the wheel", wire.Input{Type: wire.InputWheel, DY: 120}, false},
		{"the page loses the focus", wire.Input{Type: wire.InputBlur}, false},
		{"the person pastes", wire.Input{Type: wire.InputClip, Text: "x"}, false},
	} {
		before := r.clipboard.count("look")
		p.OnInput(c.m)
		if looks := r.clipboard.count("look") > before; looks != c.looks {
			t.Errorf("%s: the seat looks: %v", c.name, looks)
		}
	}
}

// A text that is too long is dropped, and the next one is whole.
func TestClipsAreBounded(t *testing.T) {
	var c clips
	part := wire.Input{Text: strings.Repeat("x", wire.MaxClipPart), More: true}
	for range wire.MaxClipText/wire.MaxClipPart + 5 {
		c.add(part)
		if len(c.text) > wire.MaxClipText {
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

// HTML and pictures go both ways, chunk by chunk, as somebody reads them.
func TestClipsAreFetched(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.Display.Clipboard = wire.ClipboardBoth }).idle()
	_, p, _ := r.play()
	html, png := []byte("<b>x</b>"), bytes.Repeat([]byte("picture "), 100_000)
	page := &fakePage{t: t, has: map[wire.ClipKind][]byte{wire.ClipHTML: html, wire.ClipPNG: png}, got: make(chan []byte, 100)}
	page.answers(p.OnClip)
	p.page = page.heard
	p.OnInput(wire.Input{Type: wire.InputClip, Text: "x", Offer: &wire.ClipOffer{ID: 7, HTML: len(html), PNG: len(png)}})
	r.wait("the offer", func() bool { return r.clipboard.count("put x") == 1 })
	if n := page.asked.Load(); n > 0 {
		t.Errorf("%d chunks were asked for before the app read anything", n)
	}
	put := r.clipboard.last.Load()
	for kind, want := range page.has {
		if got, err := readClip(t, put, kind); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the app got %d bytes, want %d (%v)", kind, len(got), len(want), err)
		}
	}
	// A later offer voids this one.
	p.OnInput(wire.Input{Type: wire.InputClip, Text: "y"})
	p.OnInput(wire.Input{Type: wire.InputClip, Offer: &wire.ClipOffer{ID: 8, PNG: 5}})
	r.wait("the next offer", func() bool { return r.clipboard.count("put ") == 1 })
	if _, err := put.Read(t.Context(), wire.ClipPNG, 0); !errors.Is(err, errClipGone) {
		t.Errorf("a former offer is read: %v", err)
	}

	// What the app copied is offered, and given to who asks for it.
	p.OnInput(wire.Input{Type: wire.InputKey, Code: "KeyC", Key: "c"})
	r.clipboard.copied(map[wire.ClipKind][]byte{wire.ClipText: []byte("é"), wire.ClipPNG: png})
	if p.count(fmt.Sprintf(`tell {"t":"clip","first":true,"text":"é","offer":{"id":1,"png":%d}}`, len(png))) != 1 {
		t.Error("the page was not offered the picture")
	}
	p.OnClip([]byte(`{"id":1,"kind":"png","at":16,"size":8192}`), true)
	if got := <-page.got; !bytes.Equal(got, png[16:16+8192]) {
		t.Errorf("the page got %d bytes, %.20q", len(got), got)
	}
	for _, bad := range []string{`{"id":2,"kind":"png","size":9}`, `{"id":1,"kind":"html","size":9}`, `{"id":1,"kind":"png","at":-1,"size":9}`, `{"id":1,"kind":"png","size":-9}`,
		`{"id":1,"kind":"png","size":8193}`, `{"id":1,"kind":"png","at":9223372036854775807,"size":9}`, fmt.Sprintf(`{"id":1,"kind":"png","at":%d,"size":9}`, len(png)-8)} {
		p.OnClip([]byte(bad), true)
		if got := <-page.got; len(got) != 0 {
			t.Errorf("%s got %d bytes", bad, len(got))
		}
	}
	// A text that is too long for the channel of input.
	long := bytes.Repeat([]byte("x"), wire.MaxClipText+1)
	r.clipboard.copied(map[wire.ClipKind][]byte{wire.ClipText: long})
	if p.count(fmt.Sprintf(`tell {"t":"clip","first":true,"text":"","offer":{"id":2,"text":%d}}`, len(long))) != 1 {
		t.Error("the page was not offered the long text")
	}
}

// Where the job lets nothing out, or nothing in, the channel has nothing either.
func TestClipsAreClosed(t *testing.T) {
	for _, mode := range []string{wire.ClipboardNone, wire.ClipboardIn, wire.ClipboardOut} {
		r := newRigWith(t, func(r *rig) { r.spec.Display.Clipboard = mode }).idle()
		_, p, _ := r.play()
		answers := make(chan []byte, 9)
		p.page = func(message []byte, _ bool) { answers <- message }
		p.OnInput(wire.Input{Type: wire.InputClip, Offer: &wire.ClipOffer{ID: 1, HTML: 5}})
		if put := r.clipboard.last.Load(); (put != nil) != (mode == wire.ClipboardIn) {
			t.Errorf("%s: the app was offered %+v", mode, put)
		}
		p.OnClip([]byte(`{"id":1,"kind":"png","size":9}`), true)
		select {
		case m := <-answers:
			if mode == wire.ClipboardNone || len(m) > 0 {
				t.Errorf("%s: the page got %q", mode, m)
			}
		default:
			if mode != wire.ClipboardNone {
				t.Errorf("%s: no answer", mode)
			}
		}
	}
}

// What the app copies while the page is away is told to the next page of the session, once,
// and so is what a page was told and did not get.
func TestCopyWhileThePageIsAway(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.Display.Clipboard = wire.ClipboardBoth }).idle()
	conn, p, _ := r.play()
	copied := func(text string) { r.clipboard.copied(map[wire.ClipKind][]byte{wire.ClipText: []byte(text)}) }
	told := func(p *fakePeer, text string) int {
		return p.count(`tell {"t":"clip","first":true,"text":"` + text + `"}`)
	}
	next := func() *fakePeer {
		t.Helper()
		r.send(conn, wire.Message{Type: wire.MsgOffer, SDP: "offer"})
		p := <-r.peers
		r.expect(conn, wire.MsgAnswer)
		p.OnState(PeerConnected)
		r.waitState(wire.SeatStreaming)
		return p
	}
	begins := wire.Input{Type: wire.InputCursor, Pressed: true}

	p.OnInput(wire.Input{Type: wire.InputKey, Code: "KeyC", Key: "c"})
	p.OnState(PeerClosed)
	r.waitState(wire.SeatDetached)
	r.wait("the page is gone", func() bool { return p.count("close") == 1 })
	copied("away")
	p = next()
	p.OnInput(begins)
	p.OnInput(begins)
	if n := told(p, "away"); n != 1 {
		t.Errorf("the next page was told %d times", n)
	}

	// It confirms that, and the next does not have to be told.
	p = next()
	p.OnInput(begins)
	if told(p, "away") > 0 {
		t.Error("a copy was told that the person had already")
	}

	// The line is cut: the copy is on its way, and does not come.
	p.OnInput(wire.Input{Type: wire.InputKey, Code: "KeyC", Key: "c"})
	copied("cut")
	p.lost.Store(true)
	if told(p, "cut") != 1 {
		t.Error("the page was not told")
	}
	p = next()
	p.OnInput(begins)
	if told(p, "cut") != 1 {
		t.Error("what did not arrive was not told again")
	}
}
