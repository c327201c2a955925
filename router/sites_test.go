package router

import (
	"fmt"
	"math"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/reach"
)

// third is another site of the tests, with "chess".
func third() Site {
	return Site{Name: "south", Brains: []wire.Instance{brain("south")}, Routers: []wire.Instance{instance("south")},
		Apps: map[string]wire.App{"chess": app("chess", 1, capacity(4, 0))}}
}

func answers(ms float64) reach.State {
	return reach.State{Known: true, RTTMS: ms, ErrorMS: 0.2, Measured: time.Now()}
}

func silentFor(d time.Duration) reach.State {
	return reach.State{Known: true, SilentSince: time.Now().Add(-d), RTTMS: 20, ErrorMS: 0.2, Misses: 7}
}

// threeSites is a rig whose sites are east (the entry), south and west.
func threeSites(t *testing.T) *rig {
	g := newRig(t)
	g.view.set(func(s *Snapshot) {
		s.Sites = []Site{s.Sites[0], third(), s.Sites[1]}
		s.Sites[0].Distances = map[string]wire.Distance{
			"south": {RTTMS: 40, ErrorMS: 0.5, Measured: true}, "west": {RTTMS: 80, ErrorMS: 70, Untrusted: "too young"}}
		s.Sites[1].Distances = map[string]wire.Distance{"east": {RTTMS: 44, ErrorMS: 8}, "west": {RTTMS: 30, ErrorMS: 6}}
		s.Sites[1].Info = wire.SiteInfo{Site: "south", Residency: []string{"za"}, GPU: []string{"nvidia-l4"}}
		s.Sites[2].Distances = map[string]wire.Distance{"east": {RTTMS: 80, ErrorMS: 70, Untrusted: "too young"}, "south": {RTTMS: 30, ErrorMS: 6}}
		s.Sites[2].Info = wire.SiteInfo{Site: "west", Residency: []string{"us", "us-ca"}}
	})
	return g
}

func TestSitesOfAPlanet(t *testing.T) {
	g := threeSites(t)
	out := into[wire.SitesResponse](g, 200, "GET", "/v1/sites", nil)
	if fmt.Sprint(out.Probe) != "[east south west]" || out.Entry != "east" {
		t.Errorf("probe %v", out.Probe)
	}
	east, south, west := out.Sites[0], out.Sites[1], out.Sites[2]
	if east.RouterURL != "https://east.example" || west.RouterURL != "https://west.example" {
		t.Errorf("%+v %+v", east, west)
	}
	if fmt.Sprint(west.Residency, south.GPU) != "[us us-ca] [nvidia-l4]" {
		t.Errorf("%+v %+v", south, west)
	}
	if d := east.Distances["south"]; !d.Measured || d.RTTMS != 40 || east.Distances["west"].Untrusted != "too young" || south.Distances != nil {
		t.Errorf("distances %+v, %+v", east.Distances, south.Distances)
	}
	out = into[wire.SitesResponse](g, 200, "GET", "/v1/sites?distances=all", nil)
	if out.Sites[1].Distances["west"].RTTMS != 30 {
		t.Errorf("%+v", out.Sites[1])
	}
	g.refused(wire.ProblemInvalid, "GET", "/v1/sites?distances=some", nil)
}

func TestSilentSites(t *testing.T) {
	g := threeSites(t)
	reached := func(south, west reach.State) {
		g.view.set(func(s *Snapshot) { s.Sites[1].Reach, s.Sites[2].Reach = south, west })
	}
	launch := func(body string) wire.LaunchResponse {
		t.Helper()
		return into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", body)
	}
	const nearWest = `{"app":"chess","rtt_ms":{"west":1,"south":50,"east":90}}`
	reached(answers(40), answers(80))
	if out := launch(nearWest); out.Site != "west" {
		t.Errorf("%+v", out)
	}

	reached(answers(40), silentFor(time.Second))
	out := launch(nearWest)
	last := out.Candidates[2]
	if out.Site != "south" || last.Site != "west" || !strings.HasPrefix(last.Excluded, "has not answered since") || last.BrainURL == "" {
		t.Errorf("%+v", out)
	}
	sites := into[wire.SitesResponse](g, 200, "GET", "/v1/sites", nil)
	if west := sites.Sites[2]; west.Healthy || !strings.HasPrefix(west.Unhealthy, "has not answered since") || west.BrainURL != "" || west.RouterURL == "" ||
		fmt.Sprint(sites.Probe) != "[east south]" {
		t.Errorf("%+v", sites)
	}
	body := g.metrics()
	for _, want := range []string{`nearcast_router_site_healthy{site="west"} 0`, `nearcast_router_site_healthy{site="south"} 1`,
		`nearcast_router_site_rtt_seconds{site="south"} 0.04`, `nearcast_router_site_check_failures_total{site="west"} 7`} {
		if !strings.Contains(string(body), want) {
			t.Errorf("metrics lack %s", want)
		}
	}

	// No site answers: the own site is cut off.
	reached(silentFor(time.Second), silentFor(time.Second))
	out = launch(nearWest)
	if out.Site != "east" || !strings.Contains(out.Candidates[1].Reason, "this router's own site may be cut off") {
		t.Errorf("%+v", out)
	}
	if out := launch(`{"app":"chess","rtt_ms":{"west":1},"preferences":{"deny":["east"]}}`); out.Site != "west" {
		t.Errorf("a site that is cut off and cannot serve does not send people to other sites: %+v", out)
	}
	// A site that does not answer and has no brain cannot serve either.
	g.view.set(func(s *Snapshot) { s.Sites[1].Brains, s.Sites[2].Brains = nil, nil })
	p := g.refused(wire.ProblemNoSite, "POST", "/v1/sessions", `{"app":"chess","lost":["east"]}`)
	if !strings.Contains(p.Detail, "west: no healthy brain") {
		t.Error(p.Detail)
	}
}

