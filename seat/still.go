package seat

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/still"
	"github.com/nearcast/nearcast/internal/wire"
)

// stills bounds how often a still is made: one at a time, and one each wire.StillEvery. The zero value
// is ready.
type stills struct {
	mu   sync.Mutex
	busy bool
	next time.Time
}

// begin reports whether a still may be made now, else after how long one may be.
func (s *stills) begin(now time.Time) (done func(), wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.busy:
		return nil, time.Second
	case now.Before(s.next):
		return nil, s.next.Sub(now)
	}
	s.busy, s.next = true, now.Add(wire.StillEvery)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.busy = false
	}, 0
}

// looked reports whether somebody may look at stills, by the spec.
func looked(stills string) bool { return wire.MayLook(stills, wire.RoleAdmin) }

// serveStill makes one still of the picture, where the job allows it. The person is told first: of a
// session whose page cannot be told there is none.
func (h *streamHost) serveStill(w http.ResponseWriter, r *http.Request) {
	var req wire.StillRequest
	if !decodeBody(w, r, &req) {
		return
	}
	if err := h.state.checkHolder(req.Session); err != nil {
		refuseStill(w, err)
		return
	}
	if !wire.MayLook(h.spec.Stills, req.Role) {
		refuse(w, http.StatusForbidden, wire.ProblemForbidden, "The job does not allow it", "the option stills of the app's job says who may look at its picture")
		return
	}
	a := h.attachmentOf(req.Session)
	if a == nil || h.state.snapshot().State != wire.SeatStreaming {
		refuseUntold(w)
		return
	}
	done, wait := h.stills.begin(time.Now())
	if done == nil {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		refuse(w, http.StatusTooManyRequests, wire.ProblemTooMany, "Too many stills", "a seat makes one each "+wire.StillEvery.String())
		return
	}
	defer done()
	if prove(w, r) != nil {
		return
	}
	if !a.send(wire.Message{Type: wire.MsgLooked}) {
		refuseUntold(w)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), wire.StillWithin)
	defer cancel()
	picture, at, err := h.stream.video.Still(ctx, wire.MaxStillSide)
	if err != nil {
		h.log.Warn("no still", "session", req.Session, "error", err)
		refuse(w, http.StatusConflict, wire.ProblemNoStill, "No picture came in time", "the display has none, or the seat is too busy; try again")
		return
	}
	if err := h.state.checkHolder(req.Session); err != nil {
		refuseStill(w, err)
		return
	}
	text, err := still.Encode(picture)
	if err != nil {
		h.log.Error("no still", "session", req.Session, "error", err)
		refuse(w, http.StatusInternalServerError, wire.ProblemInternal, "The picture cannot be encoded", "the seat's log says why")
		return
	}
	h.log.Info("somebody looks at a still", "session", req.Session, "role", req.Role)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	size := picture.Rect.Size()
	_ = json.NewEncoder(w).Encode(wire.Still{Session: req.Session, At: at.UTC(), Width: size.X, Height: size.Y, JPEG: text}) // the brain may be gone
}

// refuseUntold answers where nobody would learn of the still.
func refuseUntold(w http.ResponseWriter) {
	refuse(w, http.StatusConflict, wire.ProblemNoStill, "Nobody sees the picture", "the person's page is not connected now")
}

// refuseStill answers for a session that does not hold the seat.
func refuseStill(w http.ResponseWriter, err error) {
	if errors.Is(err, errEnding) {
		refuse(w, http.StatusGone, wire.ProblemResume, "The session is over", "the seat is ending")
		return
	}
	refuse(w, http.StatusForbidden, wire.ProblemNotFound, "The session does not hold this seat", "look up the session's seat again")
}
