package web_test

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/still"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/web"
)

// consoleCSP is stricter than the router's: the console speaks to its own origin alone.
const consoleCSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

const fakeCSRF = "csrf-of-this-login"

// fakeConsole is the console's service, played by the test: it speaks wire's console.go, and has
// sites, nodes, apps and sessions in memory.
type fakeConsole struct {
	t      testing.TB
	server *httptest.Server
	random *rand.Rand

	mu       sync.Mutex
	me       wire.ConsoleMe
	sites    []wire.ConsoleSite
	apps     []wire.ConsoleApp
	nodes    []wire.ConsoleNode
	sessions []wire.SessionView
	log      []wire.ConsoleEvent // changes since the beginning; the id of each is its index and one
	wake     chan struct{}       // closed with each change
	away     bool                // every stream ends, and none begins
	loggedIn bool
	orders   []string // what was asked to change: "DELETE /console/api/…  body"
	resumed  []string // Last-Event-ID of each stream
	refuse   *wire.Problem
}

func newConsole(t testing.TB, role wire.ConsoleRole) *fakeConsole {
	c := &fakeConsole{t: t, wake: make(chan struct{}), loggedIn: true, random: rand.New(rand.NewPCG(1, 2)), me: wire.ConsoleMe{Name: "Ada", Role: role, CSRF: fakeCSRF, Site: "eu-central-1", Until: time.Now().Add(time.Hour)}}
	acts := []wire.ConsoleAct{wire.ActEnd, wire.ActStill, wire.ActDrain, wire.ActKeep, wire.ActFree, wire.ActScale, wire.ActPublish, wire.ActRevert}
	c.me.Actions = acts[:map[wire.ConsoleRole]int{wire.RoleViewer: 0, wire.RoleOperator: 5, wire.RoleAdmin: 8}[role]]
	mux := http.NewServeMux()
	mux.HandleFunc("GET /console", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, web.FS, "console.html") })
	mux.Handle("GET /assets/", http.FileServerFS(web.FS))
	mux.HandleFunc("GET "+wire.ConsoleLoginPath, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<title>Log in</title>") })
	mux.HandleFunc("GET "+wire.ConsoleMePath, func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, c.me) })
	mux.HandleFunc("GET "+wire.ConsoleEventsPath, c.events)
	mux.HandleFunc("GET /console/api/sessions/{id}", c.session)
	mux.HandleFunc("GET /console/api/apps/{site}/{app}", c.app)
	mux.HandleFunc("GET "+wire.ConsoleAuditPath, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, wire.ConsoleAudit{Actions: []wire.ConsoleAction{
			{Time: time.Now(), Who: "ada@example.com", Name: "Ada", Role: wire.RoleOperator, Act: wire.ActDrain, Site: "eu-west-1", On: "node-4", With: map[string]string{"deadline_s": "3600"}, Result: "ok"},
			{Time: time.Now(), Who: "eve@example.com", Name: "Eve", Role: wire.RoleViewer, Act: wire.ActEnd, Site: "eu-west-1", On: "s-eu-west-1-x", Result: "refused", Why: "viewers may not end sessions"},
		}})
	})
	for _, pattern := range []string{"DELETE /console/api/", "POST /console/"} {
		mux.HandleFunc(pattern, c.change)
	}
	c.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", consoleCSP)
		c.mu.Lock()
		in := c.loggedIn
		c.mu.Unlock()
		if !in && strings.HasPrefix(r.URL.Path, wire.ConsoleAPI) {
			reply(w, http.StatusUnauthorized, wire.Problem{Type: wire.ConsoleProblemLogin, Title: "Log in first", Status: http.StatusUnauthorized})
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		c.leave(true)
		c.server.CloseClientConnections()
		c.server.Close()
	})
	return c
}

