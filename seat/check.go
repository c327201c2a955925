package seat

import (
	"net/http"

	"github.com/nearcast/nearcast/internal/wire"
)

// serveCheck says whether a resume token is that of a session that holds this seat: only
// the seat has the secret that signed it. It changes nothing.
func (h *streamHost) serveCheck(w http.ResponseWriter, r *http.Request) {
	var req wire.CheckRequest
	if !decodeBody(w, r, &req) {
		return
	}
	session, err := h.resumeSession(w, r, req.Resume)
	switch {
	case err != nil: // it has answered
	case session != req.Session:
		refuse(w, http.StatusUnauthorized, wire.ProblemTicket, "The resume token is not valid", "it is for another session")
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}
