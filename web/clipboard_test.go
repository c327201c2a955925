package web_test

import (
	"encoding/json"
	"strings"

	"github.com/chromedp/cdproto/cdp"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/firefox"
	"github.com/nearcast/nearcast/internal/wire"
)

// allowClipboard lets the page read and write the person's clipboard, as tests of Firefox may anyway.
func (v *visit) allowClipboard() {
	v.Helper()
	type params struct {
		Permissions []string `json:"permissions"`
	}
	if v.fox == nil {
		command(v, cdp.Command[params, json.RawMessage]{Method: "Browser.grantPermissions"},
			params{[]string{"clipboardReadWrite", "clipboardSanitizedWrite"}})
	}
}

// walkClipboard pastes and copies: the text is there before the key, and goes only
// where the job lets it.
func walkClipboard(v *visit) {
	v.allowClipboard()
	paste := func(text string) {
		v.Helper()
		raw, err := json.Marshal(text)
		if err != nil {
			v.Fatal(err)
		}
		if v.fox != nil { // its own clipboard, and its own paste event
			evaluate[bool](v, `navigator.clipboard.writeText(`+string(raw)+`).then(() => true)`)
			testkit.Must(v, v.fox.Press(v.ctx, firefox.Control, "v"))
			return
		}
		v.replay(domEvent{"type": "keydown", "key": "Control", "code": "ControlLeft", "ctrlKey": true},
			domEvent{"type": "keydown", "key": "v", "code": "KeyV", "ctrlKey": true})
		v.script(`const data = new DataTransfer(); data.setData('text/plain', ` + string(raw) + `);
			document.activeElement.dispatchEvent(new ClipboardEvent('paste', { bubbles: true, cancelable: true, clipboardData: data }))`)
		v.replay(domEvent{"type": "keyup", "key": "v", "code": "KeyV", "ctrlKey": true},
			domEvent{"type": "keyup", "key": "Control", "code": "ControlLeft"})
	}
	const pasted = "+ControlLeft:Control +KeyV:v -KeyV:v -ControlLeft:Control"
	v.playWith(func(d *wire.Display) { d.Clipboard = wire.ClipboardBoth })
	long := strings.Repeat("Grüße 😀\n", 700)
	paste(long)
	var text strings.Builder
	v.site.wantInput("the whole text", func(in wire.Input) bool {
		if in.Type == wire.InputKey && in.Code == "KeyV" {
			v.Error("the key came before the text")
		}
		if in.Type == wire.InputClip {
			if len(in.Text) > wire.MaxClipPart {
				v.Errorf("a part has %d bytes", len(in.Text))
			}
			text.WriteString(in.Text)
		}
		return in.Type == wire.InputClip && !in.More
	})
	if text.String() != long {
		v.Errorf("the app got %d bytes, want %d", text.Len(), len(long))
	}
	if got := v.typed(); got != "+KeyV:v -KeyV:v -ControlLeft:Control" {
		v.Errorf("then came %s", got)
	}
	// The browser gives no text: the key comes all the same.
	v.replay(domEvent{"type": "keydown", "key": "Insert", "code": "Insert", "shiftKey": true})
	v.site.wantInput("the key", func(in wire.Input) bool { return in.Type == wire.InputKey && in.Code == "Insert" && !in.Pressed })

	// What the app copies is in the person's clipboard.
	v.site.say(wire.Clip{Type: "clip", Text: "from ", More: true})
	v.site.say(wire.Clip{Type: "clip", Text: "the app é"})
	v.until(`navigator.clipboard.readText().then((text) => text === 'from the app é')`)

	v.playWith(func(d *wire.Display) { d.Clipboard = wire.ClipboardNone })
	paste("secret")
	if got := strings.ReplaceAll(v.typed(), "blur ", ""); got != pasted {
		v.Errorf("without a clipboard came %s", got)
	}
	v.site.say(wire.Clip{Type: "clip", Text: "unasked"})
	if got := v.typed(); got != "" {
		v.Errorf("then came %s", got)
	}
	has := "from the app é"
	if v.fox != nil {
		has = "secret" // paste has put it there
	}
	if got := evaluate[string](v, `navigator.clipboard.readText()`); got != has {
		v.Errorf("an app without a clipboard wrote %q into the person's", got)
	}
}
