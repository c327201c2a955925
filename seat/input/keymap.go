package input

import (
	"fmt"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// keymap is the display's keyboard mapping in the core protocol: the keysyms of
// each key's levels.
type keymap struct {
	first xproto.Keycode
	width int
	syms  []xproto.Keysym

	spare spares
}

func (k *keymap) load(conn *xgb.Conn) error {
	s := xproto.Setup(conn)
	if s.MinKeycode < 8 || s.MaxKeycode <= s.MinKeycode { // the protocol's minimum
		return fmt.Errorf("get keymap: the display has the key codes %d to %d", s.MinKeycode, s.MaxKeycode)
	}
	keys := int(s.MaxKeycode-s.MinKeycode) + 1
	r, err := xproto.GetKeyboardMapping(conn, s.MinKeycode, byte(keys)).Reply()
	if err != nil {
		return fmt.Errorf("get keymap: %w", err)
	}
	if len(r.Keysyms) != keys*int(r.KeysymsPerKeycode) {
		return fmt.Errorf("get keymap: the display sent %d symbols for %d keys of %d", len(r.Keysyms), keys, r.KeysymsPerKeycode)
	}
	k.first, k.width, k.syms = s.MinKeycode, int(r.KeysymsPerKeycode), r.Keysyms
	k.spare = newSpares(k)
	return nil
}

func (k *keymap) row(code xproto.Keycode) []xproto.Keysym {
	i := (int(code) - int(k.first)) * k.width
	if i < 0 || i+k.width > len(k.syms) {
		return nil
	}
	return k.syms[i : i+k.width]
}

// produces returns the keysym of a key with these modifiers.
func (k *keymap) produces(code xproto.Keycode, state uint16) xproto.Keysym {
	row := k.row(code)
	at := func(i int) xproto.Keysym {
		if i < len(row) {
			return row[i]
		}
		return 0
	}
	level := 0
	if state&xproto.ModMask5 != 0 && at(4) != 0 {
		level = 4 // the third level; 2 and 3 are the second group
	}
	shift := state&xproto.ModMaskShift != 0
	lower, upper := at(level), at(level+1)
	switch {
	case isKeypadSym(upper):
		if state&xproto.ModMask2 != 0 {
			shift = !shift
		}
	case state&xproto.ModMaskLock != 0 && lower != upper && isLetter(lower):
		shift = !shift
	}
	if shift && upper != 0 {
		return upper
	}
	return lower
}

// find returns a key that produces sym with these modifiers; 0 if there is none.
func (k *keymap) find(sym xproto.Keysym, state uint16) xproto.Keycode {
	for i := range len(k.syms) / max(k.width, 1) {
		code := k.first + xproto.Keycode(i)
		if k.produces(code, state) == sym {
			return code
		}
	}
	return 0
}

// keysym is the keysym of a character.
func keysym(r rune) xproto.Keysym {
	if r >= 0x20 && r <= 0x7e || r >= 0xa0 && r <= 0xff {
		return xproto.Keysym(r)
	}
	return 0x01000000 | xproto.Keysym(r)
}

// keypadSym is the keysym of a character on the numeric keypad; 0 if it has no key there.
func keypadSym(r rune) xproto.Keysym {
	switch {
	case r >= '0' && r <= '9':
		return 0xffb0 + xproto.Keysym(r-'0')
	case r == '.' || r == ',':
		return 0xffae // the decimal separator of any layout
	case r == '*', r == '+', r == '-', r == '/':
		return 0xff80 + xproto.Keysym(r)
	case r == '=':
		return 0xffbd
	}
	return 0
}

func isKeypadSym(s xproto.Keysym) bool { return s >= 0xff80 && s <= 0xffbd }

func isLetter(s xproto.Keysym) bool {
	switch {
	case s >= 0x20 && s <= 0xff:
		return hasCase(rune(s))
	case s >= 0x01000100 && s <= 0x0110ffff:
		return hasCase(rune(s - 0x01000000))
	}
	return false
}
