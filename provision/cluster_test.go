package provision_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/agents"
	"github.com/nearcast/nearcast/provision/nodetest"
	"github.com/nearcast/nearcast/provision/secrets"
)

// TestClusterOfThree runs three servers of one site and one server of another, with TLS,
// gossip keys and ACLs that deny, as in production. It sets up the ACLs as nodes do, kills
// the leader, and expects the other servers to go on.
func TestClusterOfThree(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real agents")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: Nomad's clients do")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	keys := t.TempDir()
	if _, err := secrets.Make(secrets.Config{Dir: keys, Sites: []string{"site-a", "site-b"}}); err != nil {
		t.Fatal(err)
	}
	const first = 11 // the other test's machines have the numbers before
	a := provision.Values{Site: "site-a", Primary: "site-a", Join: []string{network(first), network(first + 1), network(first + 2)}}
	began := time.Now()
	stage := func(what string) { t.Logf("%4.1f s  %s", time.Since(began).Seconds(), what) }
	var three []*nodetest.Node
	for i := range 3 {
		three = append(three, nodetest.Start(t, ctx, keys, a, first+i))
	}
	management, nomadManagement := three[0].Secret(provision.ConsulManagementFile), three[0].Secret(provision.NomadManagementFile)
	if said := three[0].ACL(); !strings.Contains(said, "bootstrapped Nomad's ACLs") {
		t.Errorf("the first acl.sh says %q", said)
	}
	stage("the ACLs are set up")
	if said := three[1].ACL(); said != "acl: done\n" {
		t.Errorf("acl.sh on another server says %q", said)
	}
	b := nodetest.Start(t, ctx, keys, provision.Values{Site: "site-b", Primary: "site-a", Servers: 1, Join: []string{network(first + 3)}, JoinWAN: a.Join}, first+3)
	stage("the other site starts")
	b.ACL()
	stage("the other site is set up")

	t.Run("gossip is encrypted", func(t *testing.T) {
		var self struct{ Stats map[string]map[string]string }
		for _, s := range append(three, b) {
			if err := s.Ask("GET", nodetest.ConsulPort, "/v1/agent/self", management, nil, &self); err != nil {
				t.Fatal(err)
			}
			if self.Stats["serf_lan"]["encrypted"] != "true" || self.Stats["serf_wan"]["encrypted"] != "true" {
				t.Errorf("Consul of %s gossips without encryption: %v", s.Address, self.Stats["serf_lan"])
			}
			if err := s.Ask("GET", nodetest.NomadPort, "/v1/agent/self", nomadManagement, nil, &self); err != nil {
				t.Fatal(err)
			}
			if self.Stats["serf"]["encrypted"] != "true" {
				t.Errorf("Nomad of %s gossips without encryption: %v", s.Address, self.Stats["serf"])
			}
		}
	})
	t.Run("servers have a vote", func(t *testing.T) {
		for _, s := range three {
			for name, err := range votes(ctx, three[1], s.Values, management, nomadManagement) {
				if err != nil {
					t.Errorf("%s in %s: %v", s.Values.Node, name, err)
				}
			}
		}
		stranger := three[0].Values
		stranger.Node = "server-9"
		for name, err := range votes(ctx, three[1], stranger, management, nomadManagement) {
			if err == nil || !strings.Contains(err.Error(), "do not know this one") {
				t.Errorf("a server that nobody knows has a vote in %s: %v", name, err)
			}
		}
	})
	t.Run("no access without a token", func(t *testing.T) {
		for port, path := range map[int]string{nodetest.ConsulPort: "/v1/kv/any", nodetest.NomadPort: "/v1/nodes"} {
			if err := three[1].Ask("GET", port, path, "", nil, nil); !nodetest.IsRefused(err, 403) {
				t.Errorf("%s without a token: %v", path, err)
			}
		}
	})
	t.Run("an agent speaks for its own role only", func(t *testing.T) {
		stream, err := os.ReadFile(filepath.Join(keys, "site-a", "stream", provision.ConsulAgentFile))
		if err != nil {
			t.Fatal(err)
		}
		token := strings.TrimSpace(string(stream))
		register := func(name string) error {
			return three[0].Ask("PUT", nodetest.ConsulPort, "/v1/catalog/register", token, map[string]any{"Node": name, "Address": "127.0.0.1"}, nil)
		}
		if err := register("stream-9"); err != nil {
			t.Errorf("a stream node cannot register itself: %v", err)
		}
		if err := register("server-9"); !nodetest.IsRefused(err, 403) {
			t.Errorf("a stream node registers as a server: %v", err)
		}
	})
	t.Run("TLS asks both sides", func(t *testing.T) {
		// The first byte 4 asks Nomad for TLS; a client without a certificate fails in the
		// handshake.
		if err := handshake(three[0].Address+":4647", nil); err == nil {
			t.Error("Nomad's RPC accepts a client without a certificate")
		}
		if err := handshake(three[0].Address+":4647", &certificate{keys, "site-a", "stream"}); err != nil {
			t.Errorf("Nomad's RPC refuses a node's certificate: %v", err)
		}
	})
	t.Run("the sites know each other", func(t *testing.T) {
		nodetest.Eventually(t, ctx, "site-b answers site-a", func() error {
			// The token is the primary site's; site-b has copied it.
			if err := three[0].Ask("PUT", nodetest.ConsulPort, "/v1/kv/test/wan?dc=site-b", management, "x", nil); err != nil {
				return err
			}
			var regions []string
			if err := three[0].Ask("GET", nodetest.NomadPort, "/v1/regions", nomadManagement, nil, &regions); err != nil {
				return err
			}
			if len(regions) != 2 {
				return fmt.Errorf("nomad knows %v", regions)
			}
			return three[0].Ask("GET", nodetest.NomadPort, "/v1/nodes?region=site-b", nomadManagement, nil, nil)
		})
	})
	t.Run("without its leader it goes on", func(t *testing.T) {
		lost := map[string]bool{}
		address, err := three[0].Leader(nodetest.ConsulPort, management)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range three {
			if strings.HasPrefix(address, s.Address+":") {
				lost[s.Address] = true
				s.Kill()
			}
		}
		if len(lost) != 1 {
			t.Fatalf("the leader is %s; killed %v", address, lost)
		}
		for _, s := range three {
			if lost[s.Address] {
				nodetest.Eventually(t, ctx, "the others find it unhealthy", func() error {
					for _, other := range three {
						if lost[other.Address] {
							continue
						}
						for name, err := range votes(ctx, other, s.Values, management, nomadManagement) {
							if err == nil || !strings.Contains(err.Error(), "find this one unhealthy") {
								return fmt.Errorf("in %s: %v", name, err)
							}
						}
					}
					return nil
				})
				continue
			}
			// One that is lost makes no other one unready.
			nodetest.Eventually(t, ctx, "a vote beside a lost server", func() error {
				answers := votes(ctx, s, s.Values, management, nomadManagement)
				return errors.Join(answers["Consul"], answers["Nomad"])
			})
			nodetest.Eventually(t, ctx, "a write through "+s.Address, func() error {
				if err := s.Ask("PUT", nodetest.ConsulPort, "/v1/kv/test/after", management, "x", nil); err != nil {
					return err
				}
				return s.Ask("PUT", nodetest.NomadPort, "/v1/jobs", nomadManagement, map[string]any{"Job": map[string]any{
					"ID": "after", "Name": "after", "Type": "batch", "Datacenters": []string{"*"}, "NodePool": "server",
					// Nomad counts the dead node as ready until it misses a heartbeat.
					"Constraints": []any{map[string]any{"LTarget": "${node.unique.name}", "Operand": "=", "RTarget": s.Values.Node}},
					"TaskGroups": []any{map[string]any{"Name": "g", "Tasks": []any{map[string]any{
						"Name": "t", "Driver": "raw_exec", "Config": map[string]any{"command": "/bin/true"}}}}},
				}}, nil)
			})
		}
		nodetest.Eventually(t, ctx, "the job runs", func() error {
			var allocs []struct{ ClientStatus string }
			for _, s := range three {
				if lost[s.Address] {
					continue
				}
				if err := s.Ask("GET", nodetest.NomadPort, "/v1/job/after/allocations", nomadManagement, nil, &allocs); err != nil {
					return err
				}
			}
			for _, a := range allocs {
				if a.ClientStatus == "complete" {
					return nil
				}
			}
			return fmt.Errorf("allocations: %v", allocs)
		})
	})
	t.Run("a node drains itself", func(t *testing.T) {
		node := agents.Nomad{
			Address: "http://" + b.Address + ":4646", IDFile: filepath.Join(b.Values.Paths.NomadData, "client", "client-id"),
			Statement: filepath.Join(keys, "site-b", "server", provision.NomadNodeFile),
		}
		nodetest.Eventually(t, ctx, "drain", func() error {
			if err := node.Drain(ctx, time.Minute, "test"); err != nil {
				return err
			}
			return node.Drained(ctx)
		})
		// A statement with another operator's signature.
		others := t.TempDir()
		if _, err := secrets.Make(secrets.Config{Dir: others, Sites: []string{"site-b"}}); err != nil {
			t.Fatal(err)
		}
		node.Statement = filepath.Join(others, "site-b", "server", provision.NomadNodeFile)
		if err := node.Drain(ctx, time.Minute, "test"); err == nil || !strings.Contains(err.Error(), "log in") {
			t.Errorf("a stranger's statement: %v", err)
		}
	})
}

// votes asks a server's agents whether another server has a vote.
func votes(ctx context.Context, at *nodetest.Node, of provision.Values, management, nomadManagement string) map[string]error {
	consul := agents.Consul{Address: fmt.Sprintf("%s:%d", at.Address, nodetest.ConsulPort)}
	nomad := agents.Nomad{Address: fmt.Sprintf("http://%s:%d", at.Address, nodetest.NomadPort)}
	return map[string]error{
		"Consul": consul.Voter(ctx, management, of.Node),
		"Nomad":  nomad.Voter(ctx, nomadManagement, of.Node+"."+of.Site),
	}
}
