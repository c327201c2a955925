package brain

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// chaos simulates a site in one goroutine, with a clock of its own: the states of
// replicas, without sockets; a Nomad and a Consul whose changes reach each replica
// late, in any order and several at a time; seats that die at any moment; and
// people that come, leave and change brains. A seed decides what happens next.
type chaos struct {
	t      *testing.T
	r      *rand.Rand
	now    time.Time
	calm   bool // nothing fails any more, and no more people come
	doomed bool // no seat serves
	nodes  int  // how many seats the nodes have capacity for
	apps   map[string]App

	children []*simChild
	tokens   map[string]*simChild
	replicas []*simReplica
	people   []*simPerson
	kills    int
	doing    []func() // calls that have begun and not returned
	served   int
	roomy    bool // the nodes always have capacity
	hoverers int  // of a hundred people, those whose pointer rests on Play first

	logs  bool // trace is kept
	trace []string

	dying  int // of 100 seats, those that die when they start
	deaths int // of 100 times at which a replica may die
	pace   int // how much time passes in a step, as a multiple

	claiming
	fetching
}

const game = "game"

// simChild is a child as it really is.
type simChild struct {
	Child
	seat   wire.Seat
	seen   bool // Consul shows its seat
	had    bool // a session has claimed it
	served bool // a person knows that it is theirs
	used   map[string]bool
	tries  map[string]uint64
	dies   time.Time
	died   time.Time
	lent   string // the session whose person has not pressed Play
	lentAt time.Time
	fetch  time.Duration // how long it fetches its content
	former bool          // it does not stop to
}

// simReplica is a replica's state, and what the simulation knows about it.
type simReplica struct {
	*state
	id      string
	acting  int // orders without an answer
	ticked  time.Time
	deaf    time.Time // it hears nothing of Nomad before
	heard   map[string]ChildState
	told    map[string]Child // what it was told last
	until   time.Time        // it must not dispatch before
	fails   int
	version uint64
}

// simPerson is a person.
type simPerson struct {
	session string
	asks    uint64
	at      *simReplica
	w       *waiter
	gone    bool
	hovers  bool // they have not pressed Play
	twin    bool // a socket of theirs that is lost, which its brain has not noticed
	came    time.Time

	waited     *waiter   // by which they wait
	waitsSince time.Time // without an interruption
}

func newChaos(t *testing.T, seed uint64, replicas int, app App) *chaos {
	c := &chaos{t: t, r: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_000_000, 0), nodes: 100,
		apps: map[string]App{app.ID: app}, tokens: map[string]*simChild{}, hoverers: 30, dying: 30, deaths: 20, pace: 1, claiming: newClaiming(), fetching: newFetching(), logs: *stepsFlag}
	t.Cleanup(c.sayHow)
	for i := range replicas {
		m := &simReplica{id: fmt.Sprint("b", i)}
		c.replicas = append(c.replicas, m)
		c.boot(m)
	}
	c.listBrains()
	c.replicas[0].setLeading(true)
	return c
}

// listBrains tells each replica of the others that there are.
func (c *chaos) listBrains() {
	for _, m := range c.replicas {
		var others []string
		for _, o := range c.replicas {
			if o != m {
				others = append(others, o.id)
			}
		}
		m.brainsAre(others)
	}
}

// boot starts a replica that knows nothing.
func (c *chaos) boot(m *simReplica) {
	m.state = newState("dc1", slog.New(slog.DiscardHandler), newMetrics(nil), func() time.Time { return c.now })
	m.newToken = func() string { return fmt.Sprintf("%016x", c.r.Uint64()) }
	m.heard, m.told = nil, nil
	m.until, m.fails, m.version = time.Time{}, 0, 0
	c.listBrains()
	c.tellNomad(m)
	c.tellConsul(m)
}

func (c *chaos) chance(percent int) bool { return c.r.IntN(100) < percent }

