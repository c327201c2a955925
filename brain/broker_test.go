package brain_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestPlayWatchEnd(t *testing.T) {
	s := newSite(t, brain.App{ID: "viewer", Version: 3, Title: "Viewer", Warm: 1, Max: 2})
	s.nomad.placed = s.ready
	published := s.published("viewer")
	b := s.brain("b1")
	s.until("the warm pool is published", func() bool { return published().Capacity.Idle == 1 })

	begin := time.Now()
	p := s.play(b, "viewer")
	grant := p.expect(wire.MsgGranted).Grant
	t.Logf("hello → granted in %v", time.Since(begin))
	if grant.Session != p.session || grant.App != "viewer" {
		t.Errorf("granted %+v", grant)
	}
	if got := p.expect(wire.MsgAnswer).SDP; got != "answer to offer of "+p.session {
		t.Errorf("answer %q: the offer in hello did not reach the seat", got)
	}
	s.until("the used seat is replaced and published", func() bool {
		c := published().Capacity
		return c.Busy == 1 && c.Idle == 1 && c.Max == 2
	})
	s.until("the session is shown", func() bool {
		status, body := call(t, http.MethodGet, b.internal+"/v1/sessions/"+p.session)
		return status == 200 && strings.Contains(body, `"state":"streaming"`)
	})
	p.send(wire.Message{Type: wire.MsgCandidate, Candidate: json.RawMessage(`{"candidate":"x"}`)})
	s.until("the candidate is relayed", func() bool {
		x := s.at(grant.Seat)
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.heard) == 2 && string(x.heard[1].Candidate) == `{"candidate":"x"}`
	})
	if status, body := call(t, http.MethodDelete, b.internal+"/v1/sessions/"+p.session); status != 204 {
		t.Errorf("DELETE: %d %s", status, body)
	}
	if end := p.expect(wire.MsgEnded).End; end.Reason != wire.ReasonLeft {
		t.Errorf("ended %v", end)
	}
	p.closed(wire.CloseEnded)
	s.until("the session is gone", func() bool {
		status, _ := call(t, http.MethodGet, b.internal+"/v1/sessions/"+p.session)
		return status == 404
	})
	s.nomad.change(func(j brain.Jobs) { delete(j.Apps, "viewer") })
	s.until("a stopped app is not published any more, and its idle seat is retired", func() bool {
		ids, _ := s.nomad.Live(s.ctx, "viewer")
		return published().ID == "" && len(ids) == 0
	})
}

func TestFiftyClaimsOfOneSeat(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 1, Max: 1})
	s.nomad.placed = s.ready
	b := s.brain("b1")
	s.until("one seat is idle", func() bool { x := s.at("alloc-1"); return x != nil })

	people := make([]*person, 50)
	var mu sync.Mutex
	got := map[wire.MessageType]int{}
	var all sync.WaitGroup
	for i := range people {
		people[i] = s.play(b, "game")
	}
	for _, p := range people {
		all.Go(func() {
			m, err := p.next()
			for err == nil && m.Type == wire.MsgStarting {
				m, err = p.next()
			}
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			got[m.Type]++
			mu.Unlock()
		})
	}
	all.Wait()
	if got[wire.MsgGranted] != 1 || got[wire.MsgQueued] != 49 {
		t.Fatalf("50 claims of one seat: %v", got)
	}
	if n := s.at("alloc-1").grants; n != 1 {
		t.Fatalf("the seat granted itself %d times", n)
	}
}

// laterThanBefore has the next person come in another millisecond: places are by those of tickets,
// then by the sessions' ids.
func laterThanBefore() {
	for last := time.Now().UnixMilli(); time.Now().UnixMilli() == last; {
		runtime.Gosched()
	}
}

