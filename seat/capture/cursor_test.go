package capture

import (
	"bytes"
	"encoding/binary"
	"image/png"
	"log/slog"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// setCursor gives the root window a cursor of font "cursor": black with a white edge.
// Without a shape it is one that nobody sees.
func (p *painter) setCursor(t *testing.T, shape uint32) {
	t.Helper()
	cursor := p.x.newID()
	var requests []xmessage
	if shape == 0 {
		bitmap := p.x.newID()
		gc := p.x.newID()
		requests = append(requests,
			xrequest(53, 1, bitmap, p.x.setup.Root, 8|8<<16),          // CreatePixmap
			xrequest(55, 0, gc, bitmap, 0),                            // CreateGC, with foreground 0
			xrequest(70, 0, bitmap, gc, 0, 8|8<<16),                   // PolyFillRectangle
			xrequest(93, 0, cursor, bitmap, bitmap, 0, 0, 0, 3|2<<16)) // CreateCursor
	} else {
		font := p.x.newID()
		open := xrequest(45, 0, font, 6) // OpenFont
		open.bytes = append(open.bytes, "cursor\x00\x00"...)
		binary.LittleEndian.PutUint16(open.bytes[2:], uint16(len(open.bytes)/4))
		requests = append(requests, open,
			xrequest(94, 0, cursor, font, font, shape|(shape+1)<<16, 0, 0xffff, 0xffff<<16|0xffff)) // CreateGlyphCursor
	}
	const cwCursor = 1 << 14
	requests = append(requests, xrequest(2, 0, p.x.setup.Root, cwCursor, cursor), xSync()) // ChangeWindowAttributes
	seq, err := p.x.send(requests...)
	if err == nil {
		_, err = p.x.wait(seq)
	}
	testkit.Must(t, err)
}

// The cursor is told of with its picture. While the page draws it, it is not in the
// stream's, and its motion is no change.
func TestCursorIsTold(t *testing.T) {
	display, _ := xvfb(t)
	paints := paint(t, display)
	paints.setCursor(t, 68) // the usual arrow
	cfg := config(display, func(Frame) {})
	told := make(chan Cursor, 16)
	cfg.OnCursor = func(c Cursor) { told <- c }
	s, err := openScreen(t.Context(), cfg, slog.Default())
	testkit.Must(t, err)
	defer s.close()
	paints.fill(t, 0x0000ff, 0, 0, 1280, 720)
	paints.warp(t, 600, 300)
	around := func() string {
		t.Helper()
		picture, err := s.grab()
		testkit.Must(t, err)
		var rows []byte
		for y := 290; y < 330; y++ {
			rows = append(rows, picture[y*s.stride+4*590:][:4*40]...)
		}
		return string(rows)
	}
	plain := bytes.Repeat([]byte{0xff, 0, 0, 0}, 40*40)
	if around() == string(plain) {
		t.Fatal("no cursor is in the picture")
	}
	c := <-told
	if c.Hidden {
		t.Fatalf("told of %+v", c)
	}
	picture, err := png.Decode(bytes.NewReader(c.PNG()))
	testkit.Must(t, err)
	if r, _, _, a := picture.At(c.HotX, c.HotY).RGBA(); r != 0 || a == 0 {
		t.Errorf("the tip of the arrow at %d,%d is %v", c.HotX, c.HotY, picture.At(c.HotX, c.HotY))
	}

	s.undrawn.Store(true)
	if got := around(); got != string(plain) {
		t.Error("the cursor is in the picture, although the page draws it")
	}
	if s.drawsCursor() {
		t.Error("its motion counts as a change")
	}
	s.undrawn.Store(false)
	if around() == string(plain) {
		t.Error("the cursor is not back")
	}

	paints.setCursor(t, 0)
	testkit.Until(t, "the cursor is hidden", func() bool {
		around()
		select {
		case c = <-told:
		default:
		}
		return c.Hidden && c.PNG() == nil
	})
}
