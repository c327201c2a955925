package brain

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// view is what Consul and Nomad say, put together, and what their changes say
// beyond that. Only its own methods read its tables. state.mu guards it.
type view struct {
	jobs       Jobs
	seats      map[string]wire.Seat // by seat, which is its allocation
	jobsKnown  bool
	seatsKnown bool
	jobsAt     time.Time // when Nomad was heard last

	sharedAgent string // see Config

	seatTracks  map[string]*seatTrack  // by seat, from its first record until Nomad has forgotten its child
	childTracks map[string]*childTrack // by child, while Nomad knows it
	// pending are this replica's dispatches that Nomad's events have not shown
	// yet, by token.
	pending map[string]pendingDispatch
	// sent are the tokens of this replica's dispatches for people, until their
	// children are dead. So a child still counts as this replica's when its person
	// has left.
	sent map[string]time.Time

	failures       map[string]*backOff   // by app
	coldStarts     map[string]*durations // from dispatch to idle, by app
	sessionLengths map[string]*durations // by app
}

func newView() *view {
	return &view{
		seats: map[string]wire.Seat{}, seatTracks: map[string]*seatTrack{}, childTracks: map[string]*childTrack{},
		pending: map[string]pendingDispatch{}, sent: map[string]time.Time{},
		failures: map[string]*backOff{}, coldStarts: map[string]*durations{}, sessionLengths: map[string]*durations{},
	}
}

func (v *view) known() bool { return v.jobsKnown && v.seatsKnown }

func (v *view) app(id string) (App, bool) {
	app, ok := v.jobs.Apps[id]
	return app, ok
}

// apps are all apps that Nomad has. The caller must not change the map.
func (v *view) apps() map[string]App { return v.jobs.Apps }

// planned are the apps that need a plan: those that Nomad has, and those that
// have seats still.
func (v *view) planned() map[string]App {
	out := make(map[string]App, len(v.jobs.Apps))
	maps.Copy(out, v.jobs.Apps)
	for _, s := range v.seats {
		if _, ok := out[s.App]; !ok {
			out[s.App] = App{ID: s.App}
		}
	}
	return out
}

// setSeats takes all seats from Consul.
func (v *view) setSeats(list []wire.Seat, now time.Time) {
	first := !v.seatsKnown
	v.seatsKnown = true
	for _, t := range v.seatTracks {
		t.present = false
	}
	v.seats = make(map[string]wire.Seat, len(list))
	for _, s := range list {
		v.seats[s.ID] = s
		t := v.seatTracks[s.ID]
		if t == nil {
			t = &seatTrack{}
			v.seatTracks[s.ID] = t
		}
		if t.since.IsZero() || t.last.State != s.State || !t.last.Since.Equal(s.Since) {
			t.since = now
		}
		t.last, t.present = s, true
		if (s.State.Free() || s.State.Busy()) && t.ready.IsZero() {
			t.ready = now
			if child := v.childTracks[s.Job]; child != nil && !child.seen.IsZero() {
				sample(v.coldStarts, s.App, now.Sub(child.seen))
			}
		}
		switch {
		case s.State.Busy() && t.busySince.IsZero():
			t.busySince = now
			if first && s.Since.Before(now) {
				t.busySince = s.Since // the best estimate there is
			}
			if v.live(s) {
				v.proven(s)
			}
		case s.State.Free():
			t.busySince = time.Time{}
		}
	}
	v.forget()
}

// setJobs takes all apps and children from Nomad, and returns the children that
// have died since.
func (v *view) setJobs(jobs Jobs, now time.Time) (died []Child) {
	before, known := v.jobs.Children, v.jobsKnown
	v.jobs, v.jobsKnown = jobs, true
	tokens := map[string]string{} // by child
	for token, d := range v.pending {
		if d.child != "" {
			tokens[d.child] = token
		}
	}
	for id, child := range jobs.Children {
		track := v.childTracks[id]
		if track == nil {
			track = &childTrack{}
			v.childTracks[id] = track
			if known {
				track.seen = now
			}
			// The event may come before Dispatch has returned the child's id. The
			// token is known in any case.
			token := cmp.Or(tokens[id], child.Token)
			if d, ok := v.pending[token]; ok {
				track.seen = d.at
				delete(v.pending, token)
			}
		}
		switch was, seen := before[id]; {
		case child.State != ChildDead:
		case seen && was.State != ChildDead:
			died = append(died, child)
		case !seen && known && child.Created.After(v.jobsAt.Add(-lookBehind)):
			died = append(died, child) // dispatched and dead between two looks at Nomad
		}
		switch {
		case child.State == ChildDead:
			delete(v.sent, child.Token)
			track.blocked = time.Time{}
		case child.State != ChildBlocked:
			track.blocked = time.Time{}
		case track.blocked.IsZero():
			track.blocked = now
		}
	}
	v.jobsAt = now
	slices.SortFunc(died, func(a, b Child) int { return cmp.Compare(a.ID, b.ID) })
	for _, child := range died {
		if t := v.seatTracks[child.Alloc]; t != nil && !t.busySince.IsZero() {
			sample(v.sessionLengths, child.App, now.Sub(t.busySince))
		}
	}
	v.forget()
	return died
}