// fill makes sites with nodes, apps and sessions. All is the same each time.
func (c *fakeConsole) fill(sites, sessions int) {
	names := []string{"eu-central-1", "us-east-1", "ap-northeast-1", "eu-west-1", "us-west-2", "sa-east-1", "ap-southeast-1", "ap-south-1", "ap-southeast-2", "af-south-1"}[:sites]
	// Kilometres of a great circle would do; the page only shows what it is told.
	place := map[string][2]float64{"eu-central-1": {50, 9}, "us-east-1": {39, -77}, "ap-northeast-1": {36, 140}, "eu-west-1": {53, -6}, "us-west-2": {46, -120}, "sa-east-1": {-24, -47}, "ap-southeast-1": {1, 104}, "ap-south-1": {19, 73}, "ap-southeast-2": {-34, 151}, "af-south-1": {-34, 18}}
	for i, name := range names {
		s := wire.ConsoleSite{Site: name, Own: i == 0, Healthy: true, Sessions: sessions, Waiting: i % 3, Distances: map[string]wire.Distance{}}
		for _, other := range names {
			if other != name {
				a, b := place[name], place[other]
				s.Distances[other] = wire.Distance{RTTMS: 4 + 1.1*(abs(a[0]-b[0])+abs(a[1]-b[1])), Measured: true}
			}
		}
		if i == 0 {
			s.Place, s.Residency, s.GPU = "Frankfurt", []string{"eu", "de"}, []string{"nvidia-l4"}
		}
		if i == 5 {
			s.Healthy, s.Unhealthy, s.Unread = false, "its brains do not answer", []string{"Its sessions cannot be read now."}
		}
		c.sites = append(c.sites, s)
		for n := range 6 {
			node := wire.ConsoleNode{Site: name, ID: fmt.Sprintf("%08x-0000-4000-8000-%012x", i*16+n, n), Name: fmt.Sprintf("%s-stream-%d", name, n), Pool: "stream", Status: "ready", Eligible: n != 4, Draining: n == 4, Address: fmt.Sprintf("10.%d.0.%d", i, n+10),
				Load: wire.LoadCalm, CPU: 0.2 + 0.13*float64(n), Memory: 0.3 + 0.05*float64(n), GPU: 0.1 * float64(n), Version: "0.9.0", Nomad: "1.10.5", Seats: map[wire.SeatState]int{wire.SeatStreaming: sessions / 6, wire.SeatIdle: 3}}
			if node.CPU > 0.8 {
				node.Load = wire.LoadFull
			} else if node.CPU > 0.6 {
				node.Load = wire.LoadBusy
			}
			c.nodes = append(c.nodes, node)
		}
		for n, app := range []string{"viewer", "city", "turbine"} {
			a := wire.ConsoleApp{Site: name, App: app, Title: strings.ToUpper(app[:1]) + app[1:], Version: uint64(3 + n), Pool: "stream", Access: wire.AccessSigned, Capacity: wire.Capacity{Idle: 2 - n, Busy: sessions / (n + 2), Warm: 2, Max: sessions, Queued: n * (i % 3), ColdStartMS: 4200, SessionMS: 1_260_000}}
			if app == "turbine" && i == 1 {
				a.Capacity.Failing, a.Failure, a.FailedAt = "a part of the app's content is missing", "content-missing: s3://apps/turbine/blade.glb, at us-east-1-stream-2", time.Now().Add(-7*time.Minute)
			}
			c.apps = append(c.apps, a)
		}
		for n := range sessions {
			c.sessions = append(c.sessions, c.oneSession(name, i, n))
		}
	}
}

func abs(x float64) float64 { return max(x, -x) }

func (c *fakeConsole) oneSession(site string, i, n int) wire.SessionView {
	s := wire.SessionView{Session: fmt.Sprintf("s-%s-%04d%08x", site, n, c.random.Uint32()), App: []string{"viewer", "city", "turbine"}[n%3], Site: site, State: string(wire.SeatStreaming), Seat: fmt.Sprintf("seat-%d-%d", i, n),
		Node: fmt.Sprintf("%s-stream-%d", site, n%6), Customer: []string{"shop", "works", ""}[n%3], Since: time.Now().Add(-time.Duration(n*17+i) * time.Second)}
	if s.Customer != "" {
		s.Subject = fmt.Sprintf("%032x", n*31+i)
	}
	if n%97 == 5 {
		s.State, s.Seat, s.Node = wire.StateWaiting, "", ""
		return s
	}
	c.measure(&s, n)
	return s
}

