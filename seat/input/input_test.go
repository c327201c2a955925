package input

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/display"
	"github.com/nearcast/nearcast/seat/display/x11"
)

const (
	width  = 640
	height = 360
)

var testapp string // path of the built test application

func TestMain(m *testing.M) { testkit.Main(m, &testapp) }

func within(t testing.TB) context.Context { return testkit.Context(t, time.Minute) }

// event is a line that the test application prints.
type event struct {
	Type    string
	Keycode int
	Keysym  uint32
	Text    string
	Button  int
	X, Y    int
	State   int
}

// stage is a display with the test application and an Injector.
type stage struct {
	t   *testing.T
	d   *display.Display
	in  *Injector
	cmd *exec.Cmd
	out *bufio.Scanner
}

func newStage(t *testing.T, server wire.XServer) *stage {
	t.Helper()
	s := &stage{t: t}
	var err error
	if s.d, err = display.Start(within(t), display.Config{Width: width, Height: height, Server: server, Touch: true, Runner: cell.Local{Dir: t.TempDir()}, Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.d.Close() })
	cmd := exec.CommandContext(within(t), testapp)
	cmd.Env = s.d.Env()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	s.cmd = cmd
	s.out = bufio.NewScanner(out)
	if err := s.d.WaitWindow(within(t)); err != nil {
		t.Fatal(err)
	}
	if s.in, err = Open(s.d.Dial, s.d.Cookie(), width, height); err != nil {
		t.Fatal(err)
	}
	testkit.Must(t, s.in.AddDevices(s.d.Devices().Wheel, s.d.Devices().Touch))
	t.Cleanup(func() { s.in.Close() })
	s.next("focus_in")
	return s
}

// next reads events until one has one of these types.
func (s *stage) next(types ...string) event {
	s.t.Helper()
	for s.out.Scan() {
		var e event
		if err := json.Unmarshal(s.out.Bytes(), &e); err != nil {
			s.t.Fatalf("line %q: %v", s.out.Text(), err)
		}
		if slices.Contains(types, e.Type) {
			return e
		}
	}
	s.t.Fatalf("the application ended without %q", types)
	return event{}
}

func (s *stage) apply(inputs ...wire.Input) {
	s.t.Helper()
	for _, m := range inputs {
		if err := s.in.Apply(m); err != nil {
			s.t.Fatalf("%+v: %v", m, err)
		}
	}
}

func down(code, key string) wire.Input {
	return wire.Input{Type: wire.InputKey, Code: code, Key: key, Pressed: true}
}

func up(code, key string) wire.Input { return wire.Input{Type: wire.InputKey, Code: code, Key: key} }

// typed presses and releases a key, and returns the press as the application got it.
func (s *stage) typed(code, key string) event {
	s.t.Helper()
	s.apply(down(code, key), up(code, key))
	press := s.next("key_press")
	for isLockKey(press.Keycode) && code != "CapsLock" && code != "NumLock" {
		press = s.next("key_press") // the lock was switched first
	}
	if release := s.next("key_release"); release.Keycode != press.Keycode && !isLockKey(release.Keycode) {
		s.t.Errorf("%s %s: pressed key %d, released %d", code, key, press.Keycode, release.Keycode)
	}
	return press
}

func isLockKey(code int) bool {
	return code == int(capsLock) || code == int(numLock)
}

func TestMotionAndButtons(t *testing.T) { testkit.EachDisplay(t, motionAndButtons) }

func motionAndButtons(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	for _, c := range []struct {
		x, y   float64
		px, py int
	}{{0.5, 0.5, 320, 180}, {1, 1, width - 1, height - 1}, {0, 0, 0, 0}, {0.25, 0.75, 160, 270}} {
		s.apply(wire.Input{Type: wire.InputMove, X: c.x, Y: c.y})
		if e := s.next("motion"); e.X != c.px || e.Y != c.py {
			t.Errorf("%v,%v went to %d,%d, want %d,%d", c.x, c.y, e.X, e.Y, c.px, c.py)
		}
	}
	for browser, x := range []int{1, 2, 3, 8, 9} {
		s.apply(wire.Input{Type: wire.InputDown, Button: browser, X: 0.5, Y: 0.25},
			wire.Input{Type: wire.InputDown, Button: browser, X: 0.5, Y: 0.25}, // a second press does nothing
			wire.Input{Type: wire.InputUp, Button: browser, X: 0.5, Y: 0.25})
		if e := s.next("button_press", "button_release"); e.Type != "button_press" || e.Button != x || e.X != 320 || e.Y != 90 {
			t.Errorf("button %d: %+v, want press of %d", browser, e, x)
		}
		if e := s.next("button_press", "button_release"); e.Type != "button_release" || e.Button != x {
			t.Errorf("button %d: %+v, want release of %d", browser, e, x)
		}
	}
}

