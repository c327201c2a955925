package console

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/nearcast/nearcast/console/login"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// world is the routers, Consul and Nomad of a test. It notes what was done to it.
type world struct {
	mu       sync.Mutex
	sessions map[string]wire.SessionView
	missing  []string
	nodes    []wire.ConsoleNode
	did      []string
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.did = append(w.did, fmt.Sprintf(format, args...))
}

func (w *world) Sites(context.Context) ([]wire.SiteView, error) {
	return []wire.SiteView{{Site: "east", Healthy: true, Distances: map[string]wire.Distance{"west": {RTTMS: 80, Measured: true}}}, {Site: "west", Healthy: true}}, nil
}

func (w *world) Sessions(context.Context) (all []wire.SessionView, missing []string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sessions {
		if !slices.Contains(w.missing, s.Site) {
			all = append(all, s)
		}
	}
	return all, w.missing, nil
}

func (w *world) Session(_ context.Context, id string) (wire.SessionView, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.sessions[id]
	if !ok {
		return s, noSession()
	}
	return s, nil
}

func (w *world) End(_ context.Context, id string) error { w.note("end %s", id); return nil }

func (w *world) Still(_ context.Context, id string, role wire.ConsoleRole) (wire.Still, error) {
	w.note("%s still %s", role, id)
	return wire.Still{Session: id, Width: 640, Height: 360, JPEG: []byte("a picture")}, nil
}

func (w *world) Placement(_ context.Context, id string) (*wire.ConsolePlacement, error) {
	if id == first {
		return &wire.ConsolePlacement{Entry: "east", Candidates: []wire.Candidate{{Site: "east", Reason: "nearest"}}}, nil
	}
	return nil, nil
}

func (w *world) Apps(_ context.Context, site string) (map[string]wire.App, error) {
	return map[string]wire.App{"chess": {ID: "chess", Title: "Chess", Version: 3, Capacity: wire.Capacity{Idle: 2, Warm: 2, Max: 9}}}, nil
}

// catalog is Consul; Nodes is another method than Nomad's.
type catalog struct{ *world }

func (catalog) Nodes(context.Context, string) ([]wire.Node, error) {
	return []wire.Node{{Name: "node-1", Class: wire.LoadBusy, CPU: 0.7, Healthy: true, Seats: map[wire.SeatState]int{wire.SeatIdle: 2}}}, nil
}

func (w *world) Nodes(context.Context, string) ([]wire.ConsoleNode, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.nodes), nil
}

func (w *world) Jobs(context.Context, string) (map[string]Job, error) {
	return map[string]Job{"chess": {Pool: "stream-cpu", Failure: Failure{Why: "error(disk-full): no room"}}}, nil
}

func (w *world) Job(context.Context, string, string) (Job, error) {
	return Job{Versions: []wire.ConsoleVersion{{Version: 3}, {Version: 2}}}, nil
}

func (w *world) Order(_ context.Context, role wire.ConsoleRole, site, node string, order wire.ConsoleNodeOrder) error {
	w.note("%s %s %s/%s", role, order.Action, site, node)
	return nil
}

func (w *world) Scale(_ context.Context, role wire.ConsoleRole, site, app string, _ wire.ConsoleScale) (wire.ConsolePublished, error) {
	w.note("%s scale %s/%s", role, site, app)
	return wire.ConsolePublished{App: app, Version: 4}, nil
}

func (w *world) Revert(_ context.Context, role wire.ConsoleRole, site, app string, _ wire.ConsoleRevert) (wire.ConsolePublished, error) {
	w.note("%s revert %s/%s", role, site, app)
	return wire.ConsolePublished{App: app, Version: 4}, nil
}

func (w *world) Publish(_ context.Context, role wire.ConsoleRole, site string, p wire.ConsolePublish) (wire.ConsolePublished, error) {
	if p.Job == "no answer" {
		return wire.ConsolePublished{App: "chess"}, context.DeadlineExceeded
	}
	if p.Job == "no app" {
		return wire.ConsolePublished{App: "x", Problems: []string{"it is none"}}, nil
	}
	w.note("%s publish %s", role, site)
	return wire.ConsolePublished{App: "chess", Version: 4}, nil
}

var first = ticket.NewSessionAt("east")