func (c *chaos) fail(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("after %v: "+format, append([]any{c.now.Sub(time.Unix(1_000_000, 0))}, args...)...)
}

func (c *chaos) later(fn func()) { c.doing = append(c.doing, fn) }

// tellNomad gives a replica Nomad's current state. It also computes, independently
// of the replica, until when the replica must not dispatch.
func (c *chaos) tellNomad(m *simReplica) {
	first := m.heard == nil
	change := JobsChange{All: first, Apps: maps.Clone(c.apps), Children: map[string]Child{}}
	if first {
		m.heard = map[string]ChildState{}
		m.told = map[string]Child{}
	}
	for _, f := range c.children {
		if told, ok := m.told[f.ID]; !ok || told != f.Child {
			m.told[f.ID] = f.Child
			change.Children[f.ID] = f.Child
		}
		before, known := m.heard[f.ID]
		m.heard[f.ID] = f.State
		if f.State == ChildDead && !first && (!known || before != ChildDead) && f.End.Failed() && !f.served && !f.had &&
			f.Version == c.apps[game].Version {
			m.failed(c.now, f.Version)
		}
	}
	m.jobsChanged(change)
}

func (m *simReplica) failed(now time.Time, version uint64) {
	if m.version != version {
		m.version, m.fails, m.until = version, 0, time.Time{}
	}
	if now.Before(m.until) {
		return
	}
	m.fails++
	m.until = now.Add(min(time.Second<<min(m.fails-1, 6), time.Minute))
}

func (c *chaos) tellConsul(m *simReplica) {
	var seats []wire.Seat
	for _, f := range c.children {
		if f.seen && (f.died.IsZero() || c.now.Sub(f.died) < 10*time.Second) {
			seats = append(seats, f.seat)
		}
	}
	m.seatsChanged(seats)
}

func (c *chaos) live() (out []string) {
	for _, f := range c.children {
		if f.State != ChildDead {
			out = append(out, f.ID)
		}
	}
	return out
}

// start is a dispatch at Nomad.
func (c *chaos) start(o order) *simChild {
	if f := c.tokens[o.token]; f != nil {
		return f
	}
	n := len(c.children)
	f := &simChild{Child: Child{ID: fmt.Sprintf("%s/dispatch-v%d-%04d", game, o.app.Version, n), App: game, Version: o.app.Version,
		Token: o.token, Created: c.now}}
	if c.doomed || !c.calm && c.chance(c.dying) {
		f.dies = c.now.Add(time.Duration(c.r.IntN(1500)) * time.Millisecond)
	}
	c.begins(f)
	c.children = append(c.children, f)
	c.tokens[o.token] = f
	if len(c.replicas) == 1 && len(c.live()) > c.apps[game].Max {
		c.fail("%d seats, max is %d", len(c.live()), c.apps[game].Max)
	}
	return f
}

// die ends a child. Half of the dead seats stay in Consul for a while, as those
// do that do not deregister.
func (c *chaos) die(f *simChild, end wire.End) {
	if f.State != ChildDead {
		f.State, f.End, f.Why, f.died = ChildDead, &end, "", c.now
		f.seen = f.seen && c.chance(50)
	}
}

func (f *simChild) become(state wire.SeatState, now time.Time) {
	f.seat = wire.Seat{ID: f.Alloc, App: game, Job: f.ID, Version: f.Version, Node: f.Node, Address: "x", State: state, Since: now}
	f.seen, f.lent = true, ""
}

