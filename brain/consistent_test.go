package brain

import (
	"fmt"
	"slices"
)

// inconsistent counts everything anew, and says where the indexes differ from that; empty
// where they do not.
func (st *state) inconsistent() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	v, now := st.view, st.now()
	offers := 0
	for session, w := range st.waiters {
		if w.seat != "" {
			offers++
		}
		l := st.lines[w.app]
		if l == nil || !slices.Contains(l.places, w.place) {
			return fmt.Sprintf("%s waits and has no place", session)
		}
	}
	if offers != st.offers {
		return fmt.Sprintf("%d people have an offer, and %d are counted", offers, st.offers)
	}
	for id, l := range st.lines {
		if !slices.IsSortedFunc(l.places, before) {
			return id + ": the queue is not in order"
		}
		own := 0
		for _, p := range l.places {
			if p.w != nil {
				if own++; st.waiters[p.session] != p.w {
					return p.session + " has a place and does not wait"
				}
			} else if st.peers[p.brain][p.session] != p {
				return p.session + " has a place and waits at no brain"
			}
		}
		if own != l.own || len(l.places) == 0 {
			return fmt.Sprintf("%s: %d own places of %d, %d are counted", id, own, len(l.places), l.own)
		}
	}
	for brain, theirs := range st.peers {
		for session, p := range theirs {
			l := st.lines[p.app]
			if in := l != nil && slices.Contains(l.places, p); in == p.aside {
				return fmt.Sprintf("%s of %s is aside: %v, and in the line: %v", session, brain, p.aside, in)
			}
			if p.aside && st.waiters[session] == nil && !st.standsAt(session) {
				return session + " waits at other brains, and has no place"
			}
		}
	}
	for id, a := range v.apps {
		counted, free, coming := a.counts, slices.Clone(a.free), len(a.coming)
		for u := range a.units {
			if v.units[u.child.ID] != u {
				return u.child.ID + " is of an app and not among the children"
			}
			v.lift(u)
		}
		pending := 0
		for _, d := range v.pending {
			if d.app == id {
				pending++
			}
		}
		if want := (counts{starting: pending}); a.counts != want || len(a.free) != 0 || len(a.coming) != pending || len(a.noNode)+len(a.held)+len(a.versions) != 0 {
			return fmt.Sprintf("%s: without its children: %+v, %d free, %d coming, %d pending", id, a.counts, len(a.free), len(a.coming), pending)
		}
		for u := range a.units {
			v.place(u, now)
		}
		// What ends by time alone may differ from the last look.
		if len(v.flagged) == 0 && (a.counts != counted || !slices.Equal(a.free, free) || len(a.coming) != coming) {
			return fmt.Sprintf("%s: counted %+v, was %+v", id, a.counts, counted)
		}
		delete(v.changed, id)
	}
	for u := range v.flagged {
		if v.units[u.child.ID] != u {
			return u.child.ID + " is flagged and gone"
		}
	}
	return ""
}

// standsAt reports whether a person has a place in the line by what another brain says.
func (st *state) standsAt(session string) bool {
	for _, theirs := range st.peers {
		if p := theirs[session]; p != nil && !p.aside {
			return true
		}
	}
	return false
}
