package capture

import "time"

// effort chooses how much work x264 does for a picture, by the processor time that is
// left. More work makes the picture better at the same bitrate, but each picture comes
// later, and the app may need the processor more.
//
//   - It knows how long pictures of full motion take, by those that were encoded: a
//     figure for this node, content and load. From it and what the presets take in
//     relation to each other, it predicts what another preset would take.
//   - A preset fits if its picture is encoded within a part of the interval between two
//     pictures, and if the node has processor time left for it, and some more.
//   - Down: at once to the least work if pictures come late; one preset at a time if
//     nothing is left of the processors for two seconds, or if pictures take longer than
//     they should. A preset that had to be left is not tried again for a while, each time
//     longer.
//   - Up: another preset needs another encoder and so a keyframe. It waits for a
//     keyframe that is due anyway (the first one, a resume, another size, a cut), or for
//     five seconds in which it would have fitted while the picture moved.
//   - A change takes place in motion or at such a keyframe (working.choose).
//
// It is a pure computation: the caller passes the time and what was measured.
type effort struct {
	fps    int
	pixels int // of a picture
	preset preset
	why    string // of the last change

	scale float64 // how long pictures of full motion take here, as a multiple of preset.takes
	late  []bool  // of the latest pictures, whether they were late
	over  int     // consecutive looks at which the preset was more than there is room for
	under int     // consecutive looks at which a preset of more work fitted
	moved bool    // since the last look
	best  preset  // that fits, at the last look

	ban [presets]ban
}

// ban says that a preset had to be left.
type ban struct {
	until time.Time
	next  time.Duration
}

// preset is one of x264's, of those that are worth their work: the next one, faster, takes
// twice as long as veryfast, and its pictures are hardly better. Zero is the least work.
type preset int

const (
	ultrafast preset = iota
	superfast
	veryfast
	presets
)

func (p preset) String() string {
	return [...]string{"ultrafast", "superfast", "veryfast"}[p]
}

// takes is how long a picture of 1280x720 in full motion takes on one processor of
// an ordinary node: the medians of docs/PERFORMANCE.md. Only their relation matters
// once pictures were encoded.
func (p preset) takes() time.Duration {
	return [...]time.Duration{6 * time.Millisecond, 8500 * time.Microsecond, 13 * time.Millisecond}[p]
}

const (
	usualPixels = 1280 * 720
	// mostOfInterval is the part of the interval that encoding may take. The rest is for
	// the app, and what is encoded late is seen late.
	mostOfInterval = 0.3
	// lateAfter is the part of the interval after which a picture is late: lateOf of
	// the last lateAmong pictures are too many.
	lateAfter = 0.75
	lateOf    = 3
	lateAmong = 10
	// A preset of more work needs spareProcessors beside what it takes itself. With
	// less than noProcessors the present one does not fit.
	spareProcessors = 0.4
	noProcessors    = 0.1
	// Looks are lookEvery apart: so many in a row make the preset fall, and rise.
	lookEvery  = time.Second
	overLooks  = 2
	underLooks = 5
	// How long a preset is not tried again that had to be left.
	firstBan = 20 * time.Second
	mostBan  = 5 * time.Minute
)

// newEffort starts with the preset that fits if this many processors are left.
func newEffort(now time.Time, fps, pixels int, left float64) *effort {
	e := &effort{fps: fps, pixels: pixels, scale: 1, why: "start"}
	e.preset = e.fits(now, left)
	e.best = e.preset
	return e
}

func (e *effort) interval() time.Duration { return time.Second / time.Duration(e.fps) }

// predict is how long a picture of full motion takes with a preset.
func (e *effort) predict(p preset) time.Duration {
	return time.Duration(e.scale * float64(p.takes()) * float64(e.pixels) / usualPixels)
}

// fits is the preset of most work that fits if, beside the present one, this many
// processors are left.
func (e *effort) fits(now time.Time, left float64) preset {
	most := time.Duration(mostOfInterval * float64(e.interval()))
	for p := presets - 1; p > ultrafast; p-- {
		more := float64(e.fps) * (e.predict(p) - e.predict(e.preset)).Seconds()
		if now.Before(e.ban[p].until) || e.predict(p) > most || p > e.preset && more+spareProcessors > left {
			continue
		}
		return p
	}
	return ultrafast
}

// picture says how long a picture took from the display to the end of the encoder, and with which preset: a picture
// that stands still keeps the former one. full says that it was one of full motion: it needed its share of the bitrate.
func (e *effort) picture(now time.Time, took time.Duration, full bool, with preset) {
	took = min(took, e.interval()) // a stall says little about encoding
	if scale := float64(took) / float64(e.predict(with)) * e.scale; full || scale > e.scale {
		weight := 0.05
		if scale > e.scale {
			weight = 0.1
		}
		e.scale += weight * (scale - e.scale)
	}
	e.moved = e.moved || full
	e.late = append(e.late, took > time.Duration(lateAfter*float64(e.interval())))
	e.late = e.late[max(0, len(e.late)-lateAmong):]
	n := 0
	for _, late := range e.late {
		if late {
			n++
		}
	}
	if n >= lateOf {
		e.fall(now, ultrafast, "pictures come late")
	}
}

// look says how many processors were left since the last look; they are lookEvery apart.
func (e *effort) look(now time.Time, left float64) {
	slow := e.predict(e.preset) > time.Duration(1.5*mostOfInterval*float64(e.interval()))
	if e.preset > ultrafast && (left < noProcessors || slow && e.moved) {
		if e.over++; e.over >= overLooks {
			why := "no processor is left"
			if left >= noProcessors {
				why = "pictures take too long"
			}
			e.fall(now, e.preset-1, why)
		}
		e.under, e.moved = 0, false
		return
	}
	e.over = 0
	e.best = max(e.fits(now, left), e.preset)
	switch {
	case e.best == e.preset:
		e.under = 0
	case e.moved:
		if e.under++; e.under >= underLooks {
			e.rise()
		}
	}
	e.moved = false
}

// keyframe says that one is due: it is the time for a better preset.
func (e *effort) keyframe(now time.Time) {
	if e.best > e.preset && !now.Before(e.ban[e.best].until) {
		e.rise()
	}
}

func (e *effort) rise() {
	e.preset, e.why = e.best, "processors are left"
	e.under, e.late = 0, nil
}

func (e *effort) fall(now time.Time, to preset, why string) {
	if e.preset == ultrafast {
		return
	}
	for p := e.preset; p < presets; p++ {
		b := &e.ban[p]
		if now.Sub(b.until) > mostBan {
			b.next = firstBan
		}
		b.until = now.Add(b.next)
		b.next = min(2*b.next, mostBan)
	}
	e.preset, e.best, e.why = to, to, why
	e.over, e.under, e.late = 0, 0, nil
}
