package seat

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/wire"
)

// seatAPI is the HTTP that the seat serves to brains, as internal/wire/signal.go
// describes it.
func (h *streamHost) seatAPI() http.Handler {
	mux := http.NewServeMux()
	brains := func(next http.HandlerFunc) http.Handler { return identity.Only(next, h.parts.Peers, wire.BrainService) }
	mux.Handle("GET "+wire.AttachPath, brains(h.serveAttach))
	mux.Handle("GET "+wire.PreparePath, brains(h.servePrepare))
	mux.Handle("POST "+wire.EndPath, brains(h.serveEnd))
	mux.Handle("POST "+wire.WarnPath, brains(h.serveWarn))
	mux.Handle("POST "+wire.CheckPath, brains(h.serveCheck))
	mux.Handle("POST "+wire.SeatStillPath, brains(h.serveStill))
	mux.HandleFunc("POST "+wire.RetirePath, h.serveRetire)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, wire.ProblemNotFound, "Not found", "a seat serves "+wire.AttachPath+", "+wire.EndPath+" and "+wire.RetirePath)
	})
	return mux
}

// serveAttach claims the seat with a ticket, or returns to a session with a
// resume token. The upgrade is the claim: every refusal comes before it. A claim that is
// repeated replaces the attachment of the one before, as a return does.
func (h *streamHost) serveAttach(w http.ResponseWriter, r *http.Request) {
	token, try, ok := credential(w, r)
	if !ok {
		return
	}
	var session string
	var params map[string]string
	var from origin
	var err error
	resumed := isResumeToken(token)
	if resumed {
		session, err = h.resumeSession(w, r, token)
	} else {
		session, from, params, err = h.claim(w, r, token, try)
	}
	if err != nil {
		return
	}

	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		if !resumed {
			h.state.unattached(session)
		}
		h.log.Info("accept attachment", "session", session, "error", err)
		return
	}
	grant, err := h.grant(session, resumed)
	if err != nil {
		_ = conn.Close(websocket.StatusInternalError, "")
		if !resumed {
			h.state.unattached(session)
		}
		h.log.Error("grant seat", "session", session, "error", err)
		return
	}
	if !resumed {
		h.beginTrace(r, session, from, false)
	}
	a := newAttachment(session, conn)
	a.send(wire.Message{Type: wire.MsgGranted, Grant: grant})
	h.tasks.start(a.write)
	// Other goroutines can send only from here on: the grant must be the first message.
	var attached func() (first, late bool)
	if !resumed {
		attached = func() (first, late bool) { return h.state.attached(session, try) }
	}
	first, over := h.adopt(a, attached)
	if over {
		end := h.endOfSession().Public()
		a.finish(&wire.Message{Type: wire.MsgEnded, End: &end}, wire.CloseEnded, string(end.Reason))
		return
	}
	if h.display.Windows() > 1 {
		h.stream.tellWindows(a)
	}
	if first {
		h.giveParams(session, params)
	}
	h.log.Info("attached", "session", session, "resumed", resumed, "from", r.RemoteAddr)
	h.readMessages(a)
}

// credential is what an attachment is asked for with. If it fails, it has answered the
// request.
func credential(w http.ResponseWriter, r *http.Request) (token string, try uint64, ok bool) {
	token, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		w.Header().Set("WWW-Authenticate", "Bearer")
		refuse(w, http.StatusUnauthorized, wire.ProblemTicket, "Ticket missing", "send the ticket or the resume token as Authorization: Bearer")
		return "", 0, false
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		refuse(w, http.StatusUpgradeRequired, wire.ProblemMalformed, "Not a WebSocket", "request a WebSocket upgrade")
		return "", 0, false
	}
	try, _ = strconv.ParseUint(r.Header.Get(wire.TryHeader), 10, 64) // 0 where it is not said
	return token, try, true
}

// claim claims the seat with a ticket. params are those that the session sets. If it
// fails, it has answered the request.
func (h *streamHost) claim(w http.ResponseWriter, r *http.Request, token string, try uint64) (session string, from origin, params map[string]string, err error) {
	who, from, params, err := h.holderOf(w, token, try)
	if err != nil {
		return "", from, nil, err
	}
	err = h.state.claimFor(who)
	refuseClaim(w, err)
	if err == nil {
		if err = prove(w, r); err != nil {
			h.state.unattached(who.session)
		}
	}
	return who.session, from, params, err
}

// holderOf is who claims the seat with a ticket, and what they set of the app's parameters.
// If it fails, it has answered the request.
func (h *streamHost) holderOf(w http.ResponseWriter, token string, try uint64) (who holder, from origin, params map[string]string, err error) {
	claims, err := h.parts.Verify(token)
	if err != nil {
		refuse(w, http.StatusUnauthorized, wire.ProblemTicket, "The ticket is not valid", err.Error())
		return who, from, nil, err
	}
	if claims.App != h.spec.App {
		refuse(w, http.StatusForbidden, wire.ProblemTicket, "The ticket is for another app", "this seat runs "+h.spec.App)
		return who, from, nil, errUsed
	}
	if err := h.checkParams(claims.Params); err != nil {
		// Another version of the app may take them.
		refuse(w, http.StatusConflict, wire.ProblemUnavailable, "The seat does not take these parameters", err.Error())
		return who, from, nil, err
	}
	return holder{
		session: claims.Session, subject: claims.Subject, network: claims.Network, customer: claims.Customer, meta: claims.Meta, max: claims.MaxDuration, try: try,
		last: len(claims.Params) > 0 || h.spec.StartOnClaim,
	}, origin{first: claims.First, app: claims.App, seat: h.spec.Alloc, ticket: claims.Trace}, claims.Params, nil
}

