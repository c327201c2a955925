package brain

import (
	"cmp"

	"github.com/nearcast/nearcast/brain/events"
	"github.com/nearcast/nearcast/internal/wire"
)

// snapshot says for events what there is at the site, and whether that is known. It has the people
// who wait at any brain. Who is granted a seat is told of once its node says so.
func (st *state) snapshot() (events.Snapshot, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.now()
	s := events.Snapshot{At: now, Sessions: make(map[string]events.Session, len(st.view.bySession)+len(st.waiters)),
		Apps: map[string]events.App{}, Failed: map[string]events.Failure{}, Ended: map[string]wire.End{},
		Quality: map[string]*wire.Quality{}, Over: map[string]events.Session{}}
	for _, theirs := range st.peers {
		for session, p := range theirs {
			if p.aside {
				continue
			}
			s.Sessions[session] = events.Session{App: p.app, State: wire.StateWaiting, Since: p.since.UTC(),
				Customer: p.told.Customer, Subject: p.told.Subject, Meta: p.told.Meta}
		}
	}
	for session, w := range st.waiters {
		s.Sessions[session] = events.Session{App: w.app, State: wire.StateWaiting, Since: w.since.UTC(),
			Customer: w.claims.Customer, Subject: w.claims.Subject, Meta: w.claims.Meta}
	}
	for session, have := range st.view.bySession {
		if len(have) == 0 || !have[0].seat.State.Busy() {
			continue
		}
		seat := have[0].seat.Seat
		s.Sessions[session] = events.Session{App: seat.App, State: string(seat.State), Since: seat.Since, Seat: seat.ID,
			Customer: seat.Customer, Subject: seat.Subject, Meta: seat.Meta, Quality: seat.Quality}
	}
	for id, a := range st.view.apps {
		if a.published {
			s.Apps[id] = events.App{Version: a.app.Version, Title: a.app.Title}
		}
	}
	for _, e := range st.view.ended.line {
		if e.alloc != "" {
			s.Ended[e.alloc] = e.end
			s.Quality[e.alloc] = e.quality
			if e.played != nil {
				s.Over[e.played.id] = e.played.Session
			}
		}
		if e.failed != nil {
			s.Failed[cmp.Or(e.alloc, e.child)] = *e.failed
		}
	}
	return s, st.view.known()
}
