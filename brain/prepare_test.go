package brain_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// prepare is a person whose pointer rests on Play.
func (s *site) prepare(r *replica, app string, change ...func(*ticket.Claims)) (p *person, token string) {
	s.t.Helper()
	p = s.dial(r)
	claims := ticket.Claims{Session: ticket.NewSessionAt("dc1"), App: app, Sites: []string{"dc1"}}
	for _, f := range change {
		f(&claims)
	}
	token, _, err := s.signer.Sign(claims)
	if err != nil {
		s.t.Fatal(err)
	}
	p.session = claims.Session
	p.send(wire.Message{Type: wire.MsgPrepare, Ticket: token, SDP: "offer of " + p.session})
	return p, token
}

// prepared has a seat prepared for a person.
func (s *site) prepared(r *replica, app string, change ...func(*ticket.Claims)) (p *person, seat string) {
	s.t.Helper()
	p, _ = s.prepare(r, app, change...)
	grant := p.expect(wire.MsgGranted).Grant
	if !grant.Prepared {
		s.t.Fatalf("granted %+v", grant)
	}
	p.expect(wire.MsgAnswer)
	return p, grant.Seat
}

// idle waits until so many seats of an app are idle, and as many of them prepared.
func (s *site) idle(r *replica, app string, want, prepared int) {
	s.t.Helper()
	s.until("seats are idle, and prepared", func() bool {
		idle, lent := 0, 0
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, x := range s.seats {
			x.mu.Lock()
			if x.rec.App == app && x.rec.State == wire.SeatIdle && !x.gone {
				if idle++; x.rec.Prepared {
					lent++
				}
			}
			x.mu.Unlock()
		}
		return idle == want && lent == prepared
	})
}

// warmSite is a site with an app whose warm pool is published, and a brain.
func warmSite(t *testing.T, app brain.App) (s *site, b *replica, published func() wire.App) {
	t.Helper()
	s = newSite(t, app)
	s.nomad.placed = s.ready
	published = s.published(app.ID)
	b = s.brain("b1")
	s.until("the warm pool is published", func() bool { return published().Capacity.Idle == app.Warm })
	return s, b, published
}

func TestPrepareThenPlay(t *testing.T) {
	s, b, published := warmSite(t, brain.App{ID: "viewer", Version: 3, Warm: 2, Max: 4})
	p, seat := s.prepared(b, "viewer")
	s.idle(b, "viewer", 2, 1)
	if status, body := call(t, http.MethodGet, b.internal+"/v1/sessions/"+p.session); status != 404 {
		t.Errorf("a session is shown before Play: %d %s", status, body)
	}
	if n := b.value("nearcast_brain_sessions"); n != 0 {
		t.Errorf("%v sessions before Play", n)
	}
	if n := s.nomad.dispatched(); n != 2 {
		t.Errorf("%d seats were dispatched: a person who has not pressed Play makes the pool larger", n)
	}
	p.send(wire.Message{Type: wire.MsgPlay})
	if grant := p.expect(wire.MsgGranted).Grant; grant.Prepared || grant.Seat != seat || grant.Session != p.session {
		t.Errorf("granted %+v", grant)
	}
	if status, body := call(t, http.MethodGet, b.internal+"/v1/sessions/"+p.session); status != 200 || !strings.Contains(body, seat) {
		t.Errorf("the session: %d %s", status, body)
	}
	if n := b.value("nearcast_brain_sessions"); n != 1 {
		t.Errorf("%v sessions", n)
	}
	s.until("the pool is filled", func() bool { c := published().Capacity; return c.Busy == 1 && c.Idle == 2 })
	// The page comes back as after any launch.
	again := s.dial(b)
	again.send(wire.Message{Type: wire.MsgHello, Resume: s.at(seat).resumeToken(p.session)})
	if grant := again.expect(wire.MsgGranted).Grant; !grant.Resumed {
		t.Errorf("granted %+v", grant)
	}
}

// Nobody is lent the last seat that is prepared for nobody. With Play, the person goes on by
// the same connection, ticket and offer.
func TestPrepareSparesTheLast(t *testing.T) {
	s, b, _ := warmSite(t, brain.App{ID: "game", Version: 1, Warm: 2, Max: 2})
	first, _ := s.prepared(b, "game")
	second, _ := s.prepare(b, "game")
	second.expect(wire.MsgUnprepared)
	second.send(wire.Message{Type: wire.MsgCandidate, Candidate: json.RawMessage(`{"candidate":"x"}`)})
	second.send(wire.Message{Type: wire.MsgPlay})
	grant := second.expect(wire.MsgGranted).Grant
	if got := second.expect(wire.MsgAnswer).SDP; grant.Prepared || got != "answer to offer of "+second.session {
		t.Errorf("granted %+v, answered %q", grant, got)
	}
	// Nor is one lent while people wait, and those get what is prepared.
	third := s.play(b, "game")
	taken := third.expect(wire.MsgGranted).Grant
	if taken.Seat == grant.Seat {
		t.Fatal("a seat has two people")
	}
	first.send(wire.Message{Type: wire.MsgPlay})
	first.closed(wire.CloseEnded)
	fourth := s.play(b, "game")
	fourth.expect(wire.MsgQueued)
	fifth, _ := s.prepare(b, "game")
	fifth.expect(wire.MsgUnprepared)
	fifth.send(wire.Message{Type: wire.MsgPlay})
	fifth.expect(wire.MsgQueued)
}

