package web_test

import (
	"github.com/chromedp/chromedp/kb"

	"github.com/nearcast/nearcast/internal/wire"
)

// walkHelp opens the help by its keys and by the menu. While it is open it has the
// keyboard: what was held is released, and a key does not reach the app.
func walkHelp(v *visit) {
	v.playWith(func(d *wire.Display) { d.Clipboard = wire.ClipboardIn })
	open := `document.querySelector('dialog.help').open`
	chord := func() {
		v.Helper()
		v.script(`document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { bubbles: true, cancelable: true,
			code: 'KeyH', key: 'H', ctrlKey: true, altKey: true, shiftKey: true }))`)
	}
	v.keys(kb.F8)
	v.site.wantInput("F8", func(in wire.Input) bool { return in.Code == "F8" && !in.Pressed })
	chord()
	v.until(open)
	v.until(`document.querySelector('dialog.help').textContent.includes('pastes into the app')`)
	v.site.wantInput("release of all keys", func(in wire.Input) bool { return in.Type == wire.InputBlur })
	v.keys("x", kb.Escape)
	v.until(`!` + open)
	v.keys(kb.F9)
	v.site.wantInput("F9", func(in wire.Input) bool {
		if in.Code == "KeyX" || in.Code == "KeyH" || in.Code == "Escape" {
			v.Errorf("the app got %s, which the help has", in.Code)
		}
		return in.Code == "F9" && !in.Pressed
	})
	v.script(`document.querySelector('.toolbar [aria-label^="What you can do"]').click()`)
	v.until(open)
	v.shot("help")
	chord()
	v.until(`!` + open)
}
