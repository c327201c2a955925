package brain

import (
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// state is what one replica knows: the view of Consul and Nomad, the people who
// wait here, and the sessions that are relayed here. Each method is one
// transition. It does no I/O and never blocks, so everything it reads and writes
// is consistent under one mutex. Methods whose comment says that mu is held are
// parts of a transition.
type state struct {
	site    string
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time
	// perNetwork is how many sessions of an app the anonymous people of one network may
	// have; 0 is no limit.
	perNetwork int
	wakeup     chan struct{} // holds one item while the planner has something to look at

	mu      sync.Mutex
	view    *view
	queues  map[string]queue          // by app
	waiters map[string]*waiter        // by session
	relays  map[string]relayedSession // by session
	leading bool
	// deadSince is when the end of a child was told, by child, while it is kept.
	deadSince map[string]time.Time
	paused    bool // Consul cannot mark tickets, so nobody is offered a seat
	// peerQueues is how many people wait at the other replicas, by replica and
	// app, while this one leads.
	peerQueues map[string]map[string]int
}

// relayedSession is a session whose messages are relayed here.
type relayedSession struct {
	app, seat string
	since     time.Time
}

func newState(site string, log *slog.Logger, metrics *metrics, now func() time.Time) *state {
	return &state{
		site: site, log: log, metrics: metrics, now: now, wakeup: make(chan struct{}, 1), view: newView(),
		queues: map[string]queue{}, waiters: map[string]*waiter{}, relays: map[string]relayedSession{},
		deadSince: map[string]time.Time{}, peerQueues: map[string]map[string]int{},
	}
}

// seatsChanged takes all seats from Consul.
func (st *state) seatsChanged(seats []wire.Seat) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.view.setSeats(seats, st.now())
	st.changed()
}

// endKept is how long the end of a child is kept, for a person who comes back and
// asks for their seat.
const endKept = 5 * time.Minute

// jobsChanged takes what changed at Nomad.
func (st *state) jobsChanged(change JobsChange) {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.now()
	for _, child := range st.view.setJobs(st.merged(change, now), now) {
		st.seatDied(child, now)
	}
	for _, q := range st.queues {
		st.endNoCapacity(q, now)
	}
	st.changed()
}

// merged is the view's apps and children with a change. mu is held.
func (st *state) merged(change JobsChange, now time.Time) Jobs {
	jobs := Jobs{Apps: map[string]App{}, Children: map[string]Child{}}
	if !change.All {
		maps.Copy(jobs.Apps, st.view.jobs.Apps)
		maps.Copy(jobs.Children, st.view.jobs.Children)
	}
	maps.Copy(jobs.Apps, change.Apps)
	maps.Copy(jobs.Children, change.Children)
	for _, id := range change.GoneApps {
		delete(jobs.Apps, id)
	}
	for _, id := range change.GoneChildren {
		delete(jobs.Children, id)
	}
	for id, child := range change.Children {
		if child.State == ChildDead {
			st.deadSince[id] = now
		}
	}
	for id, since := range st.deadSince {
		switch child, ok := jobs.Children[id]; {
		case !ok || child.State != ChildDead:
			delete(st.deadSince, id)
		case now.Sub(since) > endKept:
			delete(st.deadSince, id)
			delete(jobs.Children, id)
		}
	}
	return jobs
}

// timePassed does what follows from the time alone.
func (st *state) timePassed() {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.now()
	st.view.timePassed(now)
	for _, s := range st.view.strangers(now) {
		child := st.view.jobs.Children[s.Job]
		st.log.Warn("ignoring a seat that Nomad does not know, or knows on another node; Consul's and Nomad's agents of a node must have one name",
			"seat", s.ID, "app", s.App, "consul_agent", s.Node, "nomad_node", child.Node, "nomad_allocation", child.Alloc)
	}
	for id, q := range st.queues {
		st.endNoCapacity(q, now)
		st.serve(id, q, now)
	}
}

// changed offers seats, updates people and wakes the planner. It follows every
// change of the view or of the queues. mu is held.
func (st *state) changed() {
	now := st.now()
	for app, q := range st.queues {
		st.serve(app, q, now)
	}
	st.wake()
}

func (st *state) wake() {
	select {
	case st.wakeup <- struct{}{}:
	default:
	}
}

// known reports whether Consul and Nomad have answered.
func (st *state) known() (consul, nomad bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.view.seatsKnown, st.view.jobsKnown
}

func (st *state) setLeading(leading bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.leading = leading
	st.metrics.leading(leading)
	st.wake()
}

func (st *state) setPeerQueues(counts map[string]map[string]int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.peerQueues = counts
}

// session finds a session that waits at this replica or has a seat at the site.
// w is nil where it has a seat.
func (st *state) session(id string) (view wire.SessionView, w *waiter, seat wire.Seat, ok bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	view = wire.SessionView{Session: id, Site: st.site}
	if w := st.waiters[id]; w != nil {
		view.App, view.State, view.Since = w.app, "waiting", w.since.UTC()
		return view, w, seat, true
	}
	if s, ok := st.view.seatOfSession(id); ok {
		view.App, view.State, view.Seat, view.Since = s.App, string(s.State), s.ID, s.Since
		return view, nil, s, true
	}
	// The seat was granted a moment ago, and Consul does not say so yet.
	if r, ok := st.relays[id]; ok {
		view.App, view.State, view.Seat, view.Since = r.app, string(wire.SeatClaimed), r.seat, r.since.UTC()
		return view, nil, st.view.lastSeen(r.seat), true
	}
	return view, nil, seat, false
}

func (st *state) beginRelay(session string, r relayedSession) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.relays[session] = r
	st.metrics.sessions.Set(float64(len(st.relays)))
}

// endRelay forgets a relay, unless the session has gone on to another seat.
func (st *state) endRelay(session, seat string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.relays[session].seat == seat {
		delete(st.relays, session)
	}
	st.metrics.sessions.Set(float64(len(st.relays)))
}

// locate says what is known of a seat.
func (st *state) locate(seat string) seatLocation {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.view.locate(seat)
}
