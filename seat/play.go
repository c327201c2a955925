package seat

import (
	"net/http"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

// servePrepare keeps the seat for a person who has not pressed Play (wire.PreparePath): the
// connection with their browser comes up, the app runs, and capture and encoder wait. The app
// and all who look at sessions are told of nobody.
func (h *streamHost) servePrepare(w http.ResponseWriter, r *http.Request) {
	token, try, ok := credential(w, r)
	if !ok {
		return
	}
	who, from, params, err := h.holderOf(w, token, try)
	if err != nil {
		return
	}
	if err := h.state.prepare(who); err != nil {
		refuseClaim(w, err)
		return
	}
	defer h.state.unprepare(who.session) // where Play was not pressed
	if prove(w, r) != nil {
		return
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		h.log.Info("accept attachment", "session", who.session, "error", err)
		return
	}
	grant, err := h.grant(who.session, false)
	if err != nil {
		_ = conn.Close(websocket.StatusInternalError, "")
		h.log.Error("prepare seat", "session", who.session, "error", err)
		return
	}
	grant.Prepared = true
	h.beginTrace(r, who.session, from, true)
	a := newAttachment(who.session, conn)
	a.params = params
	a.send(wire.Message{Type: wire.MsgGranted, Grant: grant})
	h.tasks.start(a.write)
	if _, over := h.adopt(a, nil); over {
		end := h.endOfSession().Public()
		a.finish(&wire.Message{Type: wire.MsgEnded, End: &end}, wire.CloseEnded, string(end.Reason))
		return
	}
	h.log.Info("prepared", "session", who.session, "from", r.RemoteAddr)
	h.readMessages(a)
}

// play begins the session of a person for whom the seat is prepared. From here on it is as
// if they had claimed the seat, and connected. A page that plays too late is being told so.
func (h *streamHost) play(a *attachment) {
	if !h.stream.play(a.session) {
		return
	}
	grant, err := h.grant(a.session, false)
	if err != nil {
		h.state.endWith(fault(wire.CodeConfig, "grant the seat: %v", err))
		return
	}
	a.send(wire.Message{Type: wire.MsgGranted, Grant: grant})
	if a.view != nil {
		h.stream.setView(a.session, *a.view)
	}
	if h.display.Windows() > 1 {
		h.stream.tellWindows(a)
	}
	h.launch.played(a.session)
	h.giveParams(a.session, a.params)
	h.log.Info("played", "session", a.session)
}

// play gives the seat, its pictures and its input to the session for which it is prepared.
func (s *stream) play(session string) bool {
	s.mu.Lock() // the capture goes on when the peer is there: its first frame is a keyframe
	defer s.mu.Unlock()
	if !s.h.state.play(session) {
		return false
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	p := s.prepared.Swap(nil)
	if p == nil {
		return true // its offer is still to come
	}
	s.video.SetMain(p.TakesMain())
	s.video.DrawCursor(true)               // until this page says that it does
	if old := s.peer.Swap(p); old != nil { // of an earlier session; follow would close it
		s.discard(old)
	}
	if p.told.Load() == int64(PeerConnected)+1 {
		s.h.state.connected(session)
	}
	if bps := p.bitrate.Load(); bps > 0 {
		s.video.SetBitrate(int(bps))
	}
	return true
}

// keepPrepared keeps the peer of a person who has not pressed Play. s.changing is held.
func (s *stream) keepPrepared(p *sessionPeer) {
	if old := s.prepared.Swap(p); old != nil {
		s.discard(old)
	}
	if !s.h.state.isPrepared(p.session) && s.prepared.CompareAndSwap(p, nil) { // it ended meanwhile
		s.discard(p)
	}
}

// dropPrepared closes the peer of a person for whom the seat is not prepared any more.
func (s *stream) dropPrepared() {
	s.changing.Lock()
	defer s.changing.Unlock()
	if p := s.prepared.Load(); p != nil && !s.h.state.isPrepared(p.session) && s.prepared.CompareAndSwap(p, nil) {
		s.discard(p)
	}
}
