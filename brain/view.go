package brain

import (
	"maps"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/sizing"
	"github.com/nearcast/nearcast/internal/ticket"
)

// view is what the nodes and Nomad say, put together, and what their changes say
// beyond that. It is indexed: a change touches one app, whatever the size of the
// site. Only its own methods read its tables. state.mu guards it.
type view struct {
	jobsKnown  bool
	seatsKnown bool
	jobsAt     time.Time // when Nomad was heard last

	sharedAgent string // see Config

	apps  map[string]*appView  // those that Nomad has, and those that have children still
	units map[string]*unit     // by child, while it lives
	nodes map[string]*nodeView // by feed

	byAlloc   map[string]*unit
	bySession map[string][]*unit             // by session, while seats say that they have it, see later
	byHolder  map[holder]map[*unit]bool      // the seats that count against a cap
	byToken   map[string]map[*unit]bool      // seats on their way, by the session that they were dispatched for
	flagged   map[*unit]bool                 // what is noted of them ends by time alone
	stuck     map[*unit]bool                 // blocked: they may have to be stopped
	tracks    map[string]map[*seatTrack]bool // what nodes tell, by seat
	strange   map[*seatTrack]bool            // seats that Nomad does not know, or knows on another node
	sickNodes map[*nodeView]time.Time        // until when a node counts as sick
	pending   map[string]pendingDispatch     // this replica's dispatches that Nomad's events have not shown, by token
	// sent are the tokens of this replica's dispatches for people, until their
	// children are dead. So a child still counts as this replica's when its person
	// has left.
	sent       map[string]time.Time
	ended      endings
	restarting map[string]restart // dead children that Nomad would start again

	changed map[string]bool // the apps that are to be served and planned
	// returned are sessions that have claimed a seat, and whose person waits here.
	returned map[string]bool
	// waits says whether a session's person waits at this replica.
	waits func(session string) bool
	hears hears
}

// appView is what is known of one app.
type appView struct {
	app       App
	published bool // Nomad has it
	units     map[*unit]bool

	counts
	// free are the seats that may be offered now, the best first: see better.
	free []*unit
	// coming are the seats on their way, the oldest first, which is the order for people who wait.
	coming   []*coming
	noNode   map[*unit]bool // no node can take them
	held     map[*unit]bool // they say that they have a session
	versions map[uint64]int // how many seats are or may become free, by version

	overstaysAt    time.Time // when sessions that last too long were looked for last
	failures       *backOff
	noApp          noApp
	coldStarts     durations // see coldStart
	sessionLengths durations
	arrivals       arrivals
	turnover       turnover
	begun          arrivals // sessions of the whole site
	warm           int      // idle seats that the pool aims at, where the job says "auto"; see aim
	warmHold       sizing.Hold
	moving         map[*unit]time.Time // seats that were retired for their nodes, and when
	nodeless       nodeless
}

// coming is a seat on its way: a unit, or a dispatch that Nomad has not shown.
type coming struct {
	since time.Time
	token string
	unit  *unit
}

// nodeView is what a node's feed says.
type nodeView struct {
	feed  string
	name  string
	seats map[string]*seatTrack // by seat
	lost  time.Time             // since when it is not heard; zero while it is
	// people is how many of them have a session, of whatever app.
	people int
}

// unit is a seat, or a future one: a child of an app's job from its dispatch to its end.
type unit struct {
	child Child
	of    *appView
	seat  *seatTrack // what its stream host says; nil before

	seen     time.Time // when its dispatch was seen first; zero where it is older than this process
	blocked  time.Time // since when no node can take it
	stopping time.Time // when it was asked to stop
	unwanted time.Time // since when nobody needs it, while it fetches
	spot     spot
}

func newView() *view {
	return &view{
		apps: map[string]*appView{}, units: map[string]*unit{}, nodes: map[string]*nodeView{},
		byAlloc: map[string]*unit{}, bySession: map[string][]*unit{}, byHolder: map[holder]map[*unit]bool{},
		byToken: map[string]map[*unit]bool{}, flagged: map[*unit]bool{}, stuck: map[*unit]bool{},
		tracks: map[string]map[*seatTrack]bool{}, strange: map[*seatTrack]bool{}, sickNodes: map[*nodeView]time.Time{}, pending: map[string]pendingDispatch{},
		sent: map[string]time.Time{}, ended: newEndings(), restarting: map[string]restart{}, changed: map[string]bool{}, returned: map[string]bool{},
		waits: func(string) bool { return false }, hears: deaf(),
	}
}

