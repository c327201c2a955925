package web_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/pion/webrtc/v4/pkg/media/h264reader"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/web"
)

// A site is router, brain and seat in one: what the pages talk to, played by
// the test. The pages, the WebSocket, WebRTC and the video are real.
type site struct {
	t      *testing.T
	name   string
	at     home
	server *httptest.Server
	plug   *plug
	video  [][]byte // pictures of a short loop
	codec  string   // of these; empty is H264
	planet []*site  // all sites, where there are more

	mu       sync.Mutex
	apps     wire.AppsResponse
	launches []wire.LaunchRequest
	renewals int
	problem  *wire.Problem            // answers POST /v1/sessions, if set
	token    string                   // the launch token that is needed, if set
	expired  string                   // a launch token that has expired
	login    *wire.Problem            // of a person who has to log in, if set
	far      map[string]time.Duration // further sites, by how long their beacons take
	listed   int                      // how often GET /v1/sites was answered
	probes   []wire.ProbeRequest
	others   []string        // sites that a launch's ranking excludes
	advice   []string        // answers POST /v1/probes: these in turn, one a question
	first    []string        // SitesResponse.Probe, if set
	sick     map[string]bool // sites that this one knows to be unhealthy
	brainAt  string          // where its brain is, if not at server
	network  wire.Network    // what its brain says that a network must let through

	brains chan *brain // a WebSocket that said hello
	inputs chan wire.Input
	ways   sync.Map                           // has a way of each move that came
	lacks  atomic.Value                       // the path of a file that it does not have
	missed atomic.Int32                       // how often that was asked for
	late   sync.Map                           // a channel by the path of a file, which comes when it is closed
	page   atomic.Pointer[webrtc.DataChannel] // the last page's channel for input
	clip   atomic.Pointer[webrtc.DataChannel] // and its channel of clipboards
	clips  chan webrtc.DataChannelMessage     // what came on that
	said   said                               // what pages said to the app, and the app to them
	seats  []*seat
	only   func(net.Addr) bool // where seats' packets get through; nil: everywhere
}

// brain is one WebSocket of a page, after its hello.
type brain struct {
	t     *testing.T
	conn  *websocket.Conn
	hello wire.Message
	in    chan wire.Message
	done  chan struct{}
}

const csp = "default-src 'self'; img-src 'self' data: https: http:; media-src 'self' blob: mediastream:; " +
	"connect-src 'self' https: wss: http: ws:; object-src 'none'; base-uri 'none'; form-action 'none'"

// home is where a site listens; the zero value is 127.0.0.1.
type home struct {
	space         *space
	address, port string // the port is that of TCP; by default any
}

func (h home) at(port string) string {
	return net.JoinHostPort(cmp.Or(h.address, "127.0.0.1"), cmp.Or(port, "0"))
}

func (h home) listenPacket() (conn net.PacketConn, err error) {
	err = h.space.do(func() error {
		conn, err = net.ListenPacket("udp4", h.at(""))
		return err
	})
	return conn, err
}

func (h home) listen() (l net.Listener, err error) {
	err = h.space.do(func() error {
		l, err = net.Listen("tcp4", h.at(h.port))
		return err
	})
	return l, err
}

func newSite(t *testing.T, video [][]byte) *site { return newSiteAt(t, video, home{}) }

