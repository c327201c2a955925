package clipboard

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// A program of Tk keeps the selection when it copies again: that is told too.
func TestCopiesOfTk(t *testing.T) {
	b := newBoard(t)
	wish, err := exec.LookPath("wish")
	if err != nil {
		t.Skip("wish is not installed (Debian's package is tk)")
	}
	cmd := exec.Command(wish)
	cmd.Env = append(os.Environ(), b.d.Env()...)
	in, err := cmd.StdinPipe()
	testkit.Must(t, err)
	testkit.Start(t, cmd)
	for _, text := range []string{"one", "two", "three"} {
		fmt.Fprintf(in, "clipboard clear; clipboard append -type UTF8_STRING %s; puts copied; flush stdout\n", text)
		if got := b.next(); string(got[wire.ClipText]) != text {
			t.Errorf("told %q, want %q", got[wire.ClipText], text)
		}
	}
	// Also where it takes its time. What was told is not told again.
	for range 3 {
		b.clip.Look()
	}
	fmt.Fprint(in, "after 500; clipboard clear; clipboard append -type UTF8_STRING slow\n")
	if got := b.next(); string(got[wire.ClipText]) != "slow" {
		t.Errorf("told %q: a copy was told twice", got[wire.ClipText])
	}
	fmt.Fprint(in, "clipboard clear; clipboard append -type UTF8_STRING last\n")
	if got := b.next(); string(got[wire.ClipText]) != "last" {
		t.Errorf("told %q: a copy was told twice", got[wire.ClipText])
	}
}
