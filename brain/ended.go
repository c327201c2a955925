package brain

import (
	"time"

	"github.com/nearcast/nearcast/brain/events"
	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// endedFor is how long the end of a child is known: to people who come back to its
	// seat, and so that a late event does not bring it back.
	endedFor = 10 * time.Minute
	maxEnded = 1 << 14
)

// ending is a child that is dead.
type ending struct {
	child, alloc string
	end          wire.End
	at           time.Time
	quality      *wire.Quality   // of the session that its seat had, as the seat said last
	played       *played         // that session; nil where nobody played
	failed       *events.Failure // to start; nil where it served, or nobody saw it die
}

// played is a session as it was when it began to play. Events look now and then, and a session may be shorter.
type played struct {
	id string
	events.Session
}

// plays notes the session that plays at a seat.
func (t *seatTrack) plays(s wire.Seat) {
	if s.State == wire.SeatStreaming && (t.played == nil || t.played.id != s.Session) {
		t.played = &played{s.Session, events.Session{App: s.App, State: string(s.State), Since: s.Since, Seat: s.ID,
			Customer: s.Customer, Subject: s.Subject, Meta: s.Meta}}
	}
}

// endings are the last children that died, the oldest first.
type endings struct {
	byChild, byAlloc map[string]*ending
	line             []*ending
}

func newEndings() endings {
	return endings{byChild: map[string]*ending{}, byAlloc: map[string]*ending{}}
}

// add takes a child that died. u is what was known of it, nil where nothing was.
func (e *endings) add(c Child, u *unit, now time.Time) {
	one := &ending{child: c.ID, alloc: c.Alloc, end: c.ended(), at: now}
	if u != nil && u.seat != nil {
		one.quality, one.played = u.seat.Quality, u.seat.played
	}
	e.byChild[c.ID] = one
	if c.Alloc != "" {
		e.byAlloc[c.Alloc] = one
	}
	e.line = append(e.line, one)
	e.forget(now)
}

// forget drops those that ended long ago.
func (e *endings) forget(now time.Time) {
	for len(e.line) > 0 && (len(e.line) > maxEnded || now.Sub(e.line[0].at) > endedFor) {
		one := e.line[0]
		e.line[0] = nil
		e.line = e.line[1:]
		delete(e.byChild, one.child)
		if e.byAlloc[one.alloc] == one {
			delete(e.byAlloc, one.alloc)
		}
	}
}
