package brain

import (
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// life is what a seat's record of the moment does not say. Its times are by this
// process's clock: a seat's node may have another.
type seatTrack struct {
	last    wire.Seat // as it was seen last
	present bool      // is in Consul now
	since   time.Time // its state was first seen
	ready   time.Time // it was first seen idle or busy
	// busySince is zero unless it serves, or died serving.
	busySince time.Time
	// unwanted is the Since of the state in which the seat turned a claim of
	// ours down, or took it: it is not offered again before its state changes.
	declined   time.Time
	declinedAt time.Time
	// unreachable is when the seat did not answer.
	unreachableAt time.Time
	reserved      bool // offered to one of ours this moment
	retiringAt    time.Time
}

// taken reports whether somebody has the seat although Consul still calls it
// free. If Consul goes on saying so for long, it is right.
func (l *seatTrack) taken(now time.Time) bool {
	return l.declined.Equal(l.last.Since) && now.Sub(l.declinedAt) < takenFor
}

// silent reports whether the seat gave no answer a moment ago.
func (l *seatTrack) unreachable(now time.Time) bool { return now.Sub(l.unreachableAt) <= pauseFor }

func (l *seatTrack) retiring(now time.Time) bool { return now.Sub(l.retiringAt) <= pauseFor }

const (
	// pauseFor is how long a seat is left alone that did not answer, or was
	// asked to retire.
	pauseFor = 5 * time.Second
	// takenFor is how long a seat that turned us down is believed to be taken
	// against Consul's word.
	takenFor = 30 * time.Second
)

// birth is when a child came into view.
type childTrack struct {
	// seen is zero where it was there before this process.
	seen     time.Time
	blocked  time.Time // since when no node takes it
	stopping time.Time // when it was asked to stop
}

type pendingDispatch struct {
	app, child string
	at         time.Time
	asked      time.Time // when Nomad's servers were asked what became of it
}
