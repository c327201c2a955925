package seat

import (
	"sync/atomic"
	"time"
)

// lineKnown is how long after a connection what it found out about its line counts. By then
// the person may have another line.
const lineKnown = 30 * time.Second

// sessionLine is what the connections of a session found out about its line. A person whose
// connection is made anew, by a reload or after a tunnel, mostly has the same line.
type sessionLine struct {
	session string
	bps     atomic.Int64 // that congestion control allowed last; 0 is unknown
	left    atomic.Int64 // when the last connection was lost, in Unix nanoseconds; 0: it is up
}

// changed says that a connection came up, or was lost.
func (l *sessionLine) changed(up bool, now time.Time) {
	if up {
		l.left.Store(0)
	} else {
		l.left.CompareAndSwap(0, now.UnixNano())
	}
}

// carries is what the line is known to carry, in bit/s, or 0.
func (l *sessionLine) carries(now time.Time) int {
	if left := l.left.Load(); left != 0 && now.Sub(time.Unix(0, left)) > lineKnown {
		return 0
	}
	return int(l.bps.Load())
}