func newSiteAt(t *testing.T, video [][]byte, at home) *site {
	s := &site{at: at, t: t, name: "eu-central", video: video, brains: make(chan *brain, 8), clips: make(chan webrtc.DataChannelMessage, 4096), inputs: make(chan wire.Input, 4096), apps: wire.AppsResponse{Apps: []wire.AppView{viewer}}}
	mux := http.NewServeMux()
	page := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, web.FS, name) }
	}
	mux.HandleFunc("GET /{$}", page("index.html"))
	mux.HandleFunc("GET /play/{app}", page("play.html"))
	mux.HandleFunc("GET /check", page("check.html"))
	mux.HandleFunc("GET "+wire.NetworkPath, func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		reply(w, http.StatusOK, s.network)
	})
	mux.Handle("GET /assets/", http.FileServerFS(web.FS))
	mux.HandleFunc("GET /v1/beacon", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /v1/apps", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		reply(w, http.StatusOK, s.apps)
	})
	mux.HandleFunc("POST "+wire.LoginTokenPath, func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if p := s.login; p != nil {
			reply(w, p.Status, p)
			return
		}
		reply(w, http.StatusOK, wire.PersonToken{Token: "x", Expires: time.Now().Add(time.Minute), Name: "Ada Lovelace, of the department of bridges"})
	})
	mux.HandleFunc("GET /v1/apps/{app}", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if p := s.tokenProblem(r); p != nil {
			reply(w, p.Status, p)
			return
		}
		for _, app := range s.apps.Apps {
			if app.ID == r.PathValue("app") {
				reply(w, http.StatusOK, app)
				return
			}
		}
		reply(w, http.StatusNotFound, wire.Problem{Type: wire.ProblemUnknownApp, Title: "There is no such app", Status: http.StatusNotFound})
	})
	mux.HandleFunc("GET /v1/sites", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.listed++
		here := "http://" + r.Host
		apps := map[string]wire.Capacity{"viewer": {Idle: 1, Max: 2}}
		out := wire.SitesResponse{Entry: s.name, Sites: []wire.SiteView{s.view()}, Probe: s.first}
		for _, other := range s.planet {
			if other == s {
				continue
			}
			v := other.view()
			if s.sick[other.name] {
				v.Healthy, v.Unhealthy = false, "its brains are gone"
			}
			out.Sites = append(out.Sites, v)
		}
		for name := range s.far {
			out.Sites = append(out.Sites, wire.SiteView{Site: name, BeaconURL: here + "/far/" + name, BrainURL: s.brainURL(), Healthy: true, Apps: apps})
		}
		if out.Probe == nil {
			for _, v := range out.Sites {
				out.Probe = append(out.Probe, v.Site)
			}
		}
		reply(w, http.StatusOK, out)
	})
	mux.HandleFunc("POST /v1/probes", func(w http.ResponseWriter, r *http.Request) {
		var req wire.ProbeRequest
		s.decode(r, &req)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.probes = append(s.probes, req)
		out := wire.ProbeResponse{Probe: []string{}}
		if len(s.advice) > 0 {
			out.Probe, s.advice = s.advice[:1], s.advice[1:]
		}
		reply(w, http.StatusOK, out)
	})
	mux.HandleFunc("GET /far/{site}", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(s.far[r.PathValue("site")]):
			w.WriteHeader(http.StatusNoContent)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /v1/sessions", s.launch)
	mux.HandleFunc("POST /v1/sessions/{id}/ticket", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.renewals++
		s.mu.Unlock()
		reply(w, http.StatusOK, wire.TicketRenewal{Ticket: "renewed", Expires: time.Now().Add(time.Minute)})
	})
	mux.HandleFunc("GET /v1/connect", s.connect)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", csp)
		if r.URL.Path != "/healthz" { // a brain says nothing to pages of other origins
			h.Set("Access-Control-Allow-Origin", "*")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
			h.Set("Timing-Allow-Origin", "*")
		}
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if r.URL.Path == s.lacks.Load() {
			s.missed.Add(1)
			http.NotFound(w, r)
			return
		}
		if comes, ok := s.late.Load(r.URL.Path); ok {
			select {
			case <-comes.(chan struct{}):
			case <-r.Context().Done():
				return
			}
		}
		mux.ServeHTTP(w, r)
	}))
	if at.space != nil {
		s.server.Listener.Close()
		var err error
		if s.server.Listener, err = at.listen(); err != nil {
			t.Fatal(err)
		}
	}
	s.plug = &plug{Listener: s.server.Listener}
	s.server.Listener = s.plug
	s.server.Start()
	t.Cleanup(func() {
		for _, seat := range s.seats {
			seat.close()
		}
		s.plug.pulled.Store(false)
		s.server.CloseClientConnections()
		s.server.Close()
	})
	return s
}

