package router

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// lookedAt is a brain that gives stills of its one session.
type lookedAt struct {
	seatOf
	role   atomic.Value // that looked last
	answer func(http.ResponseWriter)
}

func (b *lookedAt) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		b.seatOf.ServeHTTP(w, req)
		return
	}
	var ask wire.StillRequest
	if json.NewDecoder(req.Body).Decode(&ask) != nil || ask.Session != b.session || req.URL.Path != wire.SessionsPath+"/"+b.session+wire.StillPath || req.Header.Get("Authorization") != "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	b.role.Store(string(ask.Role))
	b.answer(w)
}

// TestStill has two routers, each with a brain of its own site: operators alone get a still, from the
// site that has the session, and what is no still of it goes no further.
func TestStill(t *testing.T) {
	east := newRig(t, withOperator)
	west := newRig(t, withOperator, func(c *Config) {
		c.Site, c.URL = "west", "https://west.example"
		c.Verifier = ticket.NewVerifier(east.signer.Public())
	})
	b := &lookedAt{seatOf: seatOf{session: ticket.NewSessionAt("west")}}
	give := func(w http.ResponseWriter) {
		json.NewEncoder(w).Encode(wire.Still{Session: b.session, Width: 640, Height: 360, JPEG: bytes.Repeat([]byte{7}, wire.MaxStill)})
	}
	b.answer = give
	for _, g := range []*rig{east, west} {
		g.view.set(func(s *Snapshot) {
			s.Sites[0].Routers[0].URL, s.Sites[1].Routers[0].URL = east.server.URL, west.server.URL
			s.Sites[0].Routers, s.Sites[1].Routers = s.Sites[0].Routers[:1:1], s.Sites[1].Routers[:1:1]
		})
	}
	east.brainsAt(0, serveBrain(t, &seatOf{}))
	west.brainsAt(1, serveBrain(t, b))
	path := wire.SessionsPath + "/" + b.session + wire.StillPath
	ask := wire.StillRequest{Session: b.session, Role: wire.RoleOperator}
	for name, g := range map[string]*rig{"the site's own router": west, "a router of another site": east} {
		res, _ := g.call("POST", path, ask, asOperator()...)
		if res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s", name, res.Header.Get("Cache-Control"))
		}
		if got := into[wire.Still](g, 200, "POST", path, ask, asOperator()...); got.Session != b.session || len(got.JPEG) != wire.MaxStill || b.role.Load() != string(wire.RoleOperator) {
			t.Errorf("%s: %d bytes of %s, as %v", name, len(got.JPEG), got.Session, b.role.Load())
		}
	}
	b.role.Store("")
	east.refused(wire.ProblemTicket, "POST", path, ask)
	east.refused(wire.ProblemTicket, "POST", path, ask, "Authorization", "Bearer "+east.ticketFor(b.session))
	east.refused(wire.ProblemInvalid, "POST", path, wire.StillRequest{Session: b.session, Role: wire.RoleViewer}, asOperator()...)
	east.refused(wire.ProblemInvalid, "POST", path, wire.StillRequest{Session: ticket.NewSessionAt("west"), Role: wire.RoleAdmin}, asOperator()...)
	east.refused(wire.ProblemMalformed, "POST", path, `{"session":"x","role":"admin","more":`+strings.Repeat(" ", 2*maxStillRequest)+`1}`, asOperator()...)
	none := ticket.NewSessionAt("west")
	east.refused(wire.ProblemNotFound, "POST", wire.SessionsPath+"/"+none+wire.StillPath, wire.StillRequest{Session: none, Role: wire.RoleAdmin}, asOperator()...)
	if b.role.Load() != "" {
		t.Errorf("a brain was asked as %v all the same", b.role.Load())
	}

	for name, c := range map[string]struct {
		answer func(http.ResponseWriter)
		kind   string
	}{
		"what the brain refuses": {func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusConflict)
			json.NewEncoder(w).Encode(problem(wire.ProblemNoStill, "", "away"))
		}, wire.ProblemNoStill},
		"a still, and more": {func(w http.ResponseWriter) {
			give(w)
			w.Write(bytes.Repeat([]byte{' '}, wire.MaxStillBody))
		}, wire.ProblemUnavailable},
		"too large":  {func(w http.ResponseWriter) { w.Write(bytes.Repeat([]byte{' '}, wire.MaxStillBody+10)) }, wire.ProblemUnavailable},
		"no JSON":    {func(w http.ResponseWriter) { w.Write([]byte("\xff\xd8")) }, wire.ProblemUnavailable},
		"it is over": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusGone) }, wire.ProblemNotFound},
	} {
		b.answer = c.answer
		t.Run(name, func(t *testing.T) { east.refused(c.kind, "POST", path, ask, asOperator()...) })
	}
}