func (v *view) known() bool { return v.jobsKnown && v.seatsKnown }

// of is an app's view. It is made where there is none.
func (v *view) of(id string) *appView {
	a := v.apps[id]
	if a == nil {
		a = &appView{app: App{ID: id}, units: map[*unit]bool{}, noNode: map[*unit]bool{}, held: map[*unit]bool{}, versions: map[uint64]int{}}
		v.apps[id] = a
	}
	return a
}

// app is an app that Nomad has.
func (v *view) app(id string) (App, bool) {
	if a := v.apps[id]; a != nil && a.published {
		return a.app, true
	}
	return App{}, false
}

// setApp takes an app from Nomad. A new version changes how its seats are ordered.
func (v *view) setApp(app App, published bool, now time.Time) {
	a := v.of(app.ID)
	v.changed[app.ID] = true
	a.published, a.noApp = published, noApp{}
	if a.app.Version == app.Version {
		a.app = app
		return
	}
	for u := range a.units {
		v.lift(u)
	}
	a.app = app
	for u := range a.units {
		v.place(u, now)
	}
}

// unpublish notes that Nomad has an app no more. Its seats live until somebody ends them.
func (v *view) unpublish(a *appView, now time.Time) {
	v.setApp(App{ID: a.app.ID, Pool: a.app.Pool}, false, now)
}

// drop forgets an app of which nothing is left.
func (v *view) drop(id string) {
	if a := v.apps[id]; a != nil && !a.published && len(a.units) == 0 && len(a.coming) == 0 {
		delete(v.apps, id)
		v.hears.dropped(id)
	}
}

// jobsChanged takes what changed at Nomad, and returns the children that have died.
func (v *view) jobsChanged(c JobsChange, now time.Time) (died []death) {
	known := v.jobsKnown
	if c.All {
		for id, a := range v.apps {
			if _, ok := c.Apps[id]; !ok && a.published {
				v.unpublish(a, now)
			}
		}
		for id, u := range v.units {
			if _, ok := c.Children[id]; !ok {
				v.forget(u)
			}
		}
	}
	for _, app := range c.Apps {
		v.setApp(app, true, now)
	}
	for _, id := range c.GoneApps {
		if a := v.apps[id]; a != nil {
			v.unpublish(a, now)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.Children)) {
		if d, ok := v.setChild(c.Children[id], known, now); ok {
			died = append(died, d)
		}
	}
	for _, id := range c.GoneChildren {
		if u := v.units[id]; u != nil {
			v.forget(u)
		}
		delete(v.restarting, id)
	}
	v.jobsKnown, v.jobsAt = true, now
	return died
}

// death is the end of a child.
type death struct {
	Child
	served bool // its seat had a session
}

// lookBehind is how much older than the last look at Nomad an unseen child may
// be: clocks differ, and events are late. An older child was dead before this
// replica started.
const lookBehind = time.Minute

// setChild takes a child from Nomad. It reports whether the child has died now.
func (v *view) setChild(c Child, known bool, now time.Time) (d death, died bool) {
	if v.ended.byChild[c.ID] != nil {
		if !c.Restarting {
			delete(v.restarting, c.ID)
		}
		return d, false
	}
	u := v.units[c.ID]
	if c.State == ChildDead {
		d = death{Child: c}
		if died = u != nil || known && c.Created.After(v.jobsAt.Add(-lookBehind)); u != nil {
			if d.served = u.served(); d.served {
				u.of.sessionLengths.add(now.Sub(u.seat.busySince))
				u.of.turnover.ended++
			}
			v.forget(u)
		} else {
			v.shown(c)
		}
		if c.Restarting {
			v.restarting[c.ID] = restart{}
		}
		delete(v.sent, c.Token)
		v.ended.add(c, u, now)
		v.changed[c.App] = true
		return d, died
	}
	if u == nil {
		u = &unit{of: v.of(c.App)}
		if known {
			u.seen = now
		}
		if at, ok := v.shown(c); ok {
			u.seen = at
		}
		v.units[c.ID] = u
		u.of.units[u] = true
	} else if v.byAlloc[u.child.Alloc] == u {
		delete(v.byAlloc, u.child.Alloc)
	}
	u.child = c
	if c.Alloc != "" {
		v.byAlloc[c.Alloc] = u
	}
	u.noteBlocked(now)
	v.adopt(u)
	v.place(u, now)
	if u.seat != nil {
		v.comesBack(u.seat.Session)
	}
	return d, false
}

