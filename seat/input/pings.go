package input

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// pings ask the application whether it has handled the keys before: _NET_WM_PING,
// which window managers use to find programs that hang.
type pings struct {
	root                    xproto.Window
	protocols, ping, active xproto.Atom

	mu       sync.Mutex
	reached  uint32        // the last use of a spare key that an answer confirms
	answered chan struct{} // closed at the answer to asked; nil when none is awaited
	asked    uint32
}

func (p *pings) open(conn *xgb.Conn, root xproto.Window) error {
	p.root = root
	for name, to := range map[string]*xproto.Atom{"WM_PROTOCOLS": &p.protocols, "_NET_WM_PING": &p.ping, "_NET_ACTIVE_WINDOW": &p.active} {
		r, err := xproto.InternAtom(conn, false, uint16(len(name)), name).Reply()
		if err != nil {
			return fmt.Errorf("intern %s: %w", name, err)
		}
		*to = r.Atom
	}
	// Answers are sent to the root window, for those who listen to its children.
	err := xproto.ChangeWindowAttributesChecked(conn, root, xproto.CwEventMask, []uint32{xproto.EventMaskSubstructureNotify}).Check()
	if err != nil {
		return fmt.Errorf("listen for answers to pings: %w", err)
	}
	return nil
}

// confirmed reports whether the application has handled this use of a key.
func (p *pings) confirmed(use uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int32(p.reached-use) >= 0
}

// ask pings the application after the use n of a key. What it returns is closed at
// the answer. Without ok there will be none: the application knows no pings.
func (p *pings) ask(conn *xgb.Conn, n uint32) (answered <-chan struct{}, ok bool) {
	win := p.property(conn, p.root, p.active, xproto.AtomWindow)
	if len(win) != 1 || win[0] == 0 {
		return nil, false
	}
	knows := false
	for _, atom := range p.property(conn, xproto.Window(win[0]), p.protocols, xproto.AtomAtom) {
		knows = knows || xproto.Atom(atom) == p.ping
	}
	if !knows {
		return nil, false
	}
	p.mu.Lock()
	p.asked, p.answered = n, make(chan struct{})
	answered = p.answered
	p.mu.Unlock()
	// The number comes back in the place of the time.
	m := xproto.ClientMessageEvent{Format: 32, Window: xproto.Window(win[0]), Type: p.protocols,
		Data: xproto.ClientMessageDataUnionData32New([]uint32{uint32(p.ping), n, win[0], 0, 0})}
	xproto.SendEvent(conn, false, xproto.Window(win[0]), 0, string(m.Bytes()))
	return answered, true
}

// heard takes an answer.
func (p *pings) heard(m xproto.ClientMessageEvent) {
	if m.Format != 32 || m.Type != p.protocols || xproto.Atom(m.Data.Data32[0]) != p.ping || m.Window != p.root {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answered != nil && m.Data.Data32[1] == p.asked {
		p.reached = p.asked
		close(p.answered)
		p.answered = nil
	}
}

// giveUp takes the uses up to n of keys as handled.
func (p *pings) giveUp(n uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reached, p.answered = n, nil
}

// property reads a property of words; nil if the window or the property is gone.
func (p *pings) property(conn *xgb.Conn, w xproto.Window, name, kind xproto.Atom) []uint32 {
	const most = 64
	r, err := xproto.GetProperty(conn, false, w, name, kind, 0, most).Reply()
	if err != nil || r.Format != 32 {
		return nil
	}
	words := make([]uint32, len(r.Value)/4)
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(r.Value[4*i:])
	}
	return words
}
