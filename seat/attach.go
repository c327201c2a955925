package seat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

// control serves a seat's control address: what brains ask of it.
func (h *host) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.AttachPath, h.attach)
	mux.HandleFunc("POST "+wire.EndPath, h.endSession)
	mux.HandleFunc("POST "+wire.RetirePath, h.retire)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, wire.ProblemNotFound, "There is nothing here", "a seat serves "+wire.AttachPath+", "+wire.EndPath+" and "+wire.RetirePath)
	})
	return mux
}

// attach grants the seat or gives a session back to its person. The upgrade is
// the claim: everything that can be refused is refused before it.
func (h *host) attach(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		w.Header().Set("WWW-Authenticate", "Bearer")
		refuse(w, http.StatusUnauthorized, wire.ProblemTicket, "No ticket", "send it as Authorization: Bearer")
		return
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		refuse(w, http.StatusUpgradeRequired, wire.ProblemMalformed, "Not a WebSocket", "attach by a WebSocket upgrade")
		return
	}

	var session string
	var err error
	resumed := looksResumed(token)
	if resumed {
		session, err = h.reattach(w, token)
	} else {
		session, err = h.claim(w, token)
	}
	if err != nil {
		return
	}

	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		if !resumed {
			h.seat.release(session) // nobody got the grant
		}
		h.log.Info("attach went away", "session", session, "error", err)
		return
	}
	grant, err := h.grant(session, resumed)
	if err != nil {
		_ = conn.Close(websocket.StatusInternalError, "")
		if !resumed {
			h.seat.release(session)
		}
		h.log.Error("grant", "session", session, "error", err)
		return
	}
	l := newLink(session, conn)
	l.send(wire.Message{Type: wire.MsgGranted, Grant: grant})
	h.run(func() { l.write() })
	// Only now may others write to it: the grant is its first message.
	if !h.take(l) {
		end := h.partingWord(session)
		l.finish(&wire.Message{Type: wire.MsgEnded, End: &end}, wire.CloseEnded, string(end.Reason))
		return
	}
	h.log.Info("attached", "session", session, "resumed", resumed, "from", r.RemoteAddr)
	h.listen(l)
}

func (h *host) claim(w http.ResponseWriter, token string) (session string, err error) {
	claims, err := h.parts.Verify(token)
	if err != nil {
		refuse(w, http.StatusUnauthorized, wire.ProblemTicket, "The ticket is not valid", err.Error())
		return "", err
	}
	if claims.App != h.spec.App {
		refuse(w, http.StatusForbidden, wire.ProblemTicket, "The ticket is for another app", "this seat runs "+h.spec.App)
		return "", errUsed
	}
	err = h.seat.claim(claims.Session)
	switch {
	case errors.Is(err, errUsed):
		refuse(w, http.StatusForbidden, wire.ProblemTicketUsed, "The ticket was used on this seat", "return with the resume token")
	case errors.Is(err, errBusy):
		refuse(w, http.StatusConflict, wire.ProblemUnavailable, "The seat is not free", "claim another one")
	case errors.Is(err, errEnding):
		refuse(w, http.StatusGone, wire.ProblemUnavailable, "The seat is ending", "claim another one")
	}
	return claims.Session, err
}

func (h *host) reattach(w http.ResponseWriter, token string) (session string, err error) {
	session, err = h.resume.session(token)
	if err != nil {
		refuse(w, http.StatusUnauthorized, wire.ProblemTicket, "The resume token is not valid", "it was not made by this seat")
		return "", err
	}
	if err := h.seat.holder(session); err != nil {
		refuse(w, http.StatusGone, wire.ProblemResume, "The session is over", "start a new one")
		return "", err
	}
	return session, nil
}

func (h *host) grant(session string, resumed bool) (*wire.Grant, error) {
	token, err := h.resume.sign(session)
	if err != nil {
		return nil, fmt.Errorf("sign resume token: %w", err)
	}
	return &wire.Grant{
		Session: session, App: h.spec.App, Seat: h.spec.Alloc, Resume: token, Display: h.spec.Display,
		GraceS: int(h.seat.limits.grace.Seconds()), IdleS: h.spec.IdleTimeoutS, Resumed: resumed,
	}, nil
}

// take makes l the session's link, in place of an earlier one. False if the
// session is over meanwhile.
func (h *host) take(l *link) bool {
	h.mu.Lock()
	old := h.link
	gone := h.seat.holder(l.session) != nil
	if !gone {
		h.link = l
	}
	h.mu.Unlock()
	if gone {
		return false
	}
	if old != nil {
		old.finish(nil, wire.CloseReplaced, "another page took the session over")
	}
	return true
}

// current is the link of session, or nil.
func (h *host) current(session string) *link {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.link != nil && h.link.session == session {
		return h.link
	}
	return nil
}

