package seat

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/nearcast/nearcast/internal/wire"
)

// controlAPI is what the control socket serves to the driver, as
// internal/wire/streamhost.go describes it.
func (h *streamHost) controlAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.StatusPath, h.serveStatus)
	mux.HandleFunc("GET "+wire.EventsPath, h.serveEvents)
	mux.HandleFunc("GET "+wire.SeatPath, h.serveSeat)
	mux.HandleFunc("POST "+wire.StopPath, h.serveStop)
	mux.HandleFunc("POST "+wire.SignalPath, h.serveSignal)
	return mux
}

// started returns the state machine and the app. Each is nil until it exists;
// the driver may ask before.
func (h *streamHost) started() (*stateMachine, App) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state, h.app
}

func (h *streamHost) serveStatus(w http.ResponseWriter, _ *http.Request) {
	status := wire.StreamHostStatus{Nonce: h.spec.Nonce, PID: h.parts.KeeperPID, State: wire.SeatStarting}
	state, app := h.started()
	if state != nil {
		status.Seat = state.snapshot()
		status.State = status.Seat.State
	}
	if app != nil {
		status.AppPID, status.InitPID = app.PID(), app.InitPID()
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(status); err != nil {
		h.log.Debug("write status", "error", err)
	}
}

// serveEvents writes the events after ?after=N, then each new event as it
// comes, until the seat's last one.
func (h *streamHost) serveEvents(w http.ResponseWriter, r *http.Request) {
	seq, err := strconv.Atoi(r.URL.Query().Get("after"))
	if err != nil && r.URL.Query().Get("after") != "" {
		refuse(w, http.StatusBadRequest, wire.ProblemMalformed, "Malformed query", "after must be the seq of the last event that you have")
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	out := json.NewEncoder(w)
	for {
		events, more, closed := h.events.after(seq)
		for _, e := range events {
			if out.Encode(e) != nil {
				return
			}
			seq = e.Seq
		}
		if flush.Flush() != nil || closed {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

func (h *streamHost) serveStop(w http.ResponseWriter, r *http.Request) {
	var req wire.StopRequest
	if !decodeBody(w, r, &req) {
		return
	}
	if req.TimeoutMS < 0 {
		refuse(w, http.StatusUnprocessableEntity, wire.ProblemInvalid, "Timeout not allowed", "timeout_ms must be 0 or more")
		return
	}
	if req.Reason == "" {
		req.Reason = wire.ReasonDrained
	}
	state, _ := h.started()
	if state == nil {
		refuse(w, http.StatusServiceUnavailable, wire.ProblemUnavailable, "The stream host is still starting", "retry in a moment")
		return
	}
	h.mu.Lock()
	h.stopRequest = req
	h.mu.Unlock()
	state.endWith(wire.End{Reason: req.Reason})
	w.WriteHeader(http.StatusAccepted)
}

func (h *streamHost) serveSignal(w http.ResponseWriter, r *http.Request) {
	var req wire.SignalRequest
	if !decodeBody(w, r, &req) {
		return
	}
	_, app := h.started()
	if app == nil {
		refuse(w, http.StatusConflict, wire.ProblemUnavailable, "The app is not running", "the app has not started yet; retry later")
		return
	}
	if err := app.Signal(req.Signal); err != nil {
		refuse(w, http.StatusUnprocessableEntity, wire.ProblemInvalid, "The signal was not delivered", err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
