package web_test

import (
	"github.com/nearcast/nearcast/internal/wire"
)

// walkGamepads puts gamepads into the browser: they come, move, shake and go, and let go
// when the person looks at another page.
func walkGamepads(v *visit) {
	v.playWith(func(d *wire.Display) { d.Gamepads = true })
	pads := func(what string, want int, anew bool) {
		v.Helper()
		in := v.site.wantInput(what, func(in wire.Input) bool { return in.Type == wire.InputPads })
		if in.Pads != want || in.Pressed != anew {
			v.Errorf("%s: gamepads %#b, the page is new: %v", what, in.Pads, in.Pressed)
		}
	}
	pad := func(what string, want wire.Pad) {
		v.Helper()
		v.site.wantInput(what, func(in wire.Input) bool { return in.Type == wire.InputPad && *in.Pad == want })
	}
	pads("none yet", 0, true)
	v.script(`
		window.pads = [0, 1].map((index) => ({ index, connected: true, mapping: 'standard', axes: [0, 0, 0, 0],
			buttons: Array.from({ length: 17 }, () => ({ pressed: false, value: 0 })),
			vibrationActuator: { playEffect: async (kind, e) => { window.shaken = [index, kind, e.strongMagnitude, e.weakMagnitude]; }, reset: async () => { window.shaken = [index, 'still']; } } }));
		navigator.getGamepads = () => window.pads;
		window.dispatchEvent(new Event('gamepadconnected'))`)
	pads("two come", 0b11, false)
	v.script(`window.pads[1].buttons[0].pressed = true`)
	pad("A is pressed", wire.Pad{Index: 1, Buttons: wire.PadSouth})
	v.script(`window.pads[1].buttons[0].pressed = false; window.pads[1].axes[0] = -1; window.pads[1].buttons[7].value = 1`)
	pad("a stick and a trigger move", wire.Pad{Index: 1, LeftX: -32768, RightTrigger: 255})

	v.site.say(wire.Rumble{Type: "rumble", Index: 1, Strong: 65535, Weak: 0, MS: 900})
	v.until(`String(window.shaken) === '1,dual-rumble,1,0'`)
	v.site.say(wire.Rumble{Type: "rumble", Index: 1})
	v.until(`String(window.shaken) === '1,still'`)

	v.script(`document.hasFocus = () => false; window.dispatchEvent(new Event('blur'))`)
	pad("the page has not the focus", wire.Pad{Index: 1})
	v.script(`delete document.hasFocus; window.dispatchEvent(new Event('focus'))`)
	pad("it has it again", wire.Pad{Index: 1, LeftX: -32768, RightTrigger: 255})
	v.script(`window.pads[1] = null; window.dispatchEvent(new Event('gamepaddisconnected'))`)
	pads("one goes", 0b01, false)

	// A seat without gamepads is told nothing.
	v.playWith(func(d *wire.Display) { d.Gamepads = false })
	v.script(`navigator.getGamepads = () => [{ index: 0, connected: true, axes: [0, 0], buttons: Array(17).fill({ pressed: true, value: 1 }) }];
		window.dispatchEvent(new Event('gamepadconnected'))`)
	v.replay(domEvent{"type": "keydown", "key": "F9", "code": "F9"}, domEvent{"type": "keyup", "key": "F9", "code": "F9"})
	v.site.wantInput("F9", func(in wire.Input) bool {
		if in.Type == wire.InputPads || in.Type == wire.InputPad {
			v.Errorf("a seat without gamepads got %+v", in)
		}
		return in.Code == "F9" && !in.Pressed
	})
}
