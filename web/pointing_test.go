package web_test

import (
	"encoding/json"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/nearcast/nearcast/internal/wire"
)

func walkWheel(v *visit) {
	v.play()
	// at plays wheel events, and gives the 120ths that the app gets.
	roll := func(events ...[3]float64) (total float64) {
		v.Helper()
		raw, err := json.Marshal(events)
		if err != nil {
			v.Fatal(err)
		}
		v.script(`for (const [mode, delta, wheel] of ` + string(raw) + `) {
			const event = new WheelEvent('wheel', { bubbles: true, cancelable: true, clientX: 500, clientY: 350, deltaMode: mode, deltaY: delta });
			Object.defineProperties(event, { wheelDeltaX: { value: 0 }, wheelDeltaY: { value: wheel } });
			document.querySelector('.surface').dispatchEvent(event);
		}`)
		evaluate[bool](v, `new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(() => r(true))))`)
		v.keys(kb.F9)
		v.site.wantInput("F9", func(in wire.Input) bool {
			if in.Type == wire.InputWheel {
				total += in.DY
			}
			return in.Type == wire.InputKey && in.Code == "F9" && !in.Pressed
		})
		return total / 120
	}
	fine := func(deltas ...float64) (events [][3]float64) {
		for _, d := range deltas {
			events = append(events, [3]float64{0, d, -3 * d})
		}
		return events
	}
	for _, c := range []struct {
		name        string
		events      [][3]float64
		least, most float64
	}{
		{"40 px of a fine wheel", fine(40), 0.01, 0.499},
		{"a fling of 400 px", fine(4, 14, 30, 46, 52, 48, 42, 36, 30, 26, 20, 16, 12, 10, 8, 6), 3, 4.01},
		{"a notch", [][3]float64{{0, 100, -120}}, 1, 1},
		{"a notch in lines", [][3]float64{{1, 3, -120}}, 1, 1},
	} {
		if got := roll(c.events...); got < c.least || got > c.most {
			v.Errorf("%s: %v notches, want %v to %v", c.name, got, c.least, c.most)
		}
	}
	if v.display == "" {
		return // walkInput turns Chromium's own wheel
	}
	v.script(`addEventListener('wheel', ({ deltaMode, deltaY, wheelDeltaY }) => { window.rolled = [deltaMode, deltaY, wheelDeltaY]; }, { capture: true })`)
	v.notchAt(500, 350)
	v.site.wantInput("a notch of Firefox's own wheel", func(in wire.Input) bool {
		if in.Type == wire.InputWheel && in.DY != 120 {
			v.Errorf("a notch came as %v 120ths", in.DY)
		}
		return in.Type == wire.InputWheel
	})
	v.Logf("a notch: mode, delta and wheelDelta %v", evaluate[[]float64](v, `window.rolled`))
}

// walkLocked moves a locked mouse at players of several sizes.
func walkLocked(v *visit) {
	v.playAs(wire.PointerRelative)
	for _, c := range []struct {
		width int64
		scale float64
	}{{640, 1}, {640, 2}, {1280, 1}, {1920, 1}, {1920, 2}} {
		v.scaled(c.width, c.width*9/16, c.scale)
		v.clickAt(float64(c.width/2), float64(c.width/4))
		v.until(`document.pointerLockElement`)
		if got := v.moved(`Array(400).fill(1)`); got < 396 || got > 404 {
			v.Errorf("400 counts at %d px and scale %v moved %v px", c.width, c.scale, got)
		}
	}
	if got := v.moved(`[1, 1, 1, 400, 1, 1, 1]`); got != 6 {
		v.Errorf("with a lone spike it moved %v px, want 6", got)
	}
}

// playAs streams an app whose pointer is of this kind.
func (v *visit) playAs(pointer string) {
	v.Helper()
	v.playWith(func(d *wire.Display) { d.Pointer = pointer })
}

// playWith streams an app with a display of its own kind.
func (v *visit) playWith(change func(*wire.Display)) {
	v.Helper()
	v.open("/")
	v.script(`sessionStorage.clear()`)
	v.open("/play/viewer")
	v.press(".play-button")
	b := v.site.nextBrain()
	g := v.site.grant(false)
	change(&g.Display)
	b.say(wire.Message{Type: wire.MsgGranted, Grant: g})
	v.site.answer(b, b.hello.SDP)
	v.state("streaming")
	v.until(`nearcast.stats().then((s) => s.pingMS > 0)`) // the seat hears the page
}

