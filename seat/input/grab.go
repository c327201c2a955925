package input

import (
	"time"

	"github.com/jezek/xgb/xproto"
)

// Whether an application reads motion instead of positions cannot be asked. It hides
// the cursor, and it takes the pointer for itself (a grab) or puts it back after each
// motion (a warp), since the pointer would otherwise leave its window. An application
// that only hides the cursor, such as a player of films, does neither.

const lookEvery = 250 * time.Millisecond // for warps, while the cursor is hidden

// probeAt is when a grab is looked for, after the cursor was hidden, and after each button or
// finger since: an application may load a level first. There are few, and fewer later: an
// application that has no grab notices that it was looked for.
var probeAt = [...]time.Duration{
	lookEvery / 5, lookEvery, 2 * lookEvery, 3 * lookEvery, 6 * lookEvery, 12 * lookEvery, 24 * lookEvery, 48 * lookEvery,
}

// probes are the looks for a grab.
type probes struct {
	since time.Time
	made  int // of probeAt
}

// anew begins again with the first.
func (p *probes) anew() { *p = probes{since: time.Now()} }

// due reports whether one is to be made, and counts it.
func (p *probes) due() bool {
	if p.made == len(probeAt) || time.Since(p.since) < probeAt[p.made] {
		return false
	}
	p.made++
	return true
}

// Watch calls onRelative when the application begins to read motion, and when it shows
// its cursor again. Meanwhile keys that have a position are played by it, and
// positions of the pointer are ignored. Watch is called once at most.
func (in *Injector) Watch(onRelative func(bool)) {
	in.mu.Lock()
	in.onRelative = onRelative
	in.mu.Unlock()
	in.watching.Go(in.watch)
}

// CursorShown tells Watch whether the application shows a cursor. It does not block.
func (in *Injector) CursorShown(shown bool) {
	for {
		select {
		case in.cursor <- shown:
			return
		default:
		}
		select {
		case <-in.cursor: // it was not taken yet
		default:
		}
	}
}

func (in *Injector) watch() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-in.gone:
			return
		case shown := <-in.cursor:
			timer.Stop()
			in.mu.Lock()
			in.hidden = !shown
			if shown {
				in.setRelative(false)
			} else {
				in.probes.anew()
				timer.Reset(lookEvery / 5)
			}
			in.mu.Unlock()
		case <-timer.C:
			in.mu.Lock()
			if in.hidden && !in.relative {
				in.setRelative(in.warped() || in.grabbed())
			}
			in.mu.Unlock()
			timer.Reset(lookEvery)
		}
	}
}

// setRelative notes what the application reads. in.mu is held.
func (in *Injector) setRelative(on bool) {
	if in.relative == on {
		return
	}
	in.relative, in.byPlace = on, on
	in.absolute = false
	in.relX, in.relY = 0, 0
	in.onRelative(on)
}

// warped reports whether the application has moved the pointer since we did.
func (in *Injector) warped() bool {
	if !in.absolute {
		return false
	}
	q, err := xproto.QueryPointer(in.conn, in.root).Reply()
	return err == nil && (q.RootX != in.atX || q.RootY != in.atY)
}

// grabbed reports whether a client has grabbed the pointer, where it is time to look for
// that. A pressed button is a grab of its own, and so is a finger.
func (in *Injector) grabbed() bool {
	if len(in.buttons)+len(in.devices.fingers) > 0 || !in.probes.due() {
		return false
	}
	r, err := xproto.GrabPointer(in.conn, true, in.root, 0, xproto.GrabModeAsync, xproto.GrabModeAsync, 0, 0, xproto.TimeCurrentTime).Reply()
	if err != nil {
		return false
	}
	if r.Status == xproto.GrabStatusSuccess {
		xproto.UngrabPointer(in.conn, xproto.TimeCurrentTime)
	}
	return r.Status == xproto.GrabStatusAlreadyGrabbed
}
