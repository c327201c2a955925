package main

import (
	_ "embed"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

//go:embed testdata/relative.py
var relativeProgram string

// An SDL program begins to read motion in mid-session: the page is told, locks its
// pointer, and the program gets what the hand moved.
func TestProgramTakesTheMouse(t *testing.T) {
	for _, file := range []string{"python3", "ldconfig"} {
		if _, err := exec.LookPath(file); err != nil {
			t.Skipf("%s is not installed", file)
		}
	}
	if out, err := exec.Command("ldconfig", "-p").Output(); err != nil || !strings.Contains(string(out), "libSDL2-2.0.so.0") {
		t.Skip("libSDL2 is not installed")
	}
	s := newReal(t, realApp{command: "python3", args: []string{"-c", relativeProgram}}, true)
	s.spec.Display.Pointer = wire.PointerAuto
	s.start()
	p := s.claim(s.waitState(wire.SeatIdle).Seat).Connect()
	said := func(what string) {
		t.Helper()
		testkit.Until(t, "the program says "+what, func() bool { return strings.Contains(s.stdout(), what+"\n") })
	}
	told := func(what string, ok func(wire.Pointer) bool) {
		t.Helper()
		testkit.Until(t, what, func() bool { return ok(p.Pointer()) })
	}
	p.Input(wire.Input{Type: wire.InputCursor, Pressed: true})
	told("the page gets the program's cursor", func(p wire.Pointer) bool { return p.Image != "" && !p.Relative })
	for n := range 10 {
		p.Input(wire.Input{Type: wire.InputMove, X: 0.2 + float64(n)/20, Y: 0.3})
	}
	moved := func() string {
		t.Helper()
		before := strings.Count(s.stdout(), "moved")
		p.Press("F3", "F3")
		testkit.Until(t, "the program says what it got", func() bool { return strings.Count(s.stdout(), "moved") > before })
		lines := strings.Fields(s.stdout()[strings.LastIndex(s.stdout(), "moved"):])
		return strings.Join(lines, " ")
	}
	testkit.Until(t, "the program has the keyboard", func() bool {
		p.Press("F3", "F3")
		return strings.Contains(s.stdout(), "moved")
	})

	p.Press("F1", "F1")
	said("relative")
	told("the page is told to lock its pointer", func(p wire.Pointer) bool { return p.Relative && p.Hidden })
	moved()
	tick := time.NewTicker(5 * time.Millisecond) // SDL drops motions of one millisecond that are equal
	defer tick.Stop()
	for range 3 {
		for n := range 30 {
			p.Input(wire.Input{Type: wire.InputRel, DX: float64(18 + n%2*2)})
			<-tick.C
		}
		p.Input(wire.Input{Type: wire.InputMove, X: 0.9, Y: 0.9}) // sent before the page had locked
	}
	if got := moved(); got != "moved 1710 0" {
		t.Errorf("the program %s, want 1710 0", got)
	}

	p.Press("F2", "F2")
	told("the page gets its pointer back", func(p wire.Pointer) bool { return !p.Relative && !p.Hidden })
	p.Input(wire.Input{Type: wire.InputMove, X: 0.5, Y: 0.5})
	p.Send(wire.Message{Type: wire.MsgLeave})
	p.Expect(wire.MsgEnded)
	s.wantExit()
}
