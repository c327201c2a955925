package router

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stage is a View that a test arranges.
type stage struct {
	mu   sync.Mutex
	snap Snapshot
}

func (s *stage) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snap
}

func (s *stage) set(change func(*Snapshot)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap.Sites = append([]Site(nil), s.snap.Sites...)
	change(&s.snap)
}

// rig is a router behind a real server, and the logs it wrote.
type rig struct {
	t      *testing.T
	view   *stage
	router *Router
	server *httptest.Server
	signer *ticket.Signer
	logs   *testkit.Buffer
}

var testWeb = fstest.MapFS{
	"index.html":         {Data: []byte("<title>home</title>")},
	"play.html":          {Data: []byte("<title>play</title>")},
	"check.html":         {Data: []byte("<title>check</title>")},
	"assets/js/play.js":  {Data: []byte("export const x = 1\n")},
	"assets/logo.svg":    {Data: []byte("<svg/>")},
	"assets/favicon.svg": {Data: []byte("<svg/>")},
	"web.go":             {Data: []byte("package web")},
	".hidden":            {Data: []byte("no")},
}

func capacity(idle, busy int) wire.Capacity {
	return wire.Capacity{Idle: idle, Busy: busy, Warm: 2, Max: 10, ColdStartMS: 4000}
}

func app(id string, version uint64, c wire.Capacity) wire.App {
	return wire.App{
		ID: id, Version: version, Title: strings.ToUpper(id[:1]) + id[1:], Picture: "/assets/logo.svg",
		Display:  wire.Display{Width: 1280, Height: 720, FPS: 60, Pointer: wire.PointerAbsolute},
		Capacity: c, Updated: time.Date(2026, 1, 2, 3, 4, int(version), 0, time.UTC), Access: wire.AccessPublic,
	}
}

func brain(site string) wire.Instance {
	return wire.Instance{ID: "brain-" + site, Site: site, URL: "wss://brain." + site + ".example", Address: "127.0.0.1:1", Healthy: true}
}

func instance(site string) wire.Instance {
	return wire.Instance{ID: "router-" + site, Site: site, URL: "https://" + site + ".example", Address: "127.0.0.1:1", Healthy: true}
}

// testSnapshot has "chess" at both of its sites and "golf" at one.
func testSnapshot() Snapshot {
	return Snapshot{Ready: true, Sites: []Site{
		{Name: "east", Brains: []wire.Instance{brain("east")}, Routers: []wire.Instance{instance("east")},
			Apps: map[string]wire.App{"chess": app("chess", 3, capacity(2, 1)), "golf": app("golf", 1, capacity(0, 0))}},
		{Name: "west", Brains: []wire.Instance{brain("west")}, Routers: []wire.Instance{instance("west")},
			Apps: map[string]wire.App{"chess": app("chess", 5, capacity(1, 0))}},
	}}
}