// A seat that nobody played is another's, and its ticket is not used.
func TestPrepareWithoutPlay(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 2, Max: 2})
	s.nomad.placed = s.ready
	a, b := s.brain("a"), s.brain("b")
	s.idle(a, "game", 2, 0)
	var p *person
	var token string
	s.until("a seat is prepared", func() bool { // once the brain knows of both
		p, token = s.prepare(a, "game")
		m, err := p.next()
		if err != nil {
			t.Fatal(err)
		}
		return m.Type == wire.MsgGranted
	})
	p.ws.CloseNow()
	s.idle(a, "game", 2, 0)
	late := s.dial(b)
	late.send(wire.Message{Type: wire.MsgHello, Ticket: token, SDP: "offer"})
	grant := late.expect(wire.MsgGranted).Grant
	late.expect(wire.MsgAnswer)
	// The ticket has begun its session.
	for _, kind := range []wire.MessageType{wire.MsgHello, wire.MsgPrepare} {
		again := s.dial(a)
		again.send(wire.Message{Type: kind, Ticket: token, SDP: "offer"})
		m, err := again.next()
		if kind == wire.MsgPrepare && err == nil && m.Type == wire.MsgUnprepared {
			again.send(wire.Message{Type: wire.MsgPlay})
			m, err = again.next()
		}
		if err != nil || m.Type != wire.MsgRefused || m.Problem.Type != wire.ProblemTicketUsed {
			t.Errorf("%s with a used ticket: %+v, %v", kind, m, err)
		}
	}
	if n := s.at(grant.Seat).grants; n != 1 {
		t.Errorf("the seat was granted %d times", n)
	}
}

// The ticket is shown to another brain while its seat is prepared: it is that seat that begins.
func TestPrepareAndHelloElsewhere(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 2, Max: 2})
	s.nomad.placed = s.ready
	published := s.published("game")
	a, b := s.brain("a"), s.brain("b")
	s.until("the warm pool is published", func() bool { return published().Capacity.Idle == 2 })
	p, token := s.prepare(a, "game")
	seat := p.expect(wire.MsgGranted).Grant.Seat
	other := s.dial(b)
	other.send(wire.Message{Type: wire.MsgHello, Ticket: token, SDP: "offer"})
	if got := other.expect(wire.MsgGranted).Grant.Seat; got != seat {
		t.Errorf("one ticket has %s and %s", seat, got)
	}
	p.send(wire.Message{Type: wire.MsgPlay})
	p.closed(wire.CloseEnded)
}

// Networks have few seats prepared at once, and cannot renew that for ever.
func TestPrepareIsBounded(t *testing.T) {
	s, b, _ := warmSite(t, brain.App{ID: "game", Version: 1, Warm: 8, Max: 8})
	var people []*person
	for range 4 {
		p, _ := s.prepared(b, "game")
		people = append(people, p)
	}
	p, _ := s.prepare(b, "game")
	p.expect(wire.MsgUnprepared)
	for _, p := range people {
		p.ws.CloseNow()
	}
	s.idle(b, "game", 8, 0)
	granted := 0
	for range 6 {
		p, _ := s.prepare(b, "game")
		if m, err := p.next(); err == nil && m.Type == wire.MsgGranted {
			granted++
		}
		p.ws.CloseNow()
	}
	if granted > 3 { // those that the time has given meanwhile
		t.Errorf("%d more seats were prepared at once", granted)
	}
}

// Play gives nobody more sessions than a launch does, whatever was prepared before.
func TestPrepareDoesNotPassTheCap(t *testing.T) {
	s, b, _ := warmSite(t, brain.App{ID: "game", Version: 1, Warm: 4, Max: 8})
	one := func(c *ticket.Claims) { c.Subject, c.MaxSessions = ticket.HashSubject("k", "ada"), 1 }
	first, _ := s.prepared(b, "game", one)
	second, _ := s.prepared(b, "game", one)
	first.send(wire.Message{Type: wire.MsgPlay})
	second.send(wire.Message{Type: wire.MsgPlay})
	granted, refused := 0, 0
	for _, p := range []*person{first, second} {
		switch m, err := p.next(); {
		case err == nil && m.Type == wire.MsgGranted:
			granted++
		case err == nil && m.Type == wire.MsgRefused && m.Problem.Type == wire.ProblemSessions:
			refused++
		default:
			t.Errorf("%+v, %v", m, err)
		}
	}
	if granted != 1 || refused != 1 {
		t.Errorf("%d granted, %d refused; a subject may have one session", granted, refused)
	}
	s.idle(b, "game", 4, 0) // the pool is filled, and what was prepared is free
	third, _ := s.prepare(b, "game", one)
	third.expect(wire.MsgUnprepared)
}

// What opens a conversation in a wrong way is told so.
func TestPrepareMalformed(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 1, Max: 1})
	b := s.brain("b1")
	token, _ := s.ticket("game", 0)
	for _, m := range []wire.Message{
		{Type: wire.MsgPrepare, Ticket: token},
		{Type: wire.MsgPrepare, SDP: "offer"},
		{Type: wire.MsgPrepare, Ticket: token, Resume: "r", SDP: "offer"},
		{Type: wire.MsgPlay},
	} {
		p := s.dial(b)
		p.send(m)
		if got, err := p.next(); err != nil || got.Type != wire.MsgRefused || got.Problem.Type != wire.ProblemMalformed {
			t.Errorf("%+v: %+v, %v", m, got, err)
		}
	}
	p, _ := s.prepare(b, "game")
	p.expect(wire.MsgUnprepared)
	p.send(wire.Message{Type: wire.MsgOffer, SDP: "another"})
	p.closed(wire.CloseRefused)
}
