package clipboard

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"time"
	"unicode/utf16"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// settle is when the application is asked after it copied: it may do so in several steps.
	settle = 150 * time.Millisecond
	// takeEvery is how often it is asked at most.
	takeEvery = 850 * time.Millisecond
	// attention is how long after the person's input a copy is theirs: the application may
	// be slow. Once one was told, only what comes right after it is.
	attention, attentionTold = 10 * time.Second, time.Second
	// mostRepeats is how often a program that did not give all of a copy is asked again for it, after
	// the person's next input.
	mostRepeats = 3
	// echo is how long what the person pasted is theirs also where another program has taken
	// it over, as clipboard managers do.
	echo = time.Second
)

const (
	// answerPatience is how long an application may take for an answer, or for a piece of
	// it, and takePatience for all of it.
	answerPatience = 5 * time.Second
	takePatience   = 30 * time.Second
	maxTargets     = 4 << 10 // bytes of a list of targets
)

var (
	errNoAnswer = errors.New("the application gives nothing")
	errTooLong  = errors.New("the application gives too much")
)

// copied notes that a program took the selection, as the server tells.
func (c *Clipboard) copied(owner xproto.Window) {
	c.took.Store(time.Now().UnixNano())
	c.fresh.Store(owner != 0 && owner != c.win)
	put(c.copies, struct{}{})
}

func (c *Clipboard) look() {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	var until, next time.Time
	due, again, repeated := false, false, 0 // how often it was asked again for one copy
	polls := 0                              // that are still to be made, of an application that may change its copy in its place
	for {
		select {
		case <-c.ctx.Done():
			timer.Stop()
			return
		case <-c.looks:
			until = time.Now().Add(attention)
			if again && repeated < mostRepeats && !c.fresh.Load() && !c.owns() {
				repeated++
				c.fresh.Store(true)
			}
			again = false
			if c.inPlace {
				polls = 2 // it may be slow
			}
		case <-c.copies:
			repeated, c.told = 0, [sha256.Size]byte{}
		case <-timer.C:
			due, polls = false, max(polls-1, 0)
			told, answered := c.take(repeated > 0)
			now := time.Now()
			next, again = now.Add(takeEvery), !answered
			if told {
				until = now.Add(attentionTold)
			}
		}
		if now := time.Now(); !due && (c.fresh.Load() || polls > 0) && now.Before(until) {
			due = true
			timer.Reset(max(settle, next.Sub(now)))
		}
	}
}

func (c *Clipboard) owns() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owned
}

// take asks the application for what it copied, and tells it. It asks by a window of its
// own each time: so nothing comes that an earlier application sends late. Where a program
// does not answer, it may be asked again; then only what it did not give before is news.
func (c *Clipboard) take(again bool) (told, answered bool) {
	if c.owns() {
		return false, true // what says who took it is still to come
	}
	fresh := c.fresh.Swap(false)
	if !fresh && !c.inPlace {
		return false, true
	}
	asker, err := c.window()
	if err != nil {
		return false, true
	}
	defer xproto.DestroyWindow(c.conn, asker)
	c.asker.Store(uint32(asker))
	if !fresh {
		text, err := c.ask(c.atoms.utf8, wire.MaxClip)
		if err != nil || sha256.Sum256(text) == c.text {
			return false, true
		}
	}
	list, err := c.ask(c.atoms.targets, maxTargets)
	targets := atomsOf(list)
	if err != nil {
		targets = []xproto.Atom{c.atoms.utf8} // a client of old
	}
	c.inPlace = !slices.Contains(targets, c.atoms.timestamp) || slices.Contains(targets, c.atoms.tk)
	answered = true
	kinds := map[wire.ClipKind][]byte{}
	for target, kind := range map[xproto.Atom]wire.ClipKind{c.atoms.utf8: wire.ClipText, c.atoms.html: wire.ClipHTML, c.atoms.png: wire.ClipPNG} {
		if !slices.Contains(targets, target) {
			continue
		}
		data, err := c.ask(target, wire.MaxClip)
		answered = answered && !errors.Is(err, errNoAnswer)
		if kind == wire.ClipHTML {
			data = plainUTF8(data)
		}
		if kind.Valid(data) {
			kinds[kind] = data
		}
	}
	c.text = sha256.Sum256(kinds[wire.ClipText])
	if len(kinds) == 0 {
		return false, answered
	}
	c.mu.Lock()
	all := sum(kinds)
	news := !c.owned && (time.Unix(0, c.took.Load()).Sub(c.putAt) > echo || all != c.put) && !(again && all == c.told)
	c.mu.Unlock()
	if news {
		c.told = all
		c.onCopied(kinds)
	}
	return news, answered
}