func TestRelativeMotion(t *testing.T) { testkit.EachDisplay(t, relativeMotion) }

func relativeMotion(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	s.apply(wire.Input{Type: wire.InputMove, X: 0.5, Y: 0.5})
	s.next("motion")
	s.apply(wire.Input{Type: wire.InputRel, DX: 10, DY: -20})
	if e := s.next("motion"); e.X != 330 || e.Y != 160 {
		t.Errorf("moved to %d,%d, want 330,160: no acceleration", e.X, e.Y)
	}
	for range 4 { // four quarters of a pixel
		s.apply(wire.Input{Type: wire.InputRel, DX: 0.25, DY: 0.25})
	}
	if e := s.next("motion"); e.X != 331 || e.Y != 161 {
		t.Errorf("moved to %d,%d, want 331,161", e.X, e.Y)
	}
	// A button of a locked pointer has no position: the pointer stays.
	s.apply(wire.Input{Type: wire.InputDown, Button: 0}, wire.Input{Type: wire.InputUp, Button: 0})
	if e := s.next("button_press", "motion"); e.Type != "button_press" || e.X != 331 || e.Y != 161 {
		t.Errorf("%+v, want a press at 331,161", e)
	}
}

// TestLostMotion: what the line loses of a locked mouse's motion, or delays, is made good by the next
// message, and by a button.
func TestLostMotion(t *testing.T) { testkit.EachDisplay(t, lostMotion) }

func lostMotion(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	s.apply(wire.Input{Type: wire.InputMove, X: 0.5, Y: 0.5})
	s.next("motion")
	rel := func(n uint32, dx, x float64) wire.Input {
		return wire.Input{Type: wire.InputRel, N: n, DX: dx, Sum: &[2]float64{x, -x}}
	}
	// The page has moved by 1000 before. Then 2 is lost, and 3 overtakes 4.
	s.apply(rel(1, 10, 1010), rel(4, 10, 1040), rel(3, 10, 1030), rel(5, 0, 1040))
	for _, want := range []int{330, 360} {
		if e := s.next("motion"); e.X != want {
			t.Errorf("moved to %d, want %d", e.X, want)
		}
	}
	// 6 is lost. The press makes it good, and is not late itself; 6 comes after it.
	s.apply(wire.Input{Type: wire.InputDown, N: 6, Sum: &[2]float64{1050, -1050}}, rel(6, 10, 1050),
		wire.Input{Type: wire.InputUp, N: 6, Sum: &[2]float64{1050, -1050}})
	for _, want := range []string{"motion", "button_press", "button_release"} {
		if e := s.next("motion", "button_press", "button_release"); e.Type != want || e.X != 370 {
			t.Errorf("%+v, want %s at 370", e, want)
		}
	}
	// A sum that makes no sense is none.
	s.apply(rel(7, 5, math.Inf(1)), rel(8, 5, 1e300), rel(9, 5, 1065))
	for _, want := range []int{375, 380, 385} {
		if e := s.next("motion"); e.X != want {
			t.Errorf("moved to %d, want %d", e.X, want)
		}
	}
}

func TestLateMovesAreDropped(t *testing.T) { testkit.EachDisplay(t, lateMovesAreDropped) }

func lateMovesAreDropped(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	at := func(x float64, n uint32) wire.Input { return wire.Input{Type: wire.InputMove, X: x, Y: 0.5, N: n} }
	s.apply(at(0.1, math.MaxUint32-1), at(0.2, math.MaxUint32-3), at(0.3, 2), at(0.4, 1), at(0.5, 2), at(0.6, 3))
	for _, want := range []int{64, 192, 384} {
		if e := s.next("motion"); e.X != want {
			t.Errorf("moved to %d, want %d", e.X, want)
		}
	}
	testkit.Must(t, s.in.ReleaseAll())
	s.apply(at(0.7, 1)) // another page starts from 1
	if e := s.next("motion"); e.X != 448 {
		t.Errorf("moved to %d, want 448", e.X)
	}
}

