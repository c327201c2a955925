package main

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// A job with touch has Xorg in its cell: a GTK 3 program there scrolls by parts of a notch,
// gets two fingers, and sees them lifted when the person is lost.
func TestFingersPassTheCell(t *testing.T) {
	if err := exec.Command("/usr/bin/python3", "-c", `import gi; gi.require_version("Gtk", "3.0")`).Run(); err != nil {
		t.Skip("python3 with gir1.2-gtk-3.0 is not installed")
	}
	testkit.Xdummy(t)
	program, err := os.ReadFile("../../seat/input/testdata/hands.py")
	testkit.Must(t, err)
	s := newReal(t, realApp{command: "/usr/bin/python3", args: []string{"-c", string(program)}}, true)
	s.spec.Display.Touch = true
	s.spec.XServer.Server = wire.ServerAuto
	s.start()
	p := s.claim(s.waitState(wire.SeatIdle).Seat).Connect()
	if !p.Grant.Display.Touch {
		t.Fatal("the seat grants no touch")
	}
	type line struct {
		Type   string
		Smooth bool
		DY     float64
	}
	said := func() (all []line) {
		for _, text := range strings.Split(s.stdout(), "\n") {
			var l line
			if json.Unmarshal([]byte(text), &l) == nil {
				all = append(all, l)
			}
		}
		return all
	}
	count := func(kind string) (n int) {
		for _, l := range said() {
			if l.Type == kind {
				n++
			}
		}
		return n
	}
	for range 10 {
		p.Input(wire.Input{Type: wire.InputWheel, DY: 6, X: 0.5, Y: 0.5})
	}
	testkit.UntilSeen(t, "half a notch", func() (any, bool) {
		turned := 0.0
		for _, l := range said() {
			if l.Type == "scroll" && l.Smooth {
				turned += l.DY
			}
		}
		return turned, math.Abs(turned-0.5) < 0.001
	})
	p.Input(wire.Input{Type: wire.InputTouch, Touches: []wire.Touch{{ID: 1, X: 0.4, Y: 0.5}}})
	p.Input(wire.Input{Type: wire.InputTouch, Touches: []wire.Touch{{ID: 1, X: 0.4, Y: 0.5}, {ID: 2, X: 0.6, Y: 0.5}}})
	testkit.UntilSeen(t, "two fingers", func() (any, bool) { return s.stdout(), count("touch-begin") == 2 })
	p.Vanish()
	testkit.UntilSeen(t, "no finger", func() (any, bool) { return s.stdout(), count("touch-end") == 2 })
}

// A job with touch on a node that cannot, or whose operator wants Xvfb, has no touch screen.
func TestNoTouchScreen(t *testing.T) {
	s := newReal(t, realApp{command: appBinary}, true)
	s.spec.Display.Touch = true
	s.spec.XServer.Server = wire.ServerXvfb
	s.start()
	p := s.claim(s.waitState(wire.SeatIdle).Seat).Connect()
	if p.Grant.Display.Touch {
		t.Error("the seat grants touch")
	}
}
