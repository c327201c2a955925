package brain

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// fetching is the part of chaos in which seats fetch their content, and replicas end what nobody
// needs. It follows who really waits, and what each replica has told each other one.
type fetching struct {
	share    int                         // of a hundred seats, those that fetch
	cuts     bool                        // the ways between replicas may be cut
	links    map[[2]*simReplica]*simLink // from the first to the second
	unloaded int                         // seats that have ended
	declined int                         // seats that went on
}

// simLink is the way from one replica to another.
type simLink struct {
	told map[string]wire.Waiting // what the other one knows; nil where it knows nothing
	cut  time.Time               // it is cut before
}

func newFetching() fetching { return fetching{share: 15, links: map[[2]*simReplica]*simLink{}} }

// TestChaosOfFetches has most seats fetch their content for minutes, or for longer than anybody
// waits, while people come, leave and change brains, and brains die, lead and do not hear each other.
// No fetch is stopped whose person waits, and all are stopped that nobody needs.
func TestChaosOfFetches(t *testing.T) {
	t.Parallel()
	seeds := uint64(48)
	if testing.Short() {
		seeds = 16
	}
	unloaded, declined, early := 0, 0, 0
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c := newChaos(t, seed, 1+int(seed%3), App{ID: game, Version: 1, Warm: int(seed % 2), Max: 16 + int(seed%5)})
			c.share, c.cuts, c.roomy, c.dying, c.deaths, c.pace = 80, seed%2 == 1, true, 5, 3, 4
			for range 8000 {
				c.step()
				if s := c.anybody(); s != nil {
					c.look(s)
				}
			}
			// Of every fourth site all people leave, and all brains die.
			for _, s := range c.people {
				switch {
				case s.gone:
				case s.hovers && seed%4 == 0:
					c.fate[s.session], s.gone = "left", true
				case !s.hovers && (seed%4 == 0 || s.w.seat == "" && c.chance(50)):
					c.leaves(s)
				}
			}
			if seed%4 == 0 {
				for _, m := range c.replicas {
					c.kill(m)
				}
				c.replicas[0].setLeading(true)
			}
			early += c.unloaded
			c.calmDown()
			unloaded, declined = unloaded+c.unloaded, declined+c.declined
		})
	}
	t.Logf("%d fetches were stopped, %d of them before the end, and %d seats went on", unloaded, early, declined)
	if n := int(seeds); unloaded < n || declined < n/8 {
		t.Errorf("too few fetches were stopped to show anything: %d, and %d seats went on", unloaded, declined)
	}
}

// anybody is now and then one of all people.
func (c *chaos) anybody() *simPerson {
	if n := len(c.people); n > 0 && c.chance(10) {
		if s := c.people[c.r.IntN(n)]; !s.gone && s.w != nil {
			return s
		}
	}
	return nil
}

// begins decides what a seat has to fetch.
func (c *chaos) begins(f *simChild) {
	switch {
	case !c.chance(c.share):
	case c.chance(30):
		f.fetch = time.Hour
	default:
		f.fetch, f.former = time.Duration(c.r.IntN(120))*time.Second, c.chance(20)
	}
}

// fetches reports whether a seat goes on to fetch its content, and has it say how far it is.
func (c *chaos) fetches(f *simChild) bool {
	past := c.now.Sub(f.seat.Since)
	if past >= f.fetch || c.calm && c.needed(f) {
		return false
	}
	f.seat.Progress = wire.Progress{Phase: wire.PhaseContent, Fraction: past.Seconds() / f.fetch.Seconds()}
	return true
}

// needed reports whether a seat fetches for longest, and there are too few others for the people and
// the pool. The others fetch for ever, until their fetch is stopped.
func (c *chaos) needed(f *simChild) bool {
	others, people := 0, 0
	for _, o := range c.children {
		switch {
		case o.State == ChildDead || o.had || o.Version != c.apps[game].Version:
		case !o.fetching():
			others++
		case o.seat.Since.Before(f.seat.Since):
			return false
		}
	}
	for _, s := range c.people {
		if !s.gone {
			people++
		}
	}
	return others < max(people, c.apps[game].Warm)
}

