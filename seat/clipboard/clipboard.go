// Package clipboard exchanges text, HTML and pictures (PNG) between a person's clipboard
// and that of a display.
//
//	c, err := clipboard.Open(d.Dial, d.Cookie(), func(kinds map[wire.ClipKind][]byte) { … }) // d is a display.Display
//	…
//	c.Put(clipboard.Content{Text: text}) // what the person pastes next
//	c.Look()                             // the person did what may have copied something
//	c.Close()
//
// X has no clipboard: the application that copied is asked for it by the one that
// pastes. Put makes this package the one that is asked; what is not there yet is read when
// an application asks for it. The server says each time that an application copies
// (XFIXES). It is asked for what only after Look: the person did something, now or in the
// seconds before. So an application cannot write into a person's clipboard by itself. Each
// copy is told once, whatever was copied before.
//
// Each kind has at most wire.MaxClip bytes. What is longer, or is not what its kind says,
// stays where it is. What is longer than one request of X goes in pieces (INCR).
//
// The application may be hostile: what it asks for costs no more than what it gets, and
// what it answers is bounded in bytes and time.
package clipboard

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/display/x11"
)

// Content is what the person's clipboard has: a text of at most wire.MaxClipText bytes, and
// what Read gives.
type Content struct {
	Text  string
	Offer wire.ClipOffer // without an ID there is only the text
	// Read gives the bytes of a kind from a place on that are there; it waits for the first.
	// At the end it is io.EOF.
	Read func(ctx context.Context, kind wire.ClipKind, at int) ([]byte, error)
}

// Clipboard is a client of the display. It is safe for concurrent use.
type Clipboard struct {
	client   *x11.Client
	conn     *xgb.Conn
	root     xproto.Window
	win      xproto.Window // gives
	asker    atomic.Uint32 // the window that asks
	atoms    atoms
	onCopied func(map[wire.ClipKind][]byte)
	looks    chan struct{}
	copies   chan struct{} // a program took the selection
	owner    func(xgb.Event) (xproto.Window, bool)
	fresh    atomic.Bool                      // an application did, and was not asked yet
	took     atomic.Int64                     // when, in Unix nanoseconds
	answers  chan xproto.SelectionNotifyEvent // to what was asked
	arrived  chan struct{}                    // a value in our property
	ctx      context.Context                  // ends with the connection
	cancel   context.CancelFunc
	working  sync.WaitGroup

	// Of look alone: the application that copied last is one of Tk, or has no time of that. It
	// may change what it has copied and take the selection no second time. And its text.
	inPlace bool
	text    [sha256.Size]byte
	told    [sha256.Size]byte // of all that was told last

	mu      sync.Mutex
	content Content
	owned   bool
	put     [sha256.Size]byte // of what was put last, at putAt
	putAt   time.Time
	giving  int                   // transfers that run
	awaits  map[value]chan<- bool // who waits until an application has taken a value
}

// value is a property of a window.
type value struct {
	window   xproto.Window
	property xproto.Atom
}

type atoms struct {
	clipboard, targets, timestamp, tk, incr, property xproto.Atom
	utf8, plain, text, html, png                      xproto.Atom
}