func newRig(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	g := &rig{t: t, view: &stage{snap: testSnapshot()}, signer: testkit.Signer(t), logs: &testkit.Buffer{}}
	cfg := Config{
		Site: "east", URL: "https://east.example", View: g.view,
		Signer: g.signer, Verifier: ticket.NewVerifier(g.signer.Public()),
		ICE: ICE{STUN: []string{"stun:stun.example:3478"}},
		Web: testWeb, Chance: func() float64 { return 0 },
		Log: slog.New(slog.NewTextHandler(io.MultiWriter(g.logs, testkit.Output(t)), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if g.router, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	g.server = httptest.NewServer(g.router)
	t.Cleanup(func() {
		g.server.Client().CloseIdleConnections()
		g.server.Close()
		g.router.Close()
	})
	return g
}

// call makes a request, and checks it and its answer against the OpenAPI document.
// The body may be a string, which is sent as it is, or a value.
func (g *rig) call(method, path string, body any, header ...string) (*http.Response, []byte) {
	g.t.Helper()
	var sent []byte
	switch b := body.(type) {
	case nil:
	case string:
		sent = []byte(b)
	default:
		sent, _ = json.Marshal(b)
	}
	ctx, cancel := context.WithTimeout(g.t.Context(), 60*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, g.server.URL+path, bytes.NewReader(sent))
	if err != nil {
		g.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := *g.server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	checkDocumented(g.t, req, sent, res, got)
	return res, got
}

// metrics reads the metrics, at the internal listener.
func (g *rig) metrics() string {
	g.t.Helper()
	w := httptest.NewRecorder()
	g.router.Internal().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		g.t.Fatalf("metrics: %d", w.Code)
	}
	return w.Body.String()
}

// into makes a request, wants a status, and decodes the answer.
func into[T any](g *rig, want int, method, path string, body any, header ...string) T {
	g.t.Helper()
	res, got := g.call(method, path, body, header...)
	var out T
	if res.StatusCode != want {
		g.t.Fatalf("%s %s: %s, want %d: %s", method, path, res.Status, want, got)
	}
	dec := json.NewDecoder(bytes.NewReader(got))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil {
		g.t.Fatalf("%s %s: %v: %s", method, path, err, got)
	}
	return out
}

// refused makes a request and wants a problem.
func (g *rig) refused(kind string, method, path string, body any, header ...string) wire.Problem {
	g.t.Helper()
	p := into[wire.Problem](g, kinds[kind].status, method, path, body, header...)
	if p.Type != kind || p.Title == "" || p.Detail == "" || p.Status != kinds[kind].status {
		g.t.Fatalf("%s %s: %+v, want %s", method, path, p, kind)
	}
	return p
}

func TestLaunch(t *testing.T) {
	g := newRig(t)
	before := time.Now()
	res, body := g.call("POST", "/v1/sessions", wire.LaunchRequest{
		App: "chess", RTTMS: map[string]float64{"east": 90, "west": 20.5},
	})
	var out wire.LaunchResponse
	if err := json.Unmarshal(body, &out); err != nil || res.StatusCode != 201 {
		t.Fatalf("%s: %v: %s", res.Status, err, body)
	}
	if ticket.SiteOf(out.Session) != "west" {
		t.Errorf("%s does not name its site", out.Session)
	}
	if out.Site != "west" || out.BrainURL != "wss://brain.west.example/v1/connect" || out.Version != 5 ||
		out.PredictedRTTMS != 20.5 || out.RTTSource != wire.RTTMeasured {
		t.Errorf("placed wrongly: %s", body)
	}
	if res.Header.Get("Location") != "/v1/sessions/"+out.Session || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers: %v", res.Header)
	}
	// It was issued between before and now, at a whole second.
	if left := out.Expires.Sub(before); left < ticket.TTL-time.Second || out.Expires.After(time.Now().Add(ticket.TTL)) {
		t.Errorf("the ticket is good for %s", left)
	}
	claims, err := ticket.NewVerifier(g.signer.Public()).Verify(out.Ticket)
	if err != nil {
		t.Fatal(err)
	}
	if claims.Session != out.Session || claims.App != "chess" || claims.Version != 0 || strings.Join(claims.Sites, " ") != "west east" {
		t.Errorf("the ticket says %+v", claims)
	}
	if len(out.Candidates) != 2 || out.Candidates[1].Site != "east" || out.Candidates[1].BrainURL == "" {
		t.Errorf("candidates: %+v", out.Candidates)
	}
	for _, c := range out.Candidates {
		if c.Score != c.RTTMS+c.WaitMS+c.LoadMS || c.Reason == "" {
			t.Errorf("candidate does not add up: %+v", c)
		}
	}
	if fmt.Sprint(out.ICEServers) != "[{[stun:stun.example:3478]  }]" {
		t.Errorf("ICE servers: %v", out.ICEServers)
	}
	if text := g.logs.String(); strings.Contains(text, out.Ticket) || !strings.Contains(text, "session placed") {
		t.Error("the log has the ticket, or not the placement")
	}
}

func TestLaunchWithoutMeasuring(t *testing.T) {
	out := into[wire.LaunchResponse](newRig(t), 201, "POST", "/v1/sessions", `{"app":"chess"}`)
	if out.Site != "east" || out.RTTSource != wire.RTTAssumed {
		t.Errorf("placed at %s, %s; want the entry site, assumed", out.Site, out.RTTSource)
	}
}

func TestLaunchVersion(t *testing.T) {
	g := newRig(t)
	out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess","version":5,"rtt_ms":{"east":1}}`)
	claims, err := ticket.NewVerifier(g.signer.Public()).Verify(out.Ticket)
	if err != nil || out.Site != "west" || claims.Version != 5 || len(claims.Sites) != 1 {
		t.Errorf("%+v, %+v, %v", out, claims, err)
	}
	g.refused(wire.ProblemNoSite, "POST", "/v1/sessions", `{"app":"chess","version":4}`)
}

func TestFullSiteQueues(t *testing.T) {
	g := newRig(t)
	g.view.set(func(s *Snapshot) {
		full := wire.Capacity{Busy: 10, Queued: 7, Max: 10, ColdStartMS: 4000}
		s.Sites[0].Apps = map[string]wire.App{"chess": app("chess", 3, full)}
		s.Sites = s.Sites[:1]
	})
	out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess"}`)
	if c := out.Candidates[0]; c.WaitMS < 60_000 || !strings.Contains(c.Reason, "7 waiting") {
		t.Errorf("%+v", c)
	}
}

func TestNoSite(t *testing.T) {
	g := newRig(t)
	g.view.set(func(s *Snapshot) {
		failing := capacity(0, 0)
		failing.Failing = "error(content-missing): s3://models/king.glb"
		s.Sites[0].Apps = map[string]wire.App{"chess": app("chess", 3, failing)}
		dead := brain("west")
		dead.Healthy = false
		s.Sites[1].Brains = []wire.Instance{dead}
		s.Sites = append(s.Sites, Site{Name: "zenith"})
	})
	p := g.refused(wire.ProblemNoSite, "POST", "/v1/sessions", `{"app":"chess"}`)
	for _, want := range []string{"east: seats fail to start: error(content-missing): s3://models/king.glb", "west: no healthy brain", "zenith: the site does not have the app"} {
		if !strings.Contains(p.Detail, want) {
			t.Errorf("detail %q lacks %q", p.Detail, want)
		}
	}
	res, _ := g.call("POST", "/v1/sessions", `{"app":"chess"}`)
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestSilentSite(t *testing.T) {
	g := newRig(t)
	silent := func(since time.Duration) {
		g.view.set(func(s *Snapshot) { s.Sites[1].StaleSince = time.Now().Add(-since) })
	}
	near := `{"app":"chess","rtt_ms":{"west":1,"east":90}}`
	silent(silence / 2)
	if out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", near); out.Site != "west" {
		t.Error("a short failure of a site's Consul excludes it")
	}
	silent(2 * silence)
	if out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", near); out.Site != "east" {
		t.Error("a session is placed at a silent site")
	}
	g.view.set(func(s *Snapshot) { s.StaleSince = time.Now().Add(-MaxStale + time.Minute) })
	if out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", near); out.Site != "west" {
		t.Error("the last view does not count while Consul does not answer")
	}
}