func TestQueueIsFIFO(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Max: 1})
	s.nomad.placed = s.ready
	b := s.brain("b1")
	first := s.play(b, "game")
	first.expect(wire.MsgGranted)
	first.expect(wire.MsgAnswer)
	var waiting []*person
	for i := range 4 {
		laterThanBefore()
		p := s.play(b, "game")
		for {
			if q := p.expect(wire.MsgQueued).Queue; q.Position == i+1 {
				break
			}
		}
		waiting = append(waiting, p)
	}
	// The second person leaves. Those behind move up.
	waiting[1].ws.CloseNow()
	if q := waiting[2].expect(wire.MsgQueued).Queue; q.Position != 2 {
		t.Errorf("the third is now at %d", q.Position)
	}
	if q := waiting[3].expect(wire.MsgQueued).Queue; q.Position != 3 {
		t.Errorf("the fourth is now at %d", q.Position)
	}
	status, body := call(t, http.MethodGet, b.internal+"/v1/sessions/"+waiting[3].session)
	if status != 200 || !strings.Contains(body, `"state":"waiting"`) {
		t.Errorf("GET of a waiting session: %d %s", status, body)
	}
	if status, _ := call(t, http.MethodDelete, b.internal+"/v1/sessions/"+waiting[3].session); status != 204 {
		t.Errorf("DELETE of a waiting session: %d", status)
	}
	if e := waiting[3].expect(wire.MsgEnded).End; e.Reason != wire.ReasonLeft {
		t.Errorf("ended %v", e)
	}
	first.send(wire.Message{Type: wire.MsgLeave})
	first.expect(wire.MsgEnded)
	waiting[0].expect(wire.MsgGranted)
	waiting[0].send(wire.Message{Type: wire.MsgLeave})
	waiting[2].expect(wire.MsgGranted)
}

func TestRefusedTickets(t *testing.T) {
	s := newSite(t, brain.App{ID: "viewer", Version: 1, Warm: 2, Max: 4}, brain.App{ID: "other", Version: 1, Max: 1})
	s.nomad.placed = s.ready
	b := s.brain("b1")
	s.until("two seats are idle", func() bool { return s.at("alloc-2") != nil })
	sign := func(c ticket.Claims) string {
		token, _, err := s.signer.Sign(c)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	old := time.Now().Add(-time.Hour)
	good, _ := s.ticket("viewer", 0)
	var tokens []string
	for _, c := range []struct {
		name, token, problem string
		status               int
	}{
		{"forged", good[:len(good)-8] + "AAAAAAAA", wire.ProblemTicket, 401},
		{"garbage", "xyzzy", wire.ProblemTicket, 401},
		{"expired", sign(ticket.Claims{Session: ticket.NewSession(), App: "viewer", Sites: []string{"dc1"}, Issued: old, Expires: old.Add(time.Minute)}), wire.ProblemTicket, 401},
		{"other site", sign(ticket.Claims{Session: ticket.NewSession(), App: "viewer", Sites: []string{"dc9"}}), wire.ProblemTicket, 401},
		{"unknown app", sign(ticket.Claims{Session: ticket.NewSession(), App: "nothing", Sites: []string{"dc1"}}), wire.ProblemUnknownApp, 404},
	} {
		p := s.dial(b)
		p.send(wire.Message{Type: wire.MsgHello, Ticket: c.token})
		m := p.expect(wire.MsgRefused)
		if m.Problem.Type != c.problem || m.Problem.Status != c.status {
			t.Errorf("%s: %+v", c.name, m.Problem)
		}
		p.closed(wire.CloseRefused)
		tokens = append(tokens, c.token)
	}
	first := s.dial(b)
	first.send(wire.Message{Type: wire.MsgHello, Ticket: good})
	grant := first.expect(wire.MsgGranted).Grant
	first.send(wire.Message{Type: wire.MsgOffer, SDP: "offer"})
	first.expect(wire.MsgAnswer) // the browser connects
	again := s.dial(b)
	again.send(wire.Message{Type: wire.MsgHello, Ticket: good})
	if p := again.expect(wire.MsgRefused).Problem; p.Type != wire.ProblemTicketUsed || p.Status != 403 {
		t.Errorf("used twice: %+v", p)
	}
	bad := s.dial(b)
	bad.send(wire.Message{Type: wire.MsgHello, Resume: "h.bm90IGpzb24.x"})
	if p := bad.expect(wire.MsgRefused).Problem; p.Type != wire.ProblemResume || p.Status != 410 {
		t.Errorf("bad resume: %+v", p)
	}
	text := s.logs.String()
	for _, token := range append(tokens, good, grant.Resume) {
		if strings.Contains(text, token) {
			t.Errorf("the log contains a credential: %.20s…", token)
		}
	}
}

func TestMalformedAndFlood(t *testing.T) {
	s := newSite(t, brain.App{ID: "viewer", Version: 1, Max: 0})
	b := s.brain("b1")
	for _, text := range []string{"", "nonsense", "[]", `{"type":"offer"}`, `{"type":"hello"}`, `{"type":"hello","ticket":"a","resume":"b"}`} {
		p := s.dial(b)
		if err := p.ws.Write(s.ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if m := p.expect(wire.MsgRefused); m.Problem.Type != wire.ProblemMalformed {
			t.Errorf("%q: %+v", text, m.Problem)
		}
	}
	big := s.dial(b)
	big.ws.Write(s.ctx, websocket.MessageText, []byte(strings.Repeat(" ", wire.MaxMessage+1)))
	if _, err := big.next(); err == nil {
		t.Error("a hello that is too large was accepted")
	}
	p := s.play(b, "viewer")
	p.expect(wire.MsgQueued)
	for range 400 {
		data, _ := json.Marshal(wire.Message{Type: wire.MsgOffer, SDP: "x"})
		if p.ws.Write(s.ctx, websocket.MessageText, data) != nil {
			break
		}
	}
	for {
		m, err := p.next()
		if err != nil {
			var closed websocket.CloseError
			if !errors.As(err, &closed) {
				break // the write closed the socket first
			}
			if int(closed.Code) != wire.CloseRefused {
				t.Errorf("a flood was closed with %d", closed.Code)
			}
			break
		}
		if m.Type == wire.MsgRefused {
			break
		}
	}
}

func TestOnDemand(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 7, Max: 3})
	b := s.brain("b1")
	p := s.play(b, "game")
	if m := p.expect(wire.MsgStarting); m.Progress.Phase != wire.PhasePlacing {
		t.Errorf("the first update was %+v", m.Progress)
	}
	s.until("a seat is dispatched for the person", func() bool { return s.nomad.dispatched() == 1 })
	x := s.seat("game", "game/dispatch-v7-1", "alloc-1", wire.SeatStarting)
	x.fetches(wire.Progress{Fraction: 0.5, Detail: "120 of 240 MB"})
	for {
		if m := p.expect(wire.MsgStarting); m.Progress.Phase == wire.PhaseContent && m.Progress.Detail == "120 of 240 MB" {
			break
		}
	}
	x.set(wire.SeatIdle)
	p.expect(wire.MsgGranted)
	p.expect(wire.MsgAnswer)
	if n := s.nomad.dispatched(); n != 1 {
		t.Errorf("%d seats for one person", n)
	}
}

