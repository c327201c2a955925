package x11

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// Minor opcodes of XFIXES.
const (
	fixesQueryVersion   = 0
	fixesWatchSelection = 2
)

// firstExtensionEvent and lastEvent are the codes that servers give to events of extensions.
const firstExtensionEvent, lastEvent = 64, 127

// extensionEvent is an event of any extension. The library's own packages for extensions
// write to a map that the connections of one process share, whenever one of them begins.
type extensionEvent []byte

func (e extensionEvent) Bytes() []byte  { return e }
func (e extensionEvent) String() string { return fmt.Sprintf("event %d of an extension", e[0]) }

func init() {
	for code := firstExtensionEvent; code <= lastEvent; code++ {
		xgb.NewEventFuncs[code] = func(b []byte) xgb.Event { return extensionEvent(b) }
	}
}

// WatchSelection has the server tell each time that a client takes a selection, also when
// that client has it already. owner takes the client's window out of such an event.
func (c *Client) WatchSelection(root xproto.Window, selection xproto.Atom) (owner func(xgb.Event) (xproto.Window, bool), err error) {
	const name = "XFIXES"
	q, err := xproto.QueryExtension(c.Conn, uint16(len(name)), name).Reply()
	if err != nil {
		return nil, fmt.Errorf("ask for XFIXES: %w", err)
	}
	if !q.Present {
		return nil, errors.New("the server has no XFIXES extension")
	}
	c.guard.learn(extension{opcode: q.MajorOpcode, firstError: q.FirstError, errors: 1,
		replySizes: map[byte][2]int{fixesQueryVersion: {packetSize, packetSize}}})
	cookie := c.NewCookie(true, true)
	c.NewRequest(request(q.MajorOpcode, fixesQueryVersion, []uint32{1, 0}, nil), cookie)
	if _, err := cookie.Reply(); err != nil {
		return nil, fmt.Errorf("ask XFIXES for its version: %w", err)
	}
	const taken = 1 // a client took it; others say that its window or the client is gone
	cookie = c.NewCookie(true, false)
	c.NewRequest(request(q.MajorOpcode, fixesWatchSelection, []uint32{uint32(root), uint32(selection), taken}, nil), cookie)
	if err := cookie.Check(); err != nil {
		return nil, fmt.Errorf("watch a selection: %w", err)
	}
	return func(ev xgb.Event) (xproto.Window, bool) {
		e, ok := ev.(extensionEvent)
		if !ok || len(e) < packetSize || e[0]&0x7f != q.FirstEvent || binary.LittleEndian.Uint32(e[12:]) != uint32(selection) {
			return 0, false
		}
		return xproto.Window(binary.LittleEndian.Uint32(e[8:])), true
	}, nil
}
