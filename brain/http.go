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
//	GET    /healthz           200 once Consul and Nomad have answered, else 503
//
// A session's id is 128 random bits that only its person was told, so a caller
// that knows the id may read and end the session.
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
	consul, nomad := b.state.known()
	switch {
	case b.sockets.isClosing():
		writeProblem(rw, unavailable("This brain is closing."))
	case !consul:
		writeProblem(rw, unavailable("Consul has not answered yet."))
	case !nomad:
		writeProblem(rw, unavailable("Nomad has not answered yet."))
	default:
		rw.Write([]byte("ok\n"))
	}
}

func (b *Broker) getSession(rw http.ResponseWriter, r *http.Request) {
	view, _, _, ok := b.lookup(rw, r)
	if !ok {
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(view)
}

// lookup finds the request's session, or answers 404.
func (b *Broker) lookup(rw http.ResponseWriter, r *http.Request) (view wire.SessionView, w *waiter, seat wire.Seat, ok bool) {
	// Routers serve the player, so every page has another origin.
	rw.Header().Set("Access-Control-Allow-Origin", "*")
	id := r.PathValue("id")
	if ticket.ValidSession(id) {
		view, w, seat, ok = b.state.session(id)
	}
	if !ok {
		writeProblem(rw, noSession("The session has ended, waits at another brain, or was never at this site."))
	}
	return view, w, seat, ok
}

func (b *Broker) deleteSession(rw http.ResponseWriter, r *http.Request) {
	_, w, seat, ok := b.lookup(rw, r)
	if !ok {
		return
	}
	if w != nil {
		b.state.endWaiting(w, ended(wire.End{Reason: wire.ReasonLeft}))
		rw.WriteHeader(http.StatusNoContent)
		return
	}
	// It is carried out even if the caller, a page that closes, is gone meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 3*time.Second)
	defer cancel()
	status, err := b.seats.end(ctx, seat.Address, r.PathValue("id"))
	switch {
	case err != nil:
		b.log.Warn("cannot end a session", "seat", seat.ID, "error", err)
		writeProblem(rw, unavailable("The seat does not answer. Try again."))
	case status == http.StatusNoContent, status == http.StatusGone:
		rw.WriteHeader(http.StatusNoContent)
	default:
		writeProblem(rw, noSession("The seat serves another session."))
	}
}