// TestSilentConsul checks that a site whose routers answer is trusted while Consul
// has no news of it, unless its routers do not see it either.
func TestSilentConsul(t *testing.T) {
	g := threeSites(t)
	unhealthy := answers(80)
	unhealthy.Unhealthy = true
	for name, tt := range map[string]struct {
		reach reach.State
		since time.Duration
		want  string
	}{
		"answers":                          {answers(80), 5 * time.Minute, "west"},
		"answers for too long":             {answers(80), MaxStale + time.Second, "south"},
		"does not see itself":              {unhealthy, 2 * silence, "south"},
		"has not seen itself for a moment": {unhealthy, silence / 2, "west"},
		"is not checked":                   {reach.State{}, 2 * silence, "south"},
	} {
		t.Run(name, func(t *testing.T) {
			g.t = t
			g.view.set(func(s *Snapshot) { s.Sites[2].Reach, s.Sites[2].StaleSince = tt.reach, time.Now().Add(-tt.since) })
			out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess","rtt_ms":{"west":1,"south":50,"east":90}}`)
			if out.Site != tt.want {
				t.Errorf("placed at %s: %+v", out.Site, out.Candidates)
			}
		})
	}
}

func TestPredictedRoundTrips(t *testing.T) {
	g := threeSites(t)
	find := func(out wire.LaunchResponse, site string) wire.Candidate {
		for _, c := range out.Candidates {
			if c.Site == site {
				return c
			}
		}
		t.Fatalf("no %s in %+v", site, out.Candidates)
		return wire.Candidate{}
	}
	// Nothing measured: the entry stands for the caller, at an assumed 30 ms.
	out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess"}`)
	south, west := find(out, "south"), find(out, "west")
	if out.Site != "east" || out.RTTSource != wire.RTTAssumed {
		t.Errorf("%+v", out)
	}
	if south.RTTSource != wire.RTTPredicted || south.RTTMS != 70 || south.RTTErrorMS != 61 {
		t.Errorf("%+v: want 30 + 40 ± (70 − (10 − 0.5) + 0.5)", south)
	}
	if west.RTTSource != wire.RTTAssumed || west.RTTMS < 150 {
		t.Errorf("%+v: an untrusted distance counts", west)
	}
	out = into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess","preferences":{"deny":["east"]}}`)
	if out.Site != "south" || out.RTTSource != wire.RTTPredicted || out.PredictedRTTMS != 70 {
		t.Errorf("%+v", out)
	}
	// Some measured: the others follow from them.
	out = into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess","rtt_ms":{"south":10}}`)
	if c := find(out, "west"); out.Site != "south" || c.RTTSource != wire.RTTPredicted || c.RTTMS != 40 {
		t.Errorf("%+v", c)
	}
	// This router measured the distance to the entry, which is better than what south knows.
	if c := find(out, "east"); c.RTTMS != 50 || c.RTTSource != wire.RTTPredicted {
		t.Errorf("%+v", c)
	}
	out = into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess","rtt_ms":{"south":10,"west":25,"east":33}}`)
	for _, c := range out.Candidates {
		if c.RTTSource != wire.RTTMeasured || c.RTTErrorMS != 0 {
			t.Errorf("%+v", c)
		}
	}
}