// fetches has a seat that starts say how far its content is.
func (x *seat) fetches(p wire.Progress) {
	p.Phase = wire.PhaseContent
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rec.Progress = p
	x.tell()
}

// The person leaves while the content of their seat is fetched.
func TestFetchIsStopped(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 7, Max: 3})
	b := s.brain("b1")
	p := s.play(b, "game")
	s.until("a seat is dispatched", func() bool { return s.nomad.dispatched() > 0 })
	x := s.seat("game", "game/dispatch-v7-1", "alloc-1", wire.SeatStarting)
	x.fetches(wire.Progress{Fraction: 0.001})
	p.send(wire.Message{Type: wire.MsgLeave})
	s.until("the seat is retired", func() bool {
		b.Later(time.Second)
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.rec.State == wire.SeatEnding
	})
	s.until("Nomad shows its end", func() bool {
		s.nomad.mu.Lock()
		defer s.nomad.mu.Unlock()
		c := s.nomad.jobs.Children["game/dispatch-v7-1"]
		return c.State == brain.ChildDead && c.End.Reason == wire.ReasonRetired
	})
}

// A seat that goes on to fetch is for the next person at once.
func TestFetchGoesOn(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 7, Max: 3})
	b := s.brain("b1")
	p := s.play(b, "game")
	s.until("a seat is dispatched", func() bool { return s.nomad.dispatched() > 0 })
	x := s.seat("game", "game/dispatch-v7-1", "alloc-1", wire.SeatStarting)
	x.mu.Lock()
	x.former = true
	x.mu.Unlock()
	x.fetches(wire.Progress{Fraction: 0.001})
	p.send(wire.Message{Type: wire.MsgLeave})
	s.until("the seat declines to end", func() bool {
		b.Later(time.Second)
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.declined > 0
	})
	next := s.play(b, "game")
	for next.expect(wire.MsgStarting).Progress.Phase != wire.PhaseContent {
	}
	x.set(wire.SeatIdle)
	next.expect(wire.MsgGranted)
	if n := s.nomad.dispatched(); n != 1 {
		t.Errorf("%d seats were dispatched, while one fetched for the next person", n)
	}
}

