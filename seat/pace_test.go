package seat

import (
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// An app that opens and closes windows in a loop does not flood the brain, which other
// people need. The last number is told.
func TestWindowsAreToldAtTheirPace(t *testing.T) {
	r := newRig(t).idle()
	conn, _, _ := r.play()
	begin := time.Now()
	const changes = 1000
	for n := range changes {
		r.display.windows.Store(int32(2 + n%2))
		r.display.changed <- struct{}{}
	}
	r.display.windows.Store(7)
	r.display.changed <- struct{}{}
	for told := 1; ; told++ {
		m := r.expect(conn, wire.MsgWindows)
		if most := 1 + int(time.Since(begin)/windowsEvery); told > most {
			t.Fatalf("the page was told %d times in %v", told, time.Since(begin))
		}
		if m.Windows == 7 {
			return
		}
	}
}

// An app that changes its cursor in a loop does not fill the way of the person's keys. The
// last one is told.
func TestCursorsAreToldAtTheirPace(t *testing.T) {
	r := newRig(t).idle()
	_, p, _ := r.play()
	p.OnInput(wire.Input{Type: wire.InputCursor, Pressed: true})
	begin := time.Now()
	for n := range 1000 {
		r.video.cursor(Cursor{PNG: make([]byte, 3*pointerBytes), X: n})
	}
	r.video.cursor(Cursor{Hidden: true})
	r.wait("the last cursor", func() bool { return p.count(`tell {"t":"pointer","hidden":true}`) == 1 })
	const cost = 5 // 1, and 16 KiB of base64
	most := 24/cost + 1 + int(time.Since(begin)/(cost*pointerEvery))
	if told := p.starting(`tell {"t":"pointer","image"`); told < 2 || told > most {
		t.Errorf("the page was told %d cursors in %v, %d are the most", told, time.Since(begin), most)
	}
}