// TestLastMoveIsToldAgain: a page sends its last move once more, for sure, as it may be lost. If it
// came, the second one is nothing: also where the app has moved the pointer since.
func TestLastMoveIsToldAgain(t *testing.T) { testkit.EachDisplay(t, lastMoveIsToldAgain) }

func lastMoveIsToldAgain(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	at := func(x float64, n uint32) wire.Input { return wire.Input{Type: wire.InputMove, X: x, Y: 0.5, N: n} }
	rel := func(n uint32, dx, x float64) wire.Input {
		return wire.Input{Type: wire.InputRel, N: n, DX: dx, Sum: &[2]float64{x, 0}}
	}
	s.apply(at(0.1, 1), at(0.3, 3)) // 2 was lost: 3 is told again alone
	xproto.WarpPointer(s.in.conn, 0, s.in.root, 0, 0, 0, 0, 100, 180)
	s.apply(at(0.3, 3), rel(4, 10, 10))
	s.apply(rel(6, 0, 30)) // 5 and 6 were lost
	// The page has lost the focus in between. Then 7 was lost, and comes late.
	s.apply(wire.Input{Type: wire.InputBlur}, rel(6, 10, 30), rel(8, 5, 45), rel(7, 10, 40))
	// Another page: nothing is known of its sum yet.
	testkit.Must(t, s.in.ReleaseAll())
	s.apply(rel(1, 3, 1003), rel(2, 4, 1007))
	for _, want := range []int{64, 192, 100, 110, 130, 145, 148, 152} {
		if e := s.next("motion"); e.X != want {
			t.Errorf("moved to %d, want %d", e.X, want)
		}
	}
}

// TestButtonOvertakesMove: a move from before a button, which comes after it, is nothing.
func TestButtonOvertakesMove(t *testing.T) { testkit.EachDisplay(t, buttonOvertakesMove) }

func buttonOvertakesMove(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	at := func(kind wire.InputType, x float64, n uint32) wire.Input {
		return wire.Input{Type: kind, X: x, Y: 0.5, N: n}
	}
	s.apply(at(wire.InputMove, 0.3, 3), at(wire.InputDown, 0.5, 4), at(wire.InputMove, 0.4, 4), at(wire.InputMove, 0.2, 5),
		at(wire.InputUp, 0.6, 7), at(wire.InputMove, 0.3, 6), at(wire.InputMove, 0.7, 8))
	for _, want := range []string{"motion 192", "motion 320", "button_press 320", "motion 128", "motion 384", "button_release 384", "motion 448"} {
		if e := s.next("motion", "button_press", "button_release"); fmt.Sprint(e.Type, " ", e.X) != want {
			t.Errorf("%+v, want %s", e, want)
		}
	}
}

func TestWheel(t *testing.T) { testkit.EachDisplay(t, wheel) }

func wheel(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	roll := func(dx, dy float64) { s.apply(wire.Input{Type: wire.InputWheel, DX: dx, DY: dy, X: 0.5, Y: 0.5}) }
	for _, c := range []struct {
		steps [][2]float64
		want  []int
	}{
		{[][2]float64{{0, 120}}, []int{5}},
		{[][2]float64{{0, -240}}, []int{4, 4}},
		{[][2]float64{{120, 0}, {-120, 0}}, []int{7, 6}},
		{[][2]float64{{0, 40}, {0, 40}, {0, 40}}, []int{5}},
		{[][2]float64{{0, 100}, {0, -100}, {0, -20}}, []int{4}}, // a change of direction starts anew
	} {
		if server.Server == wire.ServerXdummy && len(c.steps) == 3 && c.steps[1][1] < 0 {
			continue // the X server makes clicks of where the wheel is
		}
		for _, step := range c.steps {
			roll(step[0], step[1])
		}
		for _, want := range c.want {
			if e := s.next("button_press"); e.Button != want {
				t.Errorf("%v: button %d, want %d", c.steps, e.Button, want)
			}
		}
	}
}

