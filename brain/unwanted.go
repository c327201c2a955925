package brain

import (
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// unwantedFor is how long nobody has needed a seat that fetches its content before its fetch is
	// stopped: people come again, and other brains see a moment later who waits.
	unwantedFor = 30 * time.Second
	// soonFetched is how near the end of its fetch a seat is left alone.
	soonFetched = 10 * time.Second
)

// onTheWay is a seat that starts, or will.
type onTheWay struct {
	id       string // empty while no stream host speaks
	version  uint64
	waits    bool          // the person that it was dispatched for waits still
	fetching bool          // it fetches its content, and will for longer than soonFetched
	unwanted time.Duration // how long nobody has needed it
	after    time.Duration // how long that must be before this replica stops it; 0 is never
}

// unwanted are the seats on their way that nobody needs, and those of them that are to be stopped
// now. People and pool need those that are on their way longest, as these will be ready first;
// a person whose own seat is on its way keeps it, else their brain would order another one.
func (d demand) unwanted() (unwanted, stop []string) {
	if len(d.asked) >= len(d.coming) {
		return nil, nil // each may be needed
	}
	needed := make([]bool, len(d.coming))
	next := 0 // all before it are needed
	take := func(version uint64) {
		for next < len(needed) && needed[next] {
			next++
		}
		for i := next; i < len(needed); i++ {
			if !needed[i] && (version == 0 || d.coming[i].version == version) {
				needed[i] = true
				return
			}
		}
	}
	idle := d.counts.idle
	for _, version := range d.asked {
		if idle > 0 && (version == 0 || version == d.version) {
			idle--
			continue
		}
		take(version)
	}
	for range min(d.warm-idle, len(d.coming)) {
		take(d.version)
	}
	for i, c := range d.coming {
		if needed[i] || c.waits || c.id == "" {
			continue
		}
		unwanted = append(unwanted, c.id)
		if c.fetching && c.after > 0 && c.unwanted >= c.after {
			stop = append(stop, c.id)
		}
	}
	return unwanted, stop
}

// onTheWay is what plan looks at to stop fetches: the seats of an app that start, the oldest first,
// and the versions that the people who wait ask for, 0 for any. Both are empty where no seat
// fetches, or each is needed. mu is held.
func (st *state) onTheWay(a *appView, people int, now time.Time) (coming []onTheWay, asked []uint64) {
	fetching := false
	for _, c := range a.coming {
		fetching = fetching || c.unit != nil && c.unit.fetching(now)
	}
	if !fetching || people >= len(a.coming) {
		return nil, nil
	}
	waits := map[string]bool{}
	if l := st.lines[a.app.ID]; l != nil {
		for _, p := range l.places {
			if p.waits(now) && (p.w == nil || !p.w.lapsed(now)) {
				asked = append(asked, p.version)
				waits[p.session] = true
			}
		}
	}
	all := st.hearsAll() // else people may wait of whom nothing is known here
	for _, c := range a.coming {
		o := onTheWay{version: a.app.Version, waits: waits[sessionOf(c.token)]}
		if u := c.unit; u != nil {
			o.version = u.spot.version
			if u.seat != nil {
				o.id, o.fetching = u.child.Alloc, u.fetching(now)
			}
			if !u.unwanted.IsZero() {
				o.unwanted = min(now.Sub(u.unwanted), now.Sub(st.unheard))
			}
			switch session := sessionOf(c.token); {
			case !all:
			case st.view.isOwn(c.token), st.leading && session == "":
				o.after = unwantedFor
			case st.leading:
				// Its replica stops it, unless that has gone.
				o.after = maxBlocked
			}
		}
		coming = append(coming, o)
	}
	return coming, asked
}

// noteUnwanted notes since when nobody needs seats that are on their way.
func (a *appView) noteUnwanted(seats []string, now time.Time) {
	are := map[string]bool{}
	for _, id := range seats {
		are[id] = true
	}
	for _, c := range a.coming {
		switch u := c.unit; {
		case u == nil:
		case !are[u.child.Alloc]:
			u.unwanted = time.Time{}
		case u.unwanted.IsZero():
			u.unwanted = now
		}
	}
}

// fetchesOn notes that a seat declined to end: it has its content meanwhile, or is of an earlier
// release. It is for the next person, and asked again once nobody has needed it for as long again.
func (st *state) fetchesOn(alloc string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.now()
	st.view.note(alloc, now, func(t *seatTrack) { t.retiringAt = time.Time{} })
	if u := st.view.byAlloc[alloc]; u != nil {
		u.unwanted = now
	}
	st.changed()
}

// fetching reports whether the seat fetches its content and will not soon have it.
func (u *unit) fetching(now time.Time) bool {
	t := u.seat
	if t == nil || !t.heard() || t.State != wire.SeatStarting || t.Progress.Phase != wire.PhaseContent {
		return false
	}
	done := t.Progress.Fraction
	if done <= 0 {
		return true
	}
	left := time.Duration(float64(now.Sub(t.arrives)) * (1 - done) / done)
	return left > soonFetched
}
