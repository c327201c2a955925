package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// pasteAndCopy pastes a picture when there is one, says what it is, and copies it.
const pasteAndCopy = `zenity --info --text=ready &
	until xclip -selection clipboard -o -t image/png >"$HOME/picture" 2>/dev/null && test -s "$HOME/picture"; do sleep 0.2; done
	sha256sum <"$HOME/picture"
	xclip -selection clipboard -i -t image/png "$HOME/picture"
	wait`

// A picture of the largest size comes to a program in a cell whole, and from it.
func TestPicturesPassTheCell(t *testing.T) {
	s := newReal(t, realApp{command: "/bin/sh", packages: "xclip and zenity", needs: []string{"/usr/bin/xclip", "/usr/bin/zenity"},
		args: []string{"-c", pasteAndCopy}}, true)
	s.spec.Display.Clipboard = wire.ClipboardBoth
	s.start()
	p := s.claim(s.waitState(wire.SeatIdle).Seat).Connect()
	picture := make([]byte, wire.MaxClip)
	for i := range picture {
		picture[i] = byte(rand.Uint32())
	}
	copy(picture, "\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x04\x00\x00\x00\x03\x00")
	began := time.Now()
	p.Paste("a picture", map[wire.ClipKind][]byte{wire.ClipPNG: picture})
	want := fmt.Sprintf("%x", sha256.Sum256(picture))
	testkit.UntilSeen(t, "the program has the picture", func() (any, bool) { return s.stdout(), strings.Contains(s.stdout(), want) })
	t.Logf("8 MiB were in the program after %v", time.Since(began))
	testkit.UntilSeen(t, "the picture is offered", func() (any, bool) {
		p.Press("KeyC", "c")
		return p.Offered(), p.Offered().PNG == len(picture)
	})
	if got := p.Fetch(wire.ClipPNG); !bytes.Equal(got, picture) {
		t.Errorf("the person got another picture, of %d bytes", len(got))
	}
}