func TestPreferences(t *testing.T) {
	g := threeSites(t)
	for body, want := range map[string]string{
		`"preferences":{"residency":["us"]}`:                        "west",
		`"preferences":{"residency":["za","us"],"gpu":"nvidia-l4"}`: "south",
		`"lost":["east"]`: "south",
		`"lost":["east","south"],"rtt_ms":{"south":1,"west":90}`: "west",
		`"lost":["mars"]`: "east",
		`"preferences":{"allow":["west","east"],"deny":["east"]}`:           "west",
		`"rtt_ms":{"east":20,"west":30},"preferences":{"deny":["east"]}`:    "west",
		`"rtt_ms":{"east":20,"south":30},"preferences":{"max_rtt_ms":25.5}`: "east",
	} {
		if out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess",`+body+`}`); out.Site != want {
			t.Errorf("%s: placed at %s", body, out.Site)
		}
	}
	for body, want := range map[string]struct{ field, says string }{
		`"preferences":{"deny":["east","west","south"]}`:                             {"/preferences/deny", "removed by the request: in the request's deny list"},
		`"preferences":{"allow":["west"],"residency":["za"]}`:                        {"/preferences/residency", "The last candidate was west"},
		`"preferences":{"gpu":"nvidia-l4","residency":["za","us"]},"lost":["south"]`: {"/preferences/gpu", "The last candidate was west"},
		`"preferences":{"gpu":"quantum"}`:                                            {"/preferences/gpu", "no GPU of the requested class"},
		`"rtt_ms":{"east":20,"south":30,"west":40},"preferences":{"max_rtt_ms":10}`:  {"/preferences/max_rtt_ms", "farther than requested"},
		`"version":77`: {"/version", "the site does not have the requested version"},
	} {
		p := g.refused(wire.ProblemNoSite, "POST", "/v1/sessions", `{"app":"chess",`+body+`}`)
		if p.Field != want.field || !strings.Contains(p.Detail, want.says) {
			t.Errorf("%s: field %q: %s", body, p.Field, p.Detail)
		}
		for _, site := range []string{"east: ", "south: ", "west: "} {
			if !strings.Contains(p.Detail, site) {
				t.Errorf("%s: nothing of %s: %s", body, site, p.Detail)
			}
		}
	}
}

func TestOverflow(t *testing.T) {
	g := threeSites(t)
	fill := func(i int, c wire.Capacity) {
		g.view.set(func(s *Snapshot) { s.Sites[i].Apps = map[string]wire.App{"chess": app("chess", 3, c)} })
	}
	full := wire.Capacity{Busy: 10, Max: 10, ColdStartMS: 4000, SessionMS: 60_000}
	const body = `{"app":"chess","rtt_ms":{"east":10,"south":60,"west":80}}`
	fill(0, full)
	if out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", body); out.Site != "south" {
		t.Errorf("a full site does not overflow to the next best: %+v", out)
	}
	// All are full: a queue at the best, and the estimate is what the site measured.
	longer := full
	longer.Queued = 20
	fill(1, longer)
	fill(2, longer)
	out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", body)
	if c := out.Candidates[0]; out.Site != "east" || c.WaitMS != 4000+60_000/10 || !strings.Contains(c.Reason, "all seats are taken") {
		t.Errorf("%+v", c)
	}
	if c := out.Candidates[1]; c.WaitMS != 4000+21*60_000/10 || !strings.Contains(c.Reason, "20 waiting") {
		t.Errorf("%+v", c)
	}
}

// TestLiar checks that impossible claims are marked, and do not change where
// others are placed.
func TestLiar(t *testing.T) {
	g := threeSites(t)
	honest := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess","rtt_ms":{"east":20,"south":44,"west":70}}`)
	for _, lie := range []string{`{"east":0,"south":0,"west":0}`, `{"west":0}`, `{"west":0,"east":400}`} {
		for range 50 {
			out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess","rtt_ms":`+lie+`}`)
			for _, c := range out.Candidates {
				if c.RTTSource == wire.RTTMeasured && c.RTTMS == 0 {
					t.Fatalf("0 ms counts: %+v", c)
				}
			}
			if !strings.Contains(out.Candidates[0].Reason, "as 0 ms, which is impossible") {
				t.Fatalf("%s: the answer does not show it: %+v", lie, out.Candidates[0])
			}
		}
	}
	again := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess","rtt_ms":{"east":20,"south":44,"west":70}}`)
	if fmt.Sprint(again.Candidates) != fmt.Sprint(honest.Candidates) {
		t.Errorf("others are placed otherwise:\n%+v\n%+v", again.Candidates, honest.Candidates)
	}
}

