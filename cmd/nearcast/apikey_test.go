package main

import (
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
)

// TestAPIKey makes, lists and revokes keys at two sites with real Consuls.
func TestAPIKey(t *testing.T) {
	defer testkit.NoLeaks(t, goleak.IgnoreCurrent())
	consuls := testkit.FederateConsul(t, "far", "near")
	near := consuls[1]
	t.Setenv("NEARCAST_CONSUL", near.Address)
	run := func(args ...string) (string, error) { t.Helper(); return command(t, apiKeyCommand(), args...) }

	if out, err := run("list"); err != nil || !strings.Contains(out, "nearcast apikey create") {
		t.Errorf("no keys: %v, %s", err, out)
	}
	out, err := run("create", "shop", "--scope", "sessions:read", "--scope", "sessions:end")
	secret := regexp.MustCompile(`nck_\S+`).FindString(out)
	if err != nil || secret == "" || !strings.Contains(out, "at far, near") {
		t.Fatalf("create: %v\n%s", err, out)
	}
	f, err := fleet.Open(fleet.Config{Address: near.Address})
	testkit.Must(t, err)
	defer f.Close()
	var id string
	for _, site := range []string{"far", "near"} {
		keys, err := f.At(site).APIKeys().All(t.Context())
		testkit.Must(t, err)
		registered := ticket.APIKeys{}
		for _, k := range keys {
			id = k.ID
			if strings.Contains(secret, k.SHA256) {
				t.Error("Consul has the secret")
			}
			parsed, err := ticket.ParseAPIKey(k.ID, k.Customer, k.SHA256, k.Scopes)
			testkit.Must(t, err)
			registered[k.ID] = parsed
		}
		got, err := registered.Verify(secret)
		if err != nil || got.Customer != "shop" || !got.May(ticket.ScopeReadSessions) || !got.May(ticket.ScopeEndSessions) {
			t.Errorf("%s: %+v, %v", site, got, err)
		}
		for _, wrong := range []string{secret[:len(secret)-1], secret + "x", "nck_" + id + "_", ""} {
			if _, err := registered.Verify(wrong); err == nil {
				t.Errorf("%q passes", wrong)
			}
		}
	}
	if out, err = run("list"); err != nil || !strings.Contains(out, id) || !strings.Contains(out, "sessions:read, sessions:end") || strings.Contains(out, secret) {
		t.Errorf("list: %v\n%s", err, out)
	}
	for _, wrong := range [][]string{{"create", "two words"}, {"create", "shop", "--scope", "all"}, {"revoke", "x"}, {"revoke", "0123456789abcdef"}} {
		if out, err := run(wrong...); err == nil {
			t.Errorf("%v: %s", wrong, out)
		}
	}
	if out, err = run("revoke", id); err != nil || !strings.Contains(out, "at far, near") {
		t.Errorf("revoke: %v\n%s", err, out)
	}
	if out, err = run("list"); err != nil || strings.Contains(out, id) {
		t.Errorf("after it: %v\n%s", err, out)
	}
}
