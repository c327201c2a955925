package brain

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/nearcast/nearcast/internal/feed"
	"github.com/nearcast/nearcast/internal/wire"
)

// state is what one replica knows: the view of nodes and Nomad, the people who
// wait here, and the sessions that are relayed here. Each method is one
// transition. It does no I/O and never blocks, so everything it reads and writes
// is consistent under one mutex. Methods whose comment says that mu is held are
// parts of a transition.
type state struct {
	site    string
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time
	started time.Time
	// newToken makes the token of a dispatch for the pool, after poolToken. No two are equal.
	newToken func() string
	// perNetwork is how many sessions of an app the anonymous people of one network may
	// have; 0 is no limit.
	perNetwork int
	// crowded reports whether more people come than can be taken in.
	crowded func() bool
	wakeup  chan struct{} // holds one item while the planner has something to look at

	mu      sync.Mutex
	view    *view
	lines   map[string]*line            // by app
	waiters map[string]*waiter          // of this replica, by session
	holders map[holder]map[*waiter]bool // of this replica, by whom they count for
	relays  map[string]relayedSession   // by session
	leading bool
	closing bool            // the people who wait go to other brains, and keep their places
	paused  bool            // Consul cannot mark tickets, so nobody is offered a seat
	offers  int             // seats that are offered and not claimed yet
	window  *window         // how many these may be
	stalled []string        // apps with free seats for which there were too many offers, the first one first
	plans   map[string]bool // apps that are to be planned
	sizes   []sized         // of the site's nodes, each once
	ports   ports
	lending lending
	came    comers
	spares  map[string]*spare // pools that are to have fewer nodes
	growths map[string]growth // pools that may get nodes, or not
	// told are the people who wait here, for the other replicas.
	told *feed.Source[wire.Waiting]
	// peers are what other replicas told of the people who wait there, by replica and session.
	peers map[string]map[string]*place
	// heard are the replicas that tell so now, and brains the keys of all others that Consul lists.
	heard       map[string]bool
	brains      []string
	brainsKnown bool
	unheard     time.Time // when one of them was not heard last
}

// relayedSession is a session whose messages are relayed here.
type relayedSession struct {
	app, seat string
	since     time.Time
}

func newState(site string, log *slog.Logger, metrics *metrics, now func() time.Time) *state {
	st := &state{
		site: site, log: log, metrics: metrics, now: now, started: now(), newToken: uuid.NewString, wakeup: make(chan struct{}, 1), view: newView(),
		lines: map[string]*line{}, waiters: map[string]*waiter{}, holders: map[holder]map[*waiter]bool{},
		relays: map[string]relayedSession{}, plans: map[string]bool{},
		window: newWindow(), told: feed.NewSource[wire.Waiting](), peers: map[string]map[string]*place{}, heard: map[string]bool{}, lending: lending{}, came: comers{at: map[string]time.Time{}}, spares: map[string]*spare{}, growths: map[string]growth{},
		crowded: func() bool { return false },
	}
	st.view.waits = func(session string) bool { return st.waiters[session] != nil }
	st.view.hears = hears{
		measured: func(app App, m wire.Measured) {
			if st.leading {
				metrics.inSession.measured(app, m)
			}
		},
		over: func(app App, q wire.Quality) {
			if st.leading {
				metrics.inSession.over(app, q)
			}
		},
		dropped: metrics.inSession.forget,
	}
	return st
}

// line is the line of an app. It is made where there is none. mu is held.
func (st *state) line(app string) *line {
	l := st.lines[app]
	if l == nil {
		l = &line{}
		st.lines[app] = l
	}
	return l
}

// nodeSaid takes what a node's feed says of its seats. all says that set are all of them.
func (st *state) nodeSaid(from node, all bool, set map[string]wire.Seat, gone []string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.view.nodeSaid(from, all, set, gone, st.now())
	st.changed()
}

// nodeMeasured takes what seats of a node measured.
func (st *state) nodeMeasured(from node, seats map[string]measured) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.view.nodeMeasured(from, seats)
}

// nodeLost notes that a node is not heard any more.
func (st *state) nodeLost(feed string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.view.nodeLost(feed, st.now())
	st.changed()
}

// seatsAreKnown notes that all nodes have been heard that are there.
func (st *state) seatsAreKnown() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.view.seatsKnown = true
	st.wake()
}

// jobsChanged takes what changed at Nomad.
func (st *state) jobsChanged(c JobsChange) {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.now()
	for _, died := range st.view.jobsChanged(c, now) {
		st.seatDied(died, now)
	}
	st.changed()
}

// timePassed does what follows from the time alone.
func (st *state) timePassed() {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.now()
	st.view.timePassed(now)
	st.came.forget(now)
	for _, s := range st.view.strangers(now) {
		child := st.view.childOf(s.Job)
		st.log.Warn("ignoring a seat that Nomad does not know, or knows on another node; Consul's and Nomad's agents of a node must have one name",
			"seat", s.ID, "app", s.App, "consul_agent", s.Node, "nomad_node", child.Node, "nomad_allocation", child.Alloc)
	}
	for id := range st.view.apps {
		st.noteNoNode(id, now)
		st.plans[id] = true
	}
	for id, l := range st.lines {
		st.tellPlaces(id, l, now)
		st.view.changed[id] = true
	}
	st.changed()
}

// changed serves the apps that have changed, and wakes the planner. It follows every
// change of the view or of the lines. mu is held.
func (st *state) changed() {
	now := st.now()
	st.bringBack(now)
	for len(st.view.changed) > 0 {
		for _, id := range st.takeChanged() {
			st.plans[id] = true
			st.noteNoNode(id, now)
			st.endNoCapacity(id, now)
			st.serve(id, now)
		}
	}
	st.wake()
}

// takeChanged takes the apps that have changed, in turn.
func (st *state) takeChanged() []string {
	ids := slices.Collect(maps.Keys(st.view.changed))
	clear(st.view.changed)
	return st.inTurn(ids)
}

// inTurn sorts apps as they are served and planned: the one whose queue begins with the
// person who waits longest comes first, and those without a queue come last. They share the
// window of offers and the room of the nodes, which thus go to who came first. mu is held.
func (st *state) inTurn(ids []string) []string {
	if len(ids) < 2 {
		return ids
	}
	type turn struct {
		id    string
		first *place // of the queue, nil where there is none
	}
	turns := make([]turn, len(ids))
	for i, id := range ids {
		turns[i].id = id
		if l := st.lines[id]; l != nil {
			turns[i].first = l.places[0]
		}
	}
	slices.SortFunc(turns, func(a, b turn) int {
		switch {
		case a.first != nil && b.first != nil:
			return cmp.Or(before(a.first, b.first), cmp.Compare(a.id, b.id))
		case a.first != nil:
			return -1
		case b.first != nil:
			return 1
		}
		return cmp.Compare(a.id, b.id)
	})
	for i, t := range turns {
		ids[i] = t.id
	}
	return ids
}

func (st *state) wake() {
	select {
	case st.wakeup <- struct{}{}:
	default:
	}
}

// known reports whether the seats of all nodes are known, and Nomad has answered.
func (st *state) known() (consul, nomad bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.view.seatsKnown, st.view.jobsKnown
}

// close has the other brains keep the places of the people who are sent there.
func (st *state) close() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.closing = true
}

func (st *state) setLeading(leading bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.leading = leading
	st.metrics.leading(leading)
	st.wake()
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