func TestProbes(t *testing.T) {
	g := newRig(t)
	const n = 60
	g.view.set(func(s *Snapshot) { *s = randomSites(n) })
	g.router.cfg.Site = "site-000"
	first := into[wire.SitesResponse](g, 200, "GET", "/v1/sites", nil)
	if len(first.Probe) != firstAtOnce {
		t.Errorf("%d sites are to be probed first", len(first.Probe))
	}
	// For some sites: a person near it asks until no more probes are advised.
	view := g.view.Snapshot()
	for home := 1; home < n; home += 7 {
		way := func(site string) float64 {
			return math.Round((5+view.Sites[home].Distances[site].RTTMS)*100) / 100
		}
		req := wire.ProbeRequest{RTTMS: map[string]float64{}}
		probe := first.Probe
		for len(probe) > 0 {
			for _, site := range probe {
				if _, twice := req.RTTMS[site]; twice {
					t.Fatalf("%s is asked twice", site)
				}
				req.RTTMS[site] = way(site)
			}
			out := into[wire.ProbeResponse](g, 200, "POST", "/v1/probes", req)
			if probe = out.Probe; len(probe) == 0 {
				if off := way(out.Nearest) - way(view.Sites[home].Name); off > 15 {
					t.Errorf("beside %s, %s is said to be nearest, %.1f ms farther", view.Sites[home].Name, out.Nearest, off)
				}
			}
		}
		if len(req.RTTMS) > 9 {
			t.Errorf("%d probes", len(req.RTTMS))
		}
	}
	// Sites that cannot serve are not measured; those that failed not again.
	g.view.set(func(s *Snapshot) { s.Sites[3].Brains = nil })
	for _, site := range into[wire.SitesResponse](g, 200, "GET", "/v1/sites", nil).Probe {
		if site == "site-003" {
			t.Error("a site without a brain is to be measured")
		}
	}
	out := into[wire.ProbeResponse](g, 200, "POST", "/v1/probes", wire.ProbeRequest{RTTMS: map[string]float64{}, Failed: first.Probe})
	if len(out.Probe) == 0 || strings.Contains(strings.Join(first.Probe, " "), out.Probe[0]) {
		t.Errorf("%+v after %v failed", out, first.Probe)
	}
	// Sites that have not answered yet are not asked again.
	out = into[wire.ProbeResponse](g, 200, "POST", "/v1/probes", wire.ProbeRequest{
		RTTMS: map[string]float64{first.Probe[0]: 40}, SilentMS: map[string]float64{first.Probe[1]: 45, first.Probe[2]: 45},
	})
	if len(out.Probe) == 0 || slices.ContainsFunc(out.Probe, func(s string) bool { return slices.Contains(first.Probe, s) }) {
		t.Errorf("%+v while two of %v are silent", out, first.Probe)
	}
	for at, body := range map[string]string{
		"/silent_ms/nowhere":  `{"rtt_ms":{},"silent_ms":{"nowhere":1}}`,
		"/silent_ms/site-001": `{"rtt_ms":{},"silent_ms":{"site-001":-1}}`,
	} {
		if p := into[wire.Problem](g, 422, "POST", "/v1/probes", body); p.Field != at {
			t.Errorf("%s: %+v", body, p)
		}
	}
}

// TestNewSite checks that advice follows the list of sites.
func TestNewSite(t *testing.T) {
	g := threeSites(t)
	ask := func() wire.ProbeResponse {
		return into[wire.ProbeResponse](g, 200, "POST", "/v1/probes", `{"rtt_ms":{}}`)
	}
	if out := ask(); out.Nearest != "east" || len(out.Probe) == 0 {
		t.Errorf("%+v", out)
	}
	g.view.set(func(s *Snapshot) { s.Sites = s.Sites[:1] })
	if out := ask(); fmt.Sprint(out.Probe) != "[east]" {
		t.Errorf("%+v", out)
	}
	if out := into[wire.ProbeResponse](g, 200, "POST", "/v1/probes", `{"rtt_ms":{"east":3.5}}`); len(out.Probe) != 0 || out.Nearest != "east" {
		t.Errorf("%+v", out)
	}
	g.view.set(func(s *Snapshot) { s.Sites = nil })
	if out := ask(); len(out.Probe) != 0 || out.Nearest != "" {
		t.Errorf("%+v", out)
	}
}

