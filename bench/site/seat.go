package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// seat is a place for a seat on a node, and the seat that is there. As a stream host does,
// it alone decides who has it.
type seat struct {
	number  int
	node    *node
	address string

	mu      sync.Mutex
	id, job string // the allocation and the child; empty while the place is empty
	app     string
	state   wire.SeatState
	since   time.Time // by the clock of its node
	session string
	network string
	// measured and quality are of the session, while it streams.
	measured *wire.Measured
	quality  *wire.Quality
	used     map[string]bool   // sessions that claimed it
	tries    map[string]uint64 // wire.TryHeader, by session
	conn     *websocket.Conn
	// attached says that conn is open.
	attached bool
}

// become changes the seat's state and tells of it. seat.mu is held.
func (f *seats) become(s *seat, state wire.SeatState, session string) {
	s.state, s.session, s.since = state, session, s.node.now()
	if session == "" {
		s.network, s.measured, s.quality = "", nil, nil
	}
	f.tell(s.node, s.record(), false)
}

// occupy puts a new seat into an empty place.
func (f *seats) occupy(s *seat, id, job, app string, state wire.SeatState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.job, s.app = id, job, app
	s.used, s.tries = map[string]bool{}, map[string]uint64{}
	f.mu.Lock()
	f.byID[id] = s
	f.mu.Unlock()
	f.become(s, state, "")
}

// toggle makes an idle seat one that streams, and a seat that streams idle, as if a session
// came or went. It returns the new session.
func (f *seats) toggle(s *seat) (session string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == wire.SeatIdle {
		session = ticket.NewSessionAt(siteName)
		f.become(s, wire.SeatStreaming, session)
	} else if s.state == wire.SeatStreaming {
		f.become(s, wire.SeatIdle, "")
	}
	return session, time.Now()
}

func resumeToken(seat, session string) string {
	payload, _ := json.Marshal(map[string]string{"seat": seat, "sid": session})
	return "h." + base64.RawURLEncoding.EncodeToString(payload) + ".s"
}

// sessionOf reads a ticket. It does not check the signature, which costs as much as a claim
// may: the brain has checked it.
func sessionOf(token string) (session, network string, expires int64) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", "", 0
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Sub string
		Net string
		Exp int64
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return "", "", 0
	}
	return claims.Sub, claims.Net, claims.Exp
}

// claim claims a seat with a ticket, or again as long as its person has no picture. It returns
// the status of a refusal, else 0. seat.mu is held.
func (f *seats) claim(s *seat, r *http.Request, token string, now time.Time) int {
	session, network, expires := sessionOf(token)
	try, _ := strconv.ParseUint(r.Header.Get(wire.TryHeader), 10, 64)
	again := s.state == wire.SeatClaimed && s.session == session
	switch {
	case session == "" || now.After(time.Unix(expires, 0).Add(ticket.Leeway)) || now.Before(time.Unix(expires, 0).Add(-ticket.TTL-ticket.Leeway)):
		return http.StatusUnauthorized
	case s.id == "" || s.state == wire.SeatEnding:
		return http.StatusGone
	case s.used[session] && !again:
		return http.StatusForbidden
	case try < s.tries[session]:
		return http.StatusConflict
	}
	s.tries[session] = try
	switch {
	case again:
		return 0
	case !s.state.Free():
		return http.StatusConflict
	}
	s.used[session] = true
	f.hold(session, s)
	f.become(s, wire.SeatClaimed, session)
	s.network = network
	return 0
}

// attach serves wire.AttachPath.
func (f *seats) attach(rw http.ResponseWriter, r *http.Request, s *seat) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	resumed := s.state.Busy() && token == resumeToken(s.id, s.session)
	if !resumed {
		now := s.node.now()
		if status := f.claim(s, r, token, now); status != 0 {
			s.mu.Unlock()
			f.refused.Add(1)
			rw.Header().Set(wire.ClockHeader, now.Format(time.RFC3339Nano))
			rw.WriteHeader(status)
			return
		}
	}
	id, app, session := s.id, s.app, s.session
	s.mu.Unlock()
	ws, err := websocket.Accept(rw, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	s.mu.Lock()
	before := s.conn
	s.conn, s.attached = ws, true
	s.mu.Unlock()
	if before != nil {
		go before.Close(wire.CloseReplaced, "")
	}
	send(ws, wire.Message{Type: wire.MsgGranted, Grant: &wire.Grant{Session: session, App: app, Seat: id,
		Resume: resumeToken(id, session), GraceS: 60, Resumed: resumed}})
	left := f.serveOn(s, ws)
	s.mu.Lock()
	mine := s.conn == ws && s.session == session
	if mine {
		s.conn, s.attached = nil, false
	}
	// A browser that never connected loses the seat with its lease.
	lapses := mine && s.state == wire.SeatClaimed && f.lease > 0
	s.mu.Unlock()
	switch {
	case mine && left:
		f.end(s, session)
	case lapses && pause(f.ctx.Done(), f.lease):
		s.mu.Lock()
		if s.session == session && s.state == wire.SeatClaimed && s.conn == nil {
			f.release(session, s)
			f.become(s, wire.SeatIdle, "")
		}
		s.mu.Unlock()
	}
}

// serveOn serves the person until they leave, or the connection is lost.
func (f *seats) serveOn(s *seat, ws *websocket.Conn) (left bool) {
	for {
		_, data, err := ws.Read(f.ctx)
		if err != nil {
			return false
		}
		var m wire.Message
		if json.Unmarshal(data, &m) != nil {
			return false
		}
		switch m.Type {
		case wire.MsgOffer:
			send(ws, wire.Message{Type: wire.MsgAnswer, SDP: "answer"})
		case wire.MsgLeave:
			send(ws, wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonLeft}})
			ws.Close(wire.CloseEnded, "")
			return true
		}
	}
}

// picture is the browser of a session that connects to its seat, once it has the answer.
func (f *seats) picture(session string) {
	s := f.of(session)
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == wire.SeatClaimed && s.session == session {
		f.become(s, wire.SeatStreaming, session)
	}
}

func send(ws *websocket.Conn, m wire.Message) {
	data, err := json.Marshal(m)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = ws.Write(ctx, websocket.MessageText, data) // a broken connection shows when it is read
}

// end ends a seat that has served: its place is empty, and Nomad knows why.
func (f *seats) end(s *seat, session string) {
	s.mu.Lock()
	if s.id == "" || s.session != session {
		s.mu.Unlock()
		return
	}
	f.become(s, wire.SeatEnding, session)
	gone, job := s.record(), s.job
	f.release(session, s)
	f.mu.Lock()
	delete(f.byID, s.id)
	f.mu.Unlock()
	f.tell(s.node, gone, true)
	s.id, s.job, s.app, s.session = "", "", "", ""
	s.mu.Unlock()
	f.mu.Lock()
	f.empty = append(f.empty, s)
	f.mu.Unlock()
	f.nomad.died(job)
}

// place starts a seat for a child, in an empty place if there is one. It is idle after f.start.
func (f *seats) place(j job) (id, node string, ok bool) {
	f.mu.Lock()
	if len(f.empty) == 0 {
		f.mu.Unlock()
		return "", "", false
	}
	s := f.empty[0]
	f.empty = f.empty[1:]
	f.mu.Unlock()
	id = uuid.NewString()
	f.occupy(s, id, j.ID, j.ParentID, wire.SeatStarting)
	time.AfterFunc(f.start, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.id == id && s.state == wire.SeatStarting {
			f.become(s, wire.SeatIdle, "")
		}
	})
	return id, s.node.name, true
}