// lookBehind is how much older than the last look at Nomad an unseen child may
// be: clocks differ, and events are late. An older child was dead before this
// replica started.
const lookBehind = time.Minute

// timePassed does what follows from the time alone.
func (v *view) timePassed(now time.Time) {
	for id, s := range v.seats {
		if s.State.Free() && v.live(s) && now.Sub(v.seatTracks[id].since) > provenAfter {
			v.proven(s)
		}
	}
	for token, at := range v.sent {
		if now.Sub(at) > ticket.MaxWait {
			delete(v.sent, token) // its person cannot be waiting any more
		}
	}
}

// forget drops what neither Consul nor Nomad has any more.
func (v *view) forget() {
	if !v.known() {
		return
	}
	for seat, t := range v.seatTracks {
		if _, ok := v.jobs.Children[t.last.Job]; !ok && !t.present {
			delete(v.seatTracks, seat)
		}
	}
	for child := range v.childTracks {
		if _, ok := v.jobs.Children[child]; !ok {
			delete(v.childTracks, child)
		}
	}
}

// proven forgets an app's failures because of a seat that works. The seat must
// have the same version, and must have come up after the last failure: an
// earlier seat does not show how seats start now.
func (v *view) proven(s wire.Seat) {
	f, t := v.failures[s.App], v.seatTracks[s.ID]
	if f != nil && t != nil && f.version == seatVersion(s) && t.ready.After(f.last) {
		delete(v.failures, s.App)
	}
}

// live reports whether the seat lives, as far as Nomad knows.
func (v *view) live(s wire.Seat) bool {
	child, ok := v.jobs.Children[s.Job]
	return !ok || child.State != ChildDead
}

// genuine reports whether Nomad knows the seat, on the node whose Consul agent told of
// it. Anything else that says it is a seat is offered to nobody: who has a node's token
// for Consul could catch people with it.
func (v *view) genuine(s wire.Seat) bool {
	child, ok := v.jobs.Children[s.Job]
	return ok && child.State != ChildDead && child.App == s.App && child.Alloc == s.ID &&
		(child.Node == s.Node || v.sharedAgent != "" && v.sharedAgent == s.Node)
}

// strangerAfter is how long Nomad's events may take to show what a seat says of itself.
const strangerAfter = 10 * time.Second

// strangers are the free seats that are not genuine. Each is named once.
func (v *view) strangers(now time.Time) (out []wire.Seat) {
	for id, s := range v.seats {
		t := v.seatTracks[id]
		if s.State.Free() && !t.named && now.Sub(t.since) > strangerAfter && v.known() && !v.genuine(s) {
			t.named = true
			out = append(out, s)
		}
	}
	return out
}

// served reports whether a seat served somebody before it died.
func (v *view) served(seat string) bool {
	t := v.seatTracks[seat]
	return t != nil && !t.busySince.IsZero()
}

// seatOfSession is the seat that Consul shows with a session.
func (v *view) seatOfSession(session string) (wire.Seat, bool) {
	for _, s := range v.seats {
		if s.Session == session && s.State != wire.SeatIdle {
			return s, true
		}
	}
	return wire.Seat{}, false
}

// lastSeen is a seat's last record, the zero value where there was none.
func (v *view) lastSeen(seat string) wire.Seat {
	if t := v.seatTracks[seat]; t != nil {
		return t.last
	}
	return wire.Seat{}
}

// locate says what is known of a seat.
func (v *view) locate(seat string) seatLocation {
	out := seatLocation{settled: v.known()}
	// A seat that has left Consul may still live at its last address.
	if t := v.seatTracks[seat]; t != nil {
		out.seat, out.running = t.last, t.present
	}
	for _, child := range v.jobs.Children {
		if child.Alloc != seat {
			continue
		}
		if out.running = child.State != ChildDead; !out.running {
			end := child.ended()
			out.end = &end
		}
		break
	}
	return out
}