// progress takes a child one step further.
func (c *chaos) progress(f *simChild) {
	placed := 0
	for _, o := range c.children {
		if o.State != ChildDead && o.Alloc != "" {
			placed++
		}
	}
	switch {
	case f.State == ChildDead:
		f.seen = false
	case !f.dies.IsZero() && !c.now.Before(f.dies) && f.Alloc != "":
		c.die(f, wire.End{Reason: wire.ReasonAppExited, ExitCode: 1})
	case f.Alloc == "" && placed >= c.nodes:
		f.State, f.Why = ChildBlocked, "memory is used up"
	case f.Alloc == "":
		f.Alloc, f.Node, f.State, f.Why = "alloc-"+f.ID, fmt.Sprint("node-", c.r.IntN(3)), ChildPending, ""
	case f.State == ChildPending:
		f.State = ChildRunning
	case f.seat.State == "":
		f.become(wire.SeatStarting, c.now)
	case f.seat.State == wire.SeatStarting && c.fetches(f):
	case f.seat.State == wire.SeatStarting:
		f.become(wire.SeatIdle, c.now)
	case f.lent != "" && (c.now.Sub(f.lentAt) > wire.PrepareFor || c.chance(10)): // or its attachment is lost
		f.unlend(f.lent)
	case f.seat.State == wire.SeatClaimed && !f.served && c.now.Sub(f.seat.Since) > simLease:
		c.lapsed[f.seat.Session] = true
		f.become(wire.SeatIdle, c.now)
	case f.served && (c.calm || c.chance(10) && f.dies.IsZero()):
		c.die(f, wire.End{Reason: wire.ReasonLeft})
	}
}

func (c *chaos) act(m *simReplica) {
	if m.acting > 0 {
		return
	}
	d := m.decide()
	c.logDecision(m, d)
	if c.doomed && m.fails > 0 && len(d.orders) > 1 {
		c.fail("%s dispatched %d at once after %d failures", m.id, len(d.orders), m.fails)
	}
	for _, o := range d.orders {
		if c.now.Before(m.until) && m.version == o.app.Version && c.doomed {
			c.fail("%s dispatched %v before the back-off after %d failures ended", m.id, m.until.Sub(c.now), m.fails)
		}
		if o.w != nil {
			i := slices.IndexFunc(c.people, func(s *simPerson) bool { return s.w == o.w })
			if s := c.people[i]; s.gone || s.at != m || o.w.ended {
				c.fail("%s dispatched for %s, who left or has an outcome", m.id, s.session)
			}
		}
		m.acting++
		c.later(func() { c.carryOut(m, o) })
	}
	for _, id := range d.stop {
		c.later(func() { c.stopped(id) })
	}
	for _, app := range d.ask {
		c.later(func() { m.settle(app, c.live()) })
	}
	for _, seat := range d.unload {
		c.unload(m, seat)
	}
	for _, seat := range d.retire {
		c.later(func() {
			for _, f := range c.children {
				if f.Alloc == seat.ID && f.State != ChildDead && f.seat.State == wire.SeatIdle {
					c.die(f, wire.End{Reason: wire.ReasonRetired})
				}
			}
		})
	}
}

func (c *chaos) carryOut(m *simReplica, o order) {
	err := error(nil)
	if !c.calm && c.chance(5) {
		err = errors.New("no leader")
	}
	if err != nil && (len(c.replicas) == 1 || c.chance(50)) {
		c.later(func() { c.answer(m, o, nil, err) })
		return
	}
	f := c.start(o)
	c.later(func() { c.answer(m, o, f, err) })
}

func (c *chaos) answer(m *simReplica, o order, f *simChild, err error) {
	m.acting--
	child := ""
	if err == nil {
		child = f.ID
	} else {
		m.failed(c.now, o.app.Version)
	}
	if m.dispatched(o, child, err) {
		c.later(func() {
			if tooMany(c.live(), child, o.app.Max) {
				c.stopped(child)
			}
		})
	}
}

func (c *chaos) stopped(id string) {
	for _, f := range c.children {
		if f.ID == id {
			c.die(f, wire.End{Reason: wire.ReasonDrained})
		}
	}
}

