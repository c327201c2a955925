package reach

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/facts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// router answers /healthz as a router does.
func router(t *testing.T, handle http.HandlerFunc) (address string) {
	t.Helper()
	if handle == nil {
		handle = func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/healthz" {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"status":"ok","site":"far"}`)
		}
	}
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// monitor checks the URLs of site "far" until the test ends.
func monitor(t *testing.T, log io.Writer, urls ...string) *Monitor {
	t.Helper()
	if log == nil {
		log = testkit.Output(t)
	}
	m := New(Config{Log: slog.New(slog.NewTextHandler(log, nil)), Token: func(site string) string { return "of " + site }})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	m.Watch([]Target{{Site: "far", URLs: urls}, {Site: "nobody"}})
	return m
}

func until(t *testing.T, what string, m *Monitor, ok func(State) bool) State {
	t.Helper()
	var s State
	testkit.UntilSeen(t, what, func() (any, bool) { s = m.State("far"); return s, ok(s) })
	return s
}

func TestCutAndHealed(t *testing.T) {
	proxy := testkit.StartProxy(t, router(t, nil))
	m := monitor(t, nil, "http://"+proxy.Address)
	s := until(t, "some samples", m, func(s State) bool { return s.RTTMS > 0 && s.Answers() })
	if s.RTTMS > 200 || s.ErrorMS <= 0 || s.Unhealthy {
		t.Errorf("%+v: on one machine", s)
	}
	if s := m.State("nobody"); s.Known || s.Silent() {
		t.Errorf("a site without routers: %+v", s)
	}
	for range 2 {
		proxy.Cut()
		begin := time.Now()
		s = until(t, "the site is silent", m, State.Silent)
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("noticed only after %v", took)
		} else {
			t.Logf("noticed after %v", took)
		}
		if s.Misses < 2 || s.Answers() {
			t.Errorf("%+v", s)
		}
		proxy.Heal()
		begin = time.Now()
		until(t, "the site answers", m, State.Answers)
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("healed only after %v", took)
		} else {
			t.Logf("healed after %v", took)
		}
	}
}

func TestOneRouterOfTwoIsCut(t *testing.T) {
	address := router(t, nil)
	one, two := testkit.StartProxy(t, address), testkit.StartProxy(t, address)
	m := monitor(t, nil, "http://"+one.Address, "http://"+two.Address)
	until(t, "an answer", m, State.Answers)
	one.Cut()
	s := until(t, "a miss", m, func(s State) bool { return s.Misses > 0 })
	n := s.Misses
	s = until(t, "a sample from the other", m, func(now State) bool { return now.Measured.After(s.Measured) })
	if s.Silent() || s.Misses > n {
		t.Errorf("%+v: the other router answers", s)
	}
	two.Cut()
	until(t, "both are cut", m, State.Silent)
}

func TestAnswers(t *testing.T) {
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing.Close()
	problem := func(status int, media, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	for name, tt := range map[string]struct {
		address   string
		answers   bool
		unhealthy bool
	}{
		"has lost sight of its site":      {router(t, problem(200, "application/json", `{"status":"stale"}`)), true, true},
		"has just started":                {router(t, problem(503, wire.ProblemType, `{"type":"/problems/unavailable"}`)), true, true},
		"the machine refuses":             {refusing.Addr().String(), true, true},
		"a proxy without a router behind": {router(t, problem(502, "text/html", `bad gateway`)), false, false},
		"not a router at all":             {"256.256.256.256:1", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			var warned atomic.Bool
			m := monitor(t, writer(func(line string) {
				warned.Store(warned.Load() || strings.Contains(line, "cannot reach any router of a site"))
			}), "http://"+tt.address)
			if tt.answers {
				if s := until(t, "an answer", m, State.Answers); s.Unhealthy != tt.unhealthy {
					t.Errorf("%+v", s)
				}
				return
			}
			// Two misses beyond the first round, and still not called silent.
			s := until(t, "misses", m, func(s State) bool { return s.Misses >= 4 })
			if s.Known || s.Silent() || !warned.Load() {
				t.Errorf("%+v, warned %v", s, warned.Load())
			}
		})
	}
}

// telling answers as a router of a site does that tells facts.
func telling(entry string, facts func(r *http.Request) wire.SiteFacts) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		of := facts(r)
		if r.URL.Path == wire.FactsPath {
			json.NewEncoder(w).Encode(of)
			return
		}
		fmt.Fprintf(w, `{"status":"ok","site":%q,"facts":%q}`, entry, of.Version)
	}
}