var viewer = wire.AppView{
	ID: "viewer", Version: 3, Title: "Model Viewer", Description: "Turn a jet engine in your hands: 240 MB of geometry, on your screen in a moment.",
	Display: display, Sites: map[string]wire.Capacity{"eu-central": {Idle: 1, Warm: 1, Max: 2}},
}

var display = wire.Display{Width: 1280, Height: 720, FPS: 30, Pointer: wire.PointerAbsolute}

// newPlanet is a site for each name, which know each other.
func newPlanet(t *testing.T, video [][]byte, names ...string) []*site {
	sites := make([]*site, len(names))
	for i, name := range names {
		sites[i] = newSite(t, video)
		sites[i].name = name
	}
	for _, s := range sites {
		s.planet = sites
	}
	return sites
}

func (s *site) view() wire.SiteView {
	return wire.SiteView{
		Site: s.name, BeaconURL: s.server.URL + "/v1/beacon", BrainURL: s.brainURL(), RouterURL: s.server.URL, Healthy: !s.sick[s.name],
		Apps: map[string]wire.Capacity{"viewer": {Idle: 1, Max: 2}},
	}
}

// die makes the site stop answering, without a word: sockets stay open and
// nothing comes from them; media too.
func (s *site) die() {
	s.plug.pulled.Store(true)
	for _, seat := range s.seats {
		seat.line.cut.Store(true)
	}
}

func (s *site) revive() {
	s.plug.pulled.Store(false)
	for _, seat := range s.seats {
		seat.line.cut.Store(false)
	}
}

// plug is a listener whose connections can be silenced: what is written to
// them then vanishes, and what comes is not read.
type plug struct {
	net.Listener
	pulled atomic.Bool
}

func (p *plug) Accept() (net.Conn, error) {
	conn, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &plugged{Conn: conn, plug: p}, nil
}

type plugged struct {
	net.Conn
	plug *plug
}

func (c *plugged) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.plug.pulled.Load() {
			return n, err
		}
	}
}

func (c *plugged) Write(b []byte) (int, error) {
	if c.plug.pulled.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// startBrain starts a brain of the site, to which its router sends people from now on,
// and gives what kills it.
func (s *site) startBrain() (kill func(*brain)) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/connect", s.connect)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	server := httptest.NewServer(mux)
	s.t.Cleanup(server.Close)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.brainAt = "ws" + strings.TrimPrefix(server.URL, "http") + "/v1/connect"
	return func(b *brain) {
		server.Close()
		_ = b.conn.CloseNow()
	}
}

func (s *site) brainURL() string {
	if s.brainAt != "" {
		return s.brainAt
	}
	return "ws" + strings.TrimPrefix(s.server.URL, "http") + "/v1/connect"
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// decode reads a request's body, which must be what wire knows, to the letter.
func (s *site) decode(r *http.Request, v any) {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		s.t.Errorf("%s: %v", r.URL.Path, err)
	}
}

// tokenProblem is why a request may not launch, as routers say it. s.mu is held.
func (s *site) tokenProblem(r *http.Request) *wire.Problem {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case s.login != nil:
		return s.login
	case s.token == "" || token == s.token:
		return nil
	case token != "" && token == s.expired:
		return &wire.Problem{Type: wire.ProblemLaunchOver, Title: "Expired", Status: 401, Detail: "It has expired at noon."}
	}
	return &wire.Problem{Type: wire.ProblemLaunchToken, Title: "Needs a token", Status: 401, Detail: "Its key was revoked."}
}