// TestStaleForTooLong checks that a stale view is not served for ever.
func TestStaleForTooLong(t *testing.T) {
	g := newRig(t, func(c *Config) { c.MaxStale = time.Minute })
	g.view.set(func(s *Snapshot) { s.StaleSince = time.Now().Add(-50 * time.Second) })
	into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess"}`)
	if s := into[wire.SitesResponse](g, 200, "GET", "/v1/sites", nil); !s.Stale {
		t.Error("not marked stale")
	}
	g.view.set(func(s *Snapshot) { s.StaleSince = time.Now().Add(-61 * time.Second) })
	for path, body := range map[string]any{
		"/v1/apps": nil, "/v1/sites": nil, "/healthz": nil, "/v1/sessions": `{"app":"chess"}`, "/v1/probes": `{"rtt_ms":{}}`,
	} {
		method := map[bool]string{true: "GET", false: "POST"}[body == nil]
		if p := g.refused(wire.ProblemUnavailable, method, path, body); !strings.Contains(p.Detail, "lost contact with its site's Consul 1m1s ago") {
			t.Errorf("%s: %s", path, p.Detail)
		}
	}
	if res, _ := g.call("GET", "/v1/beacon", nil); res.StatusCode != 204 {
		t.Error("the beacon needs a view")
	}
}

