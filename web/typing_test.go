package web_test

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp/kb"

	"github.com/nearcast/nearcast/internal/wire"
)

// typed gathers what the app gets of keys and texts: "+KeyA:a -KeyA:a "text"", until
// it gets the key F9, which press presses.
func (v *visit) typed() string {
	v.Helper()
	v.keys(kb.F9)
	return v.until9()
}

func (v *visit) until9() string {
	v.Helper()
	var got []string
	v.site.wantInput("F9", func(in wire.Input) bool {
		sign := map[bool]string{true: "+", false: "-"}[in.Pressed]
		switch {
		case in.Type == wire.InputText:
			got = append(got, fmt.Sprintf("%q", in.Text))
		case in.Type == wire.InputBlur:
			got = append(got, "blur")
		case in.Type == wire.InputKey && in.Code == "F9":
			return !in.Pressed
		case in.Type == wire.InputKey:
			got = append(got, sign+in.Code+":"+in.Key)
		}
		return false
	})
	return strings.Join(got, " ")
}

// domEvent is a DOM event as a test replays it.
type domEvent map[string]any

// replay gives the page's focused element events as a browser gives them, those of
// key presses, compositions and texts.
func (v *visit) replay(events ...domEvent) {
	v.Helper()
	raw, err := json.Marshal(events)
	if err != nil {
		v.Fatal(err)
	}
	v.script(`for (const e of ` + string(raw) + `) {
		const kind = e.type.startsWith('key') ? KeyboardEvent : e.type === 'beforeinput' ? InputEvent : CompositionEvent;
		document.activeElement.dispatchEvent(new kind(e.type, { bubbles: true, cancelable: true, ...e }));
	}`)
}

func walkTyping(v *visit) {
	v.play()
	if got := v.typed(); got != "" {
		v.Errorf("before any key: %s", got)
	}
	// Composition, and then a text at once, as an emoji panel gives it.
	method := func(code string, composing bool) domEvent {
		return domEvent{"type": "keydown", "key": "Process", "code": code, "keyCode": 229, "isComposing": composing}
	}
	update := func(data string) domEvent { return domEvent{"type": "compositionupdate", "data": data} }
	v.replay(method("KeyH", false), domEvent{"type": "compositionstart"}, update("h"),
		domEvent{"type": "beforeinput", "inputType": "insertCompositionText", "data": "h", "isComposing": true},
		method("KeyE", true), update("he"), method("KeyL", true), update("hel"), update("hello"),
		domEvent{"type": "compositionend", "data": "hello"},
		domEvent{"type": "beforeinput", "inputType": "insertText", "data": "日本語é😀"})
	if got := v.typed(); got != `"hello" "日本語é😀"` {
		v.Errorf("a composition came as %s", got)
	}
	if v.fox == nil {
		walkComposing(v)
	}
	// Phone keyboards delete and end lines by events of their own.
	v.replay(domEvent{"type": "keydown", "key": "Unidentified", "keyCode": 229},
		domEvent{"type": "beforeinput", "inputType": "insertText", "data": "a"},
		domEvent{"type": "beforeinput", "inputType": "deleteContentBackward"},
		domEvent{"type": "beforeinput", "inputType": "insertLineBreak"})
	if got := v.typed(); got != `"a" +Backspace:Backspace -Backspace:Backspace +Enter:Enter -Enter:Enter` {
		v.Errorf("a phone's keyboard came as %s", got)
	}
	// Plain keys are keys, also where the browser would do something with them.
	v.keys("w", "A", "\t", "é", "\r")
	accent := `"é"` // a key that chromedp's keyboard lacks is an insertion
	if v.fox != nil {
		accent = "+:é -:é"
	}
	if got := v.typed(); got != "+KeyW:w -KeyW:w +KeyA:A -KeyA:A +Tab:Tab -Tab:Tab "+accent+" +Enter:Enter -Enter:Enter" {
		v.Errorf("plain keys came as %s", got)
	}
	v.until(`document.activeElement.value === ''`)
	walkLettingGo(v)
}

// walkComposing has Chromium's own input method compose.
func walkComposing(v *visit) {
	v.Helper()
	compose := func(text string) {
		v.Helper()
		at := int64(len([]rune(text)))
		command(v, input.ImeSetComposition, input.ImeSetCompositionParams{Text: text, SelectionStart: at, SelectionEnd: at})
	}
	for _, text := range []string{"h", "he", "hel", "hello"} {
		compose(text)
	}
	v.until(`document.activeElement.classList.contains('composing') && document.activeElement.value === 'hello'`)
	v.shot("composing")
	command(v, input.InsertText, input.InsertTextParams{Text: "hello"})
	command(v, input.InsertText, input.InsertTextParams{Text: "日本語é😀"})
	compose("에")
	compose("에이")
	command(v, input.InsertText, input.InsertTextParams{Text: "에이"})
	if got := v.typed(); got != `"hello" "日本語é😀" "에이"` {
		v.Errorf("Chromium's composition came as %s", got)
	}
	v.until(`document.activeElement.value === '' && !document.activeElement.classList.contains('composing')`)
	// A composition that is given up is nothing.
	compose("hel")
	compose("")
	if got := v.typed(); got != "" {
		v.Errorf("a composition that was given up came as %s", got)
	}
	// A click ends one, as in any program: its text does not go to where the click led.
	compose("hel")
	v.clickAt(500, 400)
	text := ""
	v.site.wantInput("a click", func(in wire.Input) bool {
		text += in.Text
		return in.Type == wire.InputDown
	})
	if got := v.typed(); text != "hel" || got != "" {
		v.Errorf("before a click came %q, and after it %s", text, got)
	}
	v.until(`document.activeElement.classList.contains('typing')`)
}