// listen acts on what comes over l until it breaks. Its end is not the session's.
func (h *host) listen(l *link) {
	for {
		m, err := l.read(h.ctx)
		if err != nil {
			var syntax *json.SyntaxError
			var kind *json.UnmarshalTypeError
			if errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, errNotText) {
				l.finish(nil, websocket.StatusUnsupportedData, "a message is one JSON object in a text frame")
			} else {
				l.finish(nil, websocket.StatusNormalClosure, "")
			}
			break
		}
		if !h.heed(l, m) {
			break
		}
	}
	<-l.done
	h.mu.Lock()
	if h.link == l {
		h.link = nil
	}
	h.mu.Unlock()
}

// heed acts on one message; false if it was the last.
func (h *host) heed(l *link, m wire.Message) bool {
	if h.current(l.session) != l {
		return true // replaced; its close is under way
	}
	switch m.Type {
	case wire.MsgOffer, wire.MsgHello:
		if m.SDP == "" {
			return true // a hello without an offer: one will come
		}
		answer, err := h.stream.offer(h.ctx, l.session, m.SDP)
		if errors.Is(err, errNotHolder) || h.ctx.Err() != nil {
			return true // the session ended; its last message is under way
		}
		if err != nil {
			h.log.Warn("offer", "session", l.session, "error", err)
			problem := wire.Problem{Type: wire.ProblemInvalid, Title: "The offer cannot be answered", Status: http.StatusUnprocessableEntity, Detail: err.Error()}
			l.finish(&wire.Message{Type: wire.MsgRefused, Problem: &problem}, wire.CloseRefused, problem.Title)
			h.seat.release(l.session) // whoever never connected need not hold the seat for the lease
			return false
		}
		l.send(wire.Message{Type: wire.MsgAnswer, SDP: answer})
	case wire.MsgCandidate:
		if err := h.stream.candidate(l.session, m.Candidate); err != nil {
			h.log.Debug("candidate", "session", l.session, "error", err)
		}
	case wire.MsgLeave:
		_ = h.seat.leave(l.session, wire.End{Reason: wire.ReasonLeft})
	default:
		h.log.Debug("message of a type that a seat does not know", "session", l.session, "type", m.Type)
	}
	return true
}

// dismiss sends a session its last word and waits for its delivery, a moment at most.
func (h *host) dismiss(ctx context.Context, session string, end wire.End) {
	h.mu.Lock()
	l := h.link
	if l != nil && l.session == session {
		h.link = nil
	} else {
		l = nil
	}
	h.mu.Unlock()
	if l == nil {
		return
	}
	l.finish(&wire.Message{Type: wire.MsgEnded, End: &end}, wire.CloseEnded, string(end.Reason))
	select {
	case <-l.done:
	case <-ctx.Done():
	}
}

// partingWord is how the session ended that no longer holds the seat.
func (h *host) partingWord(session string) wire.End {
	if end := h.seat.how(); end.Reason != "" {
		return end
	}
	return wire.End{Reason: wire.ReasonLost, Detail: "the browser did not connect in time"}
}

// reasons that a brain may end a session for.
var brainsReasons = map[wire.Reason]bool{
	wire.ReasonLeft: true, wire.ReasonIdle: true, wire.ReasonTimeLimit: true, wire.ReasonLost: true, wire.ReasonDrained: true,
}

func (h *host) endSession(w http.ResponseWriter, r *http.Request) {
	var req wire.EndRequest
	if !decode(w, r, &req) {
		return
	}
	if req.Reason == "" {
		req.Reason = wire.ReasonLeft
	}
	if !brainsReasons[req.Reason] {
		refuse(w, http.StatusUnprocessableEntity, wire.ProblemInvalid, "No such reason", fmt.Sprintf("%q is no reason to end a session for", req.Reason))
		return
	}
	switch err := h.seat.leave(req.Session, wire.End{Reason: req.Reason}); {
	case errors.Is(err, errEnding):
		refuse(w, http.StatusGone, wire.ProblemResume, "The session is over", "the seat is ending")
	case err != nil:
		refuse(w, http.StatusForbidden, wire.ProblemNotFound, "The session does not hold this seat", "look its seat up again")
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (h *host) retire(w http.ResponseWriter, r *http.Request) {
	if err := h.seat.retire(); err != nil {
		refuse(w, http.StatusConflict, wire.ProblemUnavailable, "The seat is not idle", "only an idle seat can be retired")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// decode reads a JSON body, or answers what is wrong with it.
func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "" && kind != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, wire.ProblemMediaType, "Not JSON", "send application/json")
		return false
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, wire.MaxBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		refuse(w, http.StatusRequestEntityTooLarge, wire.ProblemTooLarge, "Body too large", fmt.Sprintf("at most %d bytes", wire.MaxBody))
	case err != nil:
		refuse(w, http.StatusBadRequest, wire.ProblemMalformed, "Malformed body", err.Error())
	}
	return err == nil
}

func refuse(w http.ResponseWriter, status int, kind, title, detail string) {
	w.Header().Set("Content-Type", wire.ProblemType)
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(wire.Problem{Type: kind, Title: title, Status: status, Detail: detail}); err != nil {
		slog.Debug("answer a refused request", "error", err)
	}
}
