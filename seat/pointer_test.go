package seat

import (
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

// A page that asks is told of the app's pointer, now and at each change.
func TestPointerIsTold(t *testing.T) {
	r := newRig(t).idle()
	_, p, _ := r.play()
	r.video.cursor(Cursor{PNG: []byte("arrow"), X: 1, Y: 2})
	if n := p.count(`tell {"t":"pointer","image":"YXJyb3c=","x":1,"y":2}`); n > 0 {
		t.Error("a page that did not ask was told")
	}
	if r.video.count("draw cursor false") > 0 {
		t.Error("the cursor is not in the picture, and no page draws it")
	}
	want := func(message string) {
		t.Helper()
		r.wait("told "+message, func() bool { return p.count("tell "+message) == 1 })
	}
	p.OnInput(wire.Input{Type: wire.InputCursor, Pressed: true})
	want(`{"t":"pointer","image":"YXJyb3c=","x":1,"y":2}`)
	r.wait("the page draws the cursor", func() bool { return r.video.count("draw cursor false") == 1 })
	r.video.cursor(Cursor{Hidden: true})
	want(`{"t":"pointer","hidden":true}`)
	r.wait("the input knows", func() bool { return r.input.count("cursor shown false") == 1 })
	r.input.relative(true)
	want(`{"t":"pointer","relative":true,"hidden":true}`)

	// A page on a phone draws no cursor.
	r.video.cursor(Cursor{PNG: []byte("hand")})
	want(`{"t":"pointer","relative":true,"image":"aGFuZA=="}`)
	p.OnInput(wire.Input{Type: wire.InputCursor})
	want(`{"t":"pointer","relative":true}`)
	r.wait("the cursor is in the picture", func() bool { return r.video.count("draw cursor true") == 2 })
	if n := r.input.count("apply "); n > 0 {
		t.Error("the question was played as input")
	}
}

// A line that is silent may have lost the release of a key: none repeats meanwhile.
func TestSilentLine(t *testing.T) {
	r := newRig(t).idle()
	_, p, _ := r.play()
	if r.input.count("stop repeats") > 0 {
		t.Error("the repeats of keys end while the line works")
	}
	p.OnSilent()
	if r.input.count("stop repeats") != 1 {
		t.Error("keys repeat while the line is silent")
	}
}
