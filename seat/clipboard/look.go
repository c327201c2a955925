package clipboard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"time"
	"unicode/utf16"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/wire"
)

// lookAfter is when the application is asked, after the person copied: it may be slow.
var lookAfter = []time.Duration{150 * time.Millisecond, 850 * time.Millisecond}

const (
	// answerPatience is how long an application may take for an answer, or for a piece of
	// it, and takePatience for all of it.
	answerPatience = 5 * time.Second
	takePatience   = 30 * time.Second
	maxTargets     = 4 << 10 // bytes of a list of targets
)

// seen is when which application copied what was looked at last.
type seen struct {
	owner xproto.Window
	stamp uint32
}

var (
	errNoAnswer = errors.New("the application gives nothing")
	errTooLong  = errors.New("the application gives too much")
)

func (c *Clipboard) look() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.looks:
		}
		for _, after := range lookAfter {
			timer := time.NewTimer(after)
			select {
			case <-c.ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
			c.take()
		}
	}
}

// take asks the application for what it copied, and tells it if it is new. It asks by a
// window of its own each time: so nothing comes that an earlier application sends late.
func (c *Clipboard) take() {
	asker, err := c.window()
	if err != nil {
		return
	}
	defer xproto.DestroyWindow(c.conn, asker)
	c.asker.Store(uint32(asker))
	list, err := c.ask(c.atoms.targets, maxTargets)
	targets := atomsOf(list)
	if err != nil {
		targets = []xproto.Atom{c.atoms.utf8} // a client of old
	}
	var now seen
	if slices.Contains(targets, c.atoms.timestamp) {
		if now = c.stamp(); now.stamp != 0 && now == c.seen {
			return // a large picture is not fetched after each key
		}
	}
	kinds := map[wire.ClipKind][]byte{}
	for target, kind := range map[xproto.Atom]wire.ClipKind{c.atoms.utf8: wire.ClipText, c.atoms.html: wire.ClipHTML, c.atoms.png: wire.ClipPNG} {
		if !slices.Contains(targets, target) {
			continue
		}
		data, err := c.ask(target, wire.MaxClip)
		if errors.Is(err, errNoAnswer) {
			now = seen{} // it may have been too slow
		}
		if kind == wire.ClipHTML {
			data = plainUTF8(data)
		}
		if kind.Valid(data) {
			kinds[kind] = data
		}
	}
	c.seen = now
	if len(kinds) == 0 {
		return
	}
	all := sum(kinds)
	c.mu.Lock()
	news := !c.owned && all != c.told
	if news {
		c.told = all
	}
	c.mu.Unlock()
	if news {
		c.onCopied(kinds)
	}
}

// stamp is which application copied when.
func (c *Clipboard) stamp() seen {
	owner, err := xproto.GetSelectionOwner(c.conn, c.atoms.clipboard).Reply()
	if err != nil {
		return seen{}
	}
	stamp, err := c.ask(c.atoms.timestamp, 4)
	if err != nil || len(stamp) != 4 {
		return seen{}
	}
	return seen{owner.Owner, binary.LittleEndian.Uint32(stamp)}
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