func TestBadProbes(t *testing.T) {
	g := newRig(t)
	for _, tt := range []struct{ name, body, kind, field string }{
		{"empty", ``, wire.ProblemMalformed, ""},
		{"nothing measured is said so", `{}`, wire.ProblemInvalid, "/rtt_ms"},
		{"a list", `{"rtt_ms":[]}`, wire.ProblemMalformed, "/rtt_ms"},
		{"unknown field", `{"rtt_ms":{},"app":"chess"}`, wire.ProblemMalformed, "/app"},
		{"negative", `{"rtt_ms":{"east":-1}}`, wire.ProblemInvalid, "/rtt_ms/east"},
		{"the first of two", `{"rtt_ms":{"west":-1,"east":"x"}}`, wire.ProblemMalformed, "/rtt_ms/east"},
		{"twice", `{"rtt_ms":{"east":1,"east":1}}`, wire.ProblemMalformed, "/rtt_ms/east"},
		{"unknown site", `{"rtt_ms":{"mars":1}}`, wire.ProblemUnknownSite, "/rtt_ms/mars"},
		{"unknown site failed", `{"rtt_ms":{},"failed":["east","mars"]}`, wire.ProblemUnknownSite, "/failed/1"},
		{"failed of another type", `{"rtt_ms":{},"failed":[1]}`, wire.ProblemMalformed, "/failed/0"},
		{"too large", `{"rtt_ms":{},"failed":["` + strings.Repeat("x", wire.MaxBody) + `"]}`, wire.ProblemTooLarge, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g.t = t
			if p := g.refused(tt.kind, "POST", "/v1/probes", tt.body); p.Field != tt.field {
				t.Errorf("field %q, want %q: %s", p.Field, tt.field, p.Detail)
			}
		})
	}
	g.t = t
	g.refused(wire.ProblemMediaType, "POST", "/v1/probes", `{"rtt_ms":{}}`, "Content-Type", "text/plain")
	g.refused(wire.ProblemMethod, "GET", "/v1/probes", nil)
}

// TestOtherOrigins checks that a page from another site's router can use this one.
func TestOtherOrigins(t *testing.T) {
	g := newRig(t)
	for path, tt := range map[string]struct{ method, body string }{
		"/v1/sites": {"GET", ""}, "/v1/apps": {"GET", ""}, "/v1/beacon": {"GET", ""},
		"/v1/probes": {"POST", `{"rtt_ms":{}}`}, "/v1/sessions": {"POST", `{"app":"chess"}`},
	} {
		res, _ := g.call("OPTIONS", path, nil, "Origin", "https://west.example",
			"Access-Control-Request-Method", tt.method, "Access-Control-Request-Headers", "content-type")
		h := res.Header
		if res.StatusCode != 204 || h.Get("Access-Control-Allow-Origin") != "*" ||
			!strings.Contains(h.Get("Access-Control-Allow-Methods"), tt.method) || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "Content-Type") {
			t.Errorf("%s: %s %v", path, res.Status, h)
		}
		var body any
		if tt.body != "" {
			body = tt.body
		}
		if res, _ := g.call(tt.method, path, body, "Origin", "https://west.example"); res.Header.Get("Access-Control-Allow-Origin") != "*" || res.StatusCode >= 300 {
			t.Errorf("%s %s: %s %v", tt.method, path, res.Status, res.Header)
		}
	}
}

// TestCaller checks that only a named proxy can set the address of the caller.
func TestCaller(t *testing.T) {
	g := newRig(t, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")} })
	for from, want := range map[[2]string]string{
		{"203.0.113.9:1234", ""}:                       "203.0.113.9",
		{"203.0.113.9:1234", "198.51.100.7"}:           "203.0.113.9",
		{"10.0.0.2:1234", "198.51.100.7"}:              "198.51.100.7",
		{"10.0.0.2:1234", "198.51.100.7, 10.0.0.3"}:    "198.51.100.7",
		{"10.0.1.2:1234", "198.51.100.7"}:              "10.0.1.2",
		{"127.0.0.1:1234", "198.51.100.7"}:             "127.0.0.1",
		{"10.0.0.2:1234", "198.51.100.7, 203.0.113.9"}: "203.0.113.9",
		{"[2001:db8::1]:1234", ""}:                     "2001:db8::1",
		{"127.0.0.1:1234", "not an address, 10.1.2.3"}: "127.0.0.1",
	} {
		req := httptest.NewRequest("GET", "/", nil)
		req.RemoteAddr = from[0]
		if from[1] != "" {
			req.Header.Set(echo.HeaderXForwardedFor, from[1])
		}
		got, ok := caller(g.router.echo.NewContext(req, httptest.NewRecorder()))
		if !ok || got.String() != want {
			t.Errorf("%v: %v, want %s", from, got, want)
		}
	}
}
