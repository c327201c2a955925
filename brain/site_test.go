package brain_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/brain/consul"
	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/fleet/fleettest"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a real Consul, a Nomad in memory, and seats that speak the attach
// protocol: all that a brain has to do with.
type site struct {
	t      *testing.T
	ctx    context.Context
	consul *fleettest.Consul
	fleet  *fleet.Fleet
	signer *ticket.Signer
	verify *ticket.Verifier
	nomad  *memory
	logs   *logs

	mu    sync.Mutex
	seats map[string]*seat
}

// logs keeps what brains log, to look for secrets in it.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
	t    io.Writer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	return l.t.Write(p)
}

func newSite(t *testing.T, apps ...brain.App) *site {
	t.Helper()
	t.Parallel()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	s := &site{t: t, ctx: ctx, consul: fleettest.Start(t), signer: ticket.NewSigner(key, "test"),
		logs: &logs{t: t.Output()}, seats: map[string]*seat{}}
	s.verify = ticket.NewVerifier(s.signer.Public())
	s.fleet = s.open(s.consul.Address)
	s.nomad = &memory{site: s, jobs: brain.Jobs{Apps: map[string]brain.App{}, Children: map[string]brain.Child{}},
		tokens: map[string]string{}, bell: make(chan struct{})}
	for _, app := range apps {
		s.nomad.jobs.Apps[app.ID] = app
	}
	t.Cleanup(func() {
		s.mu.Lock()
		seats := s.seats
		s.mu.Unlock()
		for _, seat := range seats {
			seat.vanish()
		}
		cancel()
		s.fleet.Close()
	})
	return s
}

func (s *site) open(address string) *fleet.Fleet {
	f, err := fleet.Open(fleet.Config{Address: address, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		s.t.Fatal(err)
	}
	return f
}

// replica is a running brain.
type replica struct {
	*brain.Broker
	url  string
	stop func()
}

// brain starts a replica. With another address of Consul, it goes that way.
func (s *site) brain(name string, consulAddress ...string) *replica {
	s.t.Helper()
	f := s.open(append(consulAddress, s.consul.Address)[0])
	ctx, cancel := context.WithCancel(s.ctx)
	server := httptest.NewUnstartedServer(nil)
	reg, err := f.RegisterInstance(ctx, wire.BrainService, wire.Instance{ID: name, Site: "dc1", Address: server.Listener.Addr().String()})
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := brain.New(brain.Config{ID: name, Site: "dc1", Fleet: consul.Fleet{Fleet: f, Holder: reg}, Nomad: s.nomad,
		Verifier: s.verify, Log: slog.New(slog.NewTextHandler(s.logs, nil)).With("brain", name)})
	if err != nil {
		s.t.Fatal(err)
	}
	server.Config.Handler = b.Handler()
	server.Start()
	done := make(chan struct{})
	go func() { b.Run(ctx); close(done) }()
	var once sync.Once
	r := &replica{Broker: b, url: server.URL, stop: func() {
		once.Do(func() {
			cancel()
			<-done
			reg.Close()
			server.CloseClientConnections()
			server.Close()
			f.Close()
		})
	}}
	s.t.Cleanup(r.stop)
	s.until("brain "+name+" is healthy", func() bool {
		status, _ := call(s.t, http.MethodGet, r.url+"/healthz")
		return status == 200
	})
	return r
}

func (s *site) until(what string, ok func() bool) {
	s.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(60 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Fatalf("never came true: %s", what)
		}
	}
}

