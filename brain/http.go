package brain

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// Handler serves
//
//	GET    /v1/connect        the WebSocket
//	GET    /v1/sessions/{id}  wire.SessionView
//	DELETE /v1/sessions/{id}  ends the session: 204
//	GET    /v1/queues         how many people wait here, by app; for other brains
//	GET    /healthz           200 once Consul and Nomad were heard, else 503
//
// A session's id is 128 random bits that only its person was told: who knows
// the id may look and end.
func (b *Broker) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/connect", b.connect)
	mux.HandleFunc("GET /v1/sessions/{id}", b.getSession)
	mux.HandleFunc("DELETE /v1/sessions/{id}", b.deleteSession)
	mux.HandleFunc("GET "+queuesPath, b.getQueues)
	mux.HandleFunc("GET /healthz", b.healthz)
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		writeProblem(rw, wire.Problem{Type: wire.ProblemNotFound, Title: "Not found", Status: 404,
			Detail: "A brain serves /v1/connect, /v1/sessions/{id}, /healthz and /metrics."})
	})
	return mux
}

func (b *Broker) healthz(rw http.ResponseWriter, _ *http.Request) {
	b.mu.Lock()
	consul, nomad, stopped := b.view.seatsKnown, b.view.jobsKnown, b.stopped
	b.mu.Unlock()
	switch {
	case stopped:
		writeProblem(rw, unavailable("This brain is closing."))
	case !consul:
		writeProblem(rw, unavailable("Consul has not answered yet."))
	case !nomad:
		writeProblem(rw, unavailable("Nomad has not answered yet."))
	default:
		rw.Write([]byte("ok\n"))
	}
}

// session finds a session at this replica or, if it has a seat, at the site.
func (b *Broker) session(id string) (view wire.SessionView, w *waiter, seat wire.Seat, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	view = wire.SessionView{Session: id, Site: b.cfg.Site}
	if w := b.waiters[id]; w != nil {
		view.App, view.State, view.Since = w.app, "waiting", w.since.UTC()
		return view, w, seat, true
	}
	for _, s := range b.view.seats {
		if s.Session == id && s.State != wire.SeatIdle {
			view.App, view.State, view.Seat, view.Since = s.App, string(s.State), s.ID, s.Since
			return view, nil, s, true
		}
	}
	// Granted this moment, and Consul does not say so yet.
	if a, here := b.relayed[id]; here {
		view.App, view.State, view.Seat, view.Since = a.app, string(wire.SeatClaimed), a.seat, a.since.UTC()
		if l := b.view.seatTracks[a.seat]; l != nil {
			seat = l.last
		}
		return view, nil, seat, true
	}
	return view, nil, seat, false
}

func (b *Broker) getSession(rw http.ResponseWriter, r *http.Request) {
	view, _, _, ok := b.lookup(rw, r)
	if !ok {
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(view)
}

func (b *Broker) lookup(rw http.ResponseWriter, r *http.Request) (view wire.SessionView, w *waiter, seat wire.Seat, ok bool) {
	// The player is served by routers, so every page is of another origin.
	rw.Header().Set("Access-Control-Allow-Origin", "*")
	id := r.PathValue("id")
	if ticket.ValidSession(id) {
		view, w, seat, ok = b.session(id)
	}
	if !ok {
		writeProblem(rw, wire.Problem{Type: wire.ProblemNotFound, Title: "No such session", Status: 404,
			Detail: "It has ended, it waits at another brain, or it never was at this site."})
	}
	return view, w, seat, ok
}

func (b *Broker) deleteSession(rw http.ResponseWriter, r *http.Request) {
	_, w, seat, ok := b.lookup(rw, r)
	if !ok {
		return
	}
	if w != nil {
		w.end(ended(wire.End{Reason: wire.ReasonLeft}))
		rw.WriteHeader(http.StatusNoContent)
		return
	}
	// Once begun it is carried out, also if the caller (a page that closes) is gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 3*time.Second)
	defer cancel()
	status, err := b.post(ctx, seat.Address, wire.EndPath, wire.EndRequest{Session: r.PathValue("id"), Reason: wire.ReasonLeft})
	switch {
	case err != nil:
		b.log.Warn("end a session", "seat", seat.ID, "error", err)
		writeProblem(rw, unavailable("The seat does not answer."))
	case status == http.StatusNoContent, status == http.StatusGone:
		rw.WriteHeader(http.StatusNoContent)
	default:
		writeProblem(rw, wire.Problem{Type: wire.ProblemNotFound, Title: "No such session", Status: 404,
			Detail: "The seat serves another session."})
	}
}
