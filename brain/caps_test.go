package brain_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestSessionsAtOnce checks that brains count the sessions of a subject and of a network
// from the seats, whichever brain granted them.
func TestSessionsAtOnce(t *testing.T) {
	ada, bob := ticket.HashSubject("k", "ada"), ticket.HashSubject("k", "bob")
	subject := func(of string, most int) func(*ticket.Claims) {
		return func(c *ticket.Claims) { c.Subject, c.MaxSessions = of, most }
	}
	network := func(of string) func(*ticket.Claims) { return func(c *ticket.Claims) { c.Network = of } }
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 4, Max: 12}, brain.App{ID: "chess", Version: 1, Warm: 1, Max: 4})
	s.nomad.placed = s.ready
	a, b := s.brain("a"), s.brain("b")
	plays := func(at *replica, app string, change func(*ticket.Claims)) *person {
		t.Helper()
		p := s.playAs(at, app, change)
		p.expect(wire.MsgAnswer)
		return p
	}
	refused := func(at *replica, app string, change func(*ticket.Claims), want string) {
		t.Helper()
		p := s.playAs(at, app, change).expect(wire.MsgRefused).Problem
		if p.Type != wire.ProblemSessions || p.Status != 429 || !strings.Contains(p.Detail, want) || !strings.Contains(p.Detail, "dc1") {
			t.Errorf("%+v", p)
		}
	}
	sees := func(p *person) int {
		status, _ := call(t, http.MethodGet, b.internal+"/v1/sessions/"+p.session)
		return status
	}
	first := plays(a, "game", func(c *ticket.Claims) { subject(ada, 2)(c); c.MaxDuration = time.Hour })
	second := plays(a, "game", subject(ada, 2))
	refused(a, "game", subject(ada, 2), "has 2 sessions") // at once: Consul need not have answered
	s.until("the other brain sees both", func() bool { return sees(first) == 200 && sees(second) == 200 })
	refused(b, "chess", subject(ada, 2), "The first of them ends at ")
	plays(b, "game", subject(bob, 2))
	plays(b, "game", subject(ada, 3))
	first.send(wire.Message{Type: wire.MsgLeave})
	first.expect(wire.MsgEnded)
	s.until("a session has ended", func() bool { return sees(first) == 404 })
	refused(b, "game", subject(ada, 2), "has 2 sessions")
	plays(b, "game", subject(ada, 0)) // no limit

	for range 2 {
		plays(a, "game", network("c0de"))
	}
	refused(a, "game", network("c0de"), "Your network has 2 sessions of game")
	plays(a, "game", network("beef"))
	plays(a, "chess", network("c0de"))
}

// TestWaitersCountToo checks that a person's places in the queue count like seats.
func TestWaitersCountToo(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Max: 0})
	b := s.brain("b1")
	network := func(c *ticket.Claims) { c.Network = "c0de" }
	for range 2 {
		s.playAs(b, "game", network).expect(wire.MsgQueued)
	}
	if p := s.playAs(b, "game", network).expect(wire.MsgRefused).Problem; p.Type != wire.ProblemSessions {
		t.Errorf("%+v", p)
	}
}

// playAs is play with more claims in the ticket.
func (s *site) playAs(r *replica, app string, change func(*ticket.Claims)) *person {
	s.t.Helper()
	p := s.dial(r)
	claims := ticket.Claims{Session: ticket.NewSessionAt("dc1"), App: app, Sites: []string{"dc1"}}
	change(&claims)
	token, _, err := s.signer.Sign(claims)
	if err != nil {
		s.t.Fatal(err)
	}
	p.session = claims.Session
	p.send(wire.Message{Type: wire.MsgHello, Ticket: token, SDP: "offer of " + p.session})
	return p
}