// ask asks the application for its selection as a target, of at most so many bytes. It
// asks for nothing while the selection is ours.
func (c *Clipboard) ask(target xproto.Atom, most int) ([]byte, error) {
	drain(c.answers)
	drain(c.arrived)
	c.mu.Lock()
	owned := c.owned
	if asker := xproto.Window(c.asker.Load()); !owned {
		xproto.DeleteProperty(c.conn, asker, c.atoms.property)
		xproto.ConvertSelection(c.conn, asker, c.atoms.clipboard, target, c.atoms.property, xproto.TimeCurrentTime)
	}
	c.mu.Unlock()
	if owned {
		return nil, errNoAnswer
	}
	end := time.NewTimer(takePatience)
	defer end.Stop()
	for {
		e, err := next(c, c.answers, end.C)
		if err != nil {
			return nil, err
		}
		if e.Target != target {
			continue // of an earlier question
		}
		if e.Property != c.atoms.property {
			return nil, errNoAnswer
		}
		drain(c.arrived) // what the answer is about
		data, kind, err := c.value(most)
		if err != nil || kind != c.atoms.incr {
			return data, err
		}
		return c.pieces(most, end.C)
	}
}

// pieces gathers a value that comes in pieces. An empty one is the end.
func (c *Clipboard) pieces(most int, end <-chan time.Time) (data []byte, err error) {
	for {
		if _, err := next(c, c.arrived, end); err != nil {
			return nil, err
		}
		piece, kind, err := c.value(most - len(data))
		switch {
		case err != nil:
			return nil, err
		case kind == 0:
			continue // an earlier piece was taken already
		case len(piece) == 0:
			return data, nil
		}
		data = append(data, piece...)
	}
}

// next waits for something of the application.
func next[T any](c *Clipboard, from <-chan T, end <-chan time.Time) (v T, err error) {
	timer := time.NewTimer(answerPatience)
	defer timer.Stop()
	select {
	case v = <-from:
		return v, nil
	case <-timer.C:
	case <-end:
	case <-c.ctx.Done():
	}
	return v, errNoAnswer
}

func drain[T any](from <-chan T) {
	select {
	case <-from:
	default:
	}
}

// value takes the value of our property, which goes away. kind is 0 where there is none.
func (c *Clipboard) value(most int) (data []byte, kind xproto.Atom, err error) {
	asker := xproto.Window(c.asker.Load())
	defer xproto.DeleteProperty(c.conn, asker, c.atoms.property)
	const piece = 64 << 10
	for {
		r, err := xproto.GetProperty(c.conn, false, asker, c.atoms.property, xproto.GetPropertyTypeAny, uint32(len(data)/4), piece/4).Reply()
		if err != nil {
			return nil, 0, err
		}
		data, kind = append(data, r.Value...), r.Type
		switch {
		case len(data) > most:
			return nil, kind, errTooLong
		case r.BytesAfter == 0:
			return data, kind, nil
		case len(r.Value) == 0 || len(r.Value)%4 != 0:
			return nil, kind, errNoAnswer // it changed meanwhile
		}
	}
}

func atomsOf(list []byte) (atoms []xproto.Atom) {
	for ; len(list) >= 4; list = list[4:] {
		atoms = append(atoms, xproto.Atom(binary.LittleEndian.Uint32(list)))
	}
	return atoms
}

// plainUTF8 is HTML as others read it: some programs give UTF-16, with a mark of the order
// of its bytes, and some end it with a zero.
func plainUTF8(html []byte) []byte {
	if order, is := utf16Order(html); is {
		var units []uint16
		for rest := html[2:]; len(rest) >= 2; rest = rest[2:] {
			units = append(units, order.Uint16(rest))
		}
		html = []byte(string(utf16.Decode(units)))
	}
	return bytes.TrimRight(html, "\x00")
}

func utf16Order(data []byte) (binary.ByteOrder, bool) {
	switch {
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}):
		return binary.LittleEndian, true
	case bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		return binary.BigEndian, true
	}
	return nil, false
}
