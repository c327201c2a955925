package fleet

import (
	"context"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestLaunchKeys(t *testing.T) {
	t.Parallel()
	_, f, ctx := start(t)
	seen := newLatest[map[string]wire.LaunchKey]()
	f.LaunchKeys().Watch(ctx, seen.set)
	seen.wait(t, 60*time.Second, "none yet", func(m map[string]wire.LaunchKey) bool { return m != nil && len(m) == 0 })
	key := wire.LaunchKey{ID: "0123456789abcdef", Name: "shop", PublicKey: "PEM", Apps: []string{"chess"}, Created: time.Now().UTC().Truncate(0)}
	if err := f.LaunchKeys().Put(ctx, key); err != nil {
		t.Fatal(err)
	}
	got := seen.wait(t, 2*time.Second, "registered", func(m map[string]wire.LaunchKey) bool { return len(m) == 1 })
	if !reflect.DeepEqual(got[key.ID], key) {
		t.Errorf("got %+v, want %+v", got, key)
	}
	// A record in the place of another key, and one that is no record.
	for _, value := range []string{`{"id":"0123456789abcdef"}`, `{`} {
		if _, err := f.consul.KV().Put(&api.KVPair{Key: wire.LaunchKeysPrefix + "other", Value: []byte(value)}, nil); err != nil {
			t.Fatal(err)
		}
		if keys, err := f.LaunchKeys().All(ctx); err != nil || len(keys) != 1 || keys[key.ID].Name != "shop" {
			t.Errorf("with %s: %+v, %v", value, keys, err)
		}
	}
	for range 2 {
		if err := f.LaunchKeys().Delete(ctx, key.ID); err != nil {
			t.Fatal(err)
		}
	}
	seen.wait(t, 2*time.Second, "revoked", func(m map[string]wire.LaunchKey) bool { return len(m) == 0 })
	if _, err := f.At("nowhere").LaunchKeys().All(ctx); err == nil {
		t.Error("an unknown site has keys")
	}
}

// TestRecordPolicies tries, under the policies of acl, who may read and write what operators register.
func TestRecordPolicies(t *testing.T) {
	t.Parallel()
	const management = "00000000-0000-0000-0000-00000000000a"
	consul := testkit.StartSecureConsul(t, management)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	admin := openAs(t, consul, management)
	opened := map[string]*Fleet{}
	with := func(part string) *Fleet {
		if opened[part] == nil {
			opened[part] = openAs(t, consul, withPolicy(t, admin, part))
		}
		return opened[part]
	}
	key := wire.LaunchKey{ID: "0123456789abcdef", Name: "shop"}
	operator := with("launch-keys")
	if err := operator.LaunchKeys().Put(ctx, key); err != nil {
		t.Fatal(err)
	}
	if keys, err := operator.LaunchKeys().All(ctx); err != nil || len(keys) != 1 {
		t.Errorf("operator: %+v, %v", keys, err)
	}
	if sites, err := operator.Sites(ctx); err != nil || len(sites) != 1 {
		t.Errorf("operator: %q, %v", sites, err)
	}
	if err := operator.PublishApp(ctx, wire.App{ID: "fake"}); err == nil {
		t.Error("the operator's token publishes apps")
	}
	for part, reads := range map[string]bool{"router": true, "brain": false, "seat": false, "anonymous": false} {
		f := with(part)
		seen := newLatest[map[string]wire.LaunchKey]()
		watch, stop := context.WithCancel(ctx)
		w := f.LaunchKeys().Watch(watch, seen.set)
		seen.wait(t, 30*time.Second, part+" reads what it may", func(m map[string]wire.LaunchKey) bool { return m != nil && (len(m) == 1) == reads })
		stop()
		<-w.Done()
		if _, err := f.LaunchKeys().All(ctx); (err == nil) != reads || !reads && !strings.Contains(err.Error(), "nearcast-launch-keys") {
			t.Errorf("%s lists keys: %v", part, err)
		}
		if err := f.LaunchKeys().Put(ctx, key); err == nil {
			t.Errorf("%s registers keys", part)
		}
		if err := f.LaunchKeys().Delete(ctx, key.ID); err == nil {
			t.Errorf("%s revokes keys", part)
		}
	}
	if keys, err := operator.LaunchKeys().All(ctx); err != nil || len(keys) != 1 {
		t.Errorf("after all: %+v, %v", keys, err)
	}

	// Webhooks have secrets.
	hook, state := wire.Webhook{ID: key.ID, Secrets: []wire.WebhookSecret{{Secret: "whsec_"}}}, wire.WebhookState{ID: key.ID}
	webhooks := with("webhooks")
	testkit.Must(t, webhooks.Webhooks().Put(ctx, hook))
	testkit.Must(t, with("brain").WebhookStates().Put(ctx, state))
	for part, reads := range map[string]bool{"webhooks": true, "brain": true, "router": false, "seat": false, "driver": false, "autoscaler": false, "launch-keys": false, "anonymous": false} {
		f := with(part)
		if all, err := f.Webhooks().All(ctx); (err == nil && len(all) == 1) != reads {
			t.Errorf("%s reads webhooks: %v, %v", part, all, err)
		}
		if err := f.Webhooks().Put(ctx, hook); (err == nil) != (part == "webhooks") {
			t.Errorf("%s registers webhooks: %v", part, err)
		}
		if err := f.WebhookStates().Put(ctx, state); (err == nil) != (part == "brain") {
			t.Errorf("%s says how webhooks go: %v", part, err)
		}
	}
	// Without the right, nobody hears that there are none.
	watch, stop := context.WithCancel(ctx)
	w := with("router").Webhooks().Watch(watch, func(all map[string]wire.Webhook) { t.Errorf("the router was told of %d webhooks", len(all)) })
	testkit.Until(t, "the watch fails", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.err != nil })
	stop()
	<-w.Done()
	if all, err := webhooks.WebhookStates().All(ctx); err != nil || len(all) != 1 {
		t.Errorf("an operator sees how they go: %v, %v", all, err)
	}
	if sites, err := webhooks.Sites(ctx); err != nil || len(sites) != 1 {
		t.Errorf("an operator of webhooks sees the sites %q, %v", sites, err)
	}
}

// openAs is open with a token.
func openAs(t *testing.T, consul *testkit.Consul, token string) *Fleet {
	t.Helper()
	f, err := Open(Config{Address: consul.Address, Token: token, Log: testkit.Logger(t)})
	testkit.Must(t, err)
	t.Cleanup(f.Close)
	return f
}

// withPolicy makes a token with a policy of acl/consul.
func withPolicy(t *testing.T, admin *Fleet, part string) string {
	t.Helper()
	rules, err := os.ReadFile("../../acl/consul/" + part + ".hcl")
	testkit.Must(t, err)
	_, _, err = admin.consul.ACL().PolicyCreate(&api.ACLPolicy{Name: part, Rules: string(rules)}, nil)
	testkit.Must(t, err)
	token, _, err := admin.consul.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{Name: part}}}, nil)
	testkit.Must(t, err)
	return token.SecretID
}