func (s *site) launch(w http.ResponseWriter, r *http.Request) {
	var req wire.LaunchRequest
	s.decode(r, &req)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := cmp.Or(s.tokenProblem(r), s.problem); p != nil {
		reply(w, p.Status, p)
		return
	}
	s.launches = append(s.launches, req)
	// Placement by a child: the first site that was not lost.
	chosen := s
	for _, one := range slices.Backward(s.planet) {
		if !slices.Contains(req.Lost, one.name) {
			chosen = one
		}
	}
	candidates := []wire.Candidate{{Site: chosen.name, BrainURL: chosen.brainURL(), RTTMS: 1, RTTSource: wire.RTTMeasured, Score: 1, Reason: "nearest, with a seat idle"}}
	for _, other := range s.others {
		candidates = append(candidates, wire.Candidate{Site: other, RTTMS: 90, RTTSource: wire.RTTPredicted, Excluded: "its seats are all taken, and it may start no more"})
	}
	for _, lost := range req.Lost {
		candidates = append(candidates, wire.Candidate{Site: lost, RTTMS: 1, RTTSource: wire.RTTMeasured, Excluded: "you have just lost a session there", Reason: "lost"})
	}
	reply(w, http.StatusCreated, wire.LaunchResponse{
		Session: "session-" + chosen.name, App: req.App, Version: 3, Ticket: "ticket", Expires: time.Now().Add(time.Minute),
		Site: chosen.name, BrainURL: chosen.brainURL(), ICEServers: []wire.ICEServer{}, PredictedRTTMS: 1, RTTSource: wire.RTTMeasured,
		Candidates: candidates,
	})
}

func (s *site) connect(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // pages come from any router
	if err != nil {
		return
	}
	conn.SetReadLimit(wire.MaxMessage)
	s.t.Cleanup(func() { _ = conn.CloseNow() }) // a page whose network is gone does not
	b := &brain{t: s.t, conn: conn, in: make(chan wire.Message, 64), done: make(chan struct{})}
	defer close(b.done)
	if b.hello, err = b.read(r.Context()); err != nil {
		return
	}
	s.brains <- b
	for {
		m, err := b.read(r.Context())
		if err != nil {
			return
		}
		b.in <- m
	}
}

func (b *brain) read(ctx context.Context) (m wire.Message, err error) {
	_, raw, err := b.conn.Read(ctx)
	if err != nil {
		return m, err
	}
	// What a page says must be what wire knows, to the letter.
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		b.t.Errorf("message %s: %v", raw, err)
	}
	return m, nil
}

// try is say to a page that may have opened another socket meanwhile.
func (b *brain) try(m wire.Message) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return wsjson.Write(ctx, b.conn, m)
}

func (b *brain) say(m wire.Message) {
	b.t.Helper()
	if err := b.try(m); err != nil {
		b.t.Errorf("say %s: %v", m.Type, err)
	}
}

// hear waits for a message of a type; others are skipped.
func (b *brain) hear(kind wire.MessageType) wire.Message {
	b.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case m := <-b.in:
			if m.Type == kind {
				return m
			}
		case <-deadline:
			b.t.Fatalf("no %s came", kind)
		}
	}
}

func (s *site) nextBrain() *brain {
	s.t.Helper()
	select {
	case b := <-s.brains:
		return b
	case <-time.After(patience):
		s.t.Fatal("no page said hello")
		return nil
	}
}

func (s *site) grant(resumed bool) *wire.Grant {
	return &wire.Grant{Session: "session-" + s.name, App: "viewer", Seat: "seat-1", Resume: "resume", Display: display, GraceS: 30, Resumed: resumed}
}

// serve grants b's page a seat and plays it the video.
func (s *site) serve(b *brain, resumed bool) *seat {
	s.t.Helper()
	b.say(wire.Message{Type: wire.MsgGranted, Grant: s.grant(resumed)})
	return s.answer(b, b.hello.SDP)
}

// seat is the far end of a page's peer connection.
type seat struct {
	pc     *webrtc.PeerConnection
	line   *cable
	cancel context.CancelFunc
	done   chan struct{}
	// connected is closed when the page is; then the video waits for play.
	connected chan struct{}
	play      chan struct{}
}