func call(t *testing.T, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// ticket signs a ticket for a new session.
func (s *site) ticket(app string) (token, session string) {
	session = ticket.NewSession()
	token, _, err := s.signer.Sign(ticket.Claims{Session: session, App: app, Sites: []string{"dc1"}})
	if err != nil {
		s.t.Fatal(err)
	}
	return token, session
}

// person is a browser's end of the WebSocket.
type person struct {
	t       *testing.T
	ws      *websocket.Conn
	session string
}

func (s *site) dial(r *replica) *person {
	s.t.Helper()
	ws, _, err := websocket.Dial(s.ctx, "ws"+strings.TrimPrefix(r.url, "http")+"/v1/connect", &websocket.DialOptions{
		HTTPHeader: http.Header{"Origin": {"https://somebody.else.example"}},
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { ws.CloseNow() })
	return &person{t: s.t, ws: ws}
}

func (s *site) play(r *replica, app string) *person {
	s.t.Helper()
	p := s.dial(r)
	token, session := s.ticket(app)
	p.session = session
	p.send(wire.Message{Type: wire.MsgHello, Ticket: token, SDP: "offer of " + session})
	return p
}

func (p *person) send(m wire.Message) {
	p.t.Helper()
	data, _ := json.Marshal(m)
	if err := p.ws.Write(context.Background(), websocket.MessageText, data); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) next() (wire.Message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	_, data, err := p.ws.Read(ctx)
	var m wire.Message
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	return m, err
}

// expect skips to a message of the type.
func (p *person) expect(want wire.MessageType) wire.Message {
	p.t.Helper()
	for {
		m, err := p.next()
		if err != nil {
			p.t.Fatalf("waiting for %s: %v", want, err)
		}
		if m.Type == want {
			return m
		}
		if m.Type == wire.MsgEnded || m.Type == wire.MsgRefused {
			p.t.Fatalf("waiting for %s: got %s (%v %v)", want, m.Type, m.Problem, m.End)
		}
	}
}

// closed expects the end of the socket with a code.
func (p *person) closed(want int) {
	p.t.Helper()
	for {
		if _, err := p.next(); err != nil {
			if got := websocket.CloseStatus(err); int(got) != want {
				p.t.Fatalf("closed with %d (%v), want %d", got, err, want)
			}
			return
		}
	}
}

// seat is a stream host as brains see it.
type seat struct {
	site   *site
	server *httptest.Server
	reg    *fleet.SeatRegistration
	once   sync.Once

	mu     sync.Mutex
	rec    wire.Seat
	conn   *websocket.Conn
	grants int
	heard  []wire.Message
}

// seat starts one in a state, as a child's.
func (s *site) seat(app, child, alloc string, state wire.SeatState) *seat {
	x := &seat{site: s}
	x.mu.Lock() // a brain may be quicker than the rest of this function
	defer x.mu.Unlock()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.AttachPath, x.attach)
	mux.HandleFunc("POST "+wire.EndPath, x.endIt)
	mux.HandleFunc("POST "+wire.RetirePath, x.retire)
	x.server = httptest.NewServer(mux)
	x.rec = wire.Seat{ID: alloc, App: app, Job: child, Node: "n1", Address: x.server.Listener.Addr().String(),
		State: state, Since: time.Now().UTC()}
	reg, err := s.fleet.RegisterSeat(s.ctx, x.rec)
	if err != nil {
		s.t.Error(err)
		return nil
	}
	x.reg = reg
	s.mu.Lock()
	s.seats[alloc] = x
	s.mu.Unlock()
	return x
}

func (x *seat) become(state wire.SeatState, session string) {
	x.rec.State, x.rec.Session, x.rec.Since = state, session, time.Now().UTC()
	x.reg.Update(x.rec)
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
	session := x.rec.Session
	if !resumed {
		claims, err := x.site.verify.Verify(token)
		status := 0
		switch {
		case err != nil:
			status = 401
		case x.rec.State == wire.SeatEnding:
			status = 410
		case !x.rec.State.Free():
			status = 409
		}
		if status != 0 {
			x.mu.Unlock()
			rw.WriteHeader(status)
			return
		}
		session = claims.Session
		x.grants++
		x.become(wire.SeatClaimed, session)
	}
	x.mu.Unlock()
	ws, err := websocket.Accept(rw, r, nil)
	if err != nil {
		return
	}
	x.mu.Lock()
	before := x.conn
	x.conn = ws
	x.mu.Unlock()
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
			x.say(ws, wire.Message{Type: wire.MsgAnswer, SDP: "answer to " + m.SDP})
		case wire.MsgLeave:
			x.end(wire.End{Reason: wire.ReasonLeft})
			return
		}
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
	rw.WriteHeader(204)
	go x.end(wire.End{Reason: req.Reason})
}

func (x *seat) retire(rw http.ResponseWriter, _ *http.Request) {
	x.mu.Lock()
	free := x.rec.State.Free()
	if free {
		x.become(wire.SeatEnding, "")
	}
	x.mu.Unlock()
	if !free {
		rw.WriteHeader(409)
		return
	}
	rw.WriteHeader(204)
	go x.end(wire.End{Reason: wire.ReasonRetired})
}

// end ends the seat in order: its person is told, Nomad is told.
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