// beginTrace begins the spans of a launch. The request is a brain's, so it may say which trace.
func (h *streamHost) beginTrace(r *http.Request, session string, from origin, prepared bool) {
	from.brain = r.Header.Get(wire.TraceHeader)
	h.launch.begin(session, from, prepared)
}

// refuseClaim answers a claim that the state machine refuses.
func refuseClaim(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, errUsed):
		refuse(w, http.StatusForbidden, wire.ProblemTicketUsed, "The ticket was used on this seat", "use the resume token to return")
	case errors.Is(err, errBusy):
		refuse(w, http.StatusConflict, wire.ProblemUnavailable, "The seat is not free", "claim another seat")
	case errors.Is(err, errEnding):
		refuse(w, http.StatusGone, wire.ProblemUnavailable, "The seat is ending", "claim another seat")
	}
}

// resumeSession checks a resume token. If it fails, it has answered the request.
func (h *streamHost) resumeSession(w http.ResponseWriter, r *http.Request, token string) (session string, err error) {
	session, err = h.resumeTokens.session(token)
	if err != nil {
		refuse(w, http.StatusUnauthorized, wire.ProblemTicket, "The resume token is not valid", "this seat did not sign it")
		return "", err
	}
	if err := h.state.checkHolder(session); err != nil {
		refuse(w, http.StatusGone, wire.ProblemResume, "The session is over", "start a new session")
		return "", err
	}
	return session, prove(w, r)
}

// prove notes that the request's credential is good. If it fails, it has answered
// the request.
func prove(w http.ResponseWriter, r *http.Request) error {
	err := guard.Of(r.Context()).Prove()
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, wire.ProblemUnavailable, "Too many attachments", "try again in a moment")
	}
	return err
}

func (h *streamHost) grant(session string, resumed bool) (*wire.Grant, error) {
	token, err := h.resumeTokens.sign(session)
	if err != nil {
		return nil, fmt.Errorf("sign resume token: %w", err)
	}
	display := h.spec.Display
	display.Gamepads = h.stream.gamepads != nil // the node may have none
	display.Touch = display.Touch && h.stream.input.Touches()
	return &wire.Grant{
		Session: session, App: h.spec.App, Seat: h.spec.Alloc, Resume: token, Display: display,
		GraceS: int(h.state.limits.grace.Seconds()), IdleS: h.spec.IdleTimeoutS, Resumed: resumed, ConfirmLeave: h.spec.ConfirmLeave,
		Stills: looked(h.spec.Stills),
	}, nil
}

// brainReasons are the reasons for which a brain may end a session.
var brainReasons = map[wire.Reason]bool{
	wire.ReasonLeft: true, wire.ReasonIdle: true, wire.ReasonTimeLimit: true, wire.ReasonLost: true, wire.ReasonDrained: true,
}

func (h *streamHost) serveEnd(w http.ResponseWriter, r *http.Request) {
	var req wire.EndRequest
	if !decodeBody(w, r, &req) {
		return
	}
	if req.Reason == "" {
		req.Reason = wire.ReasonLeft
	}
	if !brainReasons[req.Reason] {
		refuse(w, http.StatusUnprocessableEntity, wire.ProblemInvalid, "Reason not allowed", fmt.Sprintf("a brain cannot end a session for the reason %q", req.Reason))
		return
	}
	switch err := h.state.endSession(req.Session, wire.End{Reason: req.Reason}); {
	case errors.Is(err, errEnding):
		refuse(w, http.StatusGone, wire.ProblemResume, "The session is over", "the seat is ending")
	case err != nil:
		refuse(w, http.StatusForbidden, wire.ProblemNotFound, "The session does not hold this seat", "look up the session's seat again")
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// serveWarn tells the session's page that a brain is about to end it. A page that is not
// connected now is told of the end itself.
func (h *streamHost) serveWarn(w http.ResponseWriter, r *http.Request) {
	var req wire.WarnRequest
	if !decodeBody(w, r, &req) {
		return
	}
	if !brainReasons[req.Ending.Reason] || req.Ending.AfterS <= 0 {
		refuse(w, http.StatusUnprocessableEntity, wire.ProblemInvalid, "Warning not allowed", fmt.Sprintf("a brain cannot end a session for the reason %q after %d s", req.Ending.Reason, req.Ending.AfterS))
		return
	}
	switch err := h.state.checkHolder(req.Session); {
	case errors.Is(err, errEnding):
		refuse(w, http.StatusGone, wire.ProblemResume, "The session is over", "the seat is ending")
		return
	case err != nil:
		refuse(w, http.StatusForbidden, wire.ProblemNotFound, "The session does not hold this seat", "look up the session's seat again")
		return
	}
	if a := h.attachmentOf(req.Session); a != nil {
		a.send(wire.Message{Type: wire.MsgEnding, Ending: &req.Ending})
	}
	w.WriteHeader(http.StatusNoContent)
}

// serveRetire is for brains, and for the drain of the seat's own node.
func (h *streamHost) serveRetire(w http.ResponseWriter, r *http.Request) {
	peer, err := identity.Caller(r, h.parts.Peers)
	if err != nil || peer.Service != wire.BrainService && (peer.Service != wire.DrainService || peer.Node != h.spec.Node) {
		identity.Refuse(w, wire.BrainService, wire.DrainService+" of the seat's node")
		return
	}
	var req wire.RetireRequest
	if !decodeBody(w, r, &req) {
		return
	}
	switch {
	case req.Fetching && h.state.stopFetching() != nil:
		refuse(w, http.StatusConflict, wire.ProblemUnavailable, "The seat does not fetch", "its content is there already")
		return
	case !req.Fetching && h.state.retire() != nil:
		refuse(w, http.StatusConflict, wire.ProblemUnavailable, "The seat is not idle", "only an idle seat can be retired")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
