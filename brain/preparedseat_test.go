package brain_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

// prepare is what a stream host does for wire.PreparePath.
func (x *seat) prepare(rw http.ResponseWriter, r *http.Request) {
	claims, err := x.site.verify.Verify(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	session := claims.Session
	x.mu.Lock()
	status := 0
	switch {
	case err != nil:
		status = http.StatusUnauthorized
	case x.used[session]:
		status = http.StatusForbidden
	case !x.rec.State.Free() || x.prepared != "":
		status = http.StatusConflict
	default:
		x.prepared, x.rec.Prepared = session, true
		x.tell()
	}
	x.mu.Unlock()
	if status != 0 {
		rw.WriteHeader(status)
		return
	}
	defer x.unprepare(session)
	ws, err := websocket.Accept(rw, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	grant := wire.Grant{Session: session, App: x.rec.App, Seat: x.rec.ID, Resume: x.resumeToken(session), GraceS: 60, Prepared: true}
	x.say(ws, wire.Message{Type: wire.MsgGranted, Grant: &grant})
	for {
		_, data, err := ws.Read(context.Background())
		if err != nil {
			return
		}
		var m wire.Message
		json.Unmarshal(data, &m)
		switch m.Type {
		case wire.MsgOffer:
			x.say(ws, wire.Message{Type: wire.MsgAnswer, SDP: "answer to " + m.SDP})
		case wire.MsgPlay:
			x.mu.Lock()
			mine := x.prepared == session
			if mine {
				x.used[session], x.conn, x.attached = true, ws, true
				x.grants++
				x.rec.Subject, x.rec.Network = claims.Subject, claims.Network
				x.become(wire.SeatStreaming, session)
			}
			x.mu.Unlock()
			if !mine {
				x.say(ws, wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonLost}})
				return
			}
			grant.Prepared = false
			x.say(ws, wire.Message{Type: wire.MsgGranted, Grant: &grant})
		case wire.MsgLeave:
			x.mu.Lock()
			mine := x.rec.Session == session
			x.mu.Unlock()
			if mine {
				x.end(wire.End{Reason: wire.ReasonLeft})
			}
			return
		}
	}
}

// unprepare makes the seat free of a person who did not press Play.
func (x *seat) unprepare(session string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.prepared == session {
		x.prepared, x.rec.Prepared = "", false
		x.tell()
	}
}