func (c *chaos) arrive() {
	s := &simPerson{session: fmt.Sprint("s-", len(c.people)), at: c.replicas[c.r.IntN(len(c.replicas))], came: c.now}
	if c.chance(20) {
		s.asks = c.apps[game].Version
	}
	c.people = append(c.people, s)
	if !c.doomed && c.chance(c.hoverers) {
		c.hover(s)
		return
	}
	c.enter(s)
}

func (c *chaos) enter(s *simPerson) {
	s.hovers = false
	if s.at.admissible(ticket.Claims{Session: s.session, App: game, Version: s.asks}) != nil {
		c.fate[s.session] = "told why not"
		s.gone, s.w = true, nil
		return
	}
	s.w = newWaiter(ticket.Claims{Session: s.session, App: game, Version: s.asks, First: s.came, Expires: c.now.Add(time.Hour)}, "", c.now)
	s.at.enqueue(s.w)
}

// look has a person read what the replica sent.
func (c *chaos) look(s *simPerson) {
	if s.hovers {
		c.lookHovering(s)
		return
	}
	// A brain's goroutine takes what it finds first, and so does the person here: by the seed.
	var ready []func() (done bool)
	if len(s.w.offers) > 0 {
		ready = append(ready, func() bool { c.lookAtOffer(s); return true })
	}
	if len(s.w.outcome) > 0 {
		ready = append(ready, func() bool { c.lookAtOutcome(s); return true })
	}
	if len(s.w.updates) > 0 {
		ready = append(ready, func() bool {
			c.log("%s hears of %s: %v", s.session, s.at.id, asText(<-s.w.updates))
			return false
		})
	}
	if len(ready) > 0 && ready[c.r.IntN(len(ready))]() {
		return
	}
	if !c.calm && (s.w.seat == "" || c.chance(20)) {
		switch c.r.IntN(40) {
		case 0: // the person leaves
			c.leaves(s)
		case 1: // the socket breaks, and the person connects to any brain
			s.at.leave(s.w)
			s.at = c.replicas[c.r.IntN(len(c.replicas))]
			c.enter(s)
		case 3: // the same, and the brain does not notice
			c.comeTwice(s)
		case 2:
			s.at.renew(s.w, s.w.claims, "renewed")
		}
	}
}

func (c *chaos) leaves(s *simPerson) {
	c.fate[s.session] = "left"
	s.gone = true
	s.at.leave(s.w)
}

func (c *chaos) lookAtOffer(s *simPerson) {
	w, seat := s.w, <-s.w.offers
	c.log("%s is offered %s by %s", s.session, seat.ID, s.at.id)
	c.later(func() {
		if s.w == w && !s.gone { // else the brain has died, or the person has left
			c.claim(s, seat)
		}
	})
}

func (c *chaos) lookAtOutcome(s *simPerson) {
	o := <-s.w.outcome
	c.log("%s has the outcome %d of %s: %v", s.session, o.code, s.at.id, asText(o.message))
	if o.code != wire.CloseReplaced {
		c.fate[s.session] = "told why not"
	}
	s.gone = true
	s.at.leave(s.w)
}