// badInput are the mistakes a caller can make in POST /v1/sessions.
var badInput = []struct {
	name, body, kind, field string
}{
	{"empty body", ``, wire.ProblemMalformed, ""},
	{"not JSON", `chess please`, wire.ProblemMalformed, ""},
	{"malformed JSON", `{"app":"chess",}`, wire.ProblemMalformed, ""},
	{"cut off", `{"app":"che`, wire.ProblemMalformed, ""},
	{"cut off between", `{"app":"chess"`, wire.ProblemMalformed, ""},
	{"not UTF-8", "{\"app\":\"ch\xffess\"}", wire.ProblemMalformed, ""},
	{"a list", `[]`, wire.ProblemMalformed, ""},
	{"null", `null`, wire.ProblemMalformed, ""},
	{"trailing data", `{"app":"chess"} {"app":"golf"}`, wire.ProblemMalformed, ""},
	{"trailing brace", `{"app":"chess"}}`, wire.ProblemMalformed, ""},
	{"nested deeply", `{"app":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, wire.ProblemMalformed, "/app" + strings.Repeat("/0", maxDepth-1)},
	{"unknown field", `{"app":"chess","colour":"white"}`, wire.ProblemMalformed, "/colour"},
	{"unknown field in other case", `{"App":"chess"}`, wire.ProblemMalformed, "/App"},
	{"unknown field with a slash", `{"app":"chess","a/b~c":1}`, wire.ProblemMalformed, "/a~1b~0c"},
	{"unknown preference", `{"app":"chess","preferences":{"colour":"white"}}`, wire.ProblemMalformed, "/preferences/colour"},
	{"wrong type lost", `{"app":"chess","lost":"east"}`, wire.ProblemMalformed, "/lost"},
	{"wrong type in lost", `{"app":"chess","lost":[null]}`, wire.ProblemMalformed, "/lost/0"},
	{"wrong type residency", `{"app":"chess","preferences":{"residency":{"eu":true}}}`, wire.ProblemMalformed, "/preferences/residency"},
	{"nameless residency", `{"app":"chess","preferences":{"residency":["eu",""]}}`, wire.ProblemInvalid, "/preferences/residency/1"},
	{"wrong type gpu", `{"app":"chess","preferences":{"gpu":["nvidia-l4"]}}`, wire.ProblemMalformed, "/preferences/gpu"},
	{"nameless gpu", `{"app":"chess","preferences":{"gpu":""}}`, wire.ProblemInvalid, "/preferences/gpu"},
	{"duplicate key", `{"app":"chess","app":"golf"}`, wire.ProblemMalformed, "/app"},
	{"duplicate site", `{"app":"chess","rtt_ms":{"east":1,"east":2}}`, wire.ProblemMalformed, "/rtt_ms/east"},
	{"wrong type app", `{"app":3}`, wire.ProblemMalformed, "/app"},
	{"wrong type version", `{"app":"chess","version":"3"}`, wire.ProblemMalformed, "/version"},
	{"wrong type rtt_ms", `{"app":"chess","rtt_ms":[1,2]}`, wire.ProblemMalformed, "/rtt_ms"},
	{"wrong type preferences", `{"app":"chess","preferences":"near"}`, wire.ProblemMalformed, "/preferences"},
	{"wrong type allow", `{"app":"chess","preferences":{"allow":"east"}}`, wire.ProblemMalformed, "/preferences/allow"},
	{"wrong type in allow", `{"app":"chess","preferences":{"allow":["east",1]}}`, wire.ProblemMalformed, "/preferences/allow/1"},
	{"wrong type max_rtt_ms", `{"app":"chess","preferences":{"max_rtt_ms":"60"}}`, wire.ProblemMalformed, "/preferences/max_rtt_ms"},
	{"null for an object", `{"app":"chess","rtt_ms":null}`, wire.ProblemMalformed, "/rtt_ms"},
	{"no app", `{}`, wire.ProblemInvalid, "/app"},
	{"empty app", `{"app":""}`, wire.ProblemInvalid, "/app"},
	{"endless app", `{"app":"` + strings.Repeat("a", 300) + `"}`, wire.ProblemInvalid, "/app"},
	{"unknown app", `{"app":"checkers"}`, wire.ProblemUnknownApp, "/app"},
	{"app is a path", `{"app":"../../etc/passwd"}`, wire.ProblemUnknownApp, "/app"},
	{"version fraction", `{"app":"chess","version":1.5}`, wire.ProblemMalformed, "/version"},
	{"version negative", `{"app":"chess","version":-1}`, wire.ProblemInvalid, "/version"},
	{"version huge", `{"app":"chess","version":18446744073709551616}`, wire.ProblemInvalid, "/version"},
	{"rtt negative", `{"app":"chess","rtt_ms":{"east":-0.1}}`, wire.ProblemInvalid, "/rtt_ms/east"},
	{"rtt NaN string", `{"app":"chess","rtt_ms":{"east":"NaN"}}`, wire.ProblemMalformed, "/rtt_ms/east"},
	{"rtt NaN bare", `{"app":"chess","rtt_ms":{"east":NaN}}`, wire.ProblemMalformed, ""},
	{"rtt 1e999", `{"app":"chess","rtt_ms":{"east":1e999}}`, wire.ProblemInvalid, "/rtt_ms/east"},
	{"rtt null", `{"app":"chess","rtt_ms":{"east":null}}`, wire.ProblemMalformed, "/rtt_ms/east"},
	{"rtt true", `{"app":"chess","rtt_ms":{"east":true}}`, wire.ProblemMalformed, "/rtt_ms/east"},
	{"rtt absurd", `{"app":"chess","rtt_ms":{"east":10001}}`, wire.ProblemInvalid, "/rtt_ms/east"},
	{"rtt of an unknown site", `{"app":"chess","rtt_ms":{"mars":100}}`, wire.ProblemUnknownSite, "/rtt_ms/mars"},
	{"unknown site allowed", `{"app":"chess","preferences":{"allow":["east","mars"]}}`, wire.ProblemUnknownSite, "/preferences/allow/1"},
	{"unknown site denied", `{"app":"chess","preferences":{"deny":["mars"]}}`, wire.ProblemUnknownSite, "/preferences/deny/0"},
	{"max_rtt_ms negative", `{"app":"chess","preferences":{"max_rtt_ms":-1}}`, wire.ProblemInvalid, "/preferences/max_rtt_ms"},
	{"too large", `{"app":"` + strings.Repeat("a", wire.MaxBody) + `"}`, wire.ProblemTooLarge, ""},
}

func TestBadInput(t *testing.T) {
	g := newRig(t)
	for _, tt := range badInput {
		t.Run(tt.name, func(t *testing.T) {
			g.t = t
			if p := g.refused(tt.kind, "POST", "/v1/sessions", tt.body); p.Field != tt.field {
				t.Errorf("field %q, want %q: %s", p.Field, tt.field, p.Detail)
			} else {
				t.Log(p)
			}
		})
	}
	g.t = t
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", ";"} {
		t.Run("wrong content type "+media, func(t *testing.T) {
			g.t = t
			g.refused(wire.ProblemMediaType, "POST", "/v1/sessions", `{"app":"chess"}`, "Content-Type", media)
		})
	}
	g.t = t
	t.Run("right content type with charset", func(t *testing.T) {
		g.t = t
		into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess"}`, "Content-Type", "Application/JSON; charset=UTF-8")
	})
	g.t = t
}