// TestDistances checks that a router learns what another has measured, and
// takes only values that are possible.
func TestDistances(t *testing.T) {
	row := func(r *http.Request) wire.SiteFacts {
		f := wire.SiteFacts{Site: "far", Version: "1"}
		if r.URL.Query().Get("distances") != "" {
			f.Distances = map[string]wire.Distance{
				"near": {RTTMS: 80, ErrorMS: 0.5, Measured: true}, "guessed": {RTTMS: 90, ErrorMS: 20},
				"doubtful": {RTTMS: 90, Measured: true, Untrusted: "why"}, "negative": {RTTMS: -1, Measured: true},
				"absurd": {RTTMS: 1e9, Measured: true}}
		}
		return f
	}
	m := monitor(t, nil, "http://"+router(t, telling("far", row)))
	s := until(t, "distances", m, func(s State) bool { return !s.DistancesAt.IsZero() })
	if len(s.Distances) != 1 || s.Distances["near"].RTTMS != 80 {
		t.Errorf("%+v", s.Distances)
	}
}

// TestFacts checks that facts are asked for where they changed and only then, as changes
// since the version that is known.
func TestFacts(t *testing.T) {
	teller := facts.NewTeller("far")
	idle := func(n int) map[string]wire.App {
		return map[string]wire.App{"chess": {ID: "chess", Capacity: wire.Capacity{Idle: n}}, "golf": {ID: "golf"}}
	}
	teller.Set(idle(1), nil, nil, wire.SiteInfo{})
	var asked, changes atomic.Int32
	m := monitor(t, nil, "http://"+router(t, telling("far", func(r *http.Request) wire.SiteFacts {
		if r.Header.Get("Authorization") != "Bearer of far" {
			return wire.SiteFacts{}
		}
		have := r.URL.Query().Get("have")
		if r.URL.Path == wire.FactsPath && r.URL.Query().Get("distances") == "" {
			asked.Add(1)
			if of := teller.Since(have); have != "" && len(of.Apps) == 1 && of.Since == have {
				changes.Add(1)
			}
		}
		return teller.Since(have)
	})))
	s := until(t, "facts", m, func(s State) bool { return s.Facts != nil })
	if len(s.Facts.Apps) != 2 || s.Facts.Apps["chess"].Capacity.Idle != 1 {
		t.Errorf("%+v", s.Facts)
	}
	asked.Store(0)
	at := s.FactsAt
	until(t, "the facts are true still", m, func(s State) bool { return s.FactsAt.Sub(at) > time.Second })
	if asked.Load() > 0 {
		t.Error("asked again for facts that have not changed")
	}
	teller.Set(idle(2), nil, nil, wire.SiteInfo{})
	s = until(t, "the change", m, func(s State) bool { return s.Facts != nil && s.Facts.Apps["chess"].Capacity.Idle == 2 })
	if len(s.Facts.Apps) != 2 || changes.Load() != asked.Load() {
		t.Errorf("%+v; %d of %d questions were for changes", s.Facts, changes.Load(), asked.Load())
	}
}

// TestChangesComeWithChecks checks that what changed is taken from the answer to a check, and
// asked for where that does not say it, or says it wrong.
func TestChangesComeWithChecks(t *testing.T) {
	idle := func(n int) map[string]wire.App {
		return map[string]wire.App{"chess": {ID: "chess", Capacity: wire.Capacity{Idle: n}}, "golf": {ID: "golf"}}
	}
	for name, tt := range map[string]struct {
		changes func(*wire.SiteFacts) any
		asks    bool
	}{
		"what changed":            {func(f *wire.SiteFacts) any { return f }, false},
		"an older router":         {func(*wire.SiteFacts) any { return nil }, true},
		"of another site":         {func(f *wire.SiteFacts) any { f.Site = "near"; return f }, true},
		"since another version":   {func(f *wire.SiteFacts) any { f.Since = "other"; return f }, true},
		"everything":              {func(f *wire.SiteFacts) any { f.Since = ""; return f }, true},
		"another version":         {func(f *wire.SiteFacts) any { f.Version = "other"; return f }, true},
		"no facts":                {func(*wire.SiteFacts) any { return []int{1} }, true},
		"an app under two names":  {func(f *wire.SiteFacts) any { f.Apps = map[string]wire.App{"a": {ID: "b"}}; return f }, true},
		"of a site that is wrong": {func(f *wire.SiteFacts) any { f.Site = ""; return f }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			teller := facts.NewTeller("far")
			teller.Set(idle(1), nil, nil, wire.SiteInfo{})
			var asked atomic.Int32
			m := monitor(t, nil, "http://"+router(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				have := r.URL.Query().Get("have")
				f := teller.Since(have)
				if r.URL.Path == wire.FactsPath {
					if have != "" && r.URL.Query().Get("distances") == "" {
						asked.Add(1)
					}
					json.NewEncoder(w).Encode(f)
					return
				}
				out := map[string]any{"status": "ok", "site": "far", "facts": f.Version}
				if have != "" && have != f.Version {
					out["changes"] = tt.changes(&f)
					if r.Header.Get("Accept-Encoding") != "gzip" {
						t.Error("the check takes no compressed answer")
					}
					w.Header().Set("Content-Encoding", "gzip")
					z := gzip.NewWriter(w)
					defer z.Close()
					json.NewEncoder(z).Encode(out)
					return
				}
				json.NewEncoder(w).Encode(out)
			}))
			until(t, "facts", m, func(s State) bool { return s.Facts != nil })
			teller.Set(idle(2), nil, nil, wire.SiteInfo{})
			s := until(t, "the change", m, func(s State) bool { return s.Facts != nil && s.Facts.Apps["chess"].Capacity.Idle == 2 })
			if len(s.Facts.Apps) != 2 || s.Facts.Version != teller.Version() || s.Misses > 0 || s.Unhealthy {
				t.Errorf("%+v, %+v", s, s.Facts)
			}
			if got := asked.Load() > 0; got != tt.asks {
				t.Errorf("asked for changes: %v, want %v", got, tt.asks)
			}
		})
	}
}

