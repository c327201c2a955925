package brain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// getSessions serves wire.SessionsPath.
func (b *Broker) getSessions(rw http.ResponseWriter, r *http.Request) {
	want, err := parseWanted(r.URL.Query())
	if err != nil {
		writeProblem(rw, wire.Problem{Type: wire.ProblemInvalid, Title: "Invalid query", Status: http.StatusUnprocessableEntity, Detail: err.Error()})
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(b.state.sessions(want))
}

// wanted says which sessions a list has.
type wanted struct {
	app, customer, after string
	states, subjects     []string // with none, all
	limit                int
}

func parseWanted(q url.Values) (wanted, error) {
	want := wanted{app: q.Get("app"), customer: q.Get("customer"), after: q.Get("after"), states: q["state"], subjects: q["subject"], limit: wire.DefaultSessions}
	if given := q.Get("limit"); given != "" {
		var err error
		if want.limit, err = strconv.Atoi(given); err != nil || want.limit < 1 || want.limit > wire.MaxSessions {
			return want, fmt.Errorf("limit has to be 1 to %d, not %.20q", wire.MaxSessions, given)
		}
	}
	if want.after != "" && !ticket.ValidSession(want.after) {
		return want, fmt.Errorf("after is no session: %.80q", want.after)
	}
	if len(want.subjects) > wire.MaxSubjectHashes {
		return want, fmt.Errorf("%d subjects are more than %d", len(want.subjects), wire.MaxSubjectHashes)
	}
	return want, nil
}

func (want wanted) takes(v wire.SessionView) bool {
	return v.Session > want.after &&
		(want.app == "" || v.App == want.app) && (want.customer == "" || v.Customer == want.customer) &&
		(len(want.states) == 0 || slices.Contains(want.states, v.State)) &&
		(len(want.subjects) == 0 || slices.Contains(want.subjects, v.Subject))
}

// sessions are those that wait at this replica or have a seat at the site, in the order of their
// ids.
func (st *state) sessions(want wanted) wire.SessionList {
	list := wire.SessionList{Sessions: st.allSessions(want)}
	slices.SortFunc(list.Sessions, func(a, b wire.SessionView) int { return cmp.Compare(a.Session, b.Session) })
	if len(list.Sessions) > want.limit {
		list.Sessions, list.More = list.Sessions[:want.limit], true
	}
	return list
}

// allSessions are in no order.
func (st *state) allSessions(want wanted) []wire.SessionView {
	st.mu.Lock()
	defer st.mu.Unlock()
	found := []wire.SessionView{}
	add := func(v wire.SessionView) {
		if want.takes(v) {
			found = append(found, v)
		}
	}
	for _, w := range st.waiters {
		add(st.waitingView(w))
	}
	for session, have := range st.view.bySession {
		if st.waiters[session] == nil && len(have) > 0 && have[0].seat.State.Busy() {
			add(st.seatView(have[0].seat.Seat))
		}
	}
	for session, r := range st.relays {
		if st.waiters[session] == nil && st.view.seatOf(session) == nil {
			add(st.relayView(session, r))
		}
	}
	return found
}

// session finds a session that waits at this replica or has a seat at the site.
// w is nil where it has a seat.
func (st *state) session(id string) (view wire.SessionView, w *waiter, seat wire.Seat, ok bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if w := st.waiters[id]; w != nil {
		return st.waitingView(w), w, seat, true
	}
	if s, ok := st.view.seatOfSession(id); ok {
		return st.seatView(s), nil, s, true
	}
	// The seat was granted a moment ago, and its node does not say so yet.
	if r, ok := st.relays[id]; ok {
		return st.relayView(id, r), nil, st.view.lastSeen(r.seat), true
	}
	return view, nil, seat, false
}

// mu is held by the callers of these.
func (st *state) waitingView(w *waiter) wire.SessionView {
	return wire.SessionView{
		Session: w.session, App: w.app, Site: st.site, State: wire.StateWaiting, Since: w.since.UTC(),
		Customer: w.claims.Customer, Subject: w.claims.Subject, Meta: w.claims.Meta,
	}
}

func (st *state) seatView(s wire.Seat) wire.SessionView {
	return wire.SessionView{
		Session: s.Session, App: s.App, Site: st.site, State: string(s.State), Seat: s.ID, Since: s.Since,
		Customer: s.Customer, Subject: s.Subject, Meta: s.Meta, Until: s.Until, Node: s.Node, Stills: s.Stills, Measured: s.Measured, Quality: s.Quality,
	}
}

func (st *state) relayView(session string, r relayedSession) wire.SessionView {
	v := wire.SessionView{
		Session: session, App: r.app, Site: st.site, State: string(wire.SeatClaimed), Seat: r.seat, Since: r.since.UTC(),
		Node: st.view.lastSeen(r.seat).Node,
	}
	if u := st.view.byAlloc[r.seat]; u != nil && u.seat != nil && u.seat.holder.Session == session {
		v.Customer, v.Subject, v.Meta = u.seat.holder.Customer, u.seat.holder.Subject, u.seat.holder.Meta
	}
	return v
}