// step does one thing.
func (c *chaos) step() {
	c.now = c.now.Add(time.Duration(c.pace*c.r.IntN(60)) * time.Millisecond)
	c.follow()
	for _, m := range c.replicas {
		if c.now.Sub(m.ticked) >= planEvery {
			m.ticked = c.now
			m.setPaused(false)
			m.timePassed()
			if c.chance(50) {
				c.tellPeers(m)
			}
			c.act(m)
		}
	}
	m := c.replicas[c.r.IntN(len(c.replicas))]
	k := c.r.IntN(100)
	c.log("step %d at %s", k, m.id)
	defer c.logState(m)
	switch {
	case k < 15:
		if c.calm || c.now.After(m.deaf) {
			c.tellNomad(m)
		}
	case k < 28:
		c.tellConsul(m)
	case k < 29 && !c.calm:
		m.nodeLost(fmt.Sprint("node-", c.r.IntN(3)))
	case k < 36:
		c.tellPeers(m)
	case k < 45:
		c.act(m)
	case k < 60:
		if n := len(c.doing); n > 0 {
			i := c.r.IntN(n)
			fn := c.doing[i]
			c.doing = slices.Delete(c.doing, i, i+1)
			fn()
		}
	case k < 75:
		if n := len(c.children); n > 0 {
			c.progress(c.children[max(0, n-1-c.r.IntN(12))]) // older children are dead or serve
			c.progress(c.children[c.r.IntN(n)])
		}
	case k < 90:
		if n := len(c.people); n > 0 {
			for range 4 {
				if s := c.people[max(0, n-1-c.r.IntN(8))]; !s.gone && s.w != nil {
					c.look(s)
				}
			}
		}
	case c.calm:
	case k < 94:
		if c.chance(30) {
			c.arrive()
		}
	case k < 95:
		for _, o := range c.replicas {
			o.setLeading(o == m)
		}
	case k < 96:
		m.deaf = c.now.Add(time.Duration(c.r.IntN(70)) * time.Second)
	case k < 97 && !c.doomed && c.chance(10):
		app := c.apps[game]
		app.Version++
		c.apps = map[string]App{game: app}
	case k < 98 && !c.roomy && c.chance(20):
		c.nodes = c.r.IntN(8)
	case k < 99 && len(c.replicas) > 1 && c.chance(c.deaths):
		c.kill(m)
	}
	if c.chance(5) {
		for _, m := range c.replicas {
			if wrong := m.inconsistent(); wrong != "" {
				c.fail("%s: %s", m.id, wrong)
			}
		}
	}
}

// kill ends a replica with all that it knows. Its people connect to any other, and it
// starts again.
func (c *chaos) kill(m *simReplica) {
	c.kills++
	leading := m.leading
	c.boot(m)
	c.unlink(m)
	for _, o := range c.replicas {
		if o == m {
			continue
		}
		o.lineLost(m.id)
		if leading {
			o.setLeading(true)
			leading = false
		}
	}
	for _, s := range c.people {
		if s.gone || s.at != m {
			continue
		}
		for s.at == m {
			s.at = c.replicas[c.r.IntN(len(c.replicas))]
		}
		c.enter(s)
	}
}

// settle lets time pass and all calls return, until ok.
func (c *chaos) settle(within time.Duration, ok func() bool) bool {
	c.calm, c.doomed = true, false
	end := c.now.Add(within)
	for c.now.Before(end) {
		for _, f := range c.children {
			c.progress(f)
		}
		for _, s := range c.people {
			if !s.gone && s.w != nil {
				c.look(s)
			}
		}
		for range 20 {
			c.step()
		}
		if ok() {
			return true
		}
	}
	return false
}

// TestChaos looks for an order of events in which a replica does what it must not.
func TestChaos(t *testing.T) {
	t.Parallel()
	seeds := uint64(50)
	if testing.Short() {
		seeds = 20
	}
	nobody := 0
	for seed := range seeds {
		for _, replicas := range []int{1, 2, 3} {
			t.Run(fmt.Sprintf("%d replicas, seed %d", replicas, seed), func(t *testing.T) {
				c := newChaos(t, seed, replicas, App{ID: game, Version: 1, Warm: int(seed % 3), Max: 2 + int(seed%5)})
				for range 4000 {
					c.step()
				}
				c.calmDown()
				if c.served == 0 {
					nobody++ // the nodes may have no capacity, or Nomad may tell nothing
				}
			})
		}
	}
	if nobody > int(seeds)/10 {
		t.Errorf("nobody was served in %d of %d runs", nobody, 3*seeds)
	}
}

