package reach

import (
	"context"
	"encoding/json"
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

// prober asks the URLs of site "far" until the test ends.
func prober(t *testing.T, log io.Writer, urls ...string) *Prober {
	t.Helper()
	if log == nil {
		log = t.Output()
	}
	p := New(Config{Log: slog.New(slog.NewTextHandler(log, nil))})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	p.Watch([]Target{{Site: "far", URLs: urls}, {Site: "nobody"}})
	return p
}

func until(t *testing.T, what string, p *Prober, ok func(State) bool) State {
	t.Helper()
	var s State
	testkit.UntilSeen(t, what, func() (any, bool) { s = p.State("far"); return s, ok(s) })
	return s
}

func TestCutAndMended(t *testing.T) {
	link := testkit.StartProxy(t, router(t, nil))
	p := prober(t, nil, "http://"+link.Address)
	s := until(t, "some samples", p, func(s State) bool { return s.RTTMS > 0 && s.Answers() })
	if s.RTTMS > 200 || s.ErrorMS <= 0 || s.Blind {
		t.Errorf("%+v: on one machine", s)
	}
	if s := p.State("nobody"); s.Known || s.Silent() {
		t.Errorf("a site without routers: %+v", s)
	}
	for range 2 {
		link.Cut()
		begin := time.Now()
		s = until(t, "the site is silent", p, State.Silent)
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("noticed only after %v", took)
		} else {
			t.Logf("noticed after %v", took)
		}
		if s.Misses < 2 || s.Answers() {
			t.Errorf("%+v", s)
		}
		link.Heal()
		begin = time.Now()
		until(t, "the site answers", p, State.Answers)
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
	p := prober(t, nil, "http://"+one.Address, "http://"+two.Address)
	until(t, "an answer", p, State.Answers)
	one.Cut()
	s := until(t, "a miss", p, func(s State) bool { return s.Misses > 0 })
	n := s.Misses
	s = until(t, "a sample from the other", p, func(now State) bool { return now.Measured.After(s.Measured) })
	if s.Silent() || s.Misses > n {
		t.Errorf("%+v: the other router answers", s)
	}
	two.Cut()
	until(t, "both are cut", p, State.Silent)
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
		address string
		answers bool
		blind   bool
	}{
		"has lost sight of its site":      {router(t, problem(200, "application/json", `{"status":"stale"}`)), true, true},
		"has just started":                {router(t, problem(503, wire.ProblemType, `{"type":"/problems/unavailable"}`)), true, true},
		"the machine refuses":             {refusing.Addr().String(), true, true},
		"a proxy without a router behind": {router(t, problem(502, "text/html", `bad gateway`)), false, false},
		"not a router at all":             {"256.256.256.256:1", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			var warned atomic.Bool
			p := prober(t, writer(func(line string) { warned.Store(warned.Load() || strings.Contains(line, "no router of a site")) }), "http://"+tt.address)
			if tt.answers {
				if s := until(t, "an answer", p, State.Answers); s.Blind != tt.blind {
					t.Errorf("%+v", s)
				}
				return
			}
			// Two misses beyond the first round, and still not called silent.
			s := until(t, "misses", p, func(s State) bool { return s.Misses >= 4 })
			if s.Known || s.Silent() || !warned.Load() {
				t.Errorf("%+v, warned %v", s, warned.Load())
			}
		})
	}
}

// TestRow holds that a router comes to know what another has measured, and
// takes nothing from it that cannot be.
func TestRow(t *testing.T) {
	row := func(entry string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if r.URL.Path == "/v1/sites" {
				json.NewEncoder(w).Encode(wire.SitesResponse{Entry: entry, Sites: []wire.SiteView{
					{Site: "farther", Distances: map[string]wire.Distance{"far": {RTTMS: 9, Measured: true}}},
					{Site: entry, Distances: map[string]wire.Distance{
						"near": {RTTMS: 80, ErrorMS: 0.5, Measured: true}, "guessed": {RTTMS: 90, ErrorMS: 20},
						"doubtful": {RTTMS: 90, Measured: true, Untrusted: "why"}, "negative": {RTTMS: -1, Measured: true},
						"absurd": {RTTMS: 1e9, Measured: true}}},
				}})
				return
			}
			io.WriteString(w, `{"status":"ok"}`)
		}
	}
	p := prober(t, nil, "http://"+router(t, row("far")))
	s := until(t, "a row", p, func(s State) bool { return !s.Told.IsZero() })
	if len(s.Row) != 1 || s.Row["near"].RTTMS != 80 {
		t.Errorf("%+v", s.Row)
	}
	// Whoever speaks for another site is not heard.
	asked := make(chan struct{}, 1)
	impostor := row("elsewhere")
	p = prober(t, nil, "http://"+router(t, func(w http.ResponseWriter, r *http.Request) {
		impostor(w, r)
		if r.URL.Path == "/v1/sites" {
			asked <- struct{}{}
		}
	}))
	<-asked
	n := until(t, "an answer", p, State.Answers).Measured
	if s := until(t, "another answer", p, func(s State) bool { return s.Measured.After(n) }); s.Row != nil {
		t.Errorf("%+v", s.Row)
	}
}

type writer func(string)

func (w writer) Write(b []byte) (int, error) { w(string(b)); return len(b), nil }

// TestBudget holds that many sites are asked more seldom, and that a site that
// is watched no longer is forgotten.
func TestBudget(t *testing.T) {
	p := New(Config{})
	if p.pause() != Every {
		t.Error(p.pause())
	}
	targets := make([]Target, 200)
	for i := range targets {
		targets[i] = Target{Site: strings.Repeat("x", i+1), URLs: []string{"http://192.0.2.1"}}
	}
	p.Watch(targets)
	if got := p.pause(); got != 4*time.Second {
		t.Errorf("200 sites are asked every %v", got)
	}
	p.note(p.sites["x"], answer{url: "http://192.0.2.1", took: time.Millisecond}, false)
	p.Watch(targets[:1])
	if s := p.State("x"); !s.Known {
		t.Error("a site that stays is forgotten")
	}
	p.Watch(nil)
	if s := p.State("x"); s.Known || len(p.sites) != 0 {
		t.Error("a site that is gone is remembered")
	}
}

func TestPatience(t *testing.T) {
	s := &site{}
	if s.patience() != mostPatient {
		t.Error("impatient before anything was measured")
	}
	for i := range 2 * samples {
		s.sample(time.Duration(100+i%3)*time.Millisecond, time.Now())
	}
	if s.state.RTTMS != 100 || s.state.ErrorMS != 1 || s.patience() != 504*time.Millisecond {
		t.Errorf("%+v, %v", s.state, s.patience())
	}
	s.sample(900*time.Millisecond, time.Now())
	if s.state.RTTMS != 100 {
		t.Error("one slow answer counts")
	}
	for range samples {
		s.sample(900*time.Millisecond, time.Now())
	}
	if s.state.RTTMS != 900 || s.patience() != mostPatient {
		t.Errorf("a way that became longer: %+v, %v", s.state, s.patience())
	}
}
