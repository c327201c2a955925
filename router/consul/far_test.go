package consul

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/facts"
	"github.com/nearcast/nearcast/router/reach"
)

func TestDue(t *testing.T) {
	const grace, every = 3 * time.Second, 10 * time.Second
	ago := func(d time.Duration) time.Time { return noon.Add(-d) }
	never := time.Time{}
	for name, tt := range map[string]struct {
		far        far
		told       time.Time
		routers    bool
		where, all bool
	}{
		"new":                              {far{added: noon}, never, false, true, false},
		"being asked":                      {far{added: noon, reading: true}, never, false, false, false},
		"Consul did not answer, just now":  {far{added: ago(time.Second), tried: ago(time.Second), failed: true}, never, false, false, false},
		"Consul did not answer":            {far{added: ago(time.Minute), tried: ago(againSoon), failed: true}, never, false, true, false},
		"its routers are about to tell":    {far{added: ago(time.Second), tried: ago(time.Second), located: ago(time.Second)}, never, true, false, false},
		"its routers do not tell":          {far{added: ago(time.Minute), tried: ago(time.Second), located: ago(time.Second)}, never, true, false, true},
		"its routers tell":                 {far{added: ago(time.Hour), tried: ago(time.Hour), located: ago(time.Hour)}, ago(time.Second), true, false, false},
		"its routers told until now":       {far{added: ago(time.Hour), tried: ago(time.Hour), located: ago(time.Hour)}, ago(grace + time.Second), true, false, true},
		"it was read":                      {far{added: ago(time.Hour), tried: ago(every - time.Second), located: ago(time.Hour), read: ago(time.Hour)}, never, true, false, false},
		"it was read, long ago":            {far{added: ago(time.Hour), tried: ago(every), located: ago(time.Hour), read: ago(time.Hour)}, never, true, false, true},
		"it cannot be read":                {far{added: ago(time.Hour), tried: ago(time.Second), located: ago(time.Hour), failed: true}, never, true, false, false},
		"it has no routers":                {far{added: ago(time.Hour), tried: ago(againSoon), located: ago(time.Hour), read: ago(againSoon)}, never, false, true, false},
		"it has no routers, and was asked": {far{added: ago(time.Hour), tried: ago(time.Second), located: ago(time.Hour), read: ago(time.Second)}, never, false, false, false},
	} {
		if where, all := tt.far.due(noon, tt.told, tt.routers, grace, every); where != tt.where || all != tt.all {
			t.Errorf("%s: where %v, all %v", name, where, all)
		}
	}
}

