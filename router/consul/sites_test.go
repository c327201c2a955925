package consul

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router"
	"github.com/nearcast/nearcast/router/facts"
)

// testSite is a site with a real Consul and a real router, that can be cut off.
type testSite struct {
	name, address string
	consul        *testkit.Consul
	proxy         *testkit.Proxy // through which the others reach its router
	signer        *ticket.Signer
}

// cut makes the site as silent as a network does that drops its packets.
func (s *testSite) cut()  { s.proxy.Cut(); s.consul.Pause() }
func (s *testSite) heal() { s.consul.Resume(); s.proxy.Heal() }

// testSites runs sites with one app each, "chess", until the test ends.
func testSites(ctx context.Context, t *testing.T, logger *slog.Logger, names ...string) []*testSite {
	t.Helper()
	key, keys := testkit.TicketKeys(t, t.TempDir())
	var sites []*testSite
	for i, consul := range testkit.FederateConsul(t, names...) {
		s := &testSite{name: names[i], consul: consul}
		sites = append(sites, s)
		f, err := fleet.Open(fleet.Config{Address: consul.Address, Log: logger})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.Close)
		brain, err := f.RegisterInstance(ctx, wire.BrainService, wire.Instance{
			ID: "b-" + s.name, Site: s.name, URL: "ws://brain." + s.name + ".example", Address: "127.0.0.1:9"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(brain.Close)
		app := wire.App{ID: "chess", Version: 1, Title: "Chess", Access: wire.AccessPublic, Updated: time.Now().UTC(),
			Capacity: wire.Capacity{Idle: 5, Warm: 5, Max: 10, ColdStartMS: 1000, SessionMS: 1000}}
		if err := f.PublishApp(ctx, app); err != nil {
			t.Fatal(err)
		}
		if err := f.PublishSite(ctx, wire.SiteInfo{Site: s.name, Residency: []string{"land-of-" + s.name}, Updated: time.Now().UTC()}); err != nil {
			t.Fatal(err)
		}
		s.serve(ctx, t, f, key, keys, logger.With("router", s.name))
	}
	return sites
}

// serve runs the site's router until the test ends.
func (s *testSite) serve(ctx context.Context, t *testing.T, f *fleet.Fleet, key, keys string, log *slog.Logger) {
	t.Helper()
	signer, err := ticket.LoadSigner(key, "r-"+s.name)
	if err != nil {
		t.Fatal(err)
	}
	s.signer = signer
	verifier, err := ticket.LoadVerifier(keys)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	s.proxy = testkit.StartProxy(t, s.address)
	url := "http://" + s.proxy.Address
	ctx, stop := context.WithCancel(ctx)
	view := Watch(ctx, f, s.name, facts.NewTokens(signer).For, log)
	r, err := router.New(router.Config{Site: s.name, URL: url, View: view, Signer: signer, Verifier: verifier, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	registration, err := f.RegisterInstance(ctx, wire.RouterService, wire.Instance{ID: "r-" + s.name, Site: s.name, URL: url, Address: s.address})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, listener, nil) }()
	t.Cleanup(func() {
		stop()
		select {
		case <-done:
		case <-time.After(60 * time.Second):
			t.Error("a router does not stop")
		}
		registration.Close()
		r.Close()
		view.Wait()
	})
}

// call asks a site's router, as somebody does whose way to it is not cut.
func (s *testSite) call(ctx context.Context, method, path, body string, out any) (status int) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.address+path, strings.NewReader(body))
	if err != nil {
		return 0
	}
	return s.do(req, out)
}

func (s *testSite) do(req *http.Request, out any) (status int) {
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	_ = json.Unmarshal(text, out)
	return res.StatusCode
}