// vanish takes the seat away without a word.
func (x *seat) vanish() {
	x.once.Do(func() {
		x.reg.Close()
		x.mu.Lock()
		if x.conn != nil {
			x.conn.CloseNow()
		}
		x.mu.Unlock()
		x.server.CloseClientConnections()
		x.server.Close()
	})
}

// memory is a Nomad that places everything at once.
type memory struct {
	site *site
	// placed is called, apart, for each new child.
	placed func(child brain.Child)

	mu         sync.Mutex
	jobs       brain.Jobs
	tokens     map[string]string
	dispatches []time.Time
	order      []string
	stopped    []string
	bell       chan struct{} // closed and renewed at each change
}

func (m *memory) change(fn func(jobs brain.Jobs)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fn(m.jobs)
	close(m.bell)
	m.bell = make(chan struct{})
}

func (m *memory) Watch(ctx context.Context, fn func(brain.Jobs)) {
	for {
		m.mu.Lock()
		bell := m.bell
		copied := brain.Jobs{Apps: map[string]brain.App{}, Children: map[string]brain.Child{}}
		for k, v := range m.jobs.Apps {
			copied.Apps[k] = v
		}
		for k, v := range m.jobs.Children {
			copied.Children[k] = v
		}
		m.mu.Unlock()
		fn(copied)
		select {
		case <-ctx.Done():
			return
		case <-bell:
		}
	}
}

func (m *memory) Dispatch(_ context.Context, app brain.App, token string) (string, error) {
	m.mu.Lock()
	if child, ok := m.tokens[token]; ok {
		m.mu.Unlock()
		return child, nil
	}
	n := len(m.order) + 1
	child := brain.Child{ID: fmt.Sprintf("%s/dispatch-v%d-%d", app.ID, app.Version, n), App: app.ID, Version: app.Version,
		Token: token, State: brain.ChildRunning, Alloc: fmt.Sprintf("alloc-%d", n), Created: time.Now()}
	m.tokens[token] = child.ID
	m.order = append(m.order, child.ID)
	m.dispatches = append(m.dispatches, time.Now())
	placed := m.placed
	m.mu.Unlock()
	m.change(func(jobs brain.Jobs) { jobs.Children[child.ID] = child })
	if placed != nil {
		go placed(child)
	}
	return child.ID, nil
}

func (m *memory) Stop(_ context.Context, child string) error {
	m.mu.Lock()
	m.stopped = append(m.stopped, child)
	m.mu.Unlock()
	m.died(child, wire.End{Reason: wire.ReasonDrained})
	return nil
}

func (m *memory) died(child string, end wire.End) {
	m.change(func(jobs brain.Jobs) {
		c, ok := jobs.Children[child]
		if !ok {
			return
		}
		c.State, c.End = brain.ChildDead, &end
		jobs.Children[child] = c
	})
}

func (m *memory) Live(_ context.Context, app string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, id := range m.order {
		if c := m.jobs.Children[id]; c.App == app && c.State != brain.ChildDead {
			out = append(out, id)
		}
	}
	return out, nil
}

func (m *memory) dispatched() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.dispatches)
}

// ready places children as seats that are idle at once.
func (s *site) ready(child brain.Child) { s.seat(child.App, child.ID, child.Alloc, wire.SeatIdle) }

func (s *site) at(alloc string) *seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seats[alloc]
}

func (s *site) published(app string) func() wire.App {
	var mu sync.Mutex
	var last wire.App
	s.fleet.WatchApps(s.ctx, func(apps map[string]wire.App) {
		mu.Lock()
		defer mu.Unlock()
		last = apps[app]
	})
	return func() wire.App {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}

// cable is a way to Consul that can be cut.
func (s *site) cable() (address string, cut func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	var (
		mu    sync.Mutex
		conns []net.Conn
		dead  bool
		all   sync.WaitGroup
	)
	all.Go(func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", s.consul.Address)
			mu.Lock()
			if err != nil || dead {
				a.Close()
				if b != nil {
					b.Close()
				}
				mu.Unlock()
				continue
			}
			conns = append(conns, a, b)
			mu.Unlock()
			all.Go(func() { io.Copy(a, b); a.Close(); b.Close() })
			all.Go(func() { io.Copy(b, a); a.Close(); b.Close() })
		}
	})
	cut = func() {
		mu.Lock()
		dead = true
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		l.Close()
		all.Wait()
	}
	s.t.Cleanup(cut)
	return l.Addr().String(), cut
}