// Open connects to a display. onCopied gets what the application copied.
func Open(dial x11.Dialer, cookie x11.Cookie, onCopied func(map[wire.ClipKind][]byte)) (*Clipboard, error) {
	client, err := x11.Dial(dial, cookie)
	if err != nil {
		return nil, fmt.Errorf("open clipboard: %w", err)
	}
	c := &Clipboard{
		client: client, conn: client.Conn, onCopied: onCopied, looks: make(chan struct{}, 1), copies: make(chan struct{}, 1),
		answers: make(chan xproto.SelectionNotifyEvent, 1), arrived: make(chan struct{}, 1), awaits: map[value]chan<- bool{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	events := make(chan xgb.Event, 64)
	ready := make(chan struct{})
	c.working.Go(func() { c.receive(events, ready) })
	err = c.setUp()
	close(ready)
	if err != nil {
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
	a := &c.atoms
	for name, to := range map[string]*xproto.Atom{
		"CLIPBOARD": &a.clipboard, "TARGETS": &a.targets, "TIMESTAMP": &a.timestamp, "TK_APPLICATION": &a.tk, "INCR": &a.incr, "NEARCAST_CLIPBOARD": &a.property,
		"UTF8_STRING": &a.utf8, "text/plain;charset=utf-8": &a.plain, "TEXT": &a.text, "text/html": &a.html, "image/png": &a.png,
	} {
		r, err := xproto.InternAtom(c.conn, false, uint16(len(name)), name).Reply()
		if err != nil {
			return fmt.Errorf("intern %s: %w", name, err)
		}
		*to = r.Atom
	}
	c.root = xproto.Setup(c.conn).DefaultScreen(c.conn).Root
	var err error
	if c.win, err = c.window(); err != nil {
		return err
	}
	if c.owner, err = c.client.WatchSelection(c.root, a.clipboard); err != nil {
		return err
	}
	r, err := xproto.GetSelectionOwner(c.conn, a.clipboard).Reply()
	if err != nil {
		return fmt.Errorf("ask who copied: %w", err)
	}
	c.copied(r.Owner)
	return nil
}

// window makes a window that nobody sees.
func (c *Clipboard) window() (xproto.Window, error) {
	id, err := xproto.NewWindowId(c.conn)
	if err != nil {
		return 0, err
	}
	err = xproto.CreateWindowChecked(c.conn, 0, id, c.root, -1, -1, 1, 1, 0, xproto.WindowClassInputOnly, 0,
		xproto.CwOverrideRedirect|xproto.CwEventMask, []uint32{1, xproto.EventMaskPropertyChange}).Check()
	if err != nil {
		return 0, fmt.Errorf("create window: %w", err)
	}
	return id, nil
}

// Put makes this what the application pastes, before any input that comes later.
func (c *Clipboard) Put(content Content) error {
	if len(content.Text) > wire.MaxClipText || !utf8.ValidString(content.Text) {
		return fmt.Errorf("a text of %d bytes: it must be UTF-8 of at most %d bytes", len(content.Text), wire.MaxClipText)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.content, c.owned = content, true
	c.putAt, c.put = time.Now(), sum(map[wire.ClipKind][]byte{wire.ClipText: []byte(content.Text)})
	err := xproto.SetSelectionOwnerChecked(c.conn, c.win, c.atoms.clipboard, xproto.TimeCurrentTime).Check()
	if err != nil {
		return fmt.Errorf("own the clipboard: %w", err)
	}
	return nil
}

// Look says that the person did what may have copied something. It does not block.
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

// receive takes events as they come, so that the library can read replies; setUp gets none.
// More than the application could need are dropped, but not who copied.
func (c *Clipboard) receive(events chan<- xgb.Event, ready <-chan struct{}) {
	defer close(events)
	defer c.cancel()
	<-ready
	for {
		ev, err := c.conn.WaitForEvent()
		if ev == nil && err == nil {
			return
		}
		if c.owner != nil {
			if owner, ok := c.owner(ev); ok {
				c.copied(owner)
				continue
			}
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
			if uint32(e.Requestor) == c.asker.Load() {
				put(c.answers, e)
			}
		case xproto.PropertyNotifyEvent:
			c.noticed(e)
		}
	}
}

// noticed passes on that a property has changed: ours, or one that an application takes.
func (c *Clipboard) noticed(e xproto.PropertyNotifyEvent) {
	if uint32(e.Window) == c.asker.Load() {
		if e.Atom == c.atoms.property && e.State == xproto.PropertyNewValue {
			put(c.arrived, struct{}{})
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if taken := c.awaits[value{e.Window, e.Atom}]; taken != nil && e.State == xproto.PropertyDelete {
		put(taken, true)
	}
}

// put sends to a channel that holds one, unless it is full.
func put[T any](to chan<- T, v T) {
	select {
	case to <- v:
	default:
	}
}

// sum tells contents apart.
func sum(kinds map[wire.ClipKind][]byte) [sha256.Size]byte {
	h := sha256.New()
	for _, kind := range wire.ClipKinds {
		fmt.Fprintf(h, "%d ", len(kinds[kind]))
		h.Write(kinds[kind])
	}
	return [sha256.Size]byte(h.Sum(nil))
}