// TestSites runs three sites on real, federated Consuls, and cuts them off from
// one another.
func TestSites(t *testing.T) {
	defer testkit.NoLeaks(t, goleak.IgnoreCurrent())
	t.Run("run", func(t *testing.T) { // so that all has ended when leaks are looked for
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		t.Cleanup(cancel)
		logger := testkit.Logger(t)
		sites := testSites(ctx, t, logger, "near", "middle", "far")
		near, far := sites[0], sites[2]
		view := func(s *testSite) (out wire.SitesResponse) { s.call(ctx, "GET", "/v1/sites", "", &out); return }
		launch := func(s *testSite, body string) (out wire.LaunchResponse, status int) {
			status = s.call(ctx, "POST", "/v1/sessions", body, &out)
			return
		}
		healthy := func(v wire.SitesResponse) (names string) {
			for _, s := range v.Sites {
				if s.Healthy && s.Distances == nil || s.Healthy && s.Site == v.Entry {
					names += s.Site + " "
				}
			}
			return
		}
		const all = "far middle near "
		for _, s := range sites {
			testkit.UntilSeen(t, s.name+" sees all sites, and measures the way", func() (any, bool) {
				v := view(s)
				if healthy(v) != all {
					return v, false
				}
				for _, site := range v.Sites {
					if site.Residency == nil || site.RouterURL == "" || site.Apps["chess"].Idle != 5 {
						return v, false
					}
					for name, d := range site.Distances {
						if !d.Measured || d.Untrusted != "" || d.RTTMS <= 0 || name == s.name {
							return v, false
						}
					}
				}
				return v, len(v.Probe) == 3 && len(v.Sites) == 3
			})
		}
		testkit.UntilSeen(t, "near knows what the others have measured of one another", func() (any, bool) {
			var v wire.SitesResponse
			near.call(ctx, "GET", "/v1/sites?distances=all", "", &v)
			known := len(v.Sites) == 3
			for i, other := range []string{"middle", "far", "far"} { // far, middle, near
				known = known && v.Sites[i].Distances[other].Measured
			}
			return v, known
		})
		const wantFar = `{"app":"chess","rtt_ms":{"far":5,"middle":50,"near":100}}`
		if out, status := launch(near, wantFar); status != 201 || out.Site != "far" {
			t.Fatalf("%d: %+v", status, out)
		}
		// Nothing was measured: the entry stands for the caller.
		if out, status := launch(near, `{"app":"chess","preferences":{"deny":["near"]}}`); status != 201 || out.RTTSource != wire.RTTPredicted || out.Candidates[0].RTTErrorMS == 0 {
			t.Errorf("%d: %+v", status, out)
		}
		if out, status := launch(near, `{"app":"chess","preferences":{"residency":["land-of-middle"]}}`); status != 201 || out.Site != "middle" {
			t.Errorf("%d: %+v", status, out)
		}

		far.cut()
		begin := time.Now()
		var out wire.LaunchResponse
		testkit.UntilSeen(t, "launches avoid the site that was cut off", func() (any, bool) {
			var status int
			out, status = launch(near, wantFar)
			return out, status == 201 && out.Site == "middle"
		})
		took := time.Since(begin)
		if last := out.Candidates[len(out.Candidates)-1]; last.Site != "far" || !strings.Contains(last.Reason, "has not answered since") {
			t.Errorf("%+v", last)
		}
		t.Logf("avoided %v after the cut", took)
		if took > 3*time.Second {
			t.Errorf("the site is avoided only %v after the cut", took)
		}
		testkit.UntilSeen(t, "the other site avoids it, too", func() (any, bool) { v := view(sites[1]); return v, healthy(v) == "middle near " })

		far.heal()
		begin = time.Now()
		testkit.UntilSeen(t, "launches go there again", func() (any, bool) {
			out, _ := launch(near, wantFar)
			return out, out.Site == "far"
		})
		t.Logf("back %v after the cut was healed", time.Since(begin))
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("back only after %v", took)
		}

		// near is cut off from all others, and keeps serving its own people.
		for _, s := range sites[1:] {
			s.cut()
		}
		testkit.UntilSeen(t, "near is alone", func() (any, bool) { v := view(near); return v, healthy(v) == "near " })
		if out, status := launch(near, wantFar); status != 201 || out.Site != "near" {
			t.Errorf("%d: %+v", status, out)
		}
		// What it cannot serve itself, another site may serve.
		if out, status := launch(near, `{"app":"chess","lost":["near"],"rtt_ms":{"far":5}}`); status != 201 || out.Site != "far" {
			t.Errorf("%d: %+v", status, out)
		}
		for _, s := range sites[1:] {
			s.heal()
		}
		testkit.UntilSeen(t, "all is well", func() (any, bool) { v := view(near); return v, healthy(v) == all })
	})
}
