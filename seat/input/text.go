package input

import (
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/wire"
)

// modifiers are the keys that change what others mean, while they are held.
var modifiers = []xproto.Keycode{
	places["ShiftLeft"], places["ShiftRight"], places["ControlLeft"], places["ControlRight"],
	places["AltLeft"], places["AltRight"], places["MetaLeft"], places["MetaRight"], levelThree,
}

// text types a text, whatever keys are held.
func (in *Injector) text(m wire.Input) error {
	if m.Text == "" || len(m.Text) > wire.MaxText || !utf8.ValidString(m.Text) {
		return fmt.Errorf("%w: a text of %d bytes: it must be UTF-8 of 1 to %d bytes", ErrInput, len(m.Text), wire.MaxText)
	}
	for _, r := range m.Text {
		if unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' {
			return fmt.Errorf("%w: a text has the control character %U", ErrInput, r)
		}
	}
	if err := in.wantLock(capsLock, xproto.ModMaskLock, false); err != nil {
		return err
	}
	lifted := slices.DeleteFunc(slices.Clone(modifiers), func(code xproto.Keycode) bool { return in.pressed[code] == 0 })
	for _, code := range lifted {
		in.fake(xproto.KeyRelease, byte(code), 0, 0)
	}
	err := in.typeText(m.Text)
	for _, code := range lifted {
		in.fake(xproto.KeyPress, byte(code), 0, 0)
	}
	return err
}

func (in *Injector) typeText(text string) error {
	for _, r := range text {
		var code xproto.Keycode
		var err error
		shift := false
		switch r {
		case '\n', '\r':
			code = places["Enter"]
		case '\t':
			code = places["Tab"]
		default:
			code, shift, err = in.forText(r)
		}
		if err != nil {
			return err
		}
		in.letGo(code)
		if shift {
			in.fake(xproto.KeyPress, byte(places["ShiftLeft"]), 0, 0)
		}
		in.tap(code)
		if shift {
			in.fake(xproto.KeyRelease, byte(places["ShiftLeft"]), 0, 0)
		}
	}
	return nil
}

// forText finds the key that types r. Letters have Shift, as on any keyboard. Other
// characters come without it: the person pressed no Shift for them.
func (in *Injector) forText(r rune) (code xproto.Keycode, shift bool, err error) {
	sym := keysym(r)
	if code = in.keys.find(sym, 0); code == 0 && unicode.IsUpper(r) {
		code = in.keys.find(sym, xproto.ModMaskShift)
		shift = code != 0
	}
	if code == 0 {
		code, err = in.bind(sym)
		return code, false, err
	}
	in.keys.spare.used(code)
	return code, shift, nil
}

// letGo releases a key that the person holds, so that it can be typed.
func (in *Injector) letGo(code xproto.Keycode) {
	if in.pressed[code] == 0 {
		return
	}
	for id, held := range in.held {
		if held == code {
			delete(in.held, id)
		}
	}
	delete(in.pressed, code)
	in.fake(xproto.KeyRelease, byte(code), 0, 0)
}
