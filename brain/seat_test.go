package brain_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// seat is a stream host as brains see it.
type seat struct {
	site   *site
	server *httptest.Server
	node   *node
	once   sync.Once

	mu   sync.Mutex
	rec  wire.Seat
	conn *websocket.Conn
	// attached says that a brain is, by conn.
	attached bool
	grants   int
	gone     bool
	sick     bool // it refuses all tickets
	refused  int
	clock    time.Duration // how far its clock is ahead
	heard    []wire.Message

	used   map[string]bool   // sessions that had it
	tries  map[string]uint64 // wire.TryHeader, by session
	silent bool              // its node does not tell of it
	lease  time.Duration     // after which it is idle again if no brain is attached; 0 never
	lapses int
	// prepared is the session whose person has not pressed Play.
	prepared string
	// reached is called before a claim is looked at, and granting after it, before the grant is
	// sent.
	reached, granting func(session string)
	stills            http.HandlerFunc // what it answers for a still; nil refuses
	former            bool             // it is of a release that does not stop to fetch
	declined          int              // how often it did not
}

// consulNode is the name of the node in testkit's Consul.
const consulNode = "test"

// seat starts the seat of a child, in a state.
func (s *site) seat(app, child, alloc string, state wire.SeatState) *seat {
	x := &seat{site: s, node: s.here, used: map[string]bool{}, tries: map[string]uint64{}}
	x.mu.Lock() // a brain may be quicker than the rest of this function
	defer x.mu.Unlock()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.AttachPath, x.attach)
	mux.HandleFunc("GET "+wire.PreparePath, x.prepare)
	mux.HandleFunc("POST "+wire.EndPath, x.endIt)
	mux.HandleFunc("POST "+wire.WarnPath, x.warn)
	mux.HandleFunc("POST "+wire.RetirePath, x.retire)
	mux.HandleFunc("POST "+wire.CheckPath, x.check)
	mux.HandleFunc("POST "+wire.SeatStillPath, x.still)
	me := testkit.Identity(s.t)
	x.server = httptest.NewUnstartedServer(mux)
	x.server.Listener = tls.NewListener(x.server.Listener, me.Server(s.fleet.Peers(wire.BrainService), wire.BrainService))
	x.server.Start()
	x.rec = wire.Seat{Key: me.Key(), ID: alloc, App: app, Job: child, Node: consulNode, Address: x.server.Listener.Addr().String(),
		State: state, Since: time.Now().UTC()}
	x.node.seats.Set(alloc, x.rec)
	s.mu.Lock()
	s.seats[alloc] = x
	s.mu.Unlock()
	return x
}

func (x *seat) become(state wire.SeatState, session string) {
	x.rec.State, x.rec.Session, x.rec.Since = state, session, time.Now().UTC()
	x.prepared, x.rec.Prepared = "", false
	x.tell()
}

// tell has the node tell of the seat. mu is held.
func (x *seat) tell() {
	if !x.gone && !x.silent {
		x.node.seats.Set(x.rec.ID, x.rec)
	}
}

func (x *seat) set(state wire.SeatState) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.become(state, x.rec.Session)
}

func (x *seat) resumeToken(session string) string {
	payload, _ := json.Marshal(map[string]string{"seat": x.rec.ID, "sub": session})
	return "h." + base64.RawURLEncoding.EncodeToString(payload) + ".secret-signature"
}

func (x *seat) attach(rw http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	x.mu.Lock()
	resumed := x.rec.State.Busy() && token == x.resumeToken(x.rec.Session)
	session, reached, granting := x.rec.Session, x.reached, x.granting
	x.mu.Unlock()
	if !resumed {
		claims, err := x.site.verify.Verify(token)
		session = claims.Session
		if reached != nil {
			reached(session)
		}
		try, _ := strconv.ParseUint(r.Header.Get(wire.TryHeader), 10, 64)
		if status := x.claim(claims, err, try); status != 0 {
			rw.Header().Set(wire.ClockHeader, time.Now().Add(x.clock).Format(time.RFC3339Nano))
			rw.WriteHeader(status)
			return
		}
		if granting != nil {
			granting(session)
		}
		x.mu.Lock()
		late := try < x.tries[session]
		x.mu.Unlock()
		if late {
			return // a later claim of the session has the grant
		}
	}
	ws, err := websocket.Accept(rw, r, nil)
	if err != nil {
		return
	}
	x.mu.Lock()
	before := x.conn
	x.conn, x.attached = ws, true
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.conn == ws {
			x.attached = false
		}
	}()
	if before != nil {
		go before.Close(wire.CloseReplaced, "")
	}
	x.say(ws, wire.Message{Type: wire.MsgGranted, Grant: &wire.Grant{Session: session, App: x.rec.App, Seat: x.rec.ID,
		Resume: x.resumeToken(session), GraceS: 60, Resumed: resumed}})
	for {
		_, data, err := ws.Read(context.Background())
		if err != nil {
			return
		}
		var m wire.Message
		json.Unmarshal(data, &m)
		x.mu.Lock()
		x.heard = append(x.heard, m)
		x.mu.Unlock()
		switch m.Type {
		case wire.MsgOffer:
			x.set(wire.SeatStreaming)
			x.say(ws, wire.Message{Type: wire.MsgAnswer, SDP: "answer to " + m.SDP, Restart: m.Restart})
		case wire.MsgLeave:
			x.end(wire.End{Reason: wire.ReasonLeft})
			return
		}
	}
}

