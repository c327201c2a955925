// Package clipboard exchanges text between a person's clipboard and that of a display.
//
//	c, err := clipboard.Open(d.Dial, d.Cookie(), func(text string) { … }) // d is a display.Display
//	…
//	c.Put(text) // what the person pastes next
//	c.Look()    // the person did what may have copied something
//	c.Close()
//
// X has no clipboard: the application that copied is asked for it by the one that
// pastes. Put makes this package the one that is asked. Look asks the application, and
// tells of a text only if it is another than before. It is asked for only after the
// person did something, so an application cannot write into a person's clipboard by
// itself.
//
// A text has at most MaxText bytes. What is longer, or no text, stays where it is.
//
// The application may be hostile: it gets texts in whole that it asks for, and what it
// answers is bounded.
package clipboard

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/display/x11"
)

// MaxText is the most bytes of a text: what one request of the X protocol can carry.
const MaxText = wire.MaxClip

// Clipboard is a client of the display. It is safe for concurrent use.
type Clipboard struct {
	client   *x11.Client
	conn     *xgb.Conn
	win      xproto.Window
	atoms    atoms
	onCopied func(string)
	looks    chan struct{}
	gone     chan struct{}
	working  sync.WaitGroup

	mu    sync.Mutex
	text  string // what is given or was told last
	owned bool
}

type atoms struct{ clipboard, targets, utf8, plain, text, property xproto.Atom }

// Open connects to a display. onCopied gets what the application copied.
func Open(dial x11.Dialer, cookie x11.Cookie, onCopied func(text string)) (*Clipboard, error) {
	client, err := x11.Dial(dial, cookie)
	if err != nil {
		return nil, fmt.Errorf("open clipboard: %w", err)
	}
	c := &Clipboard{client: client, conn: client.Conn, onCopied: onCopied, looks: make(chan struct{}, 1), gone: make(chan struct{})}
	events := make(chan xgb.Event, 64)
	c.working.Go(func() { c.receive(events) })
	if err := c.setUp(); err != nil {
		c.conn.Close()
		for range events {
		}
		c.working.Wait()
		return nil, fmt.Errorf("open clipboard: %w", err)
	}
	c.working.Go(func() { c.serve(events) })
	c.working.Go(c.look)
	return c, nil
}

func (c *Clipboard) setUp() error {
	for name, to := range map[string]*xproto.Atom{
		"CLIPBOARD": &c.atoms.clipboard, "TARGETS": &c.atoms.targets, "UTF8_STRING": &c.atoms.utf8,
		"text/plain;charset=utf-8": &c.atoms.plain, "TEXT": &c.atoms.text, "NEARCAST_CLIPBOARD": &c.atoms.property,
	} {
		r, err := xproto.InternAtom(c.conn, false, uint16(len(name)), name).Reply()
		if err != nil {
			return fmt.Errorf("intern %s: %w", name, err)
		}
		*to = r.Atom
	}
	var err error
	if c.win, err = xproto.NewWindowId(c.conn); err != nil {
		return err
	}
	root := xproto.Setup(c.conn).DefaultScreen(c.conn).Root
	err = xproto.CreateWindowChecked(c.conn, 0, c.win, root, -1, -1, 1, 1, 0, xproto.WindowClassInputOnly, 0,
		xproto.CwOverrideRedirect, []uint32{1}).Check()
	if err != nil {
		return fmt.Errorf("create window: %w", err)
	}
	return nil
}

