package input

import (
	"fmt"
	"slices"
	"time"

	"github.com/jezek/xgb/xproto"
)

// spares are the keys that can be mapped to any character: those that no browser
// names, so that nobody presses them. There are about a hundred. Keys of media
// players and the like are among them, after those without a meaning.
//
// A key that was played keeps its meaning until the application has looked it up. An
// application that was stopped looks up all of its keys when it goes on, and then
// finds the latest mapping.
type spares struct {
	keys []spareKey // the one unused for longest is first
	n    uint32     // of the last use
	// quiet is a key without a meaning, which never gets one; 0 is none.
	quiet xproto.Keycode
}

type spareKey struct {
	code xproto.Keycode
	use  uint32 // number of the last use; 0 is never
	at   time.Time
}

// isModifier reports whether a keysym changes what other keys mean.
func isModifier(s xproto.Keysym) bool {
	const modeSwitch, numLock = 0xff7e, 0xff7f
	return s >= 0xffe1 && s <= 0xffee || s >= 0xfe01 && s <= 0xfe13 || s == modeSwitch || s == numLock
}

func newSpares(k *keymap) (s spares) {
	// Some programs do not accept the first as a key; AltGr presses levelThree, also where the server's layout has no meaning for it.
	named := map[xproto.Keycode]bool{k.first: true, levelThree: true}
	for _, code := range places {
		named[code] = true
	}
	var media []spareKey
	for i := range len(k.syms) / max(k.width, 1) {
		code := k.first + xproto.Keycode(i)
		row := k.row(code)
		switch {
		case named[code] || slices.ContainsFunc(row, isModifier):
		case slices.ContainsFunc(row, func(s xproto.Keysym) bool { return s != 0 }):
			media = append(media, spareKey{code: code})
		default:
			s.keys = append(s.keys, spareKey{code: code})
		}
	}
	if n := len(s.keys) - 1; n >= 0 {
		s.quiet, s.keys = s.keys[n].code, s.keys[:n]
	}
	s.keys = append(s.keys, media...)
	return s
}

// used notes that a key was played, if it is a spare one.
func (s *spares) used(code xproto.Keycode) {
	i := slices.IndexFunc(s.keys, func(k spareKey) bool { return k.code == code })
	if i < 0 {
		return
	}
	s.n++
	key := spareKey{code, s.n, time.Now()}
	s.keys = append(slices.Delete(s.keys, i, i+1), key)
}

// forget is how long an application that answers no pings has for a key.
const forget = 3 * time.Second

// lookupPatience is how long an application may take to answer a ping before its
// keys get other meanings all the same: it hangs, and the person goes on.
const lookupPatience = 5 * time.Second

// bind maps a spare key to the keysym, with any modifiers.
func (in *Injector) bind(sym xproto.Keysym) (xproto.Keycode, error) {
	k := &in.keys
	i := slices.IndexFunc(k.spare.keys, func(s spareKey) bool { return in.pressed[s.code] == 0 })
	if i < 0 {
		return 0, fmt.Errorf("%w: too many keys are held at a time", ErrInput)
	}
	key := k.spare.keys[i]
	if key.use != 0 {
		in.awaitLookup(key)
	}
	row := make([]xproto.Keysym, k.width)
	for j := range row {
		row[j] = sym
	}
	if err := xproto.ChangeKeyboardMappingChecked(in.conn, 1, key.code, byte(k.width), row).Check(); err != nil {
		return 0, fmt.Errorf("change keymap: %w", err)
	}
	copy(k.row(key.code), row)
	k.spare.used(key.code)
	return key.code, nil
}

// awaitLookup returns when the application has looked up the last use of a key.
func (in *Injector) awaitLookup(key spareKey) {
	if in.pings.confirmed(key.use) {
		return
	}
	answered, ok := in.pings.ask(in.conn, in.keys.spare.n)
	wait := lookupPatience
	if !ok {
		wait = time.Until(key.at.Add(forget))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-answered:
	case <-timer.C:
		if ok {
			in.pings.giveUp(in.keys.spare.n) // not another wait for the same silence
		}
	case <-in.gone:
	}
}
