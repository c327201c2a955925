package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/person"
	"github.com/nearcast/nearcast/internal/wire"
)

//go:embed testdata/gamepad.py
var gamepadProgram string

//go:embed testdata/joystick.py
var joystickProgram string

// Numbers that SDL gives to buttons and axes of a game controller.
const (
	sdlA, sdlX, sdlY, sdlBack, sdlGuide, sdlRightStick, sdlRightShoulder, sdlDown, sdlLeft = 0, 2, 3, 4, 5, 8, 10, 12, 13
	sdlLeftX, sdlRightY, sdlLeftTrigger, sdlRightTrigger                                   = 0, 3, 4, 5
)

// An SDL program in a cell sees gamepads come, move, shake and go, in mid-session.
func TestProgramReadsGamepads(t *testing.T) {
	s, p := newPadProgram(t, gamepadProgram)
	said := s.sayings(t)
	n := uint32(0)
	pad := func(index int, state wire.Pad) {
		t.Helper()
		n++
		state.Index = index
		p.Input(wire.Input{Type: wire.InputPad, Pad: &state, N: n})
	}
	shakes := func(what string, ok func(wire.Rumble) bool) {
		t.Helper()
		testkit.UntilSeen(t, what, func() (any, bool) { return p.Rumble(), ok(p.Rumble()) })
	}

	p.Input(wire.Input{Type: wire.InputPads, Pads: 0b0001, Pressed: true})
	said("file 0 True 13 0\nfile 0 True 13 0", "added 0")
	pad(0, wire.Pad{Buttons: wire.PadSouth | wire.PadSelect | wire.PadRightStick})
	said(fmt.Sprintf("down 0 %d", sdlA), fmt.Sprintf("down 0 %d", sdlBack), fmt.Sprintf("down 0 %d", sdlRightStick))
	pad(0, wire.Pad{Buttons: wire.PadWest | wire.PadRightShoulder | wire.PadGuide | wire.PadDown | wire.PadLeft})
	said(fmt.Sprintf("up 0 %d", sdlA), fmt.Sprintf("down 0 %d", sdlX), fmt.Sprintf("down 0 %d", sdlRightShoulder),
		fmt.Sprintf("down 0 %d", sdlGuide), fmt.Sprintf("down 0 %d", sdlDown), fmt.Sprintf("down 0 %d", sdlLeft))
	pad(0, wire.Pad{LeftX: -32768, RightY: 20000, LeftTrigger: 255, RightTrigger: 200})
	said(fmt.Sprintf("up 0 %d", sdlDown), fmt.Sprintf("axis 0 %d -32768", sdlLeftX), fmt.Sprintf("axis 0 %d 20000", sdlRightY),
		fmt.Sprintf("axis 0 %d 32767", sdlLeftTrigger), fmt.Sprintf("axis 0 %d 25699", sdlRightTrigger))

	// Three more come, and each is a device of its own.
	p.Input(wire.Input{Type: wire.InputPads, Pads: 0b1111})
	said("added 1", "added 2", "added 3", "file 1 True 13 1\nfile 1 True 13 1", "file 3 True 13 3\nfile 3 True 13 3")
	for i := range wire.MaxPads {
		pad(i, wire.Pad{Buttons: wire.PadNorth})
		said(fmt.Sprintf("down %d %d", i, sdlY))
		shakes("the gamepad shakes", func(r wire.Rumble) bool {
			return r.Index == i && r.Strong == 0x8000 && r.Weak == 0x4000 && r.MS > 1000
		})
		pad(i, wire.Pad{})
		said(fmt.Sprintf("up %d %d", i, sdlY))
		shakes("the gamepad is still", func(r wire.Rumble) bool { return r.Index == i && r.Strong == 0 && r.Weak == 0 })
	}

	// The page is loaded again: nothing stays pressed, and states are numbered anew.
	pad(1, wire.Pad{Buttons: wire.PadSouth, LeftX: 9000})
	said(fmt.Sprintf("down 1 %d", sdlA), fmt.Sprintf("axis 1 %d 9000", sdlLeftX))
	p.Input(wire.Input{Type: wire.InputPads, Pads: 0b1111, Pressed: true})
	n = 0
	said(fmt.Sprintf("up 1 %d", sdlA), fmt.Sprintf("axis 1 %d 0", sdlLeftX))

	// One goes, the others stay, and it comes back.
	p.Input(wire.Input{Type: wire.InputPads, Pads: 0b1101})
	said("ENODEV 1", "removed 1")
	pad(2, wire.Pad{Buttons: wire.PadSouth})
	said(fmt.Sprintf("down 2 %d", sdlA))
	p.Input(wire.Input{Type: wire.InputPads, Pads: 0b1111})
	said("added 1")
	pad(1, wire.Pad{Buttons: wire.PadSouth})
	said(fmt.Sprintf("down 1 %d", sdlA))

	// The browser is lost: nothing stays pressed.
	p.Vanish()
	said(fmt.Sprintf("up 1 %d", sdlA), fmt.Sprintf("up 2 %d", sdlA))
}