func (f *simChild) fetching() bool {
	return f.State != ChildDead && f.seat.State == wire.SeatStarting && f.seat.Progress.Phase == wire.PhaseContent
}

// roundSoon is within what time all replicas that hear each other know where a person waits.
const roundSoon = 20 * time.Second

// follow notes since when people wait, where they are now.
func (c *chaos) follow() {
	for _, s := range c.people {
		if s.gone || s.hovers || s.w == nil || s.w != s.waited || !s.w.waits() {
			s.waited, s.waitsSince = s.w, c.now
		}
	}
}

// waitsFor is since when a seat's person waits, at all brains at which they are. It is now if they do not.
func (c *chaos) waitsFor(f *simChild) time.Time {
	since := time.Time{}
	for _, s := range c.people {
		if s.session == sessionOf(f.Token) && !s.gone && s.waitsSince.After(since) {
			since = s.waitsSince
		}
	}
	if since.IsZero() {
		return c.now
	}
	return since
}

// unload has a replica ask a seat to end while it fetches.
func (c *chaos) unload(m *simReplica, seat wire.Seat) {
	f := c.childAt(seat.ID)
	if since := c.waitsFor(f); c.now.Sub(since) > roundSoon {
		c.fail("%s (leads: %v) stops the fetch of %s, and %s has waited for it for %v%s", m.id, m.leading, seat.ID, f.Token, c.now.Sub(since),
			c.story(sessionOf(f.Token)))
	}
	m.acting++
	was := m.state
	c.later(func() {
		m.acting--
		switch {
		case !c.calm && c.chance(10): // it does not answer
		case f.fetching() && !f.former:
			c.unloaded++
			c.die(f, wire.End{Reason: wire.ReasonRetired})
		case m.state == was:
			c.declined++
			m.fetchesOn(seat.ID)
		}
	})
}

// tellPeers tells the other replicas who waits at one of them: all of it once, and then what has
// changed, as feeds do.
func (c *chaos) tellPeers(m *simReplica) {
	set := map[string]wire.Waiting{}
	for session, w := range m.waiters {
		if w.told {
			set[session] = wire.Waiting{App: w.app, First: w.place.first, Version: w.place.version, Offered: w.seat}
		}
	}
	for _, o := range c.replicas {
		if o == m {
			continue
		}
		l := c.link(m, o)
		if c.cuts && !c.calm && l.told != nil && c.chance(1) {
			l.told, l.cut = nil, c.now.Add(time.Duration(c.r.IntN(600))*time.Second)
			o.lineLost(m.id)
			c.log("%s is not heard by %s until %v", m.id, o.id, l.cut)
		}
		if !c.calm && c.now.Before(l.cut) {
			continue
		}
		all, changed, gone := l.told == nil, map[string]wire.Waiting{}, []string(nil)
		for session, w := range set {
			if was, ok := l.told[session]; !ok || was.Offered != w.Offered || was.Version != w.Version || !was.First.Equal(w.First) {
				changed[session] = w
			}
		}
		for session := range l.told {
			if _, ok := set[session]; !ok {
				gone = append(gone, session)
			}
		}
		slices.Sort(gone)
		l.told = set
		if all || len(changed)+len(gone) > 0 {
			o.lineSaid(m.id, all, changed, gone)
		}
	}
}

func (c *chaos) link(from, to *simReplica) *simLink {
	l := c.links[[2]*simReplica{from, to}]
	if l == nil {
		l = &simLink{}
		c.links[[2]*simReplica{from, to}] = l
	}
	return l
}

// unlink is the death of a replica, as the ways to others and from them see it.
func (c *chaos) unlink(m *simReplica) {
	for _, o := range c.replicas {
		c.link(m, o).told, c.link(o, m).told = nil, nil
	}
}