// shown ends the waiting for a child that was dispatched here. It returns when that was.
func (v *view) shown(c Child) (at time.Time, ok bool) {
	token := c.Token
	// The event may come before Dispatch has returned the child's id. The token is
	// known in any case.
	for t, d := range v.pending {
		if d.child == c.ID {
			token = t
		}
	}
	d, ok := v.pending[token]
	if ok {
		v.rejected(token)
	}
	return d.at, ok
}

// forget drops a unit.
func (v *view) forget(u *unit) {
	v.lift(u)
	delete(v.units, u.child.ID)
	delete(u.of.units, u)
	delete(v.flagged, u)
	delete(v.stuck, u)
	if v.byAlloc[u.child.Alloc] == u {
		delete(v.byAlloc, u.child.Alloc)
	}
	if t := u.seat; t != nil {
		t.unit = nil
		v.estrange(t)
	}
	v.changed[u.child.App] = true
}

// adopt finds what the stream host of a unit says: what a node tells that is heard, before
// what one told that is lost.
func (v *view) adopt(u *unit) {
	best := u.seat
	if best != nil && !v.genuine(best, u) {
		best = nil
	}
	for t := range v.tracks[u.child.Alloc] {
		if !v.genuine(t, u) {
			continue
		}
		if best == nil || best != u.seat && t.surer(best) || t.heard() && !best.heard() {
			best = t
		}
	}
	was := u.seat
	if best == was {
		return
	}
	u.seat = best
	if best != nil {
		delete(v.strange, best)
		best.unit = u
		if was != nil && v.genuine(was, u) {
			best.inherit(was)
		}
		v.coldStart(u)
	}
	if was != nil {
		was.unit = nil
		v.estrange(was)
	}
}

// estrange keeps a seat that belongs to no child, while its node tells of it.
func (v *view) estrange(t *seatTrack) {
	if t.present {
		v.strange[t] = true
		return
	}
	delete(v.strange, t)
	remove(v.tracks, t.ID, t)
	if t.from.seats[t.ID] == t {
		delete(t.from.seats, t.ID)
	}
}

// genuine reports whether Nomad knows the seat, on the node that told of it. Anything
// else that says it is a seat is offered to nobody, and no session goes on with it: who
// has a node's token for Consul could catch people with it.
func (v *view) genuine(t *seatTrack, u *unit) bool {
	c := u.child
	return c.App == t.App && c.ID == t.Job && c.Alloc == t.ID && (c.Node == t.Node || v.sharedAgent != "" && v.sharedAgent == t.Node)
}

// timePassed does what follows from the time alone.
func (v *view) timePassed(now time.Time) {
	v.forgetNodes(now)
	for n, until := range v.sickNodes {
		if !now.Before(until) {
			delete(v.sickNodes, n)
			v.placeNode(n, now)
		}
	}
	for u := range v.flagged {
		delete(v.flagged, u)
		v.place(u, now) // which puts it back while it is flagged
	}
	for t := range v.strange {
		if !t.present && now.Sub(t.goneAt) > time.Minute {
			v.estrange(t)
		}
	}
	for id, a := range v.apps {
		a.turnover.forward(a.counts.busy, now)
		if a.failures == nil {
			v.drop(id)
			continue
		}
		for _, u := range a.free {
			if now.Sub(u.seat.since) > provenAfter {
				v.proven(u)
			}
		}
	}
	for token, at := range v.sent {
		if now.Sub(at) > ticket.MaxWait {
			delete(v.sent, token) // its person cannot be waiting any more
		}
	}
	v.ended.forget(now)
}