// newPadProgram has a program in Python, with SDL, run in a cell, and its seat claimed.
func newPadProgram(t *testing.T, program string, needs ...string) (*streamHost, *person.Person) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only a cell has gamepads, and that needs root")
	}
	for _, file := range append(needs, "python3", "ldconfig") {
		if _, err := exec.LookPath(file); err != nil {
			t.Skipf("%s is not installed", file)
		}
	}
	if out, err := exec.Command("ldconfig", "-p").Output(); err != nil || !strings.Contains(string(out), "libSDL2-2.0.so.0") {
		t.Skip("libSDL2 is not installed")
	}
	// Looked at so that go test runs this anew when the library has changed.
	_, err := os.ReadFile("../../seat/gamepad/preload/gamepad.c")
	testkit.Must(t, err)
	s := newReal(t, realApp{command: "python3", args: []string{"-c", program}}, true)
	s.start()
	seat := s.waitState(wire.SeatIdle).Seat
	p := s.claim(seat).Connect()
	if !p.Grant.Display.Gamepads {
		t.Fatal("the seat grants no gamepads")
	}
	return s, p
}

// sayings waits for lines of what the program says, each time after those that it found before.
func (s *streamHost) sayings(t *testing.T) func(want ...string) {
	from := 0 // of what the program said
	return func(want ...string) {
		t.Helper()
		testkit.UntilSeen(t, fmt.Sprintf("the program says %q", want), func() (any, bool) {
			text := s.stdout()[from:]
			for _, line := range want {
				if !strings.Contains(text, line+"\n") {
					return text, false
				}
			}
			return nil, true
		})
		from = len(s.stdout())
	}
}

// A program that knows the kernel's older joysticks alone, and jstest, see gamepads too.
func TestOlderProgramReadsGamepads(t *testing.T) {
	s, p := newPadProgram(t, joystickProgram, "jstest")
	said := s.sayings(t)
	n := uint32(0)
	pad := func(index int, state wire.Pad) {
		t.Helper()
		n++
		state.Index = index
		p.Input(wire.Input{Type: wire.InputPad, Pad: &state, N: n})
	}
	p.Input(wire.Input{Type: wire.InputPads, Pads: 0b0001, Pressed: true})
	said("file 0 True 13 0\nfile 0 True 13 0", "is 0 20100 8 11 Microsoft X-Box 360 pad",
		"corrected 0 (-128, 128, 16513, 16513) (0, 0, 536870912, 536870912)",
		"event 0 129 0 0", "event 0 129 10 0", "event 0 130 0 0", "event 0 130 7 0",
		"jstest 0 Driver version is 2.1.0.", "jstest 0 Joystick (Microsoft X-Box 360 pad) has 8 axes (X, Y, Z, Rx, Ry, Rz, Hat0X, Hat0Y)", "jstest 0 Event: type 130, number 7, value 0")
	pad(0, wire.Pad{Buttons: wire.PadWest | wire.PadDown, LeftX: -32768, RightTrigger: 255})
	said("event 0 1 2 1", "event 0 2 0 -32767", "event 0 2 5 32767", "event 0 2 7 32767",
		"jstest 0 Event: type 1, number 2, value 1", "jstest 0 Event: type 2, number 0, value -32767")
	pad(0, wire.Pad{})
	said("event 0 1 2 0", "event 0 2 0 0", "event 0 2 5 -32767", "jstest 0 Event: type 2, number 5, value -32767")
	// Another comes, which is held; the first goes, and comes back.
	p.Input(wire.Input{Type: wire.InputPads, Pads: 0b1001})
	said("is 3 20100 8 11 Microsoft X-Box 360 pad", "file 3 True 13 3\nfile 3 True 13 3")
	pad(3, wire.Pad{Buttons: wire.PadStart})
	said("event 3 1 7 1")
	p.Input(wire.Input{Type: wire.InputPads, Pads: 0b1000})
	said("ENODEV 0", "jstest 0 ends")
	p.Input(wire.Input{Type: wire.InputPads, Pads: 0b1001})
	said("is 0 20100 8 11 Microsoft X-Box 360 pad", "event 0 129 0 0")
	pad(0, wire.Pad{Buttons: wire.PadEast})
	said("event 0 1 1 1")
	p.Vanish()
	said("event 0 1 1 0", "event 3 1 7 0")
	if strings.Contains(s.stdout(), "blocking") {
		t.Error("poll said that there was something to read, and there was nothing")
	}
}