func TestSeatThatFailsToStart(t *testing.T) {
	s := newSite(t, brain.App{ID: "bad", Version: 1, Warm: 1, Max: 5})
	end := wire.End{Reason: wire.ReasonError, Code: wire.CodeContentMissing, Detail: "no object s3://models/car.glb"}
	s.nomad.placed = func(c brain.Child) { s.nomad.died(c.ID, end) }
	published := s.published("bad")
	begin := time.Now()
	b := s.brain("b1")
	// A person who came before that would have a seat of their own dispatched beside the warm one.
	s.until("the failure is published", func() bool { return published().Capacity.Failing == end.Public().String() })
	p := s.play(b, "bad")
	if got := p.expect(wire.MsgRefused).Problem; got.Type != wire.ProblemStartFailed || got.Detail != end.Public().String() {
		t.Errorf("refused %+v", got)
	}
	// The object's name is for operators.
	if _, body := call(t, http.MethodGet, b.internal+"/v1/failing"); !strings.Contains(body, end.Detail) {
		t.Errorf("operators are told %s", body)
	}
	s.until("three dispatches", func() bool { return s.nomad.dispatched() >= 3 })
	// They must be 1 s, 2 s, 4 s, … apart.
	s.nomad.mu.Lock()
	times := append([]time.Time(nil), s.nomad.dispatches...)
	s.nomad.mu.Unlock()
	for i := 1; i < len(times); i++ {
		if gap := times[i].Sub(times[i-1]); gap < time.Second<<(i-1)-50*time.Millisecond {
			t.Errorf("dispatch %d came %v after the previous one", i+1, gap)
		}
	}
	t.Logf("%d dispatches in %v", len(times), time.Since(begin))
	// A new version of the job is dispatched at once.
	s.nomad.mu.Lock()
	s.nomad.placed = s.ready
	s.nomad.mu.Unlock()
	before := time.Now()
	s.nomad.change(func(j brain.Jobs) { j.Apps["bad"] = brain.App{ID: "bad", Version: 2, Warm: 1, Max: 5} })
	s.until("the new version is warm", func() bool { return published().Capacity.Idle == 1 && published().Capacity.Failing == "" })
	s.nomad.mu.Lock()
	last := s.nomad.dispatches[len(s.nomad.dispatches)-1]
	s.nomad.mu.Unlock()
	if d := last.Sub(before); d > 2*time.Second {
		t.Errorf("the repaired app waited %v", d)
	}
}

// An app that no node can ever have is not told as one that may have a place later.
func TestTooLarge(t *testing.T) {
	s := newSite(t, brain.App{ID: "huge", Version: 1, Max: 5, MHz: 90000, MemoryMB: 100})
	ctx, cancel := context.WithCancel(s.ctx)
	registration := s.fleet.RegisterNode(ctx, "sized", wire.Node{Key: testkit.Identity(t).Key(), Class: wire.LoadCalm, MHz: 9600, MemoryMB: 32000})
	t.Cleanup(func() { cancel(); registration.Close() })
	known := make(chan struct{}, 100)
	s.fleet.WatchNodes(ctx, func(nodes []wire.Node) {
		for _, n := range nodes {
			if n.MHz == 9600 && n.Healthy {
				known <- struct{}{}
			}
		}
	})
	<-known
	s.nomad.placed = func(c brain.Child) {
		s.nomad.change(func(j brain.Jobs) {
			c.State, c.Why = brain.ChildBlocked, "none of 2 nodes can take the seat; cpu is exhausted on 2"
			j.Children[c.ID] = c
		})
	}
	b := s.brain("b1")
	p := s.play(b, "huge")
	if e := p.expect(wire.MsgEnded).End; e.Code != wire.CodeTooLarge || strings.Contains(e.Detail, "90000") {
		t.Errorf("ended with %+v", e)
	}
}