// Of two faults a caller is told the same one each time.
func TestFaultsHaveAnOrder(t *testing.T) {
	g := newRig(t)
	for range 10 {
		p := g.refused(wire.ProblemUnknownSite, "POST", "/v1/sessions", `{"app":"chess","preferences":{"allow":["mars"],"deny":["venus"]}}`)
		if p.Field != "/preferences/allow/0" {
			t.Fatalf("told of %s", p.Field)
		}
	}
}

func TestWrongMethodAndPath(t *testing.T) {
	for name, change := range map[string]func(*Config){"with pages": func(*Config) {}, "API alone": func(c *Config) { c.Web = nil }} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, change)
			for path, method := range map[string]string{
				"/v1/sessions": "DELETE", "/v1/sessions/" + ticket.NewSession(): "PUT", "/v1/apps": "POST", "/v1/beacon": "DELETE",
				"/v1/sessions/" + ticket.NewSession() + "/ticket": "GET",
			} {
				g.refused(wire.ProblemMethod, method, path, nil)
				if res, _ := g.call(method, path, nil); !strings.Contains(res.Header.Get("Allow"), map[bool]string{true: "POST", false: "GET"}[method == "GET"]) {
					t.Errorf("%s %s: Allow: %q", method, path, res.Header.Get("Allow"))
				}
			}
			for _, path := range []string{"/v1", "/v2/apps", "/v1/nothing", "/v1/sessions/" + ticket.NewSession() + "/x", "/nothing.html"} {
				g.refused(wire.ProblemNotFound, "GET", path, nil)
			}
		})
	}
}