func TestKeysByPlace(t *testing.T) { testkit.EachDisplay(t, keysByPlace) }

func keysByPlace(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	for _, c := range []struct {
		code, key string
		keycode   int
		text      string
	}{
		{"KeyA", "a", 38, "a"}, {"Digit1", "1", 10, "1"}, {"Space", " ", 65, " "},
		{"Enter", "Enter", 36, ""}, {"ArrowUp", "ArrowUp", 111, ""}, {"F5", "F5", 71, ""}, {"F13", "F13", 191, ""},
		{"F24", "F24", 202, ""}, {"IntlRo", "IntlRo", 97, ""},
		{"NumpadEnter", "Enter", 104, ""}, {"Numpad5", "5", 84, "5"}, {"NumpadDecimal", ",", 91, ""},
		{"NumpadAdd", "+", 86, ""}, {"ControlRight", "Control", 105, ""}, {"MetaLeft", "Meta", 133, ""},
		{"", "Backspace", 22, ""}, {"Unidentified", "Enter", 36, ""}, {"", "x", 53, "x"},
	} {
		if e := s.typed(c.code, c.key); e.Keycode != c.keycode || e.Text != c.text {
			t.Errorf("%s %q: key %d, text %q; want %d, %q", c.code, c.key, e.Keycode, e.Text, c.keycode, c.text)
		}
	}
}

// TestOtherLayouts types on keyboards that are not American.
func TestOtherLayouts(t *testing.T) { testkit.EachDisplay(t, otherLayouts) }

func otherLayouts(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	for _, c := range []struct{ code, key string }{
		{"Semicolon", "ö"}, {"Quote", "ä"}, {"BracketLeft", "ü"}, {"Minus", "ß"}, // German
		{"KeyZ", "y"}, {"KeyY", "z"}, // German: exchanged
		{"KeyQ", "a"}, {"Digit2", "é"}, {"Digit0", "à"}, // French
		{"KeyF", "а"}, {"KeyL", "д"}, {"KeyA", "λ"}, // Russian, Greek
		{"KeyE", "€"}, {"", "漢"}, {"", "ő"}, {"", "𝄞"},
	} {
		if e := s.typed(c.code, c.key); e.Text != c.key || e.State != 0 {
			t.Errorf("%s %q: the application got %q with modifiers %#x", c.code, c.key, e.Text, e.State)
		}
	}
	// More characters than there are spare keys.
	for r := 'а'; r <= 'я'; r++ {
		if e := s.typed("", string(r)); e.Text != string(r) {
			t.Errorf("%q: the application got %q", r, e.Text)
		}
	}
}

func TestShiftAndAltGr(t *testing.T) { testkit.EachDisplay(t, shiftAndAltGr) }

func shiftAndAltGr(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	// Else AltGr would type the last character that was played by that key.
	if spare := s.in.keys.spare; spare.quiet == levelThree || slices.ContainsFunc(spare.keys, func(k spareKey) bool { return k.code == levelThree }) {
		t.Error("AltGr's key is among those that are mapped to any character")
	}
	s.apply(down("ShiftLeft", "Shift"))
	s.next("key_press")
	for _, c := range []struct{ code, key string }{
		{"KeyA", "A"}, {"Digit2", "@"}, {"Digit2", `"`}, {"Digit1", "1"}, {"Semicolon", "Ö"}, {"Digit7", "/"},
	} {
		if e := s.typed(c.code, c.key); e.Text != c.key {
			t.Errorf("Shift and %s %q: the application got %q", c.code, c.key, e.Text)
		}
	}
	s.apply(up("ShiftLeft", "Shift"))
	s.next("key_release")

	// Windows presses Control with AltGr.
	s.apply(down("ControlLeft", "Control"), down("AltRight", "AltGraph"))
	s.next("key_press")
	s.next("key_release")
	s.next("key_press")
	const controlOrAlt = xproto.ModMaskControl | xproto.ModMask1
	for _, c := range []struct{ code, key string }{{"KeyQ", "@"}, {"Digit7", "{"}, {"KeyE", "€"}} {
		if e := s.typed(c.code, c.key); e.Text != c.key || e.State&controlOrAlt != 0 {
			t.Errorf("AltGr and %s %q: the application got %q with modifiers %#x", c.code, c.key, e.Text, e.State)
		}
	}
	s.apply(up("ControlLeft", "Control"), up("AltRight", "AltGraph"))
	if e := s.typed("KeyA", "a"); e.Text != "a" || e.State&^(xproto.ModMask2) != 0 {
		t.Errorf("after AltGr: %q with modifiers %#x", e.Text, e.State)
	}
}

