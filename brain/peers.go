package brain

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/feed"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/wire"
)

// tellPeers tells the other brains of the site who waits here, so that all of them serve
// one line. A line in Consul would cost a write through Raft whenever a person comes or
// goes, and would outlive a brain that was killed.
func (b *Broker) tellPeers(ctx context.Context) {
	feed.Spread[wire.Waiting]{Source: b.state.told, Me: b.cfg.Identity, Path: wire.LinePath, Log: b.log}.Run(ctx,
		func(ctx context.Context, now func([]feed.Follower)) {
			b.cfg.Fleet.WatchBrains(ctx, func(brains []wire.Instance) {
				var others []feed.Follower
				var keys []string
				for _, one := range brains {
					if one.Internal != "" && one.Key != b.cfg.Identity.Key() {
						others = append(others, feed.Follower{Address: one.Internal, Key: one.Key})
						if one.Healthy { // Consul lists one for hours whose node is gone
							keys = append(keys, one.Key)
						}
					}
				}
				b.state.brainsAre(keys)
				now(others)
			})
		})
}

// takeLine serves wire.LinePath. The caller has shown the key of a brain.
func (b *Broker) takeLine(rw http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(rw, r, nil)
	if err != nil {
		return // Accept has answered
	}
	// A process dials once at a time. Should its earlier connection not have ended yet, its
	// end must not count for this one.
	from := identity.KeyOf(r.TLS) + "/" + r.RemoteAddr
	err = feed.Read(b.running, ws, feed.Whole(func(m feed.Message[wire.Waiting]) error {
		b.state.lineSaid(from, m.All, m.Set, m.Gone)
		return nil
	}))
	b.state.lineLost(from)
	b.log.Debug("another brain is not heard any more", "error", err)
}

// brainsAre takes from Consul which other healthy brains there are, by their keys.
func (st *state) brainsAre(keys []string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.brains, st.brainsKnown = keys, true
}

// hearsAll reports whether all brains that Consul lists say here who waits there. mu is held.
func (st *state) hearsAll() bool {
	heard := map[string]bool{}
	for brain := range st.heard {
		heard[processOf(brain)] = true
	}
	return st.brainsKnown && !slices.ContainsFunc(st.brains, func(key string) bool { return !heard[key] })
}

// lineSaid takes what another brain says of the people who wait there.
func (st *state) lineSaid(brain string, all bool, set map[string]wire.Waiting, gone []string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.now()
	st.heard[brain] = true
	theirs := st.peers[brain]
	if theirs == nil {
		theirs = map[string]*place{}
		st.peers[brain] = theirs
	}
	if all {
		for session, p := range theirs {
			if _, ok := set[session]; !ok {
				st.forgetPlace(p)
			}
		}
	}
	for _, session := range gone {
		if p := theirs[session]; p != nil {
			st.forgetPlace(p)
		}
	}
	// What is offered no more counts first: the seat may be offered to somebody else here.
	for session, w := range set {
		if p := theirs[session]; p != nil && p.offered != w.Offered {
			st.view.noteElsewhere(p.offered, false, now)
		}
	}
	for session, w := range set {
		p := theirs[session]
		if p != nil && (p.app != w.App || !p.first.Equal(w.First) || p.version != w.Version) {
			st.forgetPlace(p)
			p = nil
		}
		if p == nil {
			st.aside(session, brain)
			p = &place{app: w.App, session: session, first: w.First, version: w.Version, brain: brain, told: w, since: now, aside: true}
			st.peers[brain] = theirs // the last place may just have gone, and the map with it
			theirs[session] = p
			st.stands(session)
		}
		p.until, p.left = time.Time{}, time.Time{}
		if p.offered != w.Offered {
			st.view.noteElsewhere(w.Offered, true, now)
			p.offered = w.Offered
		}
		st.view.changed[w.App] = true
	}
	st.changed()
}

// lineLost notes that another brain is not heard. Its people keep their places for a
// while: their pages connect to other brains.
func (st *state) lineLost(brain string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.heard, brain)
	for _, p := range st.peers[brain] {
		if p.aside {
			st.forgetPlace(p) // the person waits elsewhere
		} else if p.until.IsZero() {
			p.until = st.now().Add(keptFor)
			p.atMost = p.until.Add(keptInACrowd)
		}
	}
	if len(st.peers[brain]) == 0 {
		delete(st.peers, brain)
	}
}

// forgetPlace forgets what another brain told of a person. mu is held.
func (st *state) forgetPlace(p *place) {
	if theirs := st.peers[p.brain]; theirs[p.session] == p {
		if delete(theirs, p.session); len(theirs) == 0 && !p.until.IsZero() {
			delete(st.peers, p.brain) // its connection has ended, and this was the last place
		}
	}
	if !p.aside {
		st.leavesLine(p)
		st.stands(p.session)
	}
}

// leavesLine takes a person of another brain out of their line. mu is held.
func (st *state) leavesLine(p *place) {
	p.aside = true
	if l := st.lines[p.app]; l != nil {
		if l.remove(p); len(l.places) == 0 {
			delete(st.lines, p.app)
		}
	}
	st.view.changed[p.app] = true
}

// aside takes a person of other brains out of their line, since they have come to the brain
// with that name, or here. It reports whether they had a place. What the others told is kept while
// they are heard: a brain tells of a person once, and that may be before the brain where they waited
// has noticed that they are gone. mu is held.
func (st *state) aside(session, to string) (had bool) {
	for _, theirs := range st.peers {
		p := theirs[session]
		if p == nil {
			continue
		}
		if !p.aside {
			st.leavesLine(p)
			had = true
		}
		if !p.until.IsZero() || processOf(p.brain) == processOf(to) {
			st.forgetPlace(p) // its brain has died, or has connected anew
		}
	}
	return had
}

// stands puts a person into the line where another brain says that they wait, unless they wait here.
// Of several brains it is the one that said so last. mu is held.
func (st *state) stands(session string) {
	if st.waiters[session] != nil {
		return
	}
	var last *place
	for _, theirs := range st.peers {
		if p := theirs[session]; p != nil && (last == nil || cmp.Or(p.since.Compare(last.since), cmp.Compare(p.brain, last.brain)) > 0) {
			last = p
		}
	}
	if last != nil && last.aside {
		last.aside = false
		st.line(last.app).add(last)
		st.view.changed[last.app] = true
	}
}

// processOf is the key of the brain that told of a place. The rest of its name is the connection's.
func processOf(brain string) string {
	key, _, _ := strings.Cut(brain, "/")
	return key
}
