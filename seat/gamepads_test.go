package seat

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

type fakeGamepads struct {
	calls
	rumble func(wire.Rumble)
}

func (g *fakeGamepads) Connect(pads int, anew bool) error {
	g.call(fmt.Sprintf("connect %#b %v", pads, anew))
	return nil
}

func (g *fakeGamepads) Apply(s wire.Pad, n uint32) error {
	g.call(fmt.Sprintf("apply %+v %d", s, n))
	return nil
}
func (g *fakeGamepads) Release()     { g.call("release") }
func (g *fakeGamepads) Close() error { g.call("close"); return nil }

// The page's gamepads reach the app's, and their rumble the page.
func TestGamepads(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.Display.Gamepads = true }).idle()
	conn, p, grant := r.play()
	if !grant.Display.Gamepads {
		t.Error("the grant has no gamepads")
	}
	g := &r.gamepads
	released, none := g.count("release"), g.count("connect 0b0 true") // while it was idle
	p.OnInput(wire.Input{Type: wire.InputPads, Pads: 3, Pressed: true})
	state := wire.Pad{Index: 1, Buttons: wire.PadSouth}
	p.OnInput(wire.Input{Type: wire.InputPad, Pad: &state, N: 7})
	p.OnInput(wire.Input{Type: wire.InputPad}) // one that says nothing
	r.wait("the state", func() bool { return g.count(fmt.Sprintf("apply %+v 7", state)) == 1 })
	if g.count("connect 0b11 true") != 1 || r.input.count("apply ") > 0 {
		t.Error("gamepads did not come, or were played as keys")
	}
	g.rumble(wire.Rumble{Type: "rumble", Index: 1, Strong: 2, Weak: 3, MS: 4})
	if p.count(`tell {"t":"rumble","i":1,"strong":2,"weak":3,"ms":4}`) != 1 {
		t.Error("the page was not told to shake")
	}
	// The page says itself what it lets go of.
	p.OnInput(wire.Input{Type: wire.InputBlur})
	if g.count("release") > released {
		t.Error("the gamepads were released behind the page's back")
	}
	p.OnState(PeerClosed)
	r.waitState(wire.SeatDetached)
	r.wait("nothing stays pressed", func() bool { return g.count("release") == released+1 })
	if g.count("connect 0b0 true") > none {
		t.Error("the gamepads are gone before the session is")
	}
	p.OnInput(wire.Input{Type: wire.InputPads, Pads: 1})
	if g.count("connect 0b1 false") > 0 {
		t.Error("a page that was lost still has gamepads")
	}
	r.send(conn, wire.Message{Type: wire.MsgLeave})
	r.waitEnd()
	if g.count("close") != 1 {
		t.Error("the gamepads are left")
	}
}

// A seat that nobody came to has no gamepads for the next person.
func TestGamepadsOfNobody(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.Display.Gamepads, r.spec.LeaseS = true, 1 }).idle()
	r.attach(r.ticket(ticket.NewSession(), "viewer"))
	r.waitState(wire.SeatClaimed)
	none := r.gamepads.count("connect 0b0 true")
	r.waitState(wire.SeatIdle)
	r.wait("no gamepads", func() bool { return r.gamepads.count("connect 0b0 true") == none+1 })
}

// Where the job wants none, or the node cannot have them, the page is told so, and what
// it sends has no effect.
func TestNoGamepads(t *testing.T) {
	for name, change := range map[string]func(*rig){
		"the job has none":     func(*rig) {},
		"the node cannot have": func(r *rig) { r.spec.Display.Gamepads, r.failure["gamepads"] = true, errors.New("no library") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigWith(t, change).idle()
			_, p, grant := r.play()
			if grant.Display.Gamepads {
				t.Error("the grant has gamepads")
			}
			p.OnInput(wire.Input{Type: wire.InputPads, Pads: 1})
			p.OnInput(wire.Input{Type: wire.InputPad, Pad: &wire.Pad{}})
			p.OnInput(wire.Input{Type: wire.InputKey, Code: "KeyC", Key: "c"})
			r.wait("the key", func() bool { return r.input.count("apply KeyC") == 1 })
			if r.input.count("apply ") > 0 {
				t.Error("gamepads were played as keys")
			}
		})
	}
}
