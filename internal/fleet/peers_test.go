package fleet

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// instance registers a process of a service with a key.
func instance(t *testing.T, f *Fleet, service, name string) (*identity.Identity, *InstanceRegistration) {
	t.Helper()
	me := testkit.Identity(t)
	reg, err := f.RegisterInstance(t.Context(), service, wire.Instance{ID: name, Site: "dc1", Address: "127.0.0.1:1", Key: me.Key()})
	testkit.Must(t, err)
	t.Cleanup(reg.Close)
	return me, reg
}

// A key is known from the moment at which it stands in Consul, with the service and node of
// its record, and no other key is.
func TestPeers(t *testing.T) {
	consul, f, ctx := start(t)
	peers := f.Peers(wire.BrainService, wire.DrainService)
	brain, reg := instance(t, f, wire.BrainService, "brain-1")
	router, _ := instance(t, f, wire.RouterService, "router-1")
	testkit.Retry(ctx, t, "the brain's key is known", func() error {
		peer, err := peers.Peer(ctx, brain.Key())
		if err == nil && peer != (identity.Peer{Service: wire.BrainService, ID: peer.ID, Node: "test"}) {
			t.Fatalf("it is %+v", peer)
		}
		return err
	})
	for name, key := range map[string]string{"a service that was not asked for": router.Key(), "a stranger": testkit.Identity(t).Key(), "no key": ""} {
		if _, err := peers.Peer(ctx, key); !errors.Is(err, identity.ErrStranger) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A process that comes later is known when it is seen first.
	second, _ := instance(t, f, wire.BrainService, "brain-2")
	testkit.Retry(ctx, t, "the second brain's key is known", func() error { _, err := peers.Peer(ctx, second.Key()); return err })

	// While Consul is away, what was known counts, also when it is old.
	consul.Pause()
	if _, err := peers.Peer(ctx, brain.Key()); err != nil {
		t.Errorf("while Consul hangs: %v", err)
	}
	old(peers)
	if _, err := peers.Peer(ctx, brain.Key()); err != nil {
		t.Errorf("while Consul hangs, and the answer is old: %v", err)
	}
	if _, err := peers.Peer(ctx, testkit.Identity(t).Key()); err == nil || errors.Is(err, identity.ErrStranger) {
		t.Errorf("a stranger while Consul hangs: %v", err)
	}
	consul.Resume()

	// A key ends with its record.
	reg.Close()
	testkit.Retry(ctx, t, "the key of a brain that has ended counts no more", func() error {
		old(peers)
		if _, err := peers.Peer(ctx, brain.Key()); err == nil {
			return errors.New("it counts")
		}
		return nil
	})
}

// old lets the last answer be old.
func old(p *Peers) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = p.asked.Add(-2 * peersFresh)
}

// However many strangers come, Consul is asked a few times a second, and nobody waits for
// more than two questions.
func TestPeersWithManyStrangers(t *testing.T) {
	_, f, ctx := start(t)
	peers := f.Peers(wire.BrainService)
	begin := time.Now()
	done := make(chan time.Duration, 200)
	for range cap(done) {
		key := testkit.Identity(t).Key()
		go func() {
			_, _ = peers.Peer(ctx, key)
			done <- time.Since(begin)
		}()
	}
	slowest := time.Duration(0)
	for range cap(done) {
		slowest = max(slowest, <-done)
	}
	// One after the other they would need 50 s.
	if slowest > 10*time.Second {
		t.Errorf("the last one waited %v", slowest)
	}
}

// Each part may read what it needs to know the others by, and write no record but its own.
func TestPeersByPolicy(t *testing.T) {
	const management = "11111111-1111-1111-1111-111111111111"
	consul := testkit.StartSecureConsul(t, management)
	ctx := testkit.Context(t, time.Minute)
	admin := openAs(t, consul, management)
	tokens := map[string]*Fleet{}
	for part, services := range map[string][]string{
		"seat": {wire.BrainService, wire.DrainService}, "brain": {wire.BrainService, wire.RouterService},
	} {
		f := openAs(t, consul, withPolicy(t, admin, part))
		tokens[part] = f
		for _, service := range services {
			me, _ := instance(t, admin, service, "for-"+part)
			testkit.Retry(ctx, t, part+" knows "+service, func() error { _, err := f.Peers(services...).Peer(ctx, me.Key()); return err })
		}
	}
	// Nor may a seat say that it is a brain: its key would be one.
	for _, service := range []string{wire.BrainService, wire.DrainService} {
		err := tokens["seat"].consul.Agent().ServiceRegister(&api.AgentServiceRegistration{
			ID: "x", Name: service, Port: 1, Meta: map[string]string{"key": "x"}})
		if err == nil || !strings.Contains(err.Error(), "Permission denied") {
			t.Errorf("a seat registers as %s: %v", service, err)
		}
	}
}
