package main

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestWebhook adds, shows, rotates, tests and revokes webhooks at two sites with real Consuls.
func TestWebhook(t *testing.T) {
	defer testkit.NoLeaks(t, goleak.IgnoreCurrent())
	consuls := testkit.FederateConsul(t, "far", "near")
	t.Setenv("NEARCAST_CONSUL", consuls[1].Address)
	run := func(args ...string) (string, error) { t.Helper(); return command(t, webhookCommand(), args...) }
	for _, wrong := range [][]string{
		{"add", "http://shop.example/", "--customer", "shop"}, {"add", "https://10.0.0.1/", "--customer", "shop"}, {"add", "https://shop.example/"},
		{"add", "https://shop.example/", "--customer", "shop", "--all-customers"}, {"add", "https://shop.example/", "--customer", "a b"},
		{"add", "https://shop.example/", "--customer", "shop", "--types", "session.begun"}, {"add", "https://shop.example/", "--customer", "shop", "--types", "seat.failed"},
		{"show", "x"}, {"show", "0123456789abcdef"}, {"revoke", "0123456789abcdef"}, {"rotate", "0123456789abcdef"}, {"deliveries", "0123456789abcdef"},
	} {
		if out, err := run(wrong...); err == nil {
			t.Errorf("%v: %s", wrong, out)
		}
	}
	if out, err := run("list"); err != nil || !strings.Contains(out, "nearcast webhook add") {
		t.Errorf("none: %v, %s", err, out)
	}
	out, err := run("add", "https://shop.example/hooks", "--customer", "shop", "--types", "session.ended,io.nearcast.session.started")
	secret, id := regexp.MustCompile(`whsec_\S+`).FindString(out), regexp.MustCompile(`\b[0-9a-f]{16}\b`).FindString(out)
	if err != nil || secret == "" || id == "" || !strings.Contains(out, "at far, near") {
		t.Fatalf("add: %v\n%s", err, out)
	}
	f, err := fleet.Open(fleet.Config{Address: consuls[1].Address})
	testkit.Must(t, err)
	defer f.Close()
	at := func(site string) wire.Webhook {
		t.Helper()
		all, err := f.At(site).Webhooks().All(t.Context())
		testkit.Must(t, err)
		return all[id]
	}
	for _, site := range []string{"far", "near"} {
		if w := at(site); w.Customer != "shop" || len(w.Types) != 2 || w.Types[0] != wire.EventEnded || len(w.Secrets) != 1 || w.Secrets[0].Secret != secret {
			t.Errorf("%s: %+v", site, w)
		}
	}
	for _, show := range [][]string{{"list"}, {"list", "--json"}, {"show", id}} {
		if out, err := run(show...); err != nil || !strings.Contains(out, id) || !strings.Contains(out, "shop.example") || strings.Contains(out, "whsec_") {
			t.Errorf("%v: %v\n%s", show, err, out)
		}
	}
	out, err = run("rotate", id, "--overlap", "1h")
	second := regexp.MustCompile(`whsec_\S+`).FindString(out)
	w := at("far")
	if err != nil || second == secret || len(w.Secrets) != 2 || w.Secrets[0].Secret != second || w.Secrets[1].Secret != secret || time.Until(w.Secrets[1].Until).Round(time.Minute) != time.Hour {
		t.Errorf("rotate: %v\n%s\n%+v", err, out, w)
	}
	if _, err := run("rotate", id, "--overlap", "2h"); err != nil || len(at("far").Secrets) != 3 {
		t.Errorf("a second rotation: %v, %+v", err, at("far"))
	}
	if out, err := run("rotate", id); err == nil {
		t.Errorf("more secrets than can be: %s", out)
	}

	testWithin = 5 * time.Second
	defer func() { testWithin = 25 * time.Second }()
	// A site's leader answers a test; the other one has none.
	watched := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	watch := f.Webhooks().Watch(ctx, func(all map[string]wire.Webhook) {
		if asked := all[id].Test; !asked.IsZero() {
			f.WebhookStates().Put(ctx, wire.WebhookState{ID: id, Pending: 7, FailingSince: time.Now().Add(-time.Hour), Error: "it answered 500",
				Test: &wire.WebhookTest{Asked: asked, TookMS: 12}})
			close(watched)
		}
	})
	out, err = run("test", id)
	if err == nil || !strings.Contains(out, "near  delivered in 12 ms") || !strings.Contains(out, "far  no answer") {
		t.Errorf("test: %v\n%s", err, out)
	}
	<-watched
	stop()
	<-watch.Done()
	var list []delivery
	out, err = run("deliveries", id, "--json")
	if err != nil || json.Unmarshal([]byte(out), &list) != nil || len(list) != 1 || list[0].Site != "near" || list[0].Pending != 7 {
		t.Errorf("deliveries: %v\n%s", err, out)
	}
	if out, err := run("deliveries"); err != nil || !strings.Contains(out, "fails for 1h0m") || !strings.Contains(out, "it answered 500") {
		t.Errorf("deliveries: %v\n%s", err, out)
	}
	if out, err := run("rotate", id, "--overlap", "-1s"); err == nil {
		t.Errorf("an old secret that ended before: %s", out)
	}
	if out, err := run("revoke", id); err != nil || !strings.Contains(out, "at far, near") {
		t.Errorf("revoke: %v\n%s", err, out)
	}
	if out, err := run("list"); err != nil || strings.Contains(out, id) {
		t.Errorf("after it: %v\n%s", err, out)
	}
}
