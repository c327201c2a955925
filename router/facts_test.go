package router

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/facts"
)

// TestFacts checks what a router tells, and to whom: a signed app is nobody's business
// but the routers'.
func TestFacts(t *testing.T) {
	g := newRig(t)
	g.view.set(func(s *Snapshot) {
		chess := s.Sites[0].Apps["chess"]
		chess.Access = wire.AccessSigned
		s.Sites[0].Apps = map[string]wire.App{"chess": chess, "golf": s.Sites[0].Apps["golf"]}
		s.Sites[0].Brains[0].Internal, s.Sites[0].Brains[0].Key = "10.0.0.1:1", "secret"
		s.Sites[0].Distances = map[string]wire.Distance{"west": {RTTMS: 80, Measured: true}, "south": {RTTMS: 9}}
	})
	router := []string{"Authorization", "Bearer " + facts.NewTokens(g.signer).For("east")}
	type health struct{ Status, Site, Facts string }
	version := into[health](g, 200, "GET", "/healthz", nil, router...).Facts
	got := into[wire.SiteFacts](g, 200, "GET", wire.FactsPath, nil, router...)
	if got.Site != "east" || version == "" || got.Version != version || len(got.Apps) != 2 || got.Since != "" || got.Distances != nil {
		t.Errorf("%+v, version %s", got, version)
	}
	if b := got.Brains[0]; b.Key+b.Internal+b.Address != "" || b.URL == "" {
		t.Errorf("%+v is told to other sites", b)
	}
	g.view.set(func(s *Snapshot) {
		s.Sites[0].Apps = map[string]wire.App{"chess": s.Sites[0].Apps["chess"]}
	})
	got = into[wire.SiteFacts](g, 200, "GET", wire.FactsPath+"?distances=1&have="+version, nil, router...)
	if got.Since != version || len(got.Apps) != 0 || !slices.Equal(got.GoneApps, []string{"golf"}) || len(got.Distances) != 1 {
		t.Errorf("%+v", got)
	}

	session, _, err := g.signer.Sign(ticket.Claims{Session: ticket.NewSession(), App: "golf", Sites: []string{"east"}})
	testkit.Must(t, err)
	for name, token := range map[string]string{
		"for another site": facts.NewTokens(g.signer).For("west"), "a stranger's": facts.NewTokens(testkit.Signer(t)).For("east"), "a ticket": session,
	} {
		header := []string{"Authorization", "Bearer " + token}
		g.refused(wire.ProblemTicket, "GET", wire.FactsPath, nil, header...)
		if h := into[health](g, 200, "GET", "/healthz", nil, header...); h.Facts != "" || h.Status != "ok" {
			t.Errorf("%s: %+v", name, h)
		}
	}
	g.refused(wire.ProblemTicket, "GET", wire.FactsPath, nil)
	for _, path := range []string{"/healthz", "/v1/apps", "/v1/sites"} {
		if _, text := g.call("GET", path, nil); strings.Contains(string(text), "chess") || strings.Contains(string(text), version) {
			t.Errorf("%s tells everybody: %s", path, text)
		}
	}
}

// TestHealthTellsChanges checks that a router which checks this one is told what changed since
// the version that it has, where that is known and short, and that nobody else is.
func TestHealthTellsChanges(t *testing.T) {
	g := newRig(t)
	router := []string{"Authorization", "Bearer " + facts.NewTokens(g.signer).For("east")}
	g.view.set(func(s *Snapshot) {
		s.Sites[0].Apps = map[string]wire.App{"chess": app("chess", 1, capacity(1, 1)), "golf": app("golf", 1, capacity(1, 1))}
	})
	check := func(have string, header ...string) wire.Health {
		return into[wire.Health](g, 200, "GET", "/healthz?have="+have, nil, header...)
	}
	was := check("", router...)
	g.view.set(func(s *Snapshot) {
		s.Sites[0].Apps = map[string]wire.App{"chess": s.Sites[0].Apps["chess"], "golf": app("golf", 1, capacity(2, 1))}
	})
	now := check(was.Facts, router...)
	if c := now.Changes; was.Changes != nil || c == nil || c.Since != was.Facts || c.Version != now.Facts || len(c.Apps) != 1 ||
		c.Apps["golf"].Capacity.Idle != 2 || now.Status != "ok" || now.Site != "east" {
		t.Errorf("%+v since %s: %+v", now, was.Facts, now.Changes)
	}
	if again := check(now.Facts, router...); again.Changes != nil || again.Facts != now.Facts {
		t.Errorf("nothing changed: %+v", again)
	}
	if unknown := check("unknown", router...); unknown.Changes != nil || unknown.Facts != now.Facts {
		t.Errorf("since a version that is not known: %+v", unknown)
	}
	for name, header := range map[string][]string{
		"nobody": nil, "a stranger": {"Authorization", "Bearer " + facts.NewTokens(testkit.Signer(t)).For("east")},
	} {
		if h := check(was.Facts, header...); h.Changes != nil || h.Facts != "" || h.Status != "ok" {
			t.Errorf("%s is told %+v", name, h)
		}
	}
	g.view.set(func(s *Snapshot) { s.StaleSince = time.Now().Add(-time.Minute) })
	if h := check(was.Facts, router...); h.Changes != nil || h.Status != "stale" || h.StaleSince == nil {
		t.Errorf("from a view that is stale: %+v", h)
	}
	g.view.set(func(s *Snapshot) {
		s.StaleSince = time.Time{}
		s.Sites[0].Apps = maps.Clone(s.Sites[0].Apps)
		for i := range 300 {
			one := app(fmt.Sprint("app", i), 1, capacity(i, 1))
			one.Description = strings.Repeat(fmt.Sprint(i), 50)
			s.Sites[0].Apps[one.ID] = one
		}
	})
	long := check(was.Facts, router...)
	if long.Changes != nil || long.Facts == now.Facts || long.Facts == "" {
		t.Errorf("a check has %d changes", len(long.Changes.Apps))
	}
	if got := into[wire.SiteFacts](g, 200, "GET", wire.FactsPath+"?have="+was.Facts, nil, router...); got.Since != was.Facts || len(got.Apps) != 301 {
		t.Errorf("asked for what was too long: %d changes since %q", len(got.Apps), got.Since)
	}
}