func TestShortcutsFollowTheCharacter(t *testing.T) {
	testkit.EachDisplay(t, shortcutsFollowTheCharacter)
}

func shortcutsFollowTheCharacter(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	s.apply(down("ControlLeft", "Control"))
	s.next("key_press")
	if e := s.typed("KeyY", "z"); e.Keycode != 52 || e.State&xproto.ModMaskControl == 0 {
		t.Errorf("Control and z on a German keyboard: %+v, want key 52 with Control", e)
	}
	// The case that a browser says is Caps Lock's, or a Mac's, which hides Shift beside Command.
	if e := s.typed("KeyA", "A"); e.Keycode != 38 {
		t.Errorf("Control+A with Caps Lock: %+v, want key 38", e)
	}
	s.apply(down("ShiftLeft", "Shift"))
	s.next("key_press")
	for code, want := range map[string]int{"KeyZ": 52, "KeyY": 52} {
		if e := s.typed(code, "z"); e.Keycode != want || e.State&xproto.ModMaskShift == 0 {
			t.Errorf("Command+Shift+Z by %s: %+v, want key %d with Shift", code, e, want)
		}
	}
}

func TestPreferPlace(t *testing.T) { testkit.EachDisplay(t, preferPlace) }

func preferPlace(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	s.in.PreferPlace(true)
	if e := s.typed("KeyW", "z"); e.Keycode != 25 { // W on a French keyboard
		t.Errorf("KeyW: key %d, want 25", e.Keycode)
	}
	if e := s.typed("", "é"); e.Text != "é" {
		t.Errorf("a character without a place: %q", e.Text)
	}
}

func TestLocksFollowThePerson(t *testing.T) { testkit.EachDisplay(t, locksFollowThePerson) }

func locksFollowThePerson(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	// The person's Caps Lock was on before.
	for _, c := range []struct{ code, key string }{{"KeyA", "A"}, {"Semicolon", "Ö"}, {"KeyA", "a"}, {"KeyB", "b"}} {
		if e := s.typed(c.code, c.key); e.Text != c.key {
			t.Errorf("%q: the application got %q with modifiers %#x", c.key, e.Text, e.State)
		}
	}
	// Num Lock on, then off.
	if e := s.typed("Numpad8", "8"); e.Text != "8" || e.Keycode != 80 {
		t.Errorf("Numpad8 with Num Lock: %+v", e)
	}
	const kpUp = 0xff97
	if e := s.typed("Numpad8", "ArrowUp"); e.Keysym != kpUp || e.Keycode != 80 {
		t.Errorf("Numpad8 without Num Lock: %+v", e)
	}
}

func TestHeldKeysAreReleasedOnce(t *testing.T) { testkit.EachDisplay(t, heldKeysAreReleasedOnce) }

func heldKeysAreReleasedOnce(t *testing.T, server wire.XServer) {
	for name, release := range map[string]func(*stage){
		"blur":       func(s *stage) { s.apply(wire.Input{Type: wire.InputBlur}) },
		"ReleaseAll": func(s *stage) { s.in.ReleaseAll() },
		"Close":      func(s *stage) { s.in.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, server)
			s.apply(down("KeyW", "w"), down("KeyW", "w"), down("Semicolon", "ö"), wire.Input{Type: wire.InputDown, X: 0.5, Y: 0.5})
			w, o := s.next("key_press"), s.next("key_press")
			s.next("button_press")
			release(s)
			want := map[string]bool{fmt.Sprint("key", w.Keycode): true, fmt.Sprint("key", o.Keycode): true, "button1": true}
			for range 3 {
				e := s.next("key_release", "button_release")
				name := fmt.Sprint("key", e.Keycode)
				if e.Type == "button_release" {
					name = fmt.Sprint("button", e.Button)
				}
				if !want[name] {
					t.Errorf("released %s, which is not held", name)
				}
				delete(want, name)
			}
			if name == "Close" {
				if err := s.in.Apply(down("KeyA", "a")); !errors.Is(err, ErrClosed) {
					t.Errorf("Apply after Close: %v", err)
				}
				return
			}
			release(s)                                  // a second time does nothing
			s.apply(up("KeyW", "w"), up("KeyQ", "q"))   // neither do late and unknown releases
			s.apply(down("KeyA", "a"), up("KeyA", "a")) // comes next
			if e := s.next("key_press", "key_release", "button_release"); e.Type != "key_press" || e.Text != "a" {
				t.Errorf("%+v, want the press of a", e)
			}
		})
	}
}

