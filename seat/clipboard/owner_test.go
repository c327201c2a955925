package clipboard

import (
	"sync"
	"testing"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/display"
	"github.com/nearcast/nearcast/seat/display/x11"
)

// own is an app that has the clipboard. answer gets each event of its connection.
func own(t *testing.T, d *display.Display, answer func(conn *xgb.Conn, atom func(string) xproto.Atom, ev xgb.Event)) {
	t.Helper()
	client, err := x11.Dial(d.Dial, d.Cookie())
	testkit.Must(t, err)
	conn, atoms := client.Conn, map[string]xproto.Atom{}
	for _, name := range []string{"TARGETS", "TIMESTAMP", "UTF8_STRING", "image/png", "INCR", "CLIPBOARD"} {
		r, err := xproto.InternAtom(conn, false, uint16(len(name)), name).Reply()
		testkit.Must(t, err)
		atoms[name] = r.Atom
	}
	// The library reads no reply while it has an event that it cannot hand over.
	events := make(chan xgb.Event, 64)
	var working sync.WaitGroup
	working.Go(func() {
		defer close(events)
		for {
			ev, err := conn.WaitForEvent()
			if ev == nil && err == nil {
				return
			}
			if ev != nil {
				events <- ev
			}
		}
	})
	working.Go(func() {
		for ev := range events {
			answer(conn, func(name string) xproto.Atom { return atoms[name] }, ev)
		}
	})
	t.Cleanup(func() {
		client.Close()
		working.Wait()
	})
	win, err := xproto.NewWindowId(conn)
	testkit.Must(t, err)
	root := xproto.Setup(conn).DefaultScreen(conn).Root
	testkit.Must(t, xproto.CreateWindowChecked(conn, 0, win, root, 0, 0, 1, 1, 0, xproto.WindowClassInputOnly, 0, 0, nil).Check())
	testkit.Must(t, xproto.SetSelectionOwnerChecked(conn, win, atoms["CLIPBOARD"], xproto.TimeCurrentTime).Check())
}

// give answers a question with a value. Without one it refuses.
func give(conn *xgb.Conn, e xproto.SelectionRequestEvent, kind xproto.Atom, format byte, value []byte) {
	told := xproto.SelectionNotifyEvent{Requestor: e.Requestor, Selection: e.Selection, Target: e.Target}
	if value != nil {
		told.Property = e.Property
		xproto.ChangeProperty(conn, xproto.PropModeReplace, e.Requestor, e.Property, kind, format, uint32(len(value))/uint32(format/8), value)
	}
	xproto.SendEvent(conn, false, e.Requestor, 0, string(told.Bytes()))
}