// Put makes a text what the application pastes, before any input that comes later.
func (c *Clipboard) Put(text string) error {
	if len(text) > MaxText || !utf8.ValidString(text) {
		return fmt.Errorf("a text of %d bytes: it must be UTF-8 of at most %d bytes", len(text), MaxText)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text, c.owned = text, true
	err := xproto.SetSelectionOwnerChecked(c.conn, c.win, c.atoms.clipboard, xproto.TimeCurrentTime).Check()
	if err != nil {
		return fmt.Errorf("own the clipboard: %w", err)
	}
	return nil
}

// Look asks the application soon for what it copied. It does not block.
func (c *Clipboard) Look() {
	select {
	case c.looks <- struct{}{}:
	default:
	}
}

// Close disconnects. onCopied is not called afterwards.
func (c *Clipboard) Close() error {
	c.conn.Close()
	c.working.Wait()
	return nil
}

// lookAfter is when the application is asked, after the person copied: it may be slow.
var lookAfter = []time.Duration{150 * time.Millisecond, 850 * time.Millisecond}

func (c *Clipboard) look() {
	for {
		select {
		case <-c.gone:
			return
		case <-c.looks:
		}
		for _, after := range lookAfter {
			timer := time.NewTimer(after)
			select {
			case <-c.gone:
				timer.Stop()
				return
			case <-timer.C:
			}
			c.mu.Lock()
			if !c.owned {
				xproto.ConvertSelection(c.conn, c.win, c.atoms.clipboard, c.atoms.utf8, c.atoms.property, xproto.TimeCurrentTime)
			}
			c.mu.Unlock()
		}
	}
}

// receive takes events as they come, so that the library can read replies. More than
// the application could need are dropped.
func (c *Clipboard) receive(events chan<- xgb.Event) {
	defer close(events)
	defer close(c.gone)
	for {
		ev, err := c.conn.WaitForEvent()
		if ev == nil && err == nil {
			return
		}
		if ev != nil {
			select {
			case events <- ev:
			default:
			}
		}
	}
}

func (c *Clipboard) serve(events <-chan xgb.Event) {
	for ev := range events {
		switch e := ev.(type) {
		case xproto.SelectionClearEvent:
			c.mu.Lock()
			c.owned = false
			c.mu.Unlock()
		case xproto.SelectionRequestEvent:
			c.give(e)
		case xproto.SelectionNotifyEvent:
			if e.Property == c.atoms.property && e.Requestor == c.win {
				c.take()
			}
		}
	}
}

// give answers an application that pastes.
func (c *Clipboard) give(e xproto.SelectionRequestEvent) {
	c.mu.Lock()
	text, owned := c.text, c.owned
	c.mu.Unlock()
	a := c.atoms
	property := e.Property
	if property == 0 {
		property = e.Target // clients of old
	}
	put := func(kind xproto.Atom, format byte, data []byte) {
		xproto.ChangeProperty(c.conn, xproto.PropModeReplace, e.Requestor, property, kind, format, uint32(len(data)*8/int(format)), data)
	}
	switch e.Target {
	case a.targets:
		var list []byte
		for _, atom := range []xproto.Atom{a.targets, a.utf8, a.plain, a.text, xproto.AtomString} {
			list = binary.LittleEndian.AppendUint32(list, uint32(atom))
		}
		put(xproto.AtomAtom, 32, list)
	case a.utf8, a.plain, a.text, xproto.AtomString:
		kind := e.Target
		if kind == a.text {
			kind = a.utf8
		}
		data := []byte(text)
		if kind == xproto.AtomString {
			data = latin1(text)
		}
		put(kind, 8, data)
	default:
		property = 0
	}
	if !owned {
		property = 0
	}
	answer := xproto.SelectionNotifyEvent{Time: e.Time, Requestor: e.Requestor, Selection: e.Selection, Target: e.Target, Property: property}
	xproto.SendEvent(c.conn, false, e.Requestor, 0, string(answer.Bytes()))
}

// latin1 is a text for clients that know no other: what it lacks is a question mark.
func latin1(text string) (out []byte) {
	for _, r := range text {
		if r > 0xff {
			r = '?'
		}
		out = append(out, byte(r))
	}
	return out
}

// take reads what the application answered.
func (c *Clipboard) take() {
	var text []byte
	const piece = 64 << 10
	for {
		r, err := xproto.GetProperty(c.conn, false, c.win, c.atoms.property, xproto.GetPropertyTypeAny, uint32(len(text)/4), piece/4).Reply()
		if err != nil || r.Format != 8 || r.Type != c.atoms.utf8 || len(r.Value) == 0 {
			break
		}
		text = append(text, r.Value...)
		if r.BytesAfter == 0 || len(text) > MaxText || len(r.Value)%4 != 0 {
			break
		}
	}
	xproto.DeleteProperty(c.conn, c.win, c.atoms.property)
	if len(text) == 0 || len(text) > MaxText || !utf8.Valid(text) {
		return
	}
	c.mu.Lock()
	news := string(text) != c.text
	c.text = string(text)
	c.mu.Unlock()
	if news {
		c.onCopied(string(text))
	}
}