func TestNoCapacity(t *testing.T) {
	s := newSite(t, brain.App{ID: "huge", Version: 1, Max: 5})
	why := "none of 2 nodes can take the seat; memory is exhausted on 2"
	s.nomad.placed = func(c brain.Child) {
		s.nomad.change(func(j brain.Jobs) {
			c.State, c.Why = brain.ChildBlocked, why
			j.Children[c.ID] = c
		})
	}
	b := s.brain("b1")
	b.Aged()
	p := s.play(b, "huge")
	if e := p.expect(wire.MsgEnded).End; e.Code != wire.CodeNoCapacity || e.Detail == why || e.Detail == "" {
		t.Errorf("ended with %+v", e)
	}
	s.until("the child is stopped", func() bool {
		ids, _ := s.nomad.Live(s.ctx, "huge")
		return len(ids) == 0
	})
}

// From no node at all: the autoscaler says that one may come, the first person waits, and has a seat when it is
// there.
func TestFromNoNode(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Max: 5, Pool: "stream-cpu"})
	there := make(chan struct{})
	s.nomad.placed = func(c brain.Child) {
		blocked := c
		blocked.State, blocked.Why = brain.ChildBlocked, "no node that may run this job is ready"
		s.nomad.change(func(j brain.Jobs) { j.Children[c.ID] = blocked })
		select {
		case <-there:
			s.ready(c)
		case <-s.ctx.Done():
		}
	}
	b := s.brain("b1")
	b.Aged()
	autoscaler := testkit.Identity(t)
	defer s.fleet.RegisterCaller(s.ctx, wire.AutoscalerService, "one", autoscaler.Key()).Close()
	say := func(who *identity.Identity, text string) int {
		res, err := as(who).Post(b.internal+wire.GrowthPath, "application/json", strings.NewReader(text))
		testkit.Must(t, err)
		res.Body.Close()
		return res.StatusCode
	}
	s.until("the brain knows the autoscaler", func() bool {
		return say(autoscaler, `{"pools":["stream-cpu","all"],"wait_ms":600000,"ready_ms":240000}`) == http.StatusNoContent
	})
	if a, r := say(autoscaler, `{"wait_ms":600000}`), say(router, `{"pools":["stream-cpu"],"wait_ms":0}`); a != 400 || r != 403 {
		t.Errorf("no pool: %d; from a router: %d", a, r)
	}
	p := s.play(b, "game")
	for {
		m := p.expect(wire.MsgQueued)
		if m.Queue.Machine && m.Queue.Position == 1 && m.Queue.EstimateMS > 200_000 {
			break
		}
	}
	close(there)
	p.expect(wire.MsgGranted)
}

func TestResumeAtAnotherBrain(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Max: 2})
	s.nomad.placed = s.ready
	a := s.brain("a")
	p := s.play(a, "game")
	grant := p.expect(wire.MsgGranted).Grant
	p.expect(wire.MsgAnswer)
	waiting := s.dial(a)
	if err := a.Shutdown(s.ctx); err != nil {
		t.Fatal(err)
	}
	waiting.ws.CloseNow()
	p.closed(int(websocket.StatusServiceRestart))
	a.stop()
	b := s.brain("b")
	p = s.dial(b)
	p.send(wire.Message{Type: wire.MsgHello, Resume: grant.Resume, SDP: "again"})
	if g := p.expect(wire.MsgGranted).Grant; !g.Resumed || g.Seat != grant.Seat {
		t.Errorf("resumed %+v", g)
	}
	if got := p.expect(wire.MsgAnswer).SDP; got != "answer to again" {
		t.Errorf("answer %q", got)
	}
	// Another page takes the session over. This one is closed with that code.
	q := s.dial(b)
	q.send(wire.Message{Type: wire.MsgHello, Resume: grant.Resume, SDP: "moved", Restart: true})
	q.expect(wire.MsgGranted)
	if m := q.expect(wire.MsgAnswer); !m.Restart || m.SDP != "answer to moved" {
		t.Errorf("the seat did not learn that ICE is restarted: %+v", m)
	}
	p.closed(wire.CloseReplaced)

	// The attachment breaks and the seat lives: the person does not notice.
	x := s.at(grant.Seat)
	x.mu.Lock()
	x.conn.CloseNow()
	x.mu.Unlock()
	q.send(wire.Message{Type: wire.MsgOffer, SDP: "after the break"})
	s.until("the offer reaches the seat", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.heard) > 0 && x.heard[len(x.heard)-1].SDP == "after the break"
	})
	// The seat dies. The person is told what Nomad knows, also when they resume later.
	x.vanish()
	s.nomad.died(x.rec.Job, wire.End{Reason: wire.ReasonAppExited, Signal: 11})
	if e := q.expect(wire.MsgEnded).End; e.Reason != wire.ReasonAppExited || e.Signal != 11 {
		t.Errorf("ended with %+v", e)
	}
	late := s.dial(b)
	late.send(wire.Message{Type: wire.MsgHello, Resume: grant.Resume})
	if e := late.expect(wire.MsgEnded).End; e.Signal != 11 {
		t.Errorf("ended with %+v", e)
	}
	s.nomad.change(func(j brain.Jobs) { clear(j.Children) })
	late = s.dial(b)
	late.send(wire.Message{Type: wire.MsgHello, Resume: grant.Resume})
	if e := late.expect(wire.MsgEnded).End; e.Signal != 11 {
		t.Errorf("after Nomad has forgotten the child: ended with %+v", e)
	}
	payload, _ := json.Marshal(map[string]string{"seat": "alloc-never"})
	other := "h." + base64.RawURLEncoding.EncodeToString(payload) + ".x"
	never := s.dial(b)
	never.send(wire.Message{Type: wire.MsgHello, Resume: other})
	if m, err := never.next(); err != nil || m.Type != wire.MsgRefused || m.Problem.Type != wire.ProblemResume || m.Problem.Status != 410 {
		t.Errorf("a seat that nobody knows: %+v, %v", m, err)
	}
}

