package cloud_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/cloud"
	cloudnomad "github.com/nearcast/nearcast/cloud/nomad"
	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/nodetest"
	"github.com/nearcast/nearcast/provision/secrets"
)

// TestPromoteWalk: the primary site is lost, another one takes its place, and the lost one comes
// back as one that follows. Consul and Nomad are real, a server a site.
func TestPromoteWalk(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real agents")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: Nomad's clients do")
	}
	ctx := testkit.Context(t, 3*time.Minute)
	keys := t.TempDir()
	_, err := secrets.Make(secrets.Config{Dir: keys, Sites: []string{"site-a", "site-b"}})
	testkit.Must(t, err)
	began := time.Now()
	stage := func(what string) { t.Logf("%4.1f s  %s", time.Since(began).Seconds(), what) }
	values := func(site string, n, other int) provision.Values {
		return provision.Values{Site: site, Primary: "site-a", Servers: 1, Join: []string{nodetest.Network(n)}, JoinWAN: []string{nodetest.Network(other)}}
	}
	a := nodetest.Start(t, ctx, keys, values("site-a", 61, 62), 61)
	b := nodetest.Start(t, ctx, keys, values("site-b", 62, 61), 62)
	a.ACL()
	b.ACL()
	stage("two sites are set up")

	outputs := func(primary string) cloud.Outputs {
		site := `%q: {"primary": %t, "servers": 1, "edge_nodes": 2, "router_url": "http://127.0.0.1:1", "brain_url": "ws://127.0.0.1:1/v1/connect"}`
		o, err := cloud.ReadOutputs(fmt.Appendf(nil, `{"sites": {"value": {`+site+`, `+site+`}}}`, "site-a", primary == "site-a", "site-b", primary == "site-b"))
		testkit.Must(t, err)
		return o
	}
	n, err := cloudnomad.Open(cloudnomad.Config{Address: b.Address + ":4646", Token: b.Secret(provision.NomadManagementFile)})
	testkit.Must(t, err)
	defer n.Close()
	management := b.Secret(provision.ConsulManagementFile)
	consul, err := fleet.Open(fleet.Config{Address: b.Address + ":8500", Token: management})
	testkit.Must(t, err)
	defer consul.Close()
	follow := map[string]*nodetest.Node{"site-a": a, "site-b": b}
	cluster := func(primary string) *cloud.Cluster {
		c := &cloud.Cluster{Outputs: outputs(primary), Poll: 300 * time.Millisecond}
		c.Reach = func(site string) cloud.Reached {
			return cloud.Reached{Nomad: n.At(site), Consul: cloud.FromFleet(consul, site)}
		}
		// The operator does as they are told.
		c.Say = func(line string) {
			t.Log(line)
			site, what, _ := strings.Cut(line, ": ")
			if !strings.HasPrefix(what, "set NEARCAST_PRIMARY_SITE="+primary) {
				return
			}
			node := follow[site]
			node.Kill()
			node.Values.Primary = primary
			node.Configure()
			node.Restart()
		}
		return c
	}
	owns := func(site string) bool {
		owns, err := n.At(site).OwnsAccess(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return owns
	}
	if !owns("site-a") || owns("site-b") {
		t.Errorf("before: site-a has the authority: %t, site-b: %t", owns("site-a"), owns("site-b"))
	}
	c := cluster("site-a")
	if p, err := c.Promotion(ctx, c.Outputs.Sites[1], false); err != nil || len(p.Blocked) > 0 {
		t.Errorf("a promotion with both sites: %+v, %v", p, err)
	}
	a.Kill()
	stage("site-a is lost")
	testkit.Retry(ctx, t, "the loss is seen", func() error {
		p, err := c.Promotion(ctx, c.Outputs.Sites[1], true)
		if err != nil || len(p.Blocked) > 0 {
			return fmt.Errorf("%+v, %v", p.Blocked, err)
		}
		return nil
	})
	if p, err := c.Promotion(ctx, c.Outputs.Sites[1], false); err != nil || len(p.Blocked) != 1 || !strings.Contains(p.Blocked[0].Problem, "site-a is not whole") {
		t.Errorf("a promotion that takes the lost site for whole: %+v, %v", p, err)
	}
	stage("the promotion is checked")

	// Killed while it waits for the servers; the second run goes on.
	c = cluster("site-b")
	short, cancel := context.WithCancel(ctx)
	say := c.Say
	c.Say = func(line string) {
		say(line)
		if strings.Contains(line, "waits for the servers") {
			cancel()
		}
	}
	if err := c.Promote(short, cloud.PromoteOptions{Lost: "site-a"}); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("the run that was killed: %v", err)
	}
	cancel()
	c.Say = say
	testkit.Must(t, c.Promote(ctx, cloud.PromoteOptions{Lost: "site-a"}))
	stage("site-b is the primary one")
	if !owns("site-b") {
		t.Error("Nomad of site-b is not the authority")
	}
	testkit.Must(t, consul.At("site-b").CopyToken(ctx, management, "11111111-2222-3333-4444-555555555555"))

	// The lost site comes back, with its old configuration, and follows.
	a.Restart()
	testkit.Retry(ctx, t, "site-a is back", func() error {
		_, err := consul.At("site-a").Follows(ctx)
		return err
	})
	stage("site-a is back")
	testkit.Must(t, c.Promote(ctx, cloud.PromoteOptions{}))
	stage("site-a follows")
	testkit.Retry(ctx, t, "site-a copies what was written at site-b", func() error {
		has, err := consul.At("site-a").HasToken(ctx, "11111111-2222-3333-4444-555555555555")
		if err != nil || !has {
			return fmt.Errorf("%t, %w", has, err)
		}
		return nil
	})
	if owns("site-a") {
		t.Error("Nomad of site-a is an authority, too")
	}
	stage("the end")
}