// TestFarSnapshot checks which of two sources counts, and what is marked as stale.
func TestFarSnapshot(t *testing.T) {
	const grace, fresh = 3 * time.Second, 20 * time.Second
	ago := func(d time.Duration) time.Time { return noon.Add(-d) }
	told := &facts.Copy{Version: "1", Apps: map[string]wire.App{"told": {}}, Routers: []wire.Instance{{ID: "told"}}}
	read := func(at time.Duration, failed bool) *site {
		return &site{name: "far", apps: map[string]wire.App{"read": {}}, routers: []wire.Instance{{ID: "read"}},
			far: far{added: ago(time.Hour), read: ago(at), failed: failed}}
	}
	for name, tt := range map[string]struct {
		site  *site
		state reach.State
		from  string
		stale time.Time
	}{
		"told now":                          {read(time.Second, false), reach.State{Facts: told, FactsAt: noon}, "told", time.Time{}},
		"told by a router without Consul":   {read(time.Hour, false), reach.State{Facts: told, FactsAt: noon, StaleSince: ago(time.Minute)}, "told", ago(time.Minute)},
		"told a while ago, and read before": {read(time.Hour, true), reach.State{Facts: told, FactsAt: ago(time.Minute)}, "told", ago(time.Minute)},
		"told a while ago, and read since":  {read(time.Second, false), reach.State{Facts: told, FactsAt: ago(time.Minute)}, "read", time.Time{}},
		"read, and not again":               {read(fresh+time.Second, false), reach.State{}, "read", ago(fresh + time.Second)},
		"read, and then refused":            {read(time.Second, true), reach.State{}, "read", ago(time.Second)},
		"nothing is known":                  {&site{name: "far", far: far{added: ago(time.Minute)}}, reach.State{}, "", ago(time.Minute)},
	} {
		got := tt.site.farSnapshot(noon, tt.state, grace, fresh)
		if _, ok := got.Apps[tt.from]; ok == (tt.from == "") || !got.StaleSince.Equal(tt.stale) || tt.from != "" && got.Routers[0].ID != tt.from {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// Somebody has told that, so there is a router.
	alone := &facts.Copy{Version: "1"}
	if got := read(time.Hour, false).farSnapshot(noon, reach.State{Facts: alone, FactsAt: noon}, grace, fresh); len(got.Routers) != 1 {
		t.Error("a site whose router tells of none is not asked any more")
	}
}

// countedAgent passes on questions to a Consul agent, and counts those about another site.
func countedAgent(t *testing.T, address string) (of string, asked, waiting *atomic.Int32) {
	t.Helper()
	asked, waiting = new(atomic.Int32), new(atomic.Int32)
	home := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	home.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("dc") == "far" {
			asked.Add(1)
			if q.Get("index") != "" {
				waiting.Add(1)
			}
		}
		home.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), asked, waiting
}

// TestFar follows a site whose routers tell, and then one whose router is of an older
// version and tells nothing: both are known, and nothing waits at Consul for a change.
func TestFar(t *testing.T) {
	defer testkit.NoLeaks(t, goleak.IgnoreCurrent())
	t.Run("run", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		t.Cleanup(cancel)
		logger := testkit.Logger(t)
		sites := testSites(ctx, t, logger, "home", "far")
		far, err := fleet.Open(fleet.Config{Address: sites[1].consul.Address, Log: logger})
		testkit.Must(t, err)
		t.Cleanup(far.Close)

		agent, asked, waiting := countedAgent(t, sites[0].consul.Address)
		f, err := fleet.Open(fleet.Config{Address: agent, Log: logger})
		testkit.Must(t, err)
		t.Cleanup(f.Close)
		watch := func(token func(string) string) (v *View) {
			ctx, stop := context.WithCancel(ctx)
			v = Watch(ctx, f, "home", token, logger)
			t.Cleanup(func() { stop(); v.Wait() })
			return v
		}
		knows := func(v *View, idle int) (any, bool) {
			s, _ := v.Snapshot().Site("far")
			return s, s.Apps["chess"].Capacity.Idle == idle && s.StaleSince.IsZero() && len(s.Brains) == 1
		}
		publish := func(idle int) time.Time {
			testkit.Must(t, far.PublishApp(ctx, wire.App{ID: "chess", Access: wire.AccessPublic, Capacity: wire.Capacity{Idle: idle}}))
			return time.Now()
		}

		v := watch(facts.NewTokens(sites[0].signer).For)
		testkit.UntilSeen(t, "what the site's router tells is known", func() (any, bool) { return knows(v, 5) })
		begun := publish(7)
		testkit.UntilSeen(t, "a change is known", func() (any, bool) { return knows(v, 7) })
		t.Logf("known %v after it was published at the far site", time.Since(begun).Round(time.Millisecond))
		questions := asked.Load()
		testkit.UntilSeen(t, "it is confirmed for a while", func() (any, bool) {
			s := v.monitor.State("far")
			return s, s.FactsAt.Sub(begun) > 2*v.monitor.Grace()
		})
		if more := asked.Load() - questions; more > 0 {
			t.Errorf("Consul was asked %d times about a site whose router tells", more)
		}
		if s, _ := v.Snapshot().Site("far"); s.Brains[0].Key != "" || s.Brains[0].Internal != "" {
			t.Errorf("what only its own site needs is told: %+v", s.Brains)
		}

		// Without a token routers tell nothing: as those of an older version.
		v = watch(nil)
		testkit.UntilSeen(t, "what Consul says is known", func() (any, bool) { return knows(v, 7) })
		publish(9)
		testkit.UntilSeen(t, "a change is known some time", func() (any, bool) { return knows(v, 9) })
		if n := waiting.Load(); n > 0 {
			t.Errorf("%d questions across the WAN waited for a change", n)
		}

		// Its routers cannot be reached, and Consul can.
		sites[1].proxy.Cut()
		v = watch(facts.NewTokens(sites[0].signer).For)
		testkit.UntilSeen(t, "a site is known that no router reaches", func() (any, bool) { return knows(v, 9) })
		sites[1].proxy.Heal()
		publish(11)
		testkit.UntilSeen(t, "its router tells again", func() (any, bool) {
			s := v.monitor.State("far")
			return s, s.Facts != nil && s.Facts.Apps["chess"].Capacity.Idle == 11
		})
	})
}

// TestImpostor has a router that answers for a site of which it is not one.
func TestImpostor(t *testing.T) {
	impostor := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == wire.FactsPath {
			io.WriteString(rw, `{"site":"near","version":"1","apps":{"chess":{"id":"chess","capacity":{"idle":99}}},"brains":[],"routers":[],"info":{"site":"near"}}`)
			return
		}
		io.WriteString(rw, `{"status":"ok","site":"far","facts":"1"}`)
	}))
	t.Cleanup(impostor.Close)
	ctx, stop := context.WithCancel(t.Context())
	changed := make(chan string, 8)
	m := reach.New(reach.Config{Log: slog.New(slog.DiscardHandler), Token: func(string) string { return "t" }, Changed: func(site string) { changed <- site }})
	m.Watch([]reach.Target{{Site: "far", URLs: []string{impostor.URL}}, {Site: "near"}})
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	defer func() { stop(); <-done }()
	testkit.Until(t, "it answers", func() bool { return m.State("far").Answers() })
	at := m.State("far").Measured
	testkit.Until(t, "and again", func() bool { return m.State("far").Measured.Sub(at) > time.Second })
	if m.State("far").Facts != nil || m.State("near").Facts != nil {
		t.Error("a router speaks for another site")
	}
}
