package input

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/wire"
)

// key plays a press or release.
func (in *Injector) key(m wire.Input) error {
	if len(m.Code) > maxKeyText || len(m.Key) > maxKeyText || m.Code == "" && m.Key == "" {
		return fmt.Errorf("%w: key with code %.32q, key %.32q", ErrInput, m.Code, m.Key)
	}
	id := m.Code
	if id == "" || id == "Unidentified" {
		id = "key:" + m.Key // screen keyboards know no places
	}
	if !m.Pressed {
		in.release(id)
		return nil
	}
	if _, ok := in.held[id]; ok {
		return nil // a repeat
	}
	code, err := in.choose(m)
	if err != nil || code == 0 {
		return err
	}
	in.held[id] = code
	in.pressed[code]++
	if in.pressed[code] == 1 {
		in.fake(xproto.KeyPress, byte(code), 0, 0)
	}
	return nil
}

func (in *Injector) release(id string) {
	code, ok := in.held[id]
	if !ok {
		return
	}
	delete(in.held, id)
	if in.pressed[code]--; in.pressed[code] == 0 {
		delete(in.pressed, code)
		in.fake(xproto.KeyRelease, byte(code), 0, 0)
	}
}

// tap presses and releases, for locks.
func (in *Injector) tap(code xproto.Keycode) {
	if in.pressed[code] > 0 {
		return // the person is at it
	}
	in.fake(xproto.KeyPress, byte(code), 0, 0)
	in.fake(xproto.KeyRelease, byte(code), 0, 0)
}

// choose finds the key to press; 0 is none.
func (in *Injector) choose(m wire.Input) (xproto.Keycode, error) {
	place := places[m.Code]
	switch m.Key {
	case "Dead":
		return 0, nil // the first half of a character; the whole one follows as a key
	case "AltGraph":
		// Not the Alt of the US layout's right key: with Alt, a character
		// would be a shortcut. Windows presses Control with it, which would too.
		in.release("ControlLeft")
		return levelThree, nil
	}
	r, size := utf8.DecodeRuneInString(m.Key)
	if size == 0 || size != len(m.Key) || !unicode.IsPrint(r) || r == utf8.RuneError {
		// No character: a key by its place, or one of those with a name.
		if place == 0 {
			place = places[named[m.Key]]
		}
		if place == 0 {
			return 0, fmt.Errorf("%w: unknown key with code %q, key %q", ErrInput, m.Code, m.Key)
		}
		if navigates(place) {
			in.wantLock(numLock, xproto.ModMask2, false)
		}
		return place, nil
	}
	if in.byPlace && place != 0 {
		return place, nil
	}
	return in.forCharacter(r, place)
}

// forCharacter finds a key that produces r now; the key at the person's place
// if possible.
func (in *Injector) forCharacter(r rune, place xproto.Keycode) (xproto.Keycode, error) {
	sym := keysym(r)
	state, err := in.state()
	if err != nil {
		return 0, err
	}
	if isKeypad(place) {
		if state, err = in.wantLockNow(state, numLock, xproto.ModMask2, true); err != nil {
			return 0, err
		}
		// A decimal point is a comma on many keypads, and a point on the seat's.
		if in.keys.produces(place, state) == keypadSym(r) {
			return place, nil
		}
	}
	if unicode.IsUpper(r) || unicode.IsLower(r) {
		want := unicode.IsUpper(r) != (state&xproto.ModMaskShift != 0)
		// With other modifiers the case says little: Control+Caps A is Control+A.
		if state&(xproto.ModMaskControl|xproto.ModMask1|xproto.ModMask4|xproto.ModMask5) == 0 && hasCase(r) {
			if state, err = in.wantLockNow(state, capsLock, xproto.ModMaskLock, want); err != nil {
				return 0, err
			}
		}
	}
	if place != 0 && in.keys.produces(place, state) == sym {
		return place, nil
	}
	if code := in.keys.find(sym, state); code != 0 {
		return code, nil
	}
	return in.keys.bind(in.conn, sym, in.pressed)
}

func hasCase(r rune) bool { return unicode.ToUpper(r) != unicode.ToLower(r) }

// state is the display's modifiers now: locks included, which nobody but the
// display knows for sure.
func (in *Injector) state() (uint16, error) {
	q, err := xproto.QueryPointer(in.conn, in.root).Reply()
	if err != nil {
		return 0, fmt.Errorf("query modifiers: %w", err)
	}
	return q.Mask, nil
}

// wantLock turns a lock on or off.
func (in *Injector) wantLock(lock xproto.Keycode, mask uint16, on bool) error {
	state, err := in.state()
	if err == nil {
		_, err = in.wantLockNow(state, lock, mask, on)
	}
	return err
}

func (in *Injector) wantLockNow(state uint16, lock xproto.Keycode, mask uint16, on bool) (uint16, error) {
	if state&mask != 0 == on {
		return state, nil
	}
	in.tap(lock)
	return in.state()
}
