package brain_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// Everybody may ask what a network must let through. What they get is of no use for a relay
// that carries something, and names no node.
func TestNetworkIsTold(t *testing.T) {
	s := newSite(t, brain.App{ID: "a", Version: 1})
	ctx, cancel := context.WithCancel(s.ctx)
	var registrations []interface{ Close() }
	for name, media := range map[string][]string{
		"one": {"203.0.113.7:20000-20999", "203.0.113.8:20000-20999"}, "two": {"203.0.113.9:20000-20999", "[2001:db8::9]:30000-30999", "no address"},
	} {
		registrations = append(registrations, s.fleet.RegisterNode(ctx, name, wire.Node{Key: testkit.Identity(t).Key(), Class: wire.LoadCalm, Media: media}))
	}
	t.Cleanup(func() {
		cancel()
		for _, r := range registrations {
			r.Close()
		}
	})
	known := make(chan struct{}, 100)
	s.fleet.WatchNodes(ctx, func(nodes []wire.Node) {
		healthy := func(n wire.Node) bool { return n.Healthy && len(n.Media) > 1 }
		if slices.ContainsFunc(nodes, func(n wire.Node) bool { return healthy(n) && len(n.Media) == 2 }) &&
			slices.ContainsFunc(nodes, func(n wire.Node) bool { return healthy(n) && len(n.Media) == 3 }) {
			known <- struct{}{}
		}
	})
	<-known
	const secret ticket.TURNSecret = "shared with TURN"
	urls := []string{"turn:turn.example:3478", "turns:turn.example:5349"}
	b := s.brainWith("one", func(c *brain.Config) { c.TURN = brain.TURN{URLs: urls, Secret: secret} })
	ask := func() (got wire.Network) {
		t.Helper()
		res, err := http.Get(b.url + wire.NetworkPath)
		testkit.Must(t, err)
		defer res.Body.Close()
		h := res.Header
		if res.StatusCode != 200 || h.Get("Content-Type") != "application/json" || h.Get("Access-Control-Allow-Origin") != "*" ||
			h.Get("Content-Security-Policy") == "" || h.Get("Cache-Control") != "no-store" {
			t.Fatalf("%s %v", res.Status, h)
		}
		d := json.NewDecoder(res.Body)
		d.DisallowUnknownFields()
		testkit.Must(t, d.Decode(&got))
		return got
	}
	got, again := ask(), ask()
	if want := []string{"20000-20999", "30000-30999"}; !slices.Equal(got.MediaPorts, want) {
		t.Errorf("ports %q, want %q", got.MediaPorts, want)
	}
	if len(got.ICEServers) != 2 || !slices.Equal(got.ICEServers[0].URLs, urls[:1]) || !slices.Equal(got.ICEServers[1].URLs, urls[1:]) {
		t.Fatalf("%+v", got.ICEServers)
	}
	name := got.ICEServers[0].Username
	until, id, err := ticket.ReadTURNName(name)
	if err != nil || id == secret.ID() || id != secret.ForChecks().ID() || time.Until(until) > time.Minute ||
		got.ICEServers[0].Credential != secret.ForChecks().Password(name) || name == again.ICEServers[0].Username {
		t.Errorf("%+v: good until %v, %v; then %q", got.ICEServers[0], until, err, again.ICEServers[0].Username)
	}
}

// A site without TURN says so, and gives lists.
func TestNetworkWithoutTURN(t *testing.T) {
	s := newSite(t, brain.App{ID: "a", Version: 1})
	status, body := call(t, http.MethodGet, s.brain("one").url+wire.NetworkPath)
	var raw map[string]json.RawMessage
	testkit.Must(t, json.Unmarshal([]byte(body), &raw))
	if status != 200 || string(raw["ice_servers"]) != "[]" || raw["media_ports"][0] != '[' {
		t.Errorf("%d %s", status, body)
	}
}