// cable is a seat's network, which can be cut: then nothing comes or goes, and
// nobody is told.
type cable struct {
	net.PacketConn
	cut  atomic.Bool
	only func(net.Addr) bool

	mu      sync.Mutex
	seen    map[string]bool // where packets came from
	strange map[string]bool // what comes from there, or goes there, is lost
}

// forget loses all that comes from where packets came from until now, as where the
// person's address has changed.
func (c *cable) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.strange, c.seen = c.seen, nil
}

// passes reports whether a packet with this other end gets through.
func (c *cable) passes(a net.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut.Load() || c.only != nil && !c.only(a) || c.strange[a.String()] {
		return false
	}
	if c.seen == nil {
		c.seen = map[string]bool{}
	}
	c.seen[a.String()] = true
	return true
}

func (c *cable) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(p)
		if errors.Is(err, net.ErrClosed) {
			err = io.EOF // which pion takes for the end that it is
		}
		if err != nil || c.passes(from) {
			return n, from, err
		}
	}
}

func (c *cable) WriteTo(p []byte, to net.Addr) (int, error) {
	if !c.passes(to) {
		return len(p), nil
	}
	return c.PacketConn.WriteTo(p, to)
}

func (st *seat) close() {
	st.line.cut.Store(false)
	st.cancel()
	_ = st.pc.Close()
	_ = st.line.Close()
	<-st.done
}

func (s *site) answer(b *brain, offer string) *seat { return s.answerWhen(b, offer, playing) }