func TestTwoReplicasOnePool(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 2, Max: 4})
	s.nomad.placed = s.ready
	published := s.published("game")
	proxy := testkit.StartProxy(t, s.consul.Address)
	a := s.brain("a", proxy.Address)
	s.until("a is the leader", func() bool { return published().Capacity.Idle == 2 })
	b := s.brain("b")
	var mu sync.Mutex
	seats := map[string]string{}
	var people, all = []*person{}, sync.WaitGroup{}
	for i := range 8 {
		people = append(people, s.play([]*replica{a, b}[i%2], "game"))
	}
	granted := make(chan *person, 8)
	for _, p := range people {
		all.Go(func() {
			for {
				m, err := p.next()
				if err != nil {
					return
				}
				if m.Type == wire.MsgGranted {
					mu.Lock()
					if other, twice := seats[m.Grant.Seat]; twice {
						t.Errorf("seat %s went to %s and %s", m.Grant.Seat, other, p.session)
					}
					seats[m.Grant.Seat] = p.session
					mu.Unlock()
					granted <- p
				}
			}
		})
	}
	for range 4 {
		select {
		case <-granted:
		case <-time.After(60 * time.Second):
			t.Fatalf("only %d of 4 people were served", len(seats))
		}
	}
	if ids, _ := s.nomad.Live(s.ctx, "game"); len(ids) > 4 {
		t.Errorf("%d seats live, max is 4", len(ids))
	}
	// The leader is cut off from Consul. The other replica takes over and
	// publishes.
	begin := time.Now()
	proxy.Break()
	s.nomad.change(func(j brain.Jobs) { j.Apps["game"] = brain.App{ID: "game", Version: 1, Title: "by b", Warm: 2, Max: 4} })
	s.until("b publishes", func() bool { return published().Title == "by b" })
	t.Logf("b took over after %v", time.Since(begin))
	if d := time.Since(begin); d > 40*time.Second {
		t.Errorf("it took %v", d)
	}
	for _, p := range people {
		p.ws.CloseNow()
	}
	all.Wait()
}

func TestReplicasTogetherKeepMax(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Max: 3})
	s.nomad.placed = s.ready
	var brains []*replica
	for i := range 3 {
		brains = append(brains, s.brain(fmt.Sprintf("b%d", i)))
	}
	var all sync.WaitGroup
	served := make(chan struct{}, 12)
	var people []*person
	for i := range 12 {
		people = append(people, s.play(brains[i%3], "game"))
	}
	for _, p := range people {
		all.Go(func() {
			for {
				m, err := p.next()
				if err != nil {
					return
				}
				if m.Type == wire.MsgGranted {
					served <- struct{}{}
				}
			}
		})
	}
	for range 3 {
		select {
		case <-served:
		case <-time.After(60 * time.Second):
			t.Fatal("fewer than three people were served")
		}
	}
	s.until("no more seats than max", func() bool {
		ids, _ := s.nomad.Live(s.ctx, "game")
		return len(ids) <= 3
	})
	for _, p := range people {
		p.ws.CloseNow()
	}
	all.Wait()
}
