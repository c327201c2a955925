package input

import (
	"bufio"
	"bytes"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/display"
)

// manyCharacters are 75 characters that no US keyboard has.
const manyCharacters = "абвгдежзийклмнопрстуфхцчшщъыьэюяαβγδεζηθικλμνξοπρστυφχψωąćęłńóśźżßåøæœđțșžč"

// got reads key presses until the application has got as many characters as want has.
func (s *stage) got(want string) string {
	s.t.Helper()
	var b strings.Builder
	for n := len([]rune(want)); n > 0; {
		e := s.next("key_press")
		switch {
		case e.Text != "":
			b.WriteString(e.Text)
			n--
		case e.Keysym == 0xff0d:
			b.WriteString("\n")
			n--
		}
	}
	return b.String()
}

func TestText(t *testing.T) { testkit.EachDisplay(t, textIsTyped) }

func textIsTyped(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	const text = "Hello, hello日本語é😀\nÀ a\u0301 @"
	s.apply(wire.Input{Type: wire.InputText, Text: text})
	if got := s.got(text); got != text {
		t.Errorf("the application got %q, want %q", got, text)
	}
	// The person holds a key, a modifier and a letter, and has Caps Lock on: text is text.
	s.apply(down("CapsLock", "CapsLock"), up("CapsLock", "CapsLock"), down("AltLeft", "Alt"), down("KeyA", "a"))
	s.apply(wire.Input{Type: wire.InputText, Text: "@a"})
	for {
		e := s.next("key_press")
		if e.Text == "@" {
			if e.State != 0 {
				t.Errorf("@ came with modifiers %#x", e.State)
			}
			break
		}
	}
	if e := s.next("key_press"); e.Text != "a" || e.State != 0 {
		t.Errorf("got %q with modifiers %#x, want a", e.Text, e.State)
	}
	if e := s.next("key_press"); e.Keysym != 0xffe9 {
		t.Errorf("got %+v, want Alt, which the person still holds", e)
	}
	s.apply(up("KeyA", "a"), up("AltLeft", "Alt"))
	if e := s.typed("KeyB", "b"); e.Text != "b" || e.State != 0 {
		t.Errorf("after all: %q with modifiers %#x", e.Text, e.State)
	}
}

// Control+С of a Russian keyboard copies, as Control+C does.
func TestShortcutsOfOtherScripts(t *testing.T) { testkit.EachDisplay(t, shortcutsOfOtherScripts) }

func shortcutsOfOtherScripts(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	s.apply(down("ControlLeft", "Control"))
	s.next("key_press")
	for _, c := range []struct{ code, key, text string }{
		{"KeyC", "с", "c"}, {"KeyZ", "ζ", "z"}, {"Semicolon", "ö", "ö"}, {"KeyQ", "a", "a"}, {"KeyJ", "c", "c"},
	} {
		if e := s.typed(c.code, c.key); e.Text != c.text || e.State&xproto.ModMaskControl == 0 {
			t.Errorf("Control and %s %q: the application got %q with modifiers %#x", c.code, c.key, e.Text, e.State)
		}
	}
	s.apply(up("ControlLeft", "Control"))
	s.next("key_release")
	if e := s.typed("KeyC", "с"); e.Text != "с" {
		t.Errorf("without Control: %q", e.Text)
	}
}

// Turkish has a letter i for each of two dots and none.
func TestTurkish(t *testing.T) { testkit.EachDisplay(t, turkish) }

func turkish(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	for _, c := range []struct{ code, key string }{{"KeyI", "ı"}, {"Quote", "i"}, {"Semicolon", "ş"}} {
		if e := s.typed(c.code, c.key); e.Text != c.key {
			t.Errorf("%q: the application got %q", c.key, e.Text)
		}
	}
	s.apply(down("ShiftLeft", "Shift"))
	s.next("key_press")
	for _, c := range []struct{ code, key string }{{"KeyI", "I"}, {"Quote", "İ"}, {"Semicolon", "Ş"}} {
		if e := s.typed(c.code, c.key); e.Text != c.key {
			t.Errorf("Shift and %q: the application got %q", c.key, e.Text)
		}
	}
}

// On Dvorak, each letter is in another place, punctuation is on letters' keys, and
// shortcuts go by the letter: the place of Ctrl+C is that of I.
func TestDvorak(t *testing.T) { testkit.EachDisplay(t, dvorak) }

