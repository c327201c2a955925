package input

import (
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/wire"
)

// maxKeyText is the maximum length of code and key, in bytes.
const maxKeyText = 32

// key plays a press or release.
func (in *Injector) key(m wire.Input) error {
	if len(m.Code) > maxKeyText || len(m.Key) > maxKeyText || m.Code == "" && m.Key == "" {
		return fmt.Errorf("%w: code %.32q and key %.32q: a key needs at least one, each of at most %d bytes", ErrInput, m.Code, m.Key, maxKeyText)
	}
	id := m.Code
	if id == "" || id == "Unidentified" {
		id = "key:" + m.Key // screen keyboards have no positions
	}
	if !m.Pressed {
		in.release(id)
		return nil
	}
	if code, ok := in.held[id]; ok {
		in.repeatAgain(code)
		return nil
	}
	code, err := in.choose(m)
	if err != nil || code == 0 {
		return err
	}
	in.held[id] = code
	in.pressed[code]++
	if in.pressed[code] == 1 {
		in.fake(xproto.KeyPress, byte(code), 0, 0)
		if !slices.Contains(modifiers, code) { // with a modifier, the display goes on repeating the key before
			in.repeating, in.stopped = true, false
		}
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
		in.repeating = in.repeating && len(in.pressed) > 0
	}
}

// StopRepeats keeps the keys that are held from being repeated by the display: their releases may be on
// their way. They stay pressed; a key repeats again when the page says that it is still held.
func (in *Injector) StopRepeats() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.repeating || in.keys.spare.quiet == 0 || in.lost() != nil {
		return
	}
	in.repeating, in.stopped = false, true
	// A display repeats the key that was pressed last. To turn repeats off does not end one
	// that goes on, and apps must not see a release.
	in.tap(in.keys.spare.quiet)
}

// repeatAgain has the display repeat a key that is still held, if StopRepeats stopped that. That is a
// release and a press: so not for a game, which has no use for repeats.
func (in *Injector) repeatAgain(code xproto.Keycode) {
	if in.byPlace || !in.stopped || in.pressed[code] == 0 || slices.Contains(modifiers, code) {
		return
	}
	in.stopped, in.repeating = false, true
	in.fake(xproto.KeyRelease, byte(code), 0, 0)
	in.fake(xproto.KeyPress, byte(code), 0, 0)
}

// tap presses and releases a key, for locks.
func (in *Injector) tap(code xproto.Keycode) {
	if in.pressed[code] > 0 {
		return // the person holds it
	}
	in.fake(xproto.KeyPress, byte(code), 0, 0)
	in.fake(xproto.KeyRelease, byte(code), 0, 0)
}

// choose finds the key to press; 0 is none.
func (in *Injector) choose(m wire.Input) (xproto.Keycode, error) {
	place := places[m.Code]
	switch m.Key {
	case "Dead":
		if in.byPlace {
			return place, nil
		}
		return 0, nil // the first half of a character; the whole character follows as a key
	case "AltGraph":
		// Not the right Alt of the US layout: with Alt, a character would be a
		// shortcut. With Control too, which Windows presses with AltGr.
		in.release("ControlLeft")
		return levelThree, nil
	}
	r, size := utf8.DecodeRuneInString(m.Key)
	if size == 0 || size != len(m.Key) || !unicode.IsPrint(r) || r == utf8.RuneError {
		// Not a character: a key by its position, or by its name.
		if place == 0 {
			place = places[named[m.Key]]
		}
		if place == 0 {
			return 0, fmt.Errorf("%w: unknown key with code %q and key %q", ErrInput, m.Code, m.Key)
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

// forCharacter finds a key that produces r with the current modifiers; if possible
// the key at the same position as the person's.
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
		// The decimal separator is a comma on many keypads, and a point on the seat's.
		if in.keys.produces(place, state) == keypadSym(r) {
			return place, nil
		}
	}
	if unicode.IsUpper(r) || unicode.IsLower(r) {
		want := unicode.IsUpper(r) != (state&xproto.ModMaskShift != 0)
		// With other modifiers the case does not show the lock: Control+A with Caps Lock is Control+A.
		if state&(xproto.ModMaskControl|xproto.ModMask1|xproto.ModMask4|xproto.ModMask5) == 0 && hasCase(r) {
			if state, err = in.wantLockNow(state, capsLock, xproto.ModMaskLock, want); err != nil {
				return 0, err
			}
		}
	}
	const shortcut = xproto.ModMaskControl | xproto.ModMask1 | xproto.ModMask4
	syms := []xproto.Keysym{sym}
	if state&shortcut != 0 {
		// Macs say z for Command+Shift+Z, and others A for Control+A with Caps Lock.
		syms = append(syms, keysym(unicode.ToUpper(r)), keysym(unicode.ToLower(r)))
	}
	if place != 0 && slices.Contains(syms, in.keys.produces(place, state)) {
		return place, nil
	}
	for _, sym := range syms {
		if code := in.keys.find(sym, state); code != 0 {
			in.keys.spare.used(code)
			return code, nil
		}
	}
	if place != 0 && state&shortcut != 0 && unicode.IsLetter(r) && !unicode.Is(unicode.Latin, r) {
		return place, nil // apps know shortcuts by Latin letters
	}
	return in.bind(sym)
}

func hasCase(r rune) bool { return unicode.ToUpper(r) != unicode.ToLower(r) }

// state reads the current modifiers and locks. Only the display knows its locks:
// the application can change them too.
func (in *Injector) state() (uint16, error) {
	q, err := xproto.QueryPointer(in.conn, in.root).Reply()
	if err != nil {
		return 0, fmt.Errorf("query modifiers: %w", err)
	}
	return q.Mask, nil
}

// wantLock switches a lock on or off.
func (in *Injector) wantLock(lock xproto.Keycode, mask uint16, on bool) error {
	state, err := in.state()
	if err == nil {
		_, err = in.wantLockNow(state, lock, mask, on)
	}
	return err
}

// wantLockNow is wantLock with the modifiers known. It returns the new ones.
func (in *Injector) wantLockNow(state uint16, lock xproto.Keycode, mask uint16, on bool) (uint16, error) {
	if state&mask != 0 == on {
		return state, nil
	}
	in.tap(lock)
	return in.state()
}