// Shift is released before the key.
func TestReleaseIsOfTheKeyPressed(t *testing.T) { testkit.EachDisplay(t, releaseIsOfTheKeyPressed) }

func releaseIsOfTheKeyPressed(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	s.apply(down("ShiftLeft", "Shift"), down("Digit2", "@"), up("ShiftLeft", "Shift"), up("Digit2", "2"))
	s.next("key_press")
	at := s.next("key_press")
	s.next("key_release")
	if e := s.next("key_release"); e.Keycode != at.Keycode {
		t.Errorf("pressed key %d, released %d", at.Keycode, e.Keycode)
	}
}

func TestBadInput(t *testing.T) { testkit.EachDisplay(t, badInput) }

func badInput(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	nan, inf := math.NaN(), math.Inf(1)
	for _, m := range []wire.Input{
		{Type: wire.InputMove, X: nan, Y: 0.5}, {Type: wire.InputMove, X: 0.5, Y: inf},
		{Type: wire.InputMove, X: -0.1, Y: 0.5}, {Type: wire.InputMove, X: 1.1, Y: 0.5}, {Type: wire.InputMove, X: 1e308},
		{Type: wire.InputRel, DX: nan}, {Type: wire.InputRel, DX: 1e9}, {Type: wire.InputRel, DY: -inf},
		{Type: wire.InputDown, Button: 5}, {Type: wire.InputDown, Button: -1}, {Type: wire.InputUp, Button: 1 << 40},
		{Type: wire.InputDown, X: nan}, {Type: wire.InputWheel, DY: nan}, {Type: wire.InputWheel, DX: 1e6},
		{Type: wire.InputWheel, DY: 120, X: 7},
		{Type: wire.InputKey, Pressed: true}, {Type: wire.InputKey, Code: "KeyÖ", Pressed: true},
		{Type: wire.InputKey, Code: "Warp", Key: "Warp", Pressed: true},
		{Type: wire.InputKey, Key: "\x00", Pressed: true}, {Type: wire.InputKey, Key: "\xff", Pressed: true},
		{Type: wire.InputKey, Key: strings.Repeat("x", 1000), Pressed: true},
		{Type: wire.InputKey, Code: strings.Repeat("x", 1000), Key: "a", Pressed: true},
		{Type: "jump"}, {},
	} {
		if err := s.in.Apply(m); !errors.Is(err, ErrInput) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	// A dead key alone does nothing.
	s.apply(down("Equal", "Dead"), up("Equal", "Dead"))
	if e := s.typed("KeyA", "á"); e.Text != "á" {
		t.Errorf("after a dead key: %+v", e)
	}
}

// Spare keys run out, and can be used again after their release.
func TestTooManyHeld(t *testing.T) { testkit.EachDisplay(t, tooManyHeld) }

func tooManyHeld(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	var err error
	for r := 'α'; r <= 'ω' && err == nil; r++ {
		err = s.in.Apply(down("", string(r)))
	}
	for r := 'а'; r < 'а'+256 && err == nil; r++ { // more than X has keys
		err = s.in.Apply(down("", string(r)))
	}
	if !errors.Is(err, ErrInput) {
		t.Errorf("holding more characters than there are keys: %v", err)
	}
	s.apply(wire.Input{Type: wire.InputBlur})
	s.apply(down("", "ж"))
	for e := s.next("key_press"); e.Text != "ж"; e = s.next("key_press") {
	}
}

func TestDisplayDeathIsAnError(t *testing.T) { testkit.EachDisplay(t, displayDeathIsAnError) }

func displayDeathIsAnError(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	s.d.Close()
	deadline := within(t)
	for {
		if err := s.in.Apply(down("KeyA", "a")); err != nil {
			return
		}
		s.in.Apply(up("KeyA", "a"))
		if deadline.Err() != nil {
			t.Fatal("Apply on a dead display is not an error")
		}
	}
}

// A server that the application stopped does not keep the stream host waiting.
func TestStoppedDisplayIsAnError(t *testing.T) {
	testkit.NeedXvfb(t)
	s := newStage(t, wire.XServer{Server: wire.ServerXvfb})
	testkit.Must(t, syscall.Kill(s.d.PID(), syscall.SIGSTOP))
	defer syscall.Kill(s.d.PID(), syscall.SIGCONT)
	begin := time.Now()
	s.in.ReleaseAll()
	testkit.Until(t, "Apply says why", func() bool {
		err := s.in.Apply(down("KeyA", "a"))
		return errors.Is(err, ErrClosed) && strings.Contains(err.Error(), "did not answer")
	})
	s.in.Close()
	if took := time.Since(begin); took > 2*x11.Patience {
		t.Errorf("it took %v", took)
	}
}

func TestOpenErrors(t *testing.T) { testkit.EachDisplay(t, openErrors) }

func openErrors(t *testing.T, server wire.XServer) {
	s := newStage(t, server)
	for _, c := range []struct {
		name   string
		dial   x11.Dialer
		cookie x11.Cookie
		width  int
	}{
		{"no display", x11.Local(":99999"), s.d.Cookie(), width}, {"nonsense", x11.Local("nonsense"), s.d.Cookie(), width},
		{"no cookie", s.d.Dial, x11.Cookie{}, width}, {"a wrong cookie", s.d.Dial, x11.NewCookie(), width},
		{"no width", s.d.Dial, s.d.Cookie(), 0},
	} {
		if in, err := Open(c.dial, c.cookie, c.width, height); err == nil {
			in.Close()
			t.Errorf("%s: it was opened", c.name)
		}
	}
}

// FuzzApply plays any input: it is accepted or an ErrInput, and the display survives.
func FuzzApply(f *testing.F) {
	for _, seed := range []string{
		`{"t":"move","x":0.5,"y":0.5,"n":7}`, `{"t":"rel","dx":3,"dy":-4}`, `{"t":"down","b":2,"x":1,"y":1}`,
		`{"t":"wheel","dy":120}`, `{"t":"key","code":"KeyA","key":"ö","p":true}`, `{"t":"key","key":"\u0000","p":true}`,
		`{"t":"touch","touches":[{"i":1,"x":0.2,"y":0.3},{"i":2,"x":1,"y":1}]}`, `{"t":"touch","n":3,"touches":[{"i":2,"x":0.5,"y":0.5}]}`, `{"t":"touch"}`,
		`{"t":"touch","touches":[{"i":1},{"i":1}]}`, `{"t":"touch","touches":[{"i":4294967296}]}`, `{"t":"wheel","dx":0.01,"dy":-1e-300,"x":0.1}`,
		`{"t":"blur"}`, `{"t":"text","text":"h\u00e9 日本\n😀"}`, `{"t":"ping","seq":1}`, `{"t":"key","code":"AltRight","key":"AltGraph","p":true}`,
	} {
		f.Add([]byte(seed))
	}
	d, err := display.Start(within(f), display.Config{Width: width, Height: height, Server: testkit.Xdummy(f), Touch: true, Runner: cell.Local{Dir: f.TempDir()}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { d.Close() })
	in, err := Open(d.Dial, d.Cookie(), width, height)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { in.Close() })
	testkit.Must(f, in.AddDevices(d.Devices().Wheel, d.Devices().Touch))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m wire.Input
		if json.Unmarshal(raw, &m) != nil {
			return
		}
		if err := in.Apply(m); err != nil && !errors.Is(err, ErrInput) {
			t.Errorf("%s: %v", raw, err)
		}
		if len(in.held) > 64 {
			in.ReleaseAll()
		}
	})
}
