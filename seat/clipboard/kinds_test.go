package clipboard

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/display"
)

// board is a display with a clipboard, and Debian's xclip to copy and paste there.
type board struct {
	t    *testing.T
	d    *display.Display
	clip *Clipboard
	told chan map[wire.ClipKind][]byte
}

func newBoard(t *testing.T) *board {
	t.Helper()
	testkit.NeedXvfb(t)
	ctx := testkit.Context(t, time.Minute)
	d, err := display.Start(ctx, display.Config{Width: 640, Height: 360, Server: wire.XServer{Server: wire.ServerXvfb}, Runner: cell.Local{Dir: t.TempDir()}, Dir: t.TempDir()})
	testkit.Must(t, err)
	t.Cleanup(func() { d.Close() })
	b := &board{t: t, d: d, told: make(chan map[wire.ClipKind][]byte, 8)}
	b.clip, err = Open(d.Dial, d.Cookie(), func(kinds map[wire.ClipKind][]byte) { b.told <- kinds })
	testkit.Must(t, err)
	t.Cleanup(func() { b.clip.Close() })
	return b
}

func (b *board) xclip(ctx context.Context, args ...string) *exec.Cmd {
	b.t.Helper()
	path, err := exec.LookPath("xclip")
	if err != nil {
		b.t.Skip("xclip is not installed (Debian's package is xclip)")
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"-selection", "clipboard"}, args...)...)
	cmd.Env = append(os.Environ(), b.d.Env()...)
	return cmd
}

// copies has xclip copy data. It goes on until somebody else copies, or the display ends.
func (b *board) copies(target string, data []byte) {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "data")
	testkit.Must(b.t, os.WriteFile(file, data, 0o600))
	owner := func() xproto.Window {
		r, err := xproto.GetSelectionOwner(b.clip.conn, b.clip.atoms.clipboard).Reply()
		testkit.Must(b.t, err)
		return r.Owner
	}
	before := owner()
	testkit.Start(b.t, b.xclip(context.WithoutCancel(b.t.Context()), "-quiet", "-i", "-t", target, file))
	testkit.Until(b.t, "xclip copied "+target, func() bool { now := owner(); return now != 0 && now != before })
}

// pastes is what xclip gets.
func (b *board) pastes(target string) ([]byte, error) {
	b.t.Helper()
	return b.xclip(testkit.Context(b.t, 30*time.Second), "-o", "-t", target).Output()
}

func (b *board) next() map[wire.ClipKind][]byte {
	b.t.Helper()
	b.clip.Look()
	select {
	case kinds := <-b.told:
		return kinds
	case <-time.After(30 * time.Second):
		b.t.Fatal("nothing was told")
		return nil
	}
}

// picture is a PNG as far as a clipboard looks into it.
func picture(size int) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	copy(data, "\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x04\x00\x00\x00\x03\x00")
	return data
}

// What a program copies is told whole, by its kind, up to the limit.
func TestKindsAreCopied(t *testing.T) {
	b := newBoard(t)
	utf16 := []byte{0xff, 0xfe}
	for _, r := range "<b>é</b>\x00" {
		utf16 = binary.LittleEndian.AppendUint16(utf16, uint16(r))
	}
	most, long := picture(wire.MaxClip), bytes.Repeat([]byte("Grüße "), 100_000)
	for _, c := range []struct {
		target     string
		kind       wire.ClipKind
		data, want []byte
	}{
		{"text/html", wire.ClipHTML, []byte("<b>日本</b>"), nil},
		{"text/html", wire.ClipHTML, utf16, []byte("<b>é</b>")},
		{"image/png", wire.ClipPNG, picture(300), nil},
		{"image/png", wire.ClipPNG, most, nil},
		{"UTF8_STRING", wire.ClipText, long, nil},
	} {
		b.copies(c.target, c.data)
		want := c.want
		if want == nil {
			want = c.data
		}
		if got := b.next(); len(got) != 1 || !bytes.Equal(got[c.kind], want) {
			t.Errorf("%s of %d bytes: %d kinds were told, %s has %d bytes", c.target, len(c.data), len(got), c.kind, len(got[c.kind]))
		}
	}
	// What is too large, or no picture, is not told; the next is.
	for _, data := range [][]byte{picture(wire.MaxClip + 1), []byte("<p>I am no picture, whatever I say</p>")} {
		b.copies("image/png", data)
		b.clip.Look()
	}
	b.copies("text/html", []byte("<i>after</i>"))
	if got := b.next(); string(got[wire.ClipHTML]) != "<i>after</i>" {
		t.Errorf("told %.40q", got)
	}
}

// given is a content of which more comes at each Read.
func given(text string, offer wire.ClipOffer, all map[wire.ClipKind][]byte) Content {
	return Content{Text: text, Offer: offer, Read: func(_ context.Context, kind wire.ClipKind, at int) ([]byte, error) {
		if at == len(all[kind]) {
			return nil, io.EOF
		}
		return all[kind][at:min(at+wire.MaxClipChunk, len(all[kind]))], nil
	}}
}