// TestFactsLarge checks that a large answer is compressed for those who can read it.
func TestFactsLarge(t *testing.T) {
	g := newRig(t)
	g.view.set(func(s *Snapshot) {
		s.Sites[0].Apps = map[string]wire.App{}
		for i := range 100 {
			id := fmt.Sprint("app", i)
			s.Sites[0].Apps[id] = app(id, 1, capacity(i, 1))
		}
	})
	token := "Bearer " + facts.NewTokens(g.signer).For("east")
	var out [2]wire.SiteFacts
	sizes := [2]int64{}
	for i, encoding := range []string{"identity", ""} { // empty: net/http asks for gzip and uncompresses
		req, err := http.NewRequestWithContext(t.Context(), "GET", g.server.URL+wire.FactsPath, nil)
		testkit.Must(t, err)
		req.Header.Set("Authorization", token)
		if encoding != "" {
			req.Header.Set("Accept-Encoding", encoding)
		}
		res, err := g.server.Client().Do(req)
		testkit.Must(t, err)
		testkit.Must(t, json.NewDecoder(res.Body).Decode(&out[i]))
		res.Body.Close()
		sizes[i] = res.ContentLength
		if res.Uncompressed != (encoding == "") {
			t.Errorf("%q: compressed is %v", encoding, res.Uncompressed)
		}
	}
	if len(out[0].Apps) != 100 || len(out[1].Apps) != 100 || out[0].Version != out[1].Version {
		t.Errorf("%d and %d apps", len(out[0].Apps), len(out[1].Apps))
	}
}

// TestFactsFlood checks that strangers cannot make a router check signatures without end,
// and that routers are not refused for it.
func TestFactsFlood(t *testing.T) {
	g := newRig(t, func(c *Config) { c.Limits = Limits{Launches: Rate{1, 1}, Requests: Rate{0.001, 3}} })
	good := []string{"Authorization", "Bearer " + facts.NewTokens(g.signer).For("east")}
	into[wire.SiteFacts](g, 200, "GET", wire.FactsPath, nil, good...)
	stranger := []string{"Authorization", "Bearer " + facts.NewTokens(testkit.Signer(t)).For("east")}
	for range 2 {
		g.refused(wire.ProblemTicket, "GET", wire.FactsPath, nil, stranger...)
	}
	g.refused(wire.ProblemRate, "GET", wire.FactsPath, nil, stranger...)
	for range 10 {
		into[wire.SiteFacts](g, 200, "GET", wire.FactsPath, nil, good...)
	}
	// A health check is answered all the same.
	if res, _ := g.call("GET", "/healthz", nil, stranger...); res.StatusCode != 200 || res.Header.Get("Retry-After") != "" {
		t.Errorf("%s", res.Status)
	}
}

// TestBrainsWithRoom checks that people are sent to brains with room, where there are any.
func TestBrainsWithRoom(t *testing.T) {
	brains := func(rooms ...wire.Room) (list []wire.Instance) {
		for i, room := range rooms {
			b := brain(fmt.Sprint("b", i))
			b.Room = room
			list = append(list, b)
		}
		return list
	}
	for name, tt := range map[string]struct {
		list []wire.Instance
		want []int
	}{
		"all have room":                    {brains("", "", ""), []int{0, 1, 2}},
		"one is full":                      {brains("", wire.RoomFull, ""), []int{0, 2}},
		"one is busy, one is full":         {brains(wire.RoomBusy, wire.RoomFull, ""), []int{2}},
		"none has enough":                  {brains(wire.RoomFull, wire.RoomBusy, wire.RoomBusy), []int{1, 2}},
		"all are full: each still says so": {brains(wire.RoomFull, wire.RoomFull), []int{0, 1}},
		"one says what no one knows":       {brains("some", wire.RoomFull), []int{0}},
	} {
		var want []string
		for _, i := range tt.want {
			want = append(want, fmt.Sprintf("wss://brain.b%d.example/v1/connect", i))
		}
		if got := brainsOf(tt.list); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	dead := brains("", wire.RoomBusy)
	dead[0].Healthy = false
	if got := brainsOf(dead); len(got) != 1 {
		t.Errorf("the one that is healthy is busy: %v", got)
	}

	// Among those with room all get people, and the others none.
	i := 0
	g := newRig(t, func(c *Config) { c.Chance = func() float64 { i++; return float64(i%10) / 10 } })
	g.view.set(func(s *Snapshot) { s.Sites = s.Sites[:1]; s.Sites[0].Brains = brains("", wire.RoomFull, "") })
	sent := map[string]int{}
	for range 20 {
		sent[into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess"}`).BrainURL]++
	}
	if len(sent) != 2 || sent["wss://brain.b1.example/v1/connect"] > 0 {
		t.Errorf("%v", sent)
	}
}
