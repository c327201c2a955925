package seat

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

// adopt makes a the attachment of its session and closes the earlier one. claimed is the
// state machine's attached, nil where the session was resumed. over is true if the session is
// over; first says that the session had no attachment before.
func (h *streamHost) adopt(a *attachment, claimed func() (first, late bool)) (first, over bool) {
	h.mu.Lock()
	old, late := h.attachment, false
	if over = h.state.checkReach(a.session) != nil; !over && claimed != nil {
		first, late = claimed()
	}
	switch {
	case over:
		old = nil
	case late:
		old = a
	default:
		h.attachment = a
	}
	h.mu.Unlock()
	if old != nil {
		old.finish(nil, wire.CloseReplaced, "another page took the session over")
	}
	return first, over
}

// attachmentOf returns the attachment of session, or nil.
func (h *streamHost) attachmentOf(session string) *attachment {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.attachment != nil && h.attachment.session == session {
		return h.attachment
	}
	return nil
}

// readMessages handles the messages of a until it breaks. The session goes on.
func (h *streamHost) readMessages(a *attachment) {
	for {
		m, err := a.read(h.ctx)
		if err != nil {
			var syntax *json.SyntaxError
			var kind *json.UnmarshalTypeError
			if errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, errNotText) {
				a.finish(nil, websocket.StatusUnsupportedData, "a message is one JSON object in a text frame")
			} else {
				a.finish(nil, websocket.StatusNormalClosure, "")
			}
			break
		}
		if !h.handle(a, m) {
			break
		}
	}
	h.state.unprepare(a.session)
	h.launch.gone(a.session)
	<-a.done
	h.mu.Lock()
	if h.attachment == a {
		h.attachment = nil
	}
	h.mu.Unlock()
}

// handle acts on one message. It returns false after the last one.
func (h *streamHost) handle(a *attachment, m wire.Message) bool {
	if h.attachmentOf(a.session) != a {
		return true // replaced; it is being closed
	}
	switch m.Type {
	case wire.MsgOffer, wire.MsgHello:
		if m.View != nil { // before the first frame
			a.view = m.View
			h.stream.setView(a.session, *m.View)
		}
		if m.SDP == "" {
			return true // a hello without an offer; the offer follows
		}
		if m.Restart {
			answer, err := h.stream.restart(h.ctx, a.session, m.SDP)
			if err != nil {
				h.log.Debug("restart ICE", "session", a.session, "error", err)
			}
			a.send(wire.Message{Type: wire.MsgAnswer, SDP: answer, Restart: err == nil})
			return true
		}
		h.launch.reach(a.session, stepAnswer)
		answer, err := h.stream.offer(h.ctx, a.session, m.SDP)
		if errors.Is(err, errNotHolder) || h.ctx.Err() != nil {
			return true // the session ended; its last message is being sent
		}
		if err != nil {
			h.log.Warn("answer offer", "session", a.session, "error", err)
			problem := offerProblem(err)
			a.finish(&wire.Message{Type: wire.MsgRefused, Problem: &problem}, wire.CloseRefused, problem.Title)
			// A browser that never connected need not hold the seat until its lease ends.
			h.state.unprepare(a.session)
			h.state.releaseClaim(a.session)
			return false
		}
		h.launch.reach(a.session, stepICE) // before the browser can connect
		a.send(wire.Message{Type: wire.MsgAnswer, SDP: answer})
	case wire.MsgCandidate:
		if err := h.stream.addCandidate(a.session, m.Candidate); err != nil {
			h.log.Debug("add candidate", "session", a.session, "error", err)
		}
	case wire.MsgPlay:
		h.play(a)
	case wire.MsgPing:
		a.send(wire.Message{Type: wire.MsgPong})
	case wire.MsgLeave:
		h.state.unprepare(a.session)
		_ = h.state.endSession(a.session, wire.End{Reason: wire.ReasonLeft})
	default:
		h.log.Debug("unknown message type", "session", a.session, "type", m.Type)
	}
	return true
}

// formerHolder returns the session of an attachment that no longer holds the
// seat, or "". It asks the state machine itself: a snapshot may be older than
// the claim that brought the attachment.
func (h *streamHost) formerHolder() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.attachment != nil && errors.Is(h.state.checkReach(h.attachment.session), errNotHolder) {
		return h.attachment.session
	}
	return ""
}

// sendEnded sends end to the session's attachment as its last message and waits
// for its delivery until ctx ends.
func (h *streamHost) sendEnded(ctx context.Context, session string, end wire.End) {
	h.mu.Lock()
	a := h.attachment
	if a != nil && a.session == session {
		h.attachment = nil
	} else {
		a = nil
	}
	h.mu.Unlock()
	if a == nil {
		return
	}
	end = end.Public()
	a.finish(&wire.Message{Type: wire.MsgEnded, End: &end}, wire.CloseEnded, string(end.Reason))
	select {
	case <-a.done:
	case <-ctx.Done():
	}
}

// endOfSession is the end of a session that no longer holds the seat.
func (h *streamHost) endOfSession() wire.End {
	if end := h.state.result(); end.Reason != "" {
		return h.explain(end)
	}
	return wire.End{Reason: wire.ReasonLost, Detail: "the browser did not connect in time"}
}

// offerProblem is what a person reads whose browser made an offer that cannot be answered.
func offerProblem(err error) wire.Problem {
	p := wire.Problem{Type: wire.ProblemInvalid, Title: "The offer cannot be answered", Status: http.StatusUnprocessableEntity,
		Detail: "The browser and the seat have no format in common, or the offer is damaged. Try another browser."}
	var lacking interface{ MissingCodec() string }
	if !errors.As(err, &lacking) {
		return p
	}
	codec := lacking.MissingCodec()
	p.Title = "Your browser cannot show this app's video"
	p.Detail = "It does not decode " + strings.ToUpper(codec) + ". Try another browser."
	if codec == "h264" {
		p.Detail = "It does not decode H.264. Firefox does so by its plugin OpenH264, which it downloads some minutes after its first start " +
			"(menu, Add-ons and themes, Plugins). Or try another browser."
	}
	return p
}
