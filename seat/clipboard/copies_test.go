package clipboard

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// toldSoon has xclip copy a text until it is told.
func (b *board) toldSoon(text string) {
	b.t.Helper()
	b.copies("UTF8_STRING", []byte(text))
	b.clip.Look()
	select {
	case kinds := <-b.told:
		if got := string(kinds[wire.ClipText]); got != text {
			b.t.Errorf("told %q, want %q", got, text)
		}
	case <-time.After(time.Minute):
		b.t.Fatalf("the copy of %q is not told", text)
	}
}

// A copy is news whatever was copied before: the person may have copied something else
// elsewhere since. Each is told once.
func TestSameCopyAgain(t *testing.T) {
	b := newBoard(t)
	b.toldSoon("one")
	b.toldSoon("one")
	testkit.Must(t, b.clip.Put(Content{Text: "two"})) // the person pastes it
	<-time.After(echo)                                // before, it may be a clipboard manager's
	b.toldSoon("two")
	// The person types on: nothing was copied since. The copy after it is the next told.
	for range 3 {
		b.clip.Look()
	}
	b.toldSoon("three")
	if n := len(b.told); n > 0 {
		t.Errorf("%d copies more were told", n)
	}
}

// A program that takes its time copies long after the person's key.
func TestLateCopy(t *testing.T) {
	b := newBoard(t)
	b.clip.Look()
	// xclip reads what it copies until the end, and takes the selection then.
	ctx := context.WithoutCancel(t.Context())
	cmd := b.xclip(ctx, "-quiet", "-i", "-t", "UTF8_STRING")
	in, err := cmd.StdinPipe()
	testkit.Must(t, err)
	testkit.Start(t, cmd)
	late := time.NewTimer(1500 * time.Millisecond)
	defer late.Stop()
	<-late.C // longer than any question that follows a key
	_, err = in.Write([]byte("late"))
	testkit.Must(t, err)
	testkit.Must(t, in.Close())
	select {
	case kinds := <-b.told:
		if got := string(kinds[wire.ClipText]); got != "late" {
			t.Errorf("told %q", got)
		}
	case <-time.After(20 * time.Second):
		t.Error("the late copy was not told")
	}
}

// A program that offers a picture and gives none is told once, however much the person types.
func TestCopyThatIsNotGivenWhole(t *testing.T) {
	b := newBoard(t)
	asked := make(chan struct{}, 100)
	own(t, b.d, func(conn *xgb.Conn, atom func(string) xproto.Atom, ev xgb.Event) {
		e, ok := ev.(xproto.SelectionRequestEvent)
		switch {
		case !ok:
		case e.Target == atom("TARGETS"):
			var list []byte
			for _, name := range []string{"UTF8_STRING", "image/png", "TIMESTAMP"} {
				list = binary.LittleEndian.AppendUint32(list, uint32(atom(name)))
			}
			give(conn, e, xproto.AtomAtom, 32, list)
		case e.Target == atom("UTF8_STRING"):
			give(conn, e, e.Target, 8, []byte("half"))
			asked <- struct{}{}
		default:
			give(conn, e, 0, 8, nil)
		}
	})
	for range 1 + mostRepeats {
		testkit.Until(t, "the program is asked", func() bool {
			b.clip.Look()
			return len(asked) > 0
		})
		<-asked
	}
	if got := string(b.next()[wire.ClipText]); got != "half" {
		t.Errorf("told %q", got)
	}
	b.toldSoon("next") // all questions were answered
	if n := len(b.told); n > 0 {
		t.Errorf("told %d times more", n)
	}
}
