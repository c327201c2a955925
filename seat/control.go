package seat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/nearcast/nearcast/internal/wire"
)

// listenControlSocket opens control.sock for the user of this process alone.
func listenControlSocket(dir string) (net.Listener, error) {
	path := filepath.Join(dir, wire.ControlSocket)
	// One that an earlier, killed start left: its nonce is not ours anyway.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("open control socket: %w", err), l.Close())
	}
	return l, nil
}

// localControl serves the driver.
func (h *host) localControl() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.StatusPath, h.status)
	mux.HandleFunc("GET "+wire.EventsPath, h.events)
	mux.HandleFunc("POST "+wire.StopPath, h.stopRequest)
	mux.HandleFunc("POST "+wire.SignalPath, h.signal)
	return mux
}

// parts of the host that come into being while the driver may already ask.
func (h *host) alive() (*seat, App) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seat, h.app
}

func (h *host) status(w http.ResponseWriter, _ *http.Request) {
	s := wire.StreamHostStatus{Nonce: h.spec.Nonce, PID: os.Getpid(), State: wire.SeatStarting}
	seat, app := h.alive()
	if seat != nil {
		s.Seat = seat.view()
		s.State = s.Seat.State
	}
	if app != nil {
		s.AppPID = app.PID()
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(s); err != nil {
		h.log.Debug("answer status", "error", err)
	}
}

// events tells what happened since ?after=N, and goes on telling until the
// seat's last event.
func (h *host) events(w http.ResponseWriter, r *http.Request) {
	seq, err := strconv.Atoi(r.URL.Query().Get("after"))
	if err != nil && r.URL.Query().Get("after") != "" {
		refuse(w, http.StatusBadRequest, wire.ProblemMalformed, "Malformed query", "after is the seq of the last event known")
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	out := json.NewEncoder(w)
	for {
		events, news, over := h.journal.after(seq)
		for _, e := range events {
			if out.Encode(e) != nil {
				return
			}
			seq = e.Seq
		}
		if flush.Flush() != nil || over {
			return
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}

func (h *host) stopRequest(w http.ResponseWriter, r *http.Request) {
	var req wire.StopRequest
	if !decode(w, r, &req) {
		return
	}
	if req.TimeoutMS < 0 {
		refuse(w, http.StatusUnprocessableEntity, wire.ProblemInvalid, "No such time", "timeout_ms is 0 or more")
		return
	}
	if req.Reason == "" {
		req.Reason = wire.ReasonDrained
	}
	seat, _ := h.alive()
	if seat == nil {
		refuse(w, http.StatusServiceUnavailable, wire.ProblemUnavailable, "Not now", "the stream host is just starting; ask again")
		return
	}
	h.mu.Lock()
	h.stop = req
	h.mu.Unlock()
	seat.endWith(wire.End{Reason: req.Reason})
	w.WriteHeader(http.StatusAccepted)
}

func (h *host) signal(w http.ResponseWriter, r *http.Request) {
	var req wire.SignalRequest
	if !decode(w, r, &req) {
		return
	}
	_, app := h.alive()
	if app == nil {
		refuse(w, http.StatusConflict, wire.ProblemUnavailable, "No app", "the app is not started yet")
		return
	}
	if err := app.Signal(req.Signal); err != nil {
		refuse(w, http.StatusUnprocessableEntity, wire.ProblemInvalid, "The signal was not delivered", err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