// measure gives a session new figures; of each hundred, some are slow.
func (c *fakeConsole) measure(s *wire.SessionView, n int) {
	m := &wire.Measured{At: time.Now(), RTTMS: 12 + 60*c.random.Float64(), Loss: 0.002 * c.random.Float64(), BitrateKbps: 3000 + 2500*c.random.Float64(), TargetKbps: 6000, FPS: 30, Paints: 30, CaptureMS: 2, EncodeMS: 7 + 3*c.random.Float64(), QueueMS: 4,
		Encoder: "x264enc", Preset: "superfast", Width: 1280, Height: 720, Page: &wire.PageMeasured{FPS: 30, DecodeMS: 4, BufferMS: 12}}
	switch n % 100 {
	case 7: // the network
		m.RTTMS, m.Loss, m.QueueMS, m.TargetKbps, m.BitrateKbps, m.FPS, m.Page.FrozenMS = 240, 0.11, 180, 900, 890, 19, 160
	case 31: // the encoder
		s.Stills = wire.StillsOperator
		m.EncodeMS, m.FPS, m.Page.FPS = 61, 15, 15
	case 53: // the browser
		m.Page.FPS, m.Page.Dropped, m.Page.DecodeMS = 17, 6, 52
	case 77: // the app
		m.InjectMS = 140
	}
	s.Measured = m
	s.Quality = &wire.Quality{DurationS: 900, RTTMS: m.RTTMS, RTTP95MS: m.RTTMS * 1.4, Loss: m.Loss, FPS: m.FPS, BitrateKbps: m.BitrateKbps}
}

// tell sends a change to all pages.
func (c *fakeConsole) tell(events ...wire.ConsoleEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range events {
		e.Time = time.Now()
		c.log = append(c.log, e)
	}
	close(c.wake)
	c.wake = make(chan struct{})
}

// leave has the service gone, or back.
func (c *fakeConsole) leave(away bool) {
	c.mu.Lock()
	c.away = away
	c.mu.Unlock()
	c.tell()
}

