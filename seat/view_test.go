package seat

import (
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestViewFor(t *testing.T) {
	follows := wire.Display{Width: 1280, Height: 720, MinWidth: 640, MinHeight: 360, MaxWidth: 1920, MaxHeight: 1080}
	fixed := follows
	fixed.Scale = 1
	small := wire.Display{Width: 640, Height: 360, MinWidth: 64, MinHeight: 64, MaxWidth: 640, MaxHeight: 360}
	tiny := wire.Display{Width: 96, Height: 64, MinWidth: 64, MinHeight: 64, MaxWidth: 96, MaxHeight: 64}
	for name, c := range map[string]struct {
		display       wire.Display
		view          wire.View
		width, height int
		scale         float64
		no            bool
	}{
		"one size only":               {display: wire.Display{Width: 1280, Height: 720}, view: wire.View{Width: 800, Height: 600, Scale: 1}, no: true},
		"a window":                    {display: follows, view: wire.View{Width: 1001, Height: 701, Scale: 1}, width: 1000, height: 700, scale: 1},
		"a window of a fine screen":   {display: follows, view: wire.View{Width: 1600, Height: 1000, Scale: 2}, width: 1600, height: 1000, scale: 2},
		"more than the job allows":    {display: follows, view: wire.View{Width: 3840, Height: 2160, Scale: 2}, width: 1920, height: 1080, scale: 1},
		"too wide":                    {display: follows, view: wire.View{Width: 3840, Height: 1080, Scale: 1}, width: 1920, height: 540, scale: 1},
		"a phone in portrait":         {display: follows, view: wire.View{Width: 1170, Height: 2532, Scale: 3}, width: 886, height: 1920, scale: 2.25},
		"a phone in landscape":        {display: follows, view: wire.View{Width: 2532, Height: 1170, Scale: 3}, width: 1920, height: 886, scale: 2.25},
		"a small window":              {display: follows, view: wire.View{Width: 320, Height: 180, Scale: 1}, width: 640, height: 360, scale: 2},
		"a small window, in portrait": {display: follows, view: wire.View{Width: 180, Height: 640, Scale: 1}, width: 360, height: 1280, scale: 2},
		"a strip":                     {display: follows, view: wire.View{Width: 1200, Height: 60, Scale: 1}, width: 1920, height: 360, scale: 1.5},
		"an upright strip":            {display: follows, view: wire.View{Width: 60, Height: 1200, Scale: 1}, width: 360, height: 1920, scale: 1.5},
		"less than a driver takes":    {display: small, view: wire.View{Width: 300, Height: 100, Scale: 1}, width: 300, height: 128, scale: 1},
		"a job's own small size":      {display: tiny, view: wire.View{Width: 300, Height: 100, Scale: 1}, width: 96, height: 64, scale: 1},
		"an app that draws at 1":      {display: fixed, view: wire.View{Width: 2400, Height: 1400, Scale: 2}, width: 1200, height: 700, scale: 1},
		"no width":                    {display: follows, view: wire.View{Height: 100, Scale: 1}, no: true},
		"an endless scale":            {display: follows, view: wire.View{Width: 100, Height: 100, Scale: 1e300}, no: true},
		"a scale of nothing":          {display: follows, view: wire.View{Width: 100, Height: 100}, no: true},
		"a huge window":               {display: follows, view: wire.View{Width: 1 << 30, Height: 100, Scale: 1}, no: true},
	} {
		t.Run(name, func(t *testing.T) {
			width, height, scale, ok := viewFor(c.display, c.view)
			if ok == c.no || width != c.width || height != c.height || scale != c.scale {
				t.Errorf("%dx%d at %v, %v; want %dx%d at %v", width, height, scale, ok, c.width, c.height, c.scale)
			}
		})
	}
}

// A window in one colour is not the app's picture while the app still works on it.
func TestFirstPictureIsTheApps(t *testing.T) {
	r := newRigWith(t, func(r *rig) {
		r.video.isPlain.Store(true)
		r.app.grows.Store(true)
	})
	r.wait("the seat looks for a picture", func() bool { return r.video.count("stirred") > 3 })
	if state := r.seats.last().State; state != wire.SeatStarting {
		t.Errorf("the seat is %s before the app has drawn", state)
	}
	r.video.isPlain.Store(false)
	r.idle()
}

// The first picture of an app counts when it is there, and not at the next look.
func TestFirstPictureCountsAtOnce(t *testing.T) {
	defer func(every time.Duration) { paintEvery = every }(paintEvery)
	paintEvery = time.Hour
	r := newRigWith(t, func(r *rig) { r.video.isPlain.Store(true) })
	defer r.waitEnd() // before paintEvery is as it was
	defer r.stop()
	r.wait("the seat looks for a picture", func() bool { return r.video.count("stirred") == 1 })
	r.video.isPlain.Store(false)
	r.video.frame(Frame{})
	r.idle()
}

// An app whose picture has one colour is ready when it rests.
func TestFirstPictureOfOneColour(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.video.isPlain.Store(true) })
	r.idle()
}

func TestDisplayFollowsThePerson(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.Display.MaxWidth, r.spec.Display.MaxHeight = 1920, 1080 }).idle()
	conn, _, _ := r.attach(r.ticket(ticket.NewSession(), "viewer"))
	r.expect(conn, wire.MsgGranted)
	r.send(conn, wire.Message{Type: wire.MsgOffer, SDP: "offer-1", View: &wire.View{Width: 800, Height: 600, Scale: 2}})
	p := <-r.peers
	r.expect(conn, wire.MsgAnswer)
	if r.display.count("view 800x600 2") != 1 {
		t.Error("the display does not follow before the first frame")
	}
	p.OnState(PeerConnected)
	r.waitState(wire.SeatStreaming)
	p.OnInput(wire.Input{Type: wire.InputView, View: &wire.View{Width: 600, Height: 800, Scale: 1}})
	if r.display.count("view 600x800 1") != 1 {
		t.Error("the display does not follow")
	}
	// Input and capture learn what came of it.
	r.display.changed <- struct{}{}
	r.wait("the input's size", func() bool { return r.input.count("size 640x480") == 1 })

	// The page learns how many windows there are, also one that comes later.
	r.display.windows.Store(2)
	r.display.changed <- struct{}{}
	if m := r.expect(conn, wire.MsgWindows); m.Windows != 2 {
		t.Errorf("there are %d windows", m.Windows)
	}
	p.OnInput(wire.Input{Type: wire.InputClose})
	if r.display.count("close window") != 1 {
		t.Error("no window is closed")
	}
}