// FuzzLaunch checks that no body causes a 5xx, and that only JSON is accepted.
func FuzzLaunch(f *testing.F) {
	for _, b := range badInput {
		f.Add([]byte(b.body))
	}
	f.Add([]byte(`{"app":"chess","version":5,"rtt_ms":{"east":1,"west":0},"preferences":{"allow":["west"],"deny":[],"max_rtt_ms":60}}`))
	signer := testkit.Signer(f)
	r, err := New(Config{Site: "east", URL: "http://east.example", View: &stage{snap: testSnapshot()}, Signer: signer,
		Verifier: ticket.NewVerifier(signer.Public()), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req := httptest.NewRequest("POST", "/v1/sessions", bytes.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		r.ServeHTTP(rec, req)
		if rec.Code >= 500 && !strings.Contains(rec.Body.String(), wire.ProblemNoSite) || !json.Valid(rec.Body.Bytes()) {
			t.Fatalf("%d: %s", rec.Code, rec.Body)
		}
		if rec.Code == 201 && !json.Valid(body) {
			t.Fatal("accepted a body that is not JSON")
		}
	})
}

func TestPanic(t *testing.T) {
	g := newRig(t, func(c *Config) { c.Chance = func() float64 { panic("no luck") } })
	g.view.set(func(s *Snapshot) { s.Sites[0].Brains = []wire.Instance{brain("east"), brain("east")} })
	g.refused(wire.ProblemInternal, "POST", "/v1/sessions", `{"app":"chess"}`)
	if text := g.logs.String(); !strings.Contains(text, "no luck") || !strings.Contains(text, "launch.go") {
		t.Error("the log does not say where it came from")
	}
	into[wire.AppsResponse](g, 200, "GET", "/v1/apps", nil)
}

func TestRenew(t *testing.T) {
	g := newRig(t)
	out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess"}`)
	path := "/v1/sessions/" + out.Session + "/ticket"
	renewed := into[wire.TicketRenewal](g, 200, "POST", path, nil, "Authorization", "Bearer "+out.Ticket)
	claims, err := ticket.NewVerifier(g.signer.Public()).Verify(renewed.Ticket)
	if err != nil || claims.Session != out.Session || !claims.Expires.Equal(renewed.Expires) {
		t.Fatalf("%+v, %v", claims, err)
	}
	into[wire.TicketRenewal](g, 200, "POST", path, nil, "Authorization", "bearer "+renewed.Ticket)

	sign := func(change func(*ticket.Claims)) string {
		c := ticket.Claims{Session: out.Session, App: "chess", Sites: []string{"east"}}
		change(&c)
		token, _, err := g.signer.Sign(c)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	for name, header := range map[string]string{
		"none":            "",
		"basic":           "Basic YTpi",
		"empty":           "Bearer ",
		"forged":          "Bearer " + out.Ticket[:len(out.Ticket)-4] + "AAAA",
		"expired":         "Bearer " + sign(func(c *ticket.Claims) { c.Issued = time.Now().Add(-time.Hour / 2) }),
		"another session": "Bearer " + sign(func(c *ticket.Claims) { c.Session = ticket.NewSession() }),
		"waited an hour":  "Bearer " + sign(func(c *ticket.Claims) { c.First = time.Now().Add(-ticket.MaxWait - time.Second) }),
	} {
		t.Run(name, func(t *testing.T) {
			g.t = t
			p := g.refused(wire.ProblemTicket, "POST", path, nil, "Authorization", header)
			t.Log(p.Detail)
			if res, _ := g.call("POST", path, nil, "Authorization", header); res.Header.Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
		})
	}
	g.t = t
	if text := g.logs.String(); strings.Contains(text, out.Ticket) || strings.Contains(text, out.Session+"/ticket") {
		t.Error("the log has a ticket or a session's path")
	}
}

func TestAppsAndSites(t *testing.T) {
	g := newRig(t)
	apps := into[wire.AppsResponse](g, 200, "GET", "/v1/apps", nil)
	if len(apps.Apps) != 2 || apps.Apps[0].ID != "chess" || apps.Apps[0].Version != 3 || apps.Apps[0].Title != "Chess" ||
		len(apps.Apps[0].Sites) != 2 || apps.Apps[0].Sites["west"].Idle != 1 || apps.Stale {
		t.Errorf("%+v", apps)
	}
	sites := into[wire.SitesResponse](g, 200, "GET", "/v1/sites", nil)
	if sites.Entry != "east" || len(sites.Sites) != 2 || sites.Stale {
		t.Fatalf("%+v", sites)
	}
	west := sites.Sites[1]
	if west.BeaconURL != "https://west.example/v1/beacon" || west.BrainURL != "wss://brain.west.example/v1/connect" ||
		!west.Healthy || west.Apps["chess"].Idle != 1 {
		t.Errorf("%+v", west)
	}
	g.view.set(func(s *Snapshot) {
		s.StaleSince = time.Now().Add(-time.Minute)
		s.Sites[1].Brains, s.Sites[1].Routers, s.Sites[1].Apps = nil, nil, nil
	})
	apps = into[wire.AppsResponse](g, 200, "GET", "/v1/apps", nil)
	sites = into[wire.SitesResponse](g, 200, "GET", "/v1/sites", nil)
	if !apps.Stale || !sites.Stale || sites.Sites[1].Healthy || sites.Sites[1].BeaconURL != "" {
		t.Errorf("%+v %+v", apps, sites)
	}
}

func TestNotReady(t *testing.T) {
	g := newRig(t)
	g.view.set(func(s *Snapshot) { *s = Snapshot{} })
	session := ticket.NewSessionAt("east")
	for path, method := range map[string]string{
		"/v1/apps": "GET", "/v1/sites": "GET", "/healthz": "GET", "/v1/sessions": "POST",
		"/v1/sessions/" + session: "GET",
	} {
		var body any
		if method == "POST" {
			body = `{"app":"chess"}`
		}
		g.refused(wire.ProblemUnavailable, method, path, body, "Authorization", "Bearer "+g.ticketFor(session))
	}
	if res, _ := g.call("GET", "/v1/beacon", nil); res.StatusCode != 204 {
		t.Error("the beacon waits for a view")
	}
	if res, _ := g.call("GET", "/", nil); res.StatusCode != 200 {
		t.Error("the pages wait for a view")
	}
}

func TestBeacon(t *testing.T) {
	g := newRig(t)
	for _, method := range []string{"GET", "HEAD"} {
		res, body := g.call(method, "/v1/beacon?x=secret", nil)
		h := res.Header
		if res.StatusCode != 204 || len(body) != 0 || h.Get("Cache-Control") != "no-store" ||
			h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Timing-Allow-Origin") != "*" {
			t.Errorf("%s: %s %v", method, res.Status, h)
		}
	}
	if strings.Contains(g.logs.String(), "secret") {
		t.Error("the log has a query string")
	}
}

func TestPreflight(t *testing.T) {
	g := newRig(t)
	for _, path := range []string{"/v1/sessions", "/v1/sessions/" + ticket.NewSession() + "/ticket"} {
		res, _ := g.call("OPTIONS", path, nil, "Origin", "https://shop.example",
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type,authorization")
		h := res.Header
		if res.StatusCode != 204 || h.Get("Access-Control-Allow-Origin") != "*" ||
			!strings.Contains(h.Get("Access-Control-Allow-Methods"), "POST") ||
			!strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("%s: %s %v", path, res.Status, h)
		}
	}
	// A page of another origin must be able to read errors, too.
	if res, _ := g.call("POST", "/v1/sessions", `{`, "Origin", "https://shop.example"); res.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Error("a problem is not readable across origins")
	}
}

