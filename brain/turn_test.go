package brain_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// The grant has credentials for TURN, which are renewed before they expire, also for a
// person who comes back. They name neither person nor session.
func TestTURNComesWithTheGrant(t *testing.T) {
	s := newSite(t, brain.App{ID: "a", Version: 1, Warm: 1, Max: 1})
	s.nomad.placed = s.ready
	const secret ticket.TURNSecret = "shared with TURN"
	urls := []string{"turn:turn.example:3478", "turns:turn.example:5349"}
	life := 15 * time.Second
	r := s.brainWith("one", func(c *brain.Config) { c.TURN = brain.TURN{URLs: urls, Secret: secret, For: life} })
	p := s.play(r, "a")
	grant := p.expect(wire.MsgGranted).Grant
	seen := map[string]bool{}
	check := func(servers []wire.ICEServer) {
		t.Helper()
		if len(servers) != 1 || !slices.Equal(servers[0].URLs, urls) {
			t.Fatalf("ICE servers: %+v", servers)
		}
		name := servers[0].Username
		until, id, err := ticket.ReadTURNName(name)
		left := time.Until(until)
		if err != nil || id != secret.ID() || left > life || left < -time.Second || servers[0].Credential != secret.Password(name) {
			t.Errorf("%q is good for %v: %v", name, left, err)
		}
		if seen[name] {
			t.Errorf("%q comes twice", name)
		}
		seen[name] = true
		for _, part := range []string{p.session, strings.TrimPrefix(p.session, "s-"), grant.Seat} {
			if strings.Contains(name, part) {
				t.Errorf("%q names %s", name, part)
			}
		}
	}
	check(grant.ICEServers)
	granted := time.Now()
	check(p.expect(wire.MsgICE).ICEServers)
	if after := time.Since(granted); after > life {
		t.Errorf("the renewal came after %v, when the credentials had expired", after)
	}
	p.ws.CloseNow()

	again := s.dial(r)
	again.send(wire.Message{Type: wire.MsgHello, Resume: grant.Resume})
	check(again.expect(wire.MsgGranted).Grant.ICEServers)
}

func TestTURNConfig(t *testing.T) {
	for what, c := range map[string]brain.TURN{
		"no secret": {URLs: []string{"turn:a.example"}}, "a STUN server": {URLs: []string{"stun:a.example"}, Secret: "s"},
		"no host": {URLs: []string{"turn:"}, Secret: "s"}, "a URL": {URLs: []string{"turn://a.example"}, Secret: "s"},
	} {
		if _, err := brain.New(brain.Config{ID: "b", Site: "s", Fleet: nil, TURN: c}); err == nil || !strings.Contains(err.Error(), "TURN") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
