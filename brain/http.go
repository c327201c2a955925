package brain

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/answer"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// Handler is what everybody may ask:
//
//	GET /v1/connect  the WebSocket
//	GET /v1/network  wire.Network: what a network must let through, for a page that checks one
//	GET /healthz     200 once Consul and Nomad have answered, else 503
//	GET /room        the same, and 503 while no more people should come; for load balancers
func (b *Broker) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/connect", b.connect)
	mux.HandleFunc("GET "+wire.NetworkPath, b.getNetwork)
	mux.HandleFunc("GET /healthz", b.healthz)
	mux.HandleFunc("GET /room", b.getRoom)
	return headers(answer.Problems(mux))
}

// Internal is what only the site's own processes and operators ask, on a listener
// that nobody else reaches, with TLS as Config.Identity.Open gives it:
//
//	GET    /v1/sessions       wire.SessionList: who waits here, or has a seat at the site; for routers
//	GET    /v1/sessions/{id}  wire.SessionView; for routers
//	DELETE /v1/sessions/{id}  ends the session: 204; for routers
//	POST   /v1/sessions/{id}/still  wire.StillRequest → wire.Still; for routers
//	GET    /v1/line           a WebSocket on which a brain tells who waits there; for other brains
//	GET    /v1/feed           a WebSocket on which a node tells of its seats; for nodes
//	GET    /v1/demand         wire.Demand: people, arrivals and seats by app; for the autoscaler
//	POST   /v1/spare          wire.Spare: a pool needs fewer nodes than it has; from the autoscaler
//	POST   /v1/growth         wire.Growth: whether a pool may get nodes; from the autoscaler
//	GET    /v1/failing        why seats fail to start, by app, in full; for operators
//	GET    /healthz
//
// The router has checked that its caller may read and end the session, but for a
// resume token: it passes that on as "Authorization: Bearer", as only the seat can
// check it.
func (b *Broker) Internal() http.Handler {
	mux := http.NewServeMux()
	routers := func(next http.HandlerFunc) http.Handler { return identity.Only(next, b.cfg.Peers, wire.RouterService) }
	mux.Handle("GET "+wire.SessionsPath, routers(b.getSessions))
	mux.Handle("GET /v1/sessions/{id}", routers(b.getSession))
	mux.Handle("DELETE /v1/sessions/{id}", routers(b.deleteSession))
	mux.Handle("POST /v1/sessions/{id}"+wire.StillPath, routers(b.postStill))
	mux.Handle("GET "+wire.LinePath, identity.Only(http.HandlerFunc(b.takeLine), b.cfg.Peers, wire.BrainService))
	mux.Handle("GET "+wire.FeedPath, identity.Only(b.feeds, b.cfg.Peers, wire.NodeService))
	mux.Handle("GET "+wire.DemandPath, identity.Only(http.HandlerFunc(b.getDemand), b.cfg.Peers, wire.AutoscalerService))
	mux.Handle("POST "+wire.SparePath, identity.Only(http.HandlerFunc(b.postSpare), b.cfg.Peers, wire.AutoscalerService))
	mux.Handle("POST "+wire.GrowthPath, identity.Only(http.HandlerFunc(b.postGrowth), b.cfg.Peers, wire.AutoscalerService))
	mux.HandleFunc("GET /v1/failing", b.getFailing)
	mux.HandleFunc("GET /healthz", b.healthz)
	return headers(answer.Problems(mux))
}

// headers sets the security headers of every answer. A brain serves no page.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(rw, r)
	})
}

// getFailing serves what the public is told of only by its code: see wire.End.Public.
func (b *Broker) getFailing(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(b.state.failing())
}

func (b *Broker) healthz(rw http.ResponseWriter, _ *http.Request) {
	consul, nomad := b.state.known()
	switch {
	case b.sockets.isClosing():
		writeProblem(rw, unavailable("This brain is closing."))
	case !consul:
		writeProblem(rw, unavailable("Consul has not answered yet, or the nodes have not told of their seats."))
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
	id := r.PathValue("id")
	if ticket.ValidSession(id) {
		view, w, seat, ok = b.state.session(id)
	}
	if !ok {
		writeProblem(rw, noSession("The session has ended, waits at another brain, or was never at this site."))
		return view, w, seat, false
	}
	return view, w, seat, b.mayControl(rw, r, w, seat)
}

// mayControl reports whether a request may read and end a session. Else it has
// answered. Routers check tickets themselves, and pass on resume tokens.
func (b *Broker) mayControl(rw http.ResponseWriter, r *http.Request, w *waiter, seat wire.Seat) bool {
	resume, passedOn := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !passedOn {
		return true
	}
	status := http.StatusUnauthorized // a person who waits has no resume token yet
	if w == nil {
		var err error
		status, err = b.seats.post(r.Context(), seat, wire.CheckPath, wire.CheckRequest{Session: r.PathValue("id"), Resume: resume})
		if err != nil {
			b.log.Warn("cannot check a resume token", "seat", seat.ID, "error", err)
			writeProblem(rw, unavailable("The seat does not answer. Try again."))
			return false
		}
	}
	switch status {
	case http.StatusNoContent:
		return true
	case http.StatusGone:
		writeProblem(rw, noSession("The session has ended."))
	default:
		writeProblem(rw, badTicket("The resume token is not valid", "Send the session's own resume token, or its ticket."))
	}
	return false
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
	status, err := b.seats.end(ctx, seat, r.PathValue("id"))
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