func dvorak(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	keys := []struct{ code, plain, shifted string }{
		{"KeyQ", "'", "\""}, {"KeyW", ",", "<"}, {"KeyE", ".", ">"}, {"KeyR", "p", "P"}, {"KeyS", "o", "O"}, {"KeyD", "e", "E"},
		{"KeyZ", ";", ":"}, {"KeyX", "q", "Q"}, {"Semicolon", "s", "S"}, {"Quote", "-", "_"}, {"Minus", "[", "{"}, {"Equal", "]", "}"},
		{"BracketLeft", "/", "?"}, {"BracketRight", "=", "+"}, {"Slash", "z", "Z"}, {"Digit2", "2", "@"},
	}
	for _, c := range keys {
		if e := s.typed(c.code, c.plain); e.Text != c.plain {
			t.Errorf("%s %q: the application got %q", c.code, c.plain, e.Text)
		}
	}
	s.apply(down("ShiftLeft", "Shift"))
	s.next("key_press")
	for _, c := range keys {
		if e := s.typed(c.code, c.shifted); e.Text != c.shifted {
			t.Errorf("Shift and %s %q: the application got %q", c.code, c.shifted, e.Text)
		}
	}
	s.apply(up("ShiftLeft", "Shift"))
	s.next("key_release")
	s.apply(down("ControlLeft", "Control"))
	s.next("key_press")
	for _, c := range []struct{ code, key string }{{"KeyI", "c"}, {"KeyK", "t"}, {"Period", "v"}, {"Slash", "z"}} {
		if e := s.typed(c.code, c.key); e.Text != c.key || e.State&xproto.ModMaskControl == 0 {
			t.Errorf("Control and %s %q: the application got %q with modifiers %#x", c.code, c.key, e.Text, e.State)
		}
	}
}

// The display repeats a held key by itself, also a spare one.
func TestKeysRepeat(t *testing.T) { testkit.EachDisplay(t, keysRepeat) }

func keysRepeat(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	former := "-"
	for _, k := range []string{"a", "ж"} {
		s.apply(down("KeyA", k))
		e := s.next("key_press")
		for e.Text == former { // its last repeat; each is a release and a press
			e = s.next("key_press")
		}
		for range 3 {
			if e.Text != k {
				t.Errorf("%q repeats as %q", k, e.Text)
			}
			e = s.next("key_press")
		}
		former = k
		s.apply(wire.Input{Type: wire.InputBlur})
		s.next("key_release")
	}
}

// TestRepeatsStop: a key whose release may be on its way does not repeat, and stays pressed.
func TestRepeatsStop(t *testing.T) { testkit.EachDisplay(t, repeatsStop) }

func repeatsStop(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	s.in.StopRepeats() // nothing is held
	s.apply(down("KeyA", "a"))
	for range 3 {
		s.next("key_press")
	}
	s.in.StopRepeats()
	<-time.After(time.Second) // it would repeat 25 times
	s.apply(down("KeyB", "b"))
	repeats := 0
	for e := s.next("key_press"); e.Text != "b"; e = s.next("key_press") {
		if e.Text == "a" {
			repeats++
		}
	}
	if repeats > 12 { // those that were there before
		t.Errorf("the key repeated %d times more", repeats)
	}
	s.apply(up("KeyB", "b"))
	if e := s.next("key_release"); e.Text != "b" {
		t.Errorf("released: %+v, the key was still held", e)
	}
	s.apply(up("KeyA", "a"))
	s.next("key_release")
	// Pressed again, it repeats again.
	s.apply(down("KeyA", "a"))
	for range 3 {
		s.next("key_press")
	}
	// So it does when the page says that it is still held.
	s.in.StopRepeats()
	for s.next("key_press").Text == "a" {
	}
	s.apply(down("KeyA", "a"))
	for range 3 {
		if e := s.next("key_press"); e.Text != "a" {
			t.Errorf("%+v, want a repeat", e)
		}
	}
	s.apply(up("KeyA", "a"))
}

// typeSlowly types each character of a text by a key of its own, 30 ms apart.
func typeSlowly(t *testing.T, in *Injector, text string) {
	t.Helper()
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for _, r := range text {
		testkit.Must(t, in.Apply(down("", string(r))))
		testkit.Must(t, in.Apply(up("", string(r))))
		<-tick.C
	}
}

// An application that was stopped while the person typed gets what they typed.
func TestStalledApp(t *testing.T) { testkit.EachDisplay(t, stalledApp) }

func stalledApp(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	testkit.Must(t, s.cmd.Process.Signal(syscall.SIGSTOP))
	typeSlowly(t, s.in, manyCharacters)
	testkit.Must(t, s.cmd.Process.Signal(syscall.SIGCONT))
	if got := s.got(manyCharacters); got != manyCharacters {
		t.Errorf("the application got\n%s, want\n%s", got, manyCharacters)
	}
}

// A text of more characters than there are spare keys waits for the application.
func TestMoreCharactersThanKeys(t *testing.T) { testkit.EachDisplay(t, moreCharactersThanKeys) }