// walkLettingGo leaves the page in all ways with keys held: nothing stays pressed.
func walkLettingGo(v *visit) {
	v.Helper()
	hold := func() {
		v.Helper()
		v.replay(domEvent{"type": "keydown", "key": "Alt", "code": "AltLeft", "altKey": true},
			domEvent{"type": "keydown", "key": "w", "code": "KeyW", "altKey": true})
	}
	for name, leave := range map[string]string{
		"Alt+Tab":                    `window.dispatchEvent(new Event('blur'))`,
		"the focus goes to the menu": `document.querySelector('.tab').click(); document.querySelector('.tool.end').focus()`,
		"the tab is hidden":          `Object.defineProperty(document, 'hidden', {value: true, configurable: true}); document.dispatchEvent(new Event('visibilitychange')); delete document.hidden`,
		"the page goes":              `window.dispatchEvent(new PageTransitionEvent('pagehide'))`,
	} {
		hold()
		v.script(leave)
		v.site.wantInput("a release of everything: "+name, func(in wire.Input) bool { return in.Type == wire.InputBlur })
		v.script(`document.querySelector('.surface').focus(); document.querySelector('.typing').focus()`)
		// The keyup that comes after is of a key that is not held any more.
		v.replay(domEvent{"type": "keyup", "key": "Alt", "code": "AltLeft"})
		if got := strings.ReplaceAll(v.typed(), "blur", ""); strings.TrimSpace(got) != "" {
			v.Errorf("%s: afterwards came %s", name, got)
		}
	}
	// The window manager took Alt's keyup: the next key finds it gone.
	hold()
	v.replay(domEvent{"type": "keydown", "key": "a", "code": "KeyA"})
	if got := v.typed(); !strings.HasPrefix(got, "+AltLeft:Alt +KeyW:w -AltLeft:Alt +KeyA:a") {
		v.Errorf("after a lost keyup came %s", got)
	}
}

// asMac makes the page believe that it is on a Mac.
func (v *visit) asMac() {
	v.Helper()
	v.before(`Object.defineProperty(navigator, 'platform', {value: 'MacIntel'})`)
}

func walkMac(v *visit) {
	v.asMac()
	v.play()
	option := func() {
		v.Helper()
		key := func(kind, code, key string, alt bool) domEvent {
			return domEvent{"type": kind, "key": key, "code": code, "altKey": alt}
		}
		v.replay(key("keydown", "AltLeft", "Alt", true), key("keydown", "KeyL", "@", true),
			key("keyup", "KeyL", "@", true), key("keyup", "AltLeft", "Alt", false))
	}
	copied := func() {
		v.Helper()
		v.replay(domEvent{"type": "keydown", "key": "Meta", "code": "MetaLeft", "metaKey": true},
			domEvent{"type": "keydown", "key": "c", "code": "KeyC", "metaKey": true},
			domEvent{"type": "keyup", "key": "Meta", "code": "MetaLeft"})
	}
	option()
	copied()
	if got := v.typed(); got != `"@" +ControlLeft:Control +KeyC:c -KeyC:c -ControlLeft:Control` {
		v.Errorf("Option and Command came as %s", got)
	}
	v.script(`document.querySelector('.tab').click()`)
	v.shot("mac")
	v.script(`document.querySelector('[aria-label*="Option types"]').click(); document.querySelector('[aria-label*="Command is Control"]').click(); document.querySelector('.typing').focus()`)
	// Also after the page is loaded again: the choice is the person's.
	for _, when := range []string{"chosen", "remembered"} {
		option()
		copied()
		if got := strings.ReplaceAll(v.typed(), "blur ", ""); !strings.HasPrefix(got, "+AltLeft:Alt +KeyL:") || strings.Contains(got, "@") ||
			!strings.HasSuffix(got, "+MetaLeft:Meta +KeyC:c -KeyC:c -MetaLeft:Meta") {
			v.Errorf("%s: Option and Command came as %s", when, got)
		}
		if when == "chosen" {
			v.reload()
			v.site.serve(v.site.nextBrain(), true)
			v.state("streaming")
		}
	}
}
