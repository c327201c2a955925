package main

import (
	"fmt"

	"github.com/jezek/xgb/xproto"
)

// look makes the application read motion, as games do without XInput: it hides the
// cursor, and puts the pointer back to the middle of the window when it has moved far.
// Key g begins, and begins to count again; key h ends it and says by how much the hand
// moved it.
type look struct {
	on     bool
	cursor xproto.Cursor // that nobody sees
	x, y   int           // where the pointer was
	dx, dy int
}

// lookKey serves a key press.
func (a *app) lookKey(text string) error {
	switch {
	case text == "g" && a.look.on:
		a.look.dx, a.look.dy = 0, 0
	case text == "g":
		if a.look.cursor == 0 {
			cursor, err := a.noCursor()
			if err != nil {
				return fmt.Errorf("make a cursor: %w", err)
			}
			a.look.cursor = cursor
		}
		a.look.on, a.look.dx, a.look.dy = true, 0, 0
		a.look.x, a.look.y = a.width/2, a.height/2
		xproto.ChangeWindowAttributes(a.conn, a.win, xproto.CwCursor, []uint32{uint32(a.look.cursor)})
		a.center()
	case text == "h" && a.look.on:
		a.look.on = false
		xproto.ChangeWindowAttributes(a.conn, a.win, xproto.CwCursor, []uint32{0})
		say(line{Type: "looked", X: &a.look.dx, Y: &a.look.dy})
	}
	return nil
}

// lookMotion serves a motion. One to the very middle is our own.
func (a *app) lookMotion(x, y int) {
	l, cx, cy := &a.look, a.width/2, a.height/2
	if x != cx || y != cy {
		l.dx += x - l.x
		l.dy += y - l.y
		if 4*max(x-cx, cx-x) > a.width || 4*max(y-cy, cy-y) > a.height {
			a.center()
		}
	}
	l.x, l.y = x, y
}

func (a *app) center() {
	xproto.WarpPointer(a.conn, 0, a.win, 0, 0, 0, 0, int16(a.width/2), int16(a.height/2))
}

func (a *app) noCursor() (xproto.Cursor, error) {
	bitmap, err := xproto.NewPixmapId(a.conn)
	if err != nil {
		return 0, err
	}
	gc, err := xproto.NewGcontextId(a.conn)
	if err != nil {
		return 0, err
	}
	cursor, err := xproto.NewCursorId(a.conn)
	if err != nil {
		return 0, err
	}
	xproto.CreatePixmap(a.conn, 1, bitmap, xproto.Drawable(a.win), 8, 8)
	xproto.CreateGC(a.conn, gc, xproto.Drawable(bitmap), xproto.GcForeground, []uint32{0})
	xproto.PolyFillRectangle(a.conn, xproto.Drawable(bitmap), gc, []xproto.Rectangle{{Width: 8, Height: 8}})
	return cursor, xproto.CreateCursorChecked(a.conn, cursor, bitmap, bitmap, 0, 0, 0, 0, 0, 0, 0, 0).Check()
}