// moved gives the page motions of a locked mouse, 8 ms apart, and returns by how much
// the app's pointer moves.
func (v *visit) moved(motions string) (total float64) {
	v.Helper()
	evaluate[bool](v, `(async () => {
		const surface = document.querySelector('.surface');
		for (const [n, x] of `+motions+`.entries()) {
			surface.dispatchEvent(new PointerEvent('pointermove', { bubbles: true, pointerType: 'mouse', movementX: x }));
			if (n % 10 === 9) await new Promise((r) => setTimeout(r, 8));
		}
		await new Promise((r) => setTimeout(r, 100));
		return true;
	})()`)
	deadline := time.After(patience)
	first := true
	var before float64 // what the page had moved before
	for {
		select {
		case in := <-v.site.inputs:
			if in.Type != wire.InputRel || in.Sum == nil {
				continue
			}
			if first {
				first, before = false, in.Sum[0]-in.DX
			}
			total = in.Sum[0] - before
		case <-time.After(300 * time.Millisecond):
			return total
		case <-deadline:
			v.Fatal("motions do not end")
		}
	}
}

// arrow is a cursor: a PNG of one pixel.
const arrow = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// walkAuto follows an app that takes the mouse in mid-session, and gives it back.
func walkAuto(v *visit) {
	v.playAs(wire.PointerAuto)
	v.site.wantInput("a question for the cursor", func(in wire.Input) bool { return in.Type == wire.InputCursor && in.Pressed })
	cursor := func() string { return evaluate[string](v, `document.querySelector('.surface').style.cursor`) }
	v.site.tell(wire.Pointer{Image: arrow, X: 3, Y: 4})
	// As large as the picture is: so many pixels of the app are one of the page.
	v.until(`(() => {
		const surface = document.querySelector('.surface'), video = document.querySelector('video');
		const box = surface.getBoundingClientRect();
		const scale = Math.min(box.width / video.videoWidth, box.height / video.videoHeight);
		const [, pixels, x, y] = /([\d.]+)(?:x|dppx)\) ([\d.]+) ([\d.]+)/.exec(surface.style.cursor) ?? [];
		const near = (a, b) => Math.abs(a - b) < 0.05;
		return near(pixels * scale, 1) && near(pixels * x, 3) && near(pixels * y, 4);
	})()`)
	v.site.tell(wire.Pointer{Hidden: true})
	v.until(`document.querySelector('.surface').style.cursor === 'none'`)
	if evaluate[bool](v, `Boolean(document.pointerLockElement)`) {
		v.Error("the pointer is locked because the cursor is hidden: that may be a film")
	}
	v.clickAt(500, 400)
	v.site.wantInput("a press at a position", func(in wire.Input) bool { return in.Type == wire.InputDown && in.X > 0 })
	v.site.wantInput("its end", func(in wire.Input) bool { return in.Type == wire.InputUp })

	v.site.tell(wire.Pointer{Hidden: true, Relative: true})
	v.until(`document.pointerLockElement && document.querySelector('.capture').hidden`)
	v.until(`document.activeElement.classList.contains('surface')`) // no input method takes a game's keys
	if got := v.moved(`Array(100).fill(3)`); got != 300 {
		v.Errorf("the app's pointer moved by %v, want 300", got)
	}
	v.clickAt(500, 400)
	if in := v.site.wantInput("a press", func(in wire.Input) bool { return in.Type == wire.InputDown }); in.X != 0 || in.Y != 0 {
		v.Errorf("a press with the mouse taken has a position: %+v", in)
	}
	// The person takes it back by Esc, and gives it again by a click.
	v.script(`document.exitPointerLock()`)
	v.until(`!document.pointerLockElement && !document.querySelector('.capture').hidden`)
	v.clickAt(500, 400)
	v.until(`document.pointerLockElement`)

	// Here the app gives it back, and a key that is held stays so.
	v.hold('w')
	v.site.wantInput("a key", func(in wire.Input) bool { return in.Code == "KeyW" && in.Pressed })
	v.site.tell(wire.Pointer{Image: arrow})
	v.until(`!document.pointerLockElement && document.querySelector('.capture').hidden`)
	v.letGo('w')
	v.site.wantInput("its release", func(in wire.Input) bool {
		if in.Type == wire.InputBlur {
			v.Error("all keys are released, as the app gives the mouse back")
		}
		return in.Code == "KeyW" && !in.Pressed
	})
	v.until(`document.activeElement.classList.contains('typing')`)
	if got := cursor(); got == "none" || got == "" {
		v.Errorf("the cursor is %q", got)
	}
	v.moveTo(640, 400)
	v.site.wantInput("a position", func(in wire.Input) bool { return in.Type == wire.InputMove && near(in.X, 0.5) })
}