// TestLiars checks that facts are not taken from a router of another site, nor such that
// are beyond measure, and that the site counts as answering all the same.
func TestLiars(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"of another site": telling("far", func(*http.Request) wire.SiteFacts { return wire.SiteFacts{Site: "near", Version: "1"} }),
		"that says so":    telling("near", func(*http.Request) wire.SiteFacts { return wire.SiteFacts{Site: "far", Version: "1"} }),
		"changes since a version that is not known": telling("far", func(*http.Request) wire.SiteFacts {
			return wire.SiteFacts{Site: "far", Version: "2", Since: "1"}
		}),
		"a bomb": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != wire.FactsPath {
				io.WriteString(w, `{"status":"ok","site":"far","facts":"1"}`)
				return
			}
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, `{"site":"far","version":"1","info":{"site":"`)
			for range 64 {
				z.Write(bytes.Repeat([]byte("a"), 1<<20))
			}
			io.WriteString(z, `"}}`)
			z.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := monitor(t, nil, "http://"+router(t, answer))
			n := until(t, "an answer", m, State.Answers).Measured
			s := until(t, "two more", m, func(s State) bool { return s.Measured.Sub(n) > time.Second })
			if s.Facts != nil || s.Distances != nil || s.Unhealthy {
				t.Errorf("%+v", s)
			}
		})
	}
}

type writer func(string)

func (w writer) Write(b []byte) (int, error) { w(string(b)); return len(b), nil }

// TestBudget checks that many sites are checked less often, and that a site that
// is not watched any more is forgotten.
func TestBudget(t *testing.T) {
	m := New(Config{})
	if m.interval() != Every {
		t.Error(m.interval())
	}
	targets := make([]Target, 200)
	for i := range targets {
		targets[i] = Target{Site: strings.Repeat("x", i+1), URLs: []string{"http://192.0.2.1"}}
	}
	m.Watch(targets)
	if got := m.interval(); got != 4*time.Second {
		t.Errorf("200 sites are checked every %v", got)
	}
	m.record(m.sites["x"], result{url: "http://192.0.2.1", took: time.Millisecond}, false)
	m.Watch(targets[:1])
	if s := m.State("x"); !s.Known {
		t.Error("a site that stays is forgotten")
	}
	m.Watch(nil)
	if s := m.State("x"); s.Known || len(m.sites) != 0 {
		t.Error("a site that is gone is remembered")
	}
}

func TestTimeout(t *testing.T) {
	s := &site{}
	if s.timeout() != maxTimeout {
		t.Error("a short timeout before anything was measured")
	}
	for i := range 2 * samples {
		s.sample(time.Duration(100+i%3)*time.Millisecond, time.Now())
	}
	if s.state.RTTMS != 100 || s.state.ErrorMS != 1 || s.timeout() != 504*time.Millisecond {
		t.Errorf("%+v, %v", s.state, s.timeout())
	}
	s.sample(900*time.Millisecond, time.Now())
	if s.state.RTTMS != 100 {
		t.Error("one slow answer counts")
	}
	for range samples {
		s.sample(900*time.Millisecond, time.Now())
	}
	if s.state.RTTMS != 900 || s.timeout() != maxTimeout {
		t.Errorf("a distance that became longer: %+v, %v", s.state, s.timeout())
	}
}

// TestBomb checks that an answer takes no more memory than an answer may have, however
// large it is once it is uncompressed.
func TestBomb(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	for range 64 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	if packed.Len() > facts.MaxText {
		t.Fatalf("%d bytes are refused before", packed.Len())
	}
	var b buffer
	text, err := b.read(&http.Response{Header: http.Header{"Content-Encoding": {"gzip"}}, Body: io.NopCloser(&packed)}, facts.MaxText)
	if err != nil || len(text) != facts.MaxText+1 || b.text.Cap() > 4*facts.MaxText {
		t.Errorf("%v, %d bytes, and %d were taken", err, len(text), b.text.Cap())
	}
}