func TestPages(t *testing.T) {
	g := newRig(t)
	for path, want := range map[string][3]string{
		"/":                  {"text/html; charset=utf-8", "no-cache", "<title>home</title>"},
		"/index.html":        {"text/html; charset=utf-8", "no-cache", "<title>home</title>"},
		"/play/chess":        {"text/html; charset=utf-8", "no-cache", "<title>play</title>"},
		"/check":             {"text/html; charset=utf-8", "no-cache", "<title>check</title>"},
		"/assets/js/play.js": {"text/javascript; charset=utf-8", "no-cache", "export const x = 1\n"},
		"/assets/logo.svg":   {"image/svg+xml", "public, max-age=86400", "<svg/>"},
		"/favicon.ico":       {"image/svg+xml", "public, max-age=86400", "<svg/>"},
	} {
		res, body := g.call("GET", path, nil)
		h := res.Header
		if res.StatusCode != 200 || h.Get("Content-Type") != want[0] || h.Get("Cache-Control") != want[1] || string(body) != want[2] {
			t.Errorf("%s: %s %v %q", path, res.Status, h, body)
		}
		csp := h.Get("Content-Security-Policy")
		if !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "connect-src 'self' https: wss:;") ||
			h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, h)
		}
		if res, body := g.call("GET", path, nil, "If-None-Match", h.Get("ETag")); res.StatusCode != 304 || len(body) != 0 {
			t.Errorf("%s again: %s", path, res.Status)
		}
		if res, body := g.call("HEAD", path, nil); res.StatusCode != 200 || len(body) != 0 || res.Header.Get("ETag") != h.Get("ETag") {
			t.Errorf("%s HEAD: %s", path, res.Status)
		}
	}
	for _, path := range []string{"/web.go", "/.hidden", "/assets", "/assets/", "/assets/../web.go", "/..%2f..%2fetc/passwd", "/play/", "/%00"} {
		g.refused(wire.ProblemNotFound, "GET", path, nil)
	}
}