// answerWhen is answer, with a video that begins when play is closed.
func (s *site) answerWhen(b *brain, offer string, play chan struct{}) *seat {
	s.t.Helper()
	must := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	var setting webrtc.SettingEngine
	setting.SetIncludeLoopbackCandidate(true)
	setting.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled) // as seats do
	conn, err := s.at.listenPacket()
	must(err)
	line := &cable{PacketConn: conn, only: s.only}
	setting.SetICEUDPMux(webrtc.NewICEUDPMux(nil, line))
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(setting)).NewPeerConnection(webrtc.Configuration{})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	connected := make(chan struct{})
	st := &seat{pc: pc, line: line, cancel: cancel, done: make(chan struct{}), connected: connected, play: play}
	s.seats = append(s.seats, st)
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: "video/" + cmp.Or(s.codec, "H264")}, "video", "picture")
	must(err)
	_, err = pc.AddTrack(track)
	must(err)
	var once sync.Once
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(connected) })
		}
	})
	pc.OnDataChannel(func(dc *webrtc.DataChannel) {
		if dc.Label() == wire.ChannelClip {
			s.clip.Store(dc)
			dc.OnMessage(func(m webrtc.DataChannelMessage) { s.clips <- m })
			return
		}
		if dc.Label() == wire.ChannelMessages {
			s.said.serve(s.t, dc)
			return
		}
		dc.OnMessage(func(m webrtc.DataChannelMessage) { s.input(dc, m.Data) })
	})
	must(pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}))
	answer, err := pc.CreateAnswer(nil)
	must(err)
	gathered := webrtc.GatheringCompletePromise(pc)
	must(pc.SetLocalDescription(answer))
	<-gathered
	_ = b.try(wire.Message{Type: wire.MsgAnswer, SDP: pc.LocalDescription().SDP})
	go func() {
		defer close(st.done)
		for _, ready := range []chan struct{}{connected, play} {
			select {
			case <-ready:
			case <-ctx.Done():
				return
			}
		}
		tick := time.NewTicker(time.Second / 30)
		defer tick.Stop()
		for i := 0; ; i++ {
			if err := track.WriteSample(media.Sample{Data: s.video[i%len(s.video)], Duration: time.Second / 30}); err != nil && !errors.Is(err, io.ErrClosedPipe) {
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return st
}

// way is the channel by which a move came, and its number.
type way struct {
	channel string
	n       uint32
}

func (s *site) input(dc *webrtc.DataChannel, raw []byte) {
	var in wire.Input
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		s.t.Errorf("input %s: %v", raw, err)
	}
	if dc.Label() == wire.ChannelInput {
		s.page.Store(dc)
	}
	moves := in.Type == wire.InputMove || in.Type == wire.InputRel
	if moves {
		s.ways.Store(way{dc.Label(), in.N}, true)
	}
	if in.Type != wire.InputPad && !moves && dc.Label() == wire.ChannelPointer || moves && in.N == 0 {
		s.t.Errorf("%s came on channel %s", raw, dc.Label())
	}
	if in.Type == wire.InputPing {
		pong, _ := json.Marshal(wire.Pong{Type: "pong", Seq: in.Seq})
		_ = dc.SendText(string(pong))
		return
	}
	select {
	case s.inputs <- in:
	default: // nobody looks at them in this test
	}
}

// tell tells the page what the app does with its pointer.
func (s *site) tell(p wire.Pointer) {
	s.t.Helper()
	p.Type = "pointer"
	s.say(p)
}

// say tells the page something on its channel for input.
func (s *site) say(message any) {
	s.t.Helper()
	raw, err := json.Marshal(message)
	if err == nil {
		err = s.page.Load().SendText(string(raw))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// wantInput waits for an input that fits; others are skipped.
func (s *site) wantInput(what string, fits func(wire.Input) bool) wire.Input {
	s.t.Helper()
	deadline := time.After(patience)
	var seen []wire.Input
	for {
		select {
		case in := <-s.inputs:
			if fits(in) {
				return in
			}
			seen = append(seen, in)
		case <-deadline:
			s.t.Fatalf("no %s came, but %+v", what, seen)
		}
	}
}

// encode makes two seconds of H.264 that begin with a keyframe.
func encode(t *testing.T) [][]byte {
	gst, err := exec.LookPath("gst-launch-1.0")
	if err != nil {
		t.Skip("gst-launch-1.0 is not installed: it makes the test video")
	}
	file := t.TempDir() + "/video.h264"
	out, err := exec.Command(gst, "-q", "videotestsrc", "num-buffers=60", "pattern=pinwheel", "!",
		"video/x-raw,width=1280,height=720,framerate=30/1", "!", "videoconvert", "!",
		"x264enc", "tune=zerolatency", "speed-preset=ultrafast", "key-int-max=15", "bitrate=1200", "aud=true", "!",
		"video/x-h264,profile=constrained-baseline,stream-format=byte-stream,alignment=au", "!", "filesink", "location="+file).CombinedOutput()
	if err != nil {
		t.Skipf("GStreamer cannot encode H.264 here: %v %s", err, out)
	}
	return accessUnits(t, file)
}

// encodeVP8 makes two seconds of VP8 that begin with a keyframe, for a browser without H.264.
func encodeVP8(t *testing.T) (pictures [][]byte) {
	dir := t.TempDir()
	out, err := exec.Command("gst-launch-1.0", "-q", "videotestsrc", "num-buffers=60", "pattern=pinwheel", "!",
		"video/x-raw,width=1280,height=720,framerate=30/1", "!", "videoconvert", "!",
		"vp8enc", "deadline=1", "cpu-used=8", "keyframe-max-dist=15", "target-bitrate=1200000", "!",
		"multifilesink", "location="+dir+"/%03d").CombinedOutput()
	if err != nil {
		t.Skipf("GStreamer cannot encode VP8 here: %v %s", err, out)
	}
	for i := range 60 {
		raw, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%03d", i)))
		if err != nil {
			t.Fatal(err)
		}
		pictures = append(pictures, raw)
	}
	return pictures
}

func accessUnits(t *testing.T, file string) [][]byte {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := h264reader.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var units [][]byte
	for {
		nal, err := r.NextNAL()
		if errors.Is(err, io.EOF) {
			return units
		}
		if err != nil {
			t.Fatal(err)
		}
		if nal.UnitType == h264reader.NalUnitTypeAUD || len(units) == 0 {
			units = append(units, nil)
		}
		last := &units[len(units)-1]
		*last = append(append(*last, 0, 0, 0, 1), nal.Data...)
	}
}
