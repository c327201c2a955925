package capture

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/procfs"
)

// encoded is what a picture took.
type encoded struct {
	took time.Duration // from the display to the end of the encoder
	size int           // bytes
	// changed is whether it differed from the one before.
	changed bool
	with    preset // that it was encoded with
}

// working joins effort with the measurements of this process. It is the loop's own, but
// for now.
type working struct {
	*effort
	left   func(now time.Time) (processors float64, ok bool) // since the last call
	looked time.Time
	now    atomic.Int32 // preset
	pinned atomic.Int32 // a preset, or automatic
}

const automatic = -1

func newWorking(cfg Config) *working {
	now, left := time.Now(), lately()
	w := &working{left: cfg.left}
	if w.left == nil {
		w.left = newCPUMeter().left
	} else {
		left, _ = w.left(now)
	}
	w.effort = newEffort(now, cfg.FPS, cfg.Width*cfg.Height, left)
	w.pinned.Store(automatic)
	if cfg.preset != nil {
		w.pinned.Store(int32(*cfg.preset))
	}
	w.now.Store(int32(w.preset()))
	return w
}

// lately is how many processors were not used in the last minute.
func lately() float64 {
	load := float64(runtime.NumCPU()) / 2 // where the node does not tell
	if proc, err := procfs.NewDefaultFS(); err == nil {
		if avg, err := proc.LoadAvg(); err == nil {
			load = avg.Load1
		}
	}
	return float64(runtime.NumCPU()) - load
}

func (w *working) preset() preset {
	if pinned := w.pinned.Load(); pinned != automatic {
		return preset(pinned)
	}
	return w.effort.preset
}

// look asks the node once in a while how much processor time is left.
func (w *working) look(now time.Time) {
	past := now.Sub(w.looked)
	if past < lookEvery {
		return
	}
	w.looked = now
	// After a pause the mean is of a time that says nothing about this one.
	if left, ok := w.left(now); ok && past < 3*lookEvery {
		w.effort.look(now, left)
	}
}

// choose is the preset for the next picture. Another one needs a keyframe, which makes a sharp
// text coarse for a moment: so a picture that stands still keeps its preset, and moves says that
// it does not.
func (w *working) choose(now time.Time, p params, keyframe, moves bool) preset {
	w.pixels = p.width * p.height
	if keyframe {
		w.effort.keyframe(now)
	}
	chosen := w.preset()
	if !keyframe && !moves && w.pinned.Load() == automatic {
		chosen = p.preset
	}
	w.now.Store(int32(chosen))
	return chosen
}