// claim decides as the stream host does. It returns the status of its refusal, else 0.
func (x *seat) claim(claims ticket.Claims, bad error, try uint64) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	session := claims.Session
	again := x.rec.State == wire.SeatClaimed && x.rec.Session == session
	switch {
	case bad != nil || x.sick:
		x.refused++
		return http.StatusUnauthorized
	case x.used[session] && !again:
		return http.StatusForbidden
	case x.rec.State == wire.SeatEnding:
		return http.StatusGone
	case try < x.tries[session]:
		return http.StatusConflict
	}
	x.tries[session] = try
	if !again && !x.rec.State.Free() {
		return http.StatusConflict
	}
	if again {
		return 0
	}
	x.used[session] = true
	x.grants++
	x.rec.Subject, x.rec.Network, x.rec.Customer, x.rec.Meta = claims.Subject, claims.Network, claims.Customer, claims.Meta
	if x.rec.Until = (time.Time{}); claims.MaxDuration > 0 {
		x.rec.Until = time.Now().Add(claims.MaxDuration).UTC()
	}
	x.become(wire.SeatClaimed, session)
	if x.lease > 0 {
		time.AfterFunc(x.lease, func() { x.lapse(session) })
	}
	return 0
}

// lapse makes the seat idle again if nobody has heard the grant.
func (x *seat) lapse(session string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.rec.State == wire.SeatClaimed && x.rec.Session == session && !x.attached {
		x.lapses++
		x.become(wire.SeatIdle, "")
	}
}

func (x *seat) say(ws *websocket.Conn, m wire.Message) {
	data, _ := json.Marshal(m)
	ws.Write(context.Background(), websocket.MessageText, data)
}

func (x *seat) endIt(rw http.ResponseWriter, r *http.Request) {
	var req wire.EndRequest
	json.NewDecoder(r.Body).Decode(&req)
	x.mu.Lock()
	mine := x.rec.Session == req.Session
	x.mu.Unlock()
	if !mine {
		rw.WriteHeader(403)
		return
	}
	noContent(rw)
	go x.end(wire.End{Reason: req.Reason})
}

// noContent answers 204 at once, as a seat must before it ends: its end closes the
// connection, with an answer that is still in a buffer.
func noContent(rw http.ResponseWriter) {
	rw.WriteHeader(204)
	http.NewResponseController(rw).Flush()
}

func (x *seat) warn(rw http.ResponseWriter, r *http.Request) {
	var req wire.WarnRequest
	json.NewDecoder(r.Body).Decode(&req)
	x.mu.Lock()
	mine, ws := x.rec.Session == req.Session, x.conn
	x.mu.Unlock()
	if !mine || ws == nil {
		rw.WriteHeader(403)
		return
	}
	x.say(ws, wire.Message{Type: wire.MsgEnding, Ending: &req.Ending})
	rw.WriteHeader(204)
}

func (x *seat) check(rw http.ResponseWriter, r *http.Request) {
	var req wire.CheckRequest
	json.NewDecoder(r.Body).Decode(&req)
	x.mu.Lock()
	good := x.rec.State.Busy() && req.Session == x.rec.Session && req.Resume == x.resumeToken(req.Session)
	x.mu.Unlock()
	if !good {
		rw.WriteHeader(401)
		return
	}
	rw.WriteHeader(204)
}

func (x *seat) retire(rw http.ResponseWriter, r *http.Request) {
	var req wire.RetireRequest
	json.NewDecoder(r.Body).Decode(&req)
	x.mu.Lock()
	free := x.rec.State.Free()
	if req.Fetching {
		free = x.rec.State == wire.SeatStarting && x.rec.Progress.Phase == wire.PhaseContent && !x.former
	}
	if free {
		x.become(wire.SeatEnding, "")
	} else {
		x.declined++
	}
	x.mu.Unlock()
	if !free {
		rw.WriteHeader(409)
		return
	}
	noContent(rw)
	go x.end(wire.End{Reason: wire.ReasonRetired})
}

// end ends the seat in order: it tells its person and Nomad.
func (x *seat) end(end wire.End) {
	x.mu.Lock()
	ws := x.conn
	x.mu.Unlock()
	if ws != nil {
		x.say(ws, wire.Message{Type: wire.MsgEnded, End: &end})
		ws.Close(wire.CloseEnded, "")
	}
	x.vanish()
	x.site.nomad.died(x.rec.Job, end)
}

// vanish takes the seat away without an event.
func (x *seat) vanish() {
	x.once.Do(func() {
		x.mu.Lock()
		x.gone = true
		x.node.seats.Delete(x.rec.ID)
		if x.conn != nil {
			x.conn.CloseNow()
		}
		x.mu.Unlock()
		x.server.CloseClientConnections()
		x.server.Close()
	})
}