// rig is a console with that world around it, whose page is served.
type rig struct {
	t       *testing.T
	world   *world
	console *Console
	logins  *login.Sessions
	server  *httptest.Server
	audit   string
}

const (
	token           = "0123456789abcdef0123456789abcdef"
	readTimeOfTests = time.Second
)

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, world: &world{sessions: map[string]wire.SessionView{}, nodes: []wire.ConsoleNode{{Site: "east", ID: "n1", Name: "node-1", Version: "1", Eligible: true}}}}
	r.world.sessions[first] = wire.SessionView{Session: first, App: "chess", Site: "east", State: "streaming", Stills: wire.StillsOperator, Meta: map[string]string{"name": "Grace"}}
	r.server = httptest.NewUnstartedServer(nil)
	url := "http://" + r.server.Listener.Addr().String()
	r.logins = login.NewSessions(login.SessionsConfig{URL: url, Lasts: time.Hour})
	r.audit = filepath.Join(t.TempDir(), "audit.log")
	method, err := login.NewToken(token, wire.RoleAdmin, func(*http.Request, login.Person, string) {})
	if err != nil {
		t.Fatal(err)
	}
	audit, err := AuditFile(r.audit)
	if err != nil {
		t.Fatal(err)
	}
	r.console, err = New(Config{Site: "east", URL: url, Routers: r.world, Catalog: catalog{r.world}, Nomad: r.world, Sessions: r.logins, Login: method,
		Audit: audit, Web: fstest.MapFS{"console.html": {Data: []byte("<!doctype html>")}, "assets/js/console/main.js": {Data: []byte("1")}, "web.go": {Data: []byte("package web")}},
		Places: map[string]Place{"east": {"Dublin", 53, -6}}, Refresh: 10 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	// The real server, whose times are short: no stream may end by them.
	r.server.Config = r.console.server()
	r.server.Config.ReadTimeout, r.server.Config.WriteTimeout = readTimeOfTests, readTimeOfTests
	r.server.Start()
	ctx, stop := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { r.console.Watch(ctx) })
	t.Cleanup(func() { stop(); r.console.hub.close(); r.server.Close(); done.Wait() })
	return r
}

// person is somebody who has logged in.
type person struct {
	*rig
	cookie *http.Cookie
	csrf   string
	login  *login.Session
}

func (r *rig) person(role wire.ConsoleRole) person {
	rw := httptest.NewRecorder()
	s := r.logins.Start(rw, login.Person{Subject: "sub-" + string(role), Name: "Ada", Role: role})
	return person{r, rw.Result().Cookies()[0], s.CSRF, s}
}

func (p person) request(method, path, body string) *http.Request {
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.server.URL+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if p.cookie != nil {
		req.AddCookie(p.cookie)
	}
	if method != http.MethodGet {
		req.Header.Set(wire.ConsoleCSRFHeader, p.csrf)
	}
	return req
}

func (p person) do(req *http.Request) (*http.Response, []byte) {
	p.t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res, text
}

func (p person) ask(method, path, body string, into any) int {
	p.t.Helper()
	res, text := p.do(p.request(method, path, body))
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			p.t.Fatalf("%s %s: %s: %v", method, path, text, err)
		}
	}
	return res.StatusCode
}

// stream is a stream of events as a browser reads it.
type stream struct {
	t    *testing.T
	body io.Closer
	read *bufio.Reader
}

func (p person) stream(lastID string) *stream {
	p.t.Helper()
	req := p.request(http.MethodGet, wire.ConsoleEventsPath, "")
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		p.t.Fatalf("stream: %s", res.Status)
	}
	p.t.Cleanup(func() { res.Body.Close() })
	return &stream{p.t, res.Body, bufio.NewReader(res.Body)}
}

// next is the next event; ok is false where the stream has ended.
func (s *stream) next() (name, id string, e wire.ConsoleEvent, ok bool) {
	s.t.Helper()
	for {
		line, err := s.read.ReadString('\n')
		if err != nil {
			return name, id, e, false
		}
		field, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			name = value
		case "id":
			id = value
		case "data":
			dec := json.NewDecoder(bytes.NewReader([]byte(value)))
			dec.DisallowUnknownFields() // the hub's event is the wire's
			if err := dec.Decode(&e); err != nil {
				s.t.Fatalf("event %s: %v", value, err)
			}
		case "":
			if name != "" {
				return name, id, e, true
			}
		}
	}
}