// What the person copied is pasted whole, each kind by its target.
func TestKindsArePasted(t *testing.T) {
	b := newBoard(t)
	html, png := []byte("<b>日本</b>"), picture(wire.MaxClip)
	offer := wire.ClipOffer{ID: 1, HTML: len(html), PNG: len(png)}
	all := map[wire.ClipKind][]byte{wire.ClipHTML: html, wire.ClipPNG: png}
	testkit.Must(t, b.clip.Put(given("日本", offer, all)))
	for target, want := range map[string][]byte{"text/html": html, "image/png": png, "UTF8_STRING": []byte("日本"), "STRING": []byte("??")} {
		if got, err := b.pastes(target); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %d bytes, want %d (%v)", target, len(got), len(want), err)
		}
	}
	list, err := b.pastes("TARGETS")
	if err != nil || string(list) != "TARGETS\nUTF8_STRING\ntext/plain;charset=utf-8\nTEXT\nSTRING\ntext/html\nimage/png\n" {
		t.Errorf("there can be asked for %q (%v)", list, err)
	}
	// A text that is too long to be there before the key.
	long := bytes.Repeat([]byte("Grüße "), 100_000)
	testkit.Must(t, b.clip.Put(given("", wire.ClipOffer{ID: 2, Text: len(long)}, map[wire.ClipKind][]byte{wire.ClipText: long})))
	if got, err := b.pastes("UTF8_STRING"); err != nil || !bytes.Equal(got, long) {
		t.Errorf("a long text: got %d bytes, want %d (%v)", len(got), len(long), err)
	}
	if _, err := b.pastes("image/png"); err == nil {
		t.Error("a picture that is no longer there was pasted")
	}
	// A page that goes away: what is short is told to be nothing.
	gone := Content{Offer: wire.ClipOffer{ID: 3, HTML: 100}, Read: func(context.Context, wire.ClipKind, int) ([]byte, error) { return nil, errors.New("gone") }}
	testkit.Must(t, b.clip.Put(gone))
	if got, err := b.pastes("text/html"); err == nil {
		t.Errorf("got %q of a page that is gone", got)
	}
}

// The clipboard closes while programs wait for pieces that do not come.
func TestCloseWhileGiving(t *testing.T) {
	b := newBoard(t)
	reading := make(chan bool, 1)
	testkit.Must(t, b.clip.Put(Content{Offer: wire.ClipOffer{ID: 1, PNG: wire.MaxClip}, Read: func(ctx context.Context, _ wire.ClipKind, _ int) ([]byte, error) {
		put(reading, true)
		<-ctx.Done()
		return nil, ctx.Err()
	}}))
	ctx, cancel := context.WithCancel(t.Context())
	cmd := b.xclip(ctx, "-o", "-t", "image/png")
	testkit.Must(t, cmd.Start())
	<-reading
	testkit.Must(t, b.clip.Close())
	cancel()
	cmd.Wait()
}

// A program that never ends its answer, or claims what it does not give, costs no more
// than the limit, and no more than one question.
func TestEndlessOwner(t *testing.T) {
	b := newBoard(t)
	served := endlessOwner(t, b.d)
	b.clip.Look()
	total := 0
	for at := time.After(30 * time.Second); total <= wire.MaxClip; {
		select {
		case n := <-served:
			total += n
		case <-at:
			t.Fatalf("only %d bytes were asked for", total)
		}
	}
	// It is left alone after the limit: what was copied next is told.
	b.copies("text/html", []byte("<i>after</i>"))
	if got := b.next(); string(got[wire.ClipHTML]) != "<i>after</i>" {
		t.Errorf("told %.40q", got)
	}
	for len(served) > 0 {
		total += <-served
	}
	if total > wire.MaxClip+4<<20 {
		t.Errorf("%d bytes were taken", total)
	}
}

// endlessOwner owns the clipboard, and answers with pieces without end. It tells how many
// bytes were taken.
func endlessOwner(t *testing.T, d *display.Display) <-chan int {
	t.Helper()
	served, piece := make(chan int, 1000), picture(200<<10)
	own(t, d, func(conn *xgb.Conn, atom func(string) xproto.Atom, ev xgb.Event) {
		switch e := ev.(type) {
		case xproto.SelectionRequestEvent:
			if e.Target == atom("TARGETS") {
				give(conn, e, xproto.AtomAtom, 32, binary.LittleEndian.AppendUint32(nil, uint32(atom("image/png"))))
				return
			}
			xproto.ChangeWindowAttributes(conn, e.Requestor, xproto.CwEventMask, []uint32{xproto.EventMaskPropertyChange})
			give(conn, e, atom("INCR"), 32, []byte{1, 0, 0, 0})
		case xproto.PropertyNotifyEvent:
			if e.State == xproto.PropertyDelete {
				xproto.ChangeProperty(conn, xproto.PropModeReplace, e.Window, e.Atom, atom("image/png"), 8, uint32(len(piece)), piece)
				put(served, len(piece))
			}
		}
	})
	return served
}