// show is what lives, and what the leader knows of it.
func (c *chaos) show() (out []string) {
	for _, f := range c.children {
		if f.State == ChildDead {
			continue
		}
		out = append(out, fmt.Sprintf("%s: %v, %s of %q since %v, had %v, served %v", f.ID, f.State, f.seat.State, f.seat.Session, f.seat.Since, f.had, f.served))
		for _, m := range c.replicas {
			if u := m.view.units[f.ID]; u != nil && u.seat != nil {
				out = append(out, fmt.Sprintf("%s (leads: %v) knows %+v, %+v", m.id, m.leading, *u.seat, u.spot))
			}
		}
	}
	return out
}

// calmDown checks that everybody is served and the pool is right once nothing
// fails any more.
func (c *chaos) calmDown() {
	c.t.Helper()
	c.nodes = 100
	waiting := func() (n int) {
		for _, s := range c.people {
			if !s.gone {
				n++
			}
		}
		return n
	}
	if !c.settle(15*time.Minute, func() bool { return waiting() == 0 && len(c.doing) == 0 }) {
		c.fail("%d people still wait; %d calls have not returned; live %v; pending %+v", waiting(), len(c.doing), c.live(), c.replicas[0].view.pending)
	}
	for _, s := range c.people {
		if c.fate[s.session] == "" {
			c.fail("%s was forgotten", s.session)
		}
	}
	app := c.apps[game]
	if !c.settle(15*time.Minute, func() bool {
		idle := 0
		for _, f := range c.children {
			if f.State != ChildDead && f.seat.State == wire.SeatIdle && f.lent == "" && f.Version == app.Version {
				idle++
			}
		}
		return idle == app.Warm && len(c.live()) == app.Warm
	}) {
		c.fail("the pool must be %d; live %v", app.Warm, c.show())
	}
}

// TestChaosOfFailures has every seat die within a second and a half of its start,
// seen or unseen, while an older seat goes on serving.
func TestChaosOfFailures(t *testing.T) {
	t.Parallel()
	seeds := uint64(60)
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c := newChaos(t, seed, 1+int(seed%3), App{ID: game, Version: 1, Warm: 1, Max: 6})
			if seed%2 == 0 {
				old := c.start(order{app: App{ID: game, Version: seed / 2 % 2}, token: poolToken + "old"})
				old.Alloc, old.State, old.served, old.dies = "alloc-old", ChildRunning, true, c.now.Add(time.Hour)
				old.become(wire.SeatStreaming, c.now)
				for _, m := range c.replicas {
					c.tellNomad(m)
					c.tellConsul(m)
				}
			}
			c.doomed = true
			begin := c.now
			for c.now.Sub(begin) < 4*time.Minute {
				c.step()
			}
			if n := len(c.children); n < 3 {
				c.fail("only %d seats were dispatched", n)
			}
			c.calmDown()
		})
	}
}

// TestUnneededBlockedChild has all people leave while no node has capacity.
func TestUnneededBlockedChild(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c := newChaos(t, seed, 2, App{ID: game, Version: 1, Max: 6})
			c.nodes = int(seed % 3)
			for range 300 {
				c.step()
				c.nodes = int(seed % 3)
			}
			within := time.Minute
			if c.kills > 0 {
				within += maxBlocked // nobody knows any more for whom it was
			}
			// Every second time, one replica dies with its state.
			if seed%2 == 0 {
				within += maxBlocked
				dead := c.replicas[1]
				c.replicas = c.replicas[:1]
				c.listBrains()
				c.replicas[0].setLeading(true)
				c.doing = nil
				c.replicas[0].acting = 0
				for _, s := range c.people {
					s.gone = s.gone || s.at == dead
				}
			}
			for _, s := range c.people {
				if !s.gone {
					s.gone = true
					s.at.leave(s.w)
				}
			}
			if !c.settle(within, func() bool {
				return !slices.ContainsFunc(c.children, func(f *simChild) bool { return f.State == ChildBlocked })
			}) {
				c.fail("a child without a waiting person is still blocked")
			}
		})
	}
}