func moreCharactersThanKeys(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	var text []rune
	for r := rune(0x4e00); len(text) < 3*len(s.in.keys.spare.keys); r++ {
		text = append(text, r)
	}
	testkit.Must(t, s.cmd.Process.Signal(syscall.SIGSTOP))
	go func() {
		for part := range len(text) / 100 {
			_ = s.in.Apply(wire.Input{Type: wire.InputText, Text: string(text[part*100 : (part+1)*100])})
		}
	}()
	testkit.Until(t, "the keys wait", func() bool {
		s.in.pings.mu.Lock()
		defer s.in.pings.mu.Unlock()
		return s.in.pings.answered != nil
	})
	testkit.Must(t, s.cmd.Process.Signal(syscall.SIGCONT))
	want := string(text[:len(text)/100*100])
	begin := time.Now()
	if got := s.got(want); got != want {
		t.Errorf("the application got\n%s, want\n%s", got, want)
	}
	if took := time.Since(begin); took > forget {
		t.Errorf("%d characters took %v: the application answers pings", len(text), took)
	}
}

// An application that hangs keeps the keys waiting once, and not for each character.
func TestHangingApp(t *testing.T) {
	testkit.NeedXvfb(t)
	s := newStage(t, wire.XServer{Server: wire.ServerXvfb})
	testkit.Must(t, s.cmd.Process.Signal(syscall.SIGSTOP))
	defer s.cmd.Process.Signal(syscall.SIGCONT)
	begin := time.Now()
	for r := rune(0x4e00); r < 0x4e00+120; r++ {
		s.apply(wire.Input{Type: wire.InputText, Text: string(r)})
	}
	if took := time.Since(begin); took < lookupPatience || took > 2*lookupPatience {
		t.Errorf("120 characters took %v, want one wait of %v", took, lookupPatience)
	}
}

// tk is a program of Tk, which uses Xlib's own input method. It says when it has the focus, and
// prints the line at Enter.
const tk = `
import tkinter
root = tkinter.Tk()
line = tkinter.Entry(root)
line.pack()
line.bind("<Return>", lambda e: (print(line.get(), flush=True), root.destroy()))
line.bind("<FocusIn>", lambda e: print("ready", flush=True))
line.focus_set()
root.mainloop()
`

// Programs of Debian get what was typed while they were stopped: GTK 3, which reads the
// keymap by XKB, and Tk.
func TestStalledPrograms(t *testing.T) {
	testkit.NeedXvfb(t)
	for name, command := range map[string][]string{
		"GTK": {"zenity", "--entry", "--text=Type"}, "Tk": {"python3", "-c", tk},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(command[0]); err != nil {
				t.Skipf("%s is not installed", command[0])
			}
			if name == "Tk" && exec.Command("python3", "-c", "import tkinter").Run() != nil {
				t.Skip("python3-tk is not installed")
			}
			stalledProgram(t, command, name == "GTK")
		})
	}
}

func stalledProgram(t *testing.T, command []string, answers bool) {
	d, err := display.Start(within(t), display.Config{Width: width, Height: height, Server: wire.XServer{Server: wire.ServerXvfb}, Runner: cell.Local{Dir: t.TempDir()}, Dir: t.TempDir()})
	testkit.Must(t, err)
	t.Cleanup(func() { d.Close() })
	cmd := exec.CommandContext(within(t), command[0], command[1:]...)
	cmd.Env = append(d.Env(), "HOME="+t.TempDir(), "LANG=C.UTF-8", "PYTHONIOENCODING=utf-8", "NO_AT_BRIDGE=1", "GTK_IM_MODULE=gtk-im-context-simple")
	out, err := cmd.StdoutPipe()
	testkit.Must(t, err)
	testkit.Must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	testkit.Must(t, d.WaitWindow(within(t)))
	in, err := Open(d.Dial, d.Cookie(), width, height)
	testkit.Must(t, err)
	t.Cleanup(func() { in.Close() })
	// Its window is there before it listens.
	lines := bufio.NewReader(out)
	if answers {
		awaitAnswer(t, in)
	} else if line, err := lines.ReadString('\n'); line != "ready\n" {
		t.Fatalf("it says %q: %v", line, err)
	}
	testkit.Must(t, cmd.Process.Signal(syscall.SIGSTOP))
	typeSlowly(t, in, manyCharacters)
	testkit.Must(t, cmd.Process.Signal(syscall.SIGCONT))
	testkit.Must(t, in.Apply(down("Enter", "Enter")))
	testkit.Must(t, in.Apply(up("Enter", "Enter")))
	got, err := io.ReadAll(lines)
	testkit.Must(t, err)
	got = bytes.ReplaceAll(got, []byte("ready\n"), nil) // it may get the focus more than once
	if strings.TrimSpace(string(got)) != manyCharacters {
		t.Errorf("it got\n%swant\n%s", got, manyCharacters)
	}
}

// awaitAnswer waits until the application with the focus handles events.
func awaitAnswer(t *testing.T, in *Injector) {
	t.Helper()
	testkit.Until(t, "an answer to a ping", func() bool {
		answered, ok := in.pings.ask(in.conn, 0)
		if !ok {
			return false
		}
		select {
		case <-answered:
			return true
		case <-time.After(time.Second):
			return false
		}
	})
}
