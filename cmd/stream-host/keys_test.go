package main

import (
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/person"
	"github.com/nearcast/nearcast/internal/wire"
)

// held presses a key while others are held.
func held(p *person.Person, code, key string, mods ...[2]string) {
	for _, m := range mods {
		p.Input(wire.Input{Type: wire.InputKey, Code: m[0], Key: m[1], Pressed: true})
	}
	p.Press(code, key)
	for _, m := range mods {
		p.Input(wire.Input{Type: wire.InputKey, Code: m[0], Key: m[1]})
	}
}

// A program that people use takes what is typed and pasted, gives what is copied, and is closed by its keys.
func TestProgramByItsKeys(t *testing.T) {
	control, alt := [2]string{"ControlLeft", "Control"}, [2]string{"AltLeft", "Alt"}
	s := newReal(t, realApp{command: "/bin/sh", packages: "zenity", needs: []string{"/usr/bin/zenity"},
		args: []string{"-c", "zenity --entry --text=one; zenity --entry --text=two; echo closed by $?"}}, true)
	s.spec.Display.Clipboard = wire.ClipboardBoth
	s.spec.Env["LANG"] = "C.UTF-8" // as the driver sets it
	s.start()
	status := s.waitState(wire.SeatIdle)
	p := s.claim(status.Seat).Connect()
	const cursor = 40 // pixels that may change as it blinks
	before := s.picture(status)
	testkit.UntilSeen(t, "what is typed is seen", func() (any, bool) {
		p.Press("KeyA", "a") // the window may not have the focus yet
		n := different(before, s.picture(status))
		return n, n > cursor
	})
	held(p, "KeyA", "a", control)
	held(p, "KeyC", "c", control)
	testkit.UntilSeen(t, "what was typed is copied", func() (any, bool) { return p.Copied(), strings.Trim(p.Copied(), "a") == "" && p.Copied() != "" })
	typed := p.Copied()
	p.Press("End", "End")
	before = s.picture(status)
	p.Paste("grün", map[wire.ClipKind][]byte{wire.ClipText: []byte("grün")})
	held(p, "KeyV", "v", control)
	testkit.UntilSeen(t, "what is pasted is seen", func() (any, bool) {
		n := different(before, s.picture(status))
		return n, n > cursor
	})
	p.Press("Enter", "Enter")
	testkit.UntilSeen(t, "the program has the text", func() (any, bool) { return s.stdout(), strings.Contains(s.stdout(), typed+"grün\n") })
	testkit.UntilSeen(t, "the second window is closed", func() (any, bool) {
		held(p, "F4", "F4", alt)
		return s.stdout(), strings.Contains(s.stdout(), "closed by 1")
	})
}