func (c *fakeConsole) events(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	last := r.Header.Get("Last-Event-ID")
	if c.away {
		c.mu.Unlock()
		http.Error(w, "bad gateway", http.StatusBadGateway)
		return
	}
	c.resumed = append(c.resumed, last)
	at := len(c.log)
	var first []wire.ConsoleEvent
	if n, err := strconv.Atoi(last); err == nil && n <= len(c.log) {
		at = n
	} else {
		first = c.snapshot()
	}
	c.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	send := func(name string, id int, e wire.ConsoleEvent) bool {
		raw, err := json.Marshal(e)
		if err != nil {
			c.t.Error(err)
		}
		_, err = fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", id, name, raw)
		return err == nil && http.NewResponseController(w).Flush() == nil
	}
	for i, e := range first {
		if !send([]string{wire.ConsoleEventSnapshot, wire.ConsoleEventChange}[min(i, 1)], at, e) {
			return
		}
	}
	for {
		c.mu.Lock()
		wake, away, more := c.wake, c.away, slices.Clone(c.log[at:])
		c.mu.Unlock()
		if away {
			return
		}
		for _, e := range more {
			at++
			if !send(wire.ConsoleEventChange, at, e) {
				return
			}
		}
		select {
		case <-wake:
		case <-time.After(15 * time.Second):
			if _, err := io.WriteString(w, ": still here\n\n"); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// snapshot is all, in batches.
func (c *fakeConsole) snapshot() []wire.ConsoleEvent {
	out := []wire.ConsoleEvent{{Time: time.Now(), Sites: c.sites, Apps: c.apps, Nodes: c.nodes}}
	for batch := range slices.Chunk(c.sessions, wire.MaxConsoleBatch) {
		if last := &out[len(out)-1]; len(last.Sessions) == 0 {
			last.Sessions = batch
		} else {
			last.More = true
			out = append(out, wire.ConsoleEvent{Time: time.Now(), Sessions: batch})
		}
	}
	return out
}

func (c *fakeConsole) session(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.IndexFunc(c.sessions, func(s wire.SessionView) bool { return s.Session == r.PathValue("id") })
	if at < 0 {
		reply(w, http.StatusNotFound, wire.Problem{Type: wire.ProblemNotFound, Title: "There is no such session", Status: http.StatusNotFound, Detail: "It may have ended."})
		return
	}
	s := c.sessions[at]
	reply(w, http.StatusOK, wire.ConsoleSession{Session: s, Placement: &wire.ConsolePlacement{At: s.Since, Router: "router-1", Entry: "eu-central-1", Preferences: wire.Preferences{Residency: []string{"eu"}}, Candidates: []wire.Candidate{
		{Site: s.Site, RTTMS: 18.4, RTTSource: wire.RTTMeasured, Score: 18, Reason: "the nearest site with a seat that is ready"},
		{Site: "eu-north-1", RTTMS: 41, RTTSource: wire.RTTMeasured, LoadMS: 12, Score: 53, Reason: "farther, and busy"},
		{Site: "us-east-1", RTTMS: 96, RTTErrorMS: 14, RTTSource: wire.RTTPredicted, Score: 96, Excluded: "it lies in none of the jurisdictions: eu", Reason: "excluded"},
	}}})
}

func (c *fakeConsole) app(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.IndexFunc(c.apps, func(a wire.ConsoleApp) bool { return a.Site == r.PathValue("site") && a.App == r.PathValue("app") })
	if at < 0 {
		reply(w, http.StatusNotFound, wire.Problem{Type: wire.ProblemUnknownApp, Title: "There is no such app", Status: http.StatusNotFound})
		return
	}
	d := wire.ConsoleAppDetail{App: c.apps[at]}
	for v := d.App.Version; v > 0; v-- {
		d.Versions = append(d.Versions, wire.ConsoleVersion{Version: v, Submitted: time.Now().Add(-time.Duration(30-v) * 24 * time.Hour), Title: d.App.Title, Warm: "2", Max: "40", Changes: []string{"meta.title", "task.config.content"}[:1+v%2]})
	}
	reply(w, http.StatusOK, d)
}

// change takes all that changes something.
func (c *fakeConsole) change(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Header.Get(wire.ConsoleCSRFHeader) != fakeCSRF {
		c.t.Errorf("%s %s without the header %s", r.Method, r.URL.Path, wire.ConsoleCSRFHeader)
	}
	c.orders = append(c.orders, strings.TrimSpace(fmt.Sprint(r.Method, " ", r.URL.Path, " ", string(raw))))
	if c.refuse != nil {
		reply(w, c.refuse.Status, c.refuse)
		return
	}
	switch {
	case strings.HasSuffix(r.URL.Path, wire.StillPath):
		picture := image.NewRGBA(image.Rect(0, 0, 640, 360))
		draw.Draw(picture, picture.Rect, image.NewUniform(color.RGBA{200, 40, 40, 255}), image.Point{}, draw.Src)
		text, err := still.Encode(picture)
		if err != nil {
			c.t.Error(err)
		}
		reply(w, http.StatusOK, wire.Still{Session: r.PathValue("id"), At: time.Now(), Width: 640, Height: 360, JPEG: text})
	case strings.Contains(r.URL.Path, "/apps/"):
		var body wire.ConsolePublish
		_ = json.Unmarshal(raw, &body)
		reply(w, http.StatusOK, wire.ConsolePublished{App: "viewer", Version: 4, Warnings: map[bool]string{true: "group has no update block"}[body.DryRun]})
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (c *fakeConsole) ordersNow() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.orders)
}

// ordered waits for what the page asked to change.
func (c *fakeConsole) ordered(want string) {
	c.t.Helper()
	testkit.UntilSeen(c.t, "the page asks for "+want, func() (any, bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return slices.Clone(c.orders), slices.Contains(c.orders, want)
	})
}

// changeSome gives n sessions new figures, and tells of them in batches.
func (c *fakeConsole) changeSome(round, n int) {
	c.mu.Lock()
	var changed []wire.SessionView
	for i := range n {
		at := (round*n + i) % len(c.sessions)
		if c.sessions[at].Measured != nil {
			c.measure(&c.sessions[at], at%1000)
			changed = append(changed, c.sessions[at])
		}
	}
	c.mu.Unlock()
	var events []wire.ConsoleEvent
	for batch := range slices.Chunk(changed, wire.MaxConsoleBatch) {
		events = append(events, wire.ConsoleEvent{Sessions: batch, More: true})
	}
	events[len(events)-1].More = false
	c.tell(events...)
}
