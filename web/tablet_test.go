package web_test

import (
	"strings"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/wire"
)

// tap has a finger tap on a point of the page.
func (v *visit) tap(x, y float64) {
	v.Helper()
	command(v, input.DispatchTouchEvent, input.DispatchTouchEventParams{Type: input.DispatchTouchEventTypeTouchStart, TouchPoints: []*input.TouchPoint{{X: x, Y: y}}})
	command(v, input.DispatchTouchEvent, input.DispatchTouchEventParams{Type: input.DispatchTouchEventTypeTouchEnd, TouchPoints: []*input.TouchPoint{}})
}

// tapOn has a finger tap on what a selector finds.
func (v *visit) tapOn(selector string) {
	v.Helper()
	v.until(browser.Visible(selector))
	at := evaluate[browser.Point](v, browser.Middle(selector))
	v.tap(at.X, at.Y)
}

// walkTablet is at a tablet to which a keyboard is attached: it composes and pastes, and no screen
// keyboard comes but by its button.
func walkTablet(v *visit) {
	v.do(chromedp.EmulateViewport(1180, 820, chromedp.EmulateMobile, chromedp.EmulateTouch))
	v.allowClipboard()
	v.playWith(func(d *wire.Display) { d.Clipboard = wire.ClipboardBoth })
	if !evaluate[bool](v, `matchMedia('(pointer: coarse)').matches`) {
		v.Fatal("the page does not take this for a tablet")
	}
	ready := func(mode string) {
		v.Helper()
		v.until(`document.activeElement.classList.contains('typing') && document.activeElement.inputMode === '` + mode + `'`)
	}
	tap := func() {
		v.Helper()
		v.tap(590, 410)
		v.site.wantInput("a tap", func(in wire.Input) bool { return in.Type == wire.InputDown && in.Button == 0 && near(in.X, 0.5) })
	}
	ready("none")
	tap()
	ready("none")
	walkComposing(v)

	// A dead key, and what it makes of the next one.
	if evaluate[bool](v, `(() => {
		const dead = new KeyboardEvent('keydown', { bubbles: true, cancelable: true, key: 'Dead', code: 'BracketLeft' });
		document.activeElement.dispatchEvent(dead);
		return dead.defaultPrevented;
	})()`) {
		v.Error("the browser does not get a dead key")
	}
	command(v, input.ImeSetComposition, input.ImeSetCompositionParams{Text: "´", SelectionStart: 1, SelectionEnd: 1})
	command(v, input.InsertText, input.InsertTextParams{Text: "é"})
	if got := v.typed(); got != `"é"` {
		v.Errorf("a dead key came as %s", got)
	}

	// The keys that paste: the browser's own command, with what is in its clipboard.
	evaluate[bool](v, `navigator.clipboard.writeText('of the tablet').then(() => true)`)
	if in, then := v.pastes(); in.Text != "of the tablet" || !strings.HasPrefix(then, "+KeyV:v -KeyV:v") {
		v.Errorf("%q was pasted, and then came %s", in.Text, then)
	}

	// The button shows the screen keyboard, which stays while fingers are at the app, and hides it.
	const button = `.tools [aria-label="Screen keyboard"]`
	v.tapOn(".tab")
	v.tapOn(button)
	ready("text")
	tap()
	ready("text")
	v.replay(domEvent{"type": "keydown", "key": "Unidentified", "keyCode": 229}, domEvent{"type": "beforeinput", "inputType": "insertText", "data": "a"})
	if got := v.typed(); got != `"a"` {
		v.Errorf("the screen keyboard's text came as %s", got)
	}
	v.tapOn(".tab")
	v.tapOn(button)
	ready("none")

	// The person was at something else of the page: a tap brings the keys back to the app.
	v.script(`document.activeElement.blur()`)
	tap()
	ready("none")
}

// walkTouchLaptop is at a laptop that takes fingers too, as the page learns at the first one. From then
// on no screen keyboard comes by itself: the button is there.
func walkTouchLaptop(v *visit) {
	v.play()
	const button = `.tools [aria-label="Screen keyboard"]`
	if !evaluate[bool](v, "document.querySelector('"+button+"').hidden") {
		v.Error("the button is there before a finger was")
	}
	v.tap(590, 410)
	v.until("!document.querySelector('" + button + "').hidden")
	v.tapOn(".tab")
	v.tapOn(button)
	v.until(`document.activeElement.classList.contains('typing') && document.activeElement.inputMode === 'text'`)
}
