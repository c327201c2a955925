package capture

import "time"

const (
	// A picture that comes later than this after another is the first of new motion.
	newMotion = 250 * time.Millisecond
	// mostStretch bounds how much larger than at the full frame rate a picture may be.
	mostStretch = 3
)

// rhythm measures how far apart the pictures of a motion are, as a multiple of the
// interval at the full frame rate. Encoders divide their bitrate by the full frame rate.
// Where the node has too little CPU for it, or the app draws less often, the rest
// of the bitrate would stay unused, and motion would be coarse although the line has
// room. It is a pure computation.
type rhythm struct {
	last    time.Time
	between time.Duration // smoothed
}

// picture says that a changed picture was captured.
func (r *rhythm) picture(now time.Time, interval time.Duration) (stretch float64) {
	gap := now.Sub(r.last)
	r.last = now
	switch {
	case gap > newMotion:
		r.between = interval
	case gap < r.between: // soon, so that no more is sent than the target
		r.between += (gap - r.between) / 2
	default:
		r.between += (gap - r.between) / 6
	}
	return min(max(float64(r.between)/float64(interval), 1), mostStretch)
}

// moves reports whether a changed picture that is captured now is one of a motion, and not its first.
func (r *rhythm) moves(now time.Time) bool { return now.Sub(r.last) <= newMotion }
