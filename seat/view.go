package seat

import (
	"errors"
	"math"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// Limits of what a browser may say of its window.
const (
	maxViewSide = 1 << 14
	maxScale    = 8
	// minDisplay is in pixels: Xorg's driver "dummy" takes no fewer lines.
	minDisplay = 128
)

// viewFor is the size of the display, and the scale of the app's UI, for a person's
// window. ok is false where the job's display has one size, or the view makes no sense.
//
// The person's window has so many device pixels. A job with a UI scale of its own gets
// as many pixels as a window of that scale would have. What is more than the job's max,
// in either orientation, becomes less in both directions, so that the picture still
// fills the window; the UI becomes smaller with it. Of a window that is much wider or higher than
// the job allows, the display has the job's min in the other direction, and does not fill it.
func viewFor(d wire.Display, v wire.View) (width, height int, scale float64, ok bool) {
	if d.MaxWidth == 0 || v.Width < 1 || v.Height < 1 || v.Width > maxViewSide || v.Height > maxViewSide || !(v.Scale > 0 && v.Scale <= maxScale) {
		return 0, 0, 0, false
	}
	w, h := float64(v.Width), float64(v.Height)
	scale = v.Scale
	if d.Scale > 0 {
		w, h, scale = w*d.Scale/v.Scale, h*d.Scale/v.Scale, d.Scale
	}
	maxW, maxH, minW, minH := float64(d.MaxWidth), float64(d.MaxHeight), float64(d.MinWidth), float64(d.MinHeight)
	if (h > w) != (maxH > maxW) {
		maxW, maxH = maxH, maxW
	}
	if (h > w) != (minH > minW) {
		minW, minH = minH, minW
	}
	fit := func(k float64) { w, h, scale = w*k, h*k, scale*k }
	fit(max(1, minW/w, minH/h))
	fit(min(1, maxW/w, maxH/h))
	w, h = min(max(w, minW, minDisplay), maxW), min(max(h, minH, minDisplay), maxH)
	even := func(n float64) int { return int(math.Round(n)) &^ 1 }
	// Quarters: an app draws everything anew for each change.
	return even(w), even(h), max(1, math.Round(4*scale)/4), true
}

// setView makes the display follow the person's window.
func (s *stream) setView(session string, v wire.View) {
	if errors.Is(s.h.state.checkHolder(session), errNotHolder) {
		return
	}
	if width, height, scale, ok := viewFor(s.h.spec.Display, v); ok {
		s.h.display.SetView(width, height, scale)
		s.viewedOnce.Do(func() { close(s.viewed) })
	}
}

// viewPatience is how long an app that starts for a session waits for its person's
// window: the offer tells it, and follows the claim at once.
const viewPatience = 500 * time.Millisecond

// waitView returns when the display has the size of the person's window, if it follows
// that: many apps learn the scale of their UI only at their start.
func (s *stream) waitView() {
	if s.h.spec.Display.MaxWidth > 0 {
		closedWithin(s.viewed, viewPatience)
	}
}

// windowsEvery is how often a page is told at most how many windows there are. The word goes
// by way of a brain, which serves other people too.
const windowsEvery = 200 * time.Millisecond

// followDisplay tells input and capture which part of the screen can be seen, and the
// person how many windows there are.
func (s *stream) followDisplay() {
	windows := 1
	told := paced{every: windowsEvery, tell: func() (cost int) {
		// An app without a window is starting or ending: nothing to close either.
		n := max(s.h.display.Windows(), 1)
		if n == windows {
			return 0
		}
		windows = n
		s.h.mu.Lock()
		a := s.h.attachment
		s.h.mu.Unlock()
		s.tellWindows(a)
		return 1
	}}
	defer told.stop()
	for {
		select {
		case <-s.h.state.ended:
			return
		case <-s.h.display.Done():
			return
		case <-s.h.display.Changed():
		}
		width, height := s.h.display.Size()
		s.input.Resize(width, height)
		s.video.Crop(width, height)
		told.changed()
	}
}

// tellWindows tells a page how many windows the person can close.
func (s *stream) tellWindows(a *attachment) {
	if a != nil {
		a.send(wire.Message{Type: wire.MsgWindows, Windows: max(s.h.display.Windows(), 1)})
	}
}

// How long the first picture may take after the app's window is there.
const (
	paintQuiet = 2 // looks in which the app neither paints nor computes
	paintLimit = 3 * time.Second
)

var paintEvery = 50 * time.Millisecond // from look to look; tests change it

// waitPainted returns when the app has drawn its window. A window appears in one colour,
// often grey, and what draws it may still have to load. A picture of one colour counts
// when the app has stopped to work on another.
func (s *stream) waitPainted() {
	tick := time.NewTicker(paintEvery)
	defer tick.Stop()
	begin, quiet, used, checked := time.Now(), 0, s.h.app.CPU(), time.Now()
	s.video.Stirred()
	for quiet < paintQuiet && s.video.Plain() && time.Since(begin) < paintLimit {
		select {
		case <-s.framed:
			continue // a picture that shows more than one colour counts at once
		case <-tick.C:
		case <-s.h.state.ended:
			return
		case <-s.h.app.Done():
			return
		}
		now, cpu := time.Now(), s.h.app.CPU()
		busy := cpu < used || float64(cpu-used) > busyShare*float64(now.Sub(checked))
		if quiet++; s.video.Stirred() || busy {
			quiet = 0
		}
		used, checked = cpu, now
	}
}