func TestPagesThatChange(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		if err := os.WriteFile(dir+"/index.html", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	g := newRig(t, func(c *Config) { c.Web = os.DirFS(dir); c.FrameAncestors = []string{"https://shop.example"} })
	res, _ := g.call("GET", "/", nil)
	write("three")
	again, body := g.call("GET", "/", nil, "If-None-Match", res.Header.Get("ETag"))
	if again.StatusCode != 200 || string(body) != "three" {
		t.Errorf("%s %q", again.Status, body)
	}
	if csp := again.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors https://shop.example") {
		t.Error(csp)
	}
}

func TestProblemsAreExplained(t *testing.T) {
	g := newRig(t)
	for kind, k := range kinds {
		res, body := g.call("GET", kind, nil)
		if res.StatusCode != 200 || !strings.Contains(string(body), k.title) {
			t.Errorf("%s: %s %s", kind, res.Status, body)
		}
	}
	g.refused(wire.ProblemNotFound, "GET", "/problems/boredom", nil)
}

func TestHealthAndMetrics(t *testing.T) {
	g := newRig(t)
	if res, body := g.call("GET", "/healthz", nil); res.StatusCode != 200 || !strings.Contains(string(body), `"ok"`) {
		t.Errorf("%s %s", res.Status, body)
	}
	g.view.set(func(s *Snapshot) { s.StaleSince = time.Now().Add(-time.Minute) })
	if res, body := g.call("GET", "/healthz", nil); res.StatusCode != 200 || !strings.Contains(string(body), `"stale"`) {
		t.Errorf("%s %s", res.Status, body)
	}
	into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess"}`)
	g.call("GET", "/some/path/of/the/caller", nil)
	body := g.metrics()
	for _, want := range []string{
		`nearcast_router_requests_total{code="201",method="POST",route="/v1/sessions"} 1`,
		`nearcast_router_placements_total{site="east",source="assumed"} 1`,
		`nearcast_router_request_seconds_count{route="/v1/sessions"} 1`,
		"nearcast_router_view_age_seconds 6", "go_goroutines",
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(string(body), "some/path") {
		t.Error("callers can create time series")
	}
}

func TestConfig(t *testing.T) {
	s := testkit.Signer(t)
	good := Config{Site: "east", URL: "https://a.example:8443/", View: &stage{}, Signer: s, Verifier: ticket.NewVerifier(s.Public())}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no site": func(c *Config) { c.Site = "" }, "no view": func(c *Config) { c.View = nil },
		"no signer": func(c *Config) { c.Signer = nil }, "no verifier": func(c *Config) { c.Verifier = nil },
		"no URL": func(c *Config) { c.URL = "" }, "URL without scheme": func(c *Config) { c.URL = "a.example:80" },
		"URL with path": func(c *Config) { c.URL = "https://a.example/x" }, "ws URL": func(c *Config) { c.URL = "wss://a.example" },
		"STUN without scheme": func(c *Config) { c.ICE.STUN = []string{"a.example"} },
		"TURN as STUN":        func(c *Config) { c.ICE.STUN = []string{"turn:a.example"} },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}
