package clipboard

import (
	"context"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// toldSoon has xclip copy a text until it is told.
func (b *board) toldSoon(text string) {
	b.t.Helper()
	testkit.Until(b.t, "the copy of "+text+" is told", func() bool {
		b.copies("UTF8_STRING", []byte(text))
		b.clip.Look()
		select {
		case kinds := <-b.told:
			if got := string(kinds[wire.ClipText]); got != text {
				b.t.Errorf("told %q, want %q", got, text)
			}
			return true
		case <-time.After(2 * time.Second):
			return false
		}
	})
}

// A copy is news whatever was copied before: the person may have copied something else
// elsewhere since. Each is told once.
func TestSameCopyAgain(t *testing.T) {
	b := newBoard(t)
	b.toldSoon("one")
	b.toldSoon("one")
	testkit.Must(t, b.clip.Put(Content{Text: "two"})) // the person pastes it
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
