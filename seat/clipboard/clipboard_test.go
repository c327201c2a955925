package clipboard

import (
	"context"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/display"
	"github.com/nearcast/nearcast/seat/input"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is a display with Debian's zenity, a GTK program with a line of text.
type desk struct {
	t    *testing.T
	in   *input.Injector
	clip *Clipboard
	out  io.Reader
	told chan map[wire.ClipKind][]byte
}

func newDesk(t *testing.T, text string) *desk {
	t.Helper()
	testkit.NeedXvfb(t)
	zenity, err := exec.LookPath("zenity")
	if err != nil {
		t.Skip("zenity is not installed")
	}
	ctx := testkit.Context(t, time.Minute)
	d, err := display.Start(ctx, display.Config{Width: 640, Height: 360, Server: wire.XServer{Server: wire.ServerXvfb}, Runner: cell.Local{Dir: t.TempDir()}, Dir: t.TempDir()})
	testkit.Must(t, err)
	t.Cleanup(func() { d.Close() })
	cmd := exec.CommandContext(context.WithoutCancel(ctx), zenity, "--entry", "--text=Type", "--entry-text="+text)
	cmd.Env = append(d.Env(), "HOME="+t.TempDir(), "LANG=C.UTF-8", "NO_AT_BRIDGE=1")
	out, err := cmd.StdoutPipe()
	testkit.Must(t, err)
	testkit.Must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	testkit.Must(t, d.WaitWindow(ctx))
	in, err := input.Open(d.Dial, d.Cookie(), 640, 360)
	testkit.Must(t, err)
	t.Cleanup(func() { in.Close() })
	k := &desk{t: t, in: in, out: out, told: make(chan map[wire.ClipKind][]byte, 8)}
	k.clip, err = Open(d.Dial, d.Cookie(), func(kinds map[wire.ClipKind][]byte) { k.told <- kinds })
	testkit.Must(t, err)
	t.Cleanup(func() { k.clip.Close() })
	return k
}

// press presses a key with Control held.
func (k *desk) press(code, key string, control bool) {
	k.t.Helper()
	play := func(code, key string, pressed bool) {
		k.t.Helper()
		testkit.Must(k.t, k.in.Apply(wire.Input{Type: wire.InputKey, Code: code, Key: key, Pressed: pressed}))
	}
	if control {
		play("ControlLeft", "Control", true)
		defer play("ControlLeft", "Control", false)
	}
	play(code, key, true)
	play(code, key, false)
}

// copied copies the whole line until it is told: the program may not have the keyboard yet.
func (k *desk) copied() (text string) {
	k.t.Helper()
	testkit.Until(k.t, "the program's text", func() bool {
		k.press("KeyA", "a", true)
		k.press("KeyC", "c", true)
		k.clip.Look()
		select {
		case kinds := <-k.told:
			text = string(kinds[wire.ClipText])
			return true
		case <-time.After(2 * time.Second):
			return false
		}
	})
	return text
}

func TestCopyAndPaste(t *testing.T) {
	k := newDesk(t, "日本語 é😀")
	if got := k.copied(); got != "日本語 é😀" {
		t.Errorf("the program copied %q", got)
	}
	// A text of the person's; it is not told back to them.
	long := strings.Repeat("Grüße 😀 ", 2000)
	testkit.Must(t, k.clip.Put(Content{Text: long}))
	k.press("KeyA", "a", true)
	k.press("KeyV", "v", true)
	k.clip.Look()
	k.press("Enter", "Enter", false)
	got, err := io.ReadAll(k.out)
	testkit.Must(t, err)
	if strings.TrimSuffix(string(got), "\n") != long {
		t.Errorf("the program got %d bytes, want %d: %.100q", len(got), len(long), got)
	}
	select {
	case kinds := <-k.told:
		t.Errorf("told %.50q, which the person had copied themselves", kinds)
	default:
	}
}

// What is copied a second time from the same program is told too.
func TestCopyAgain(t *testing.T) {
	k := newDesk(t, "one")
	if got := k.copied(); got != "one" {
		t.Errorf("copied %q", got)
	}
	k.press("End", "End", false)
	testkit.Must(t, k.in.Apply(wire.Input{Type: wire.InputText, Text: " two"}))
	if got := k.copied(); got != "one two" {
		t.Errorf("then copied %q", got)
	}
}

func TestBadTexts(t *testing.T) {
	k := newDesk(t, "x")
	for _, text := range []string{strings.Repeat("x", wire.MaxClipText+1), "\xff"} {
		if k.clip.Put(Content{Text: text}) == nil {
			t.Errorf("a text of %d bytes was taken", len(text))
		}
	}
}
