package configure

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/awsapi/awstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// region is a cloud with a site's three secrets without values, as Terraform makes them.
func region(t *testing.T) *awstest.Cloud {
	c := awstest.New(t)
	for _, name := range []string{"prod/servers", "prod/edge", "prod/nodes"} {
		c.NewSecret(name)
	}
	c.Say("public-ipv4", "203.0.113.9")
	return c
}

// configured configures a node with its own file system.
func configured(ctx context.Context, root string, clouds map[string]*awstest.Cloud, v provision.Values) (changed []string, err error) {
	v.Primary, v.Join, v.ConsulGroup = "a", []string{"10.0.0.1"}, "root"
	v.Cloud = provision.Cloud{SecretServers: "prod/servers", SecretEdge: "prod/edge", SecretNodes: "prod/nodes"}
	switch v.Role { // as user data names them
	case provision.Edge:
		v.Cloud.SecretServers = ""
	case provision.Stream:
		v.Cloud.SecretServers, v.Cloud.SecretEdge = "", ""
	}
	return Run(ctx, Config{
		Root: root, Secrets: "/etc/nearcast/secrets", Scratch: root, Retry: 10 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Stores: func(region string) Store { return clouds[region].Client() }, Meta: clouds[v.Site].IMDS(),
	}, v)
}

// TestCloud starts three servers, an edge node and a stream node of each of two sites at
// the same moment, and expects one cluster.
func TestCloud(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	clouds := map[string]*awstest.Cloud{"a": region(t), "b": region(t)}
	roots := map[string]string{}
	var all sync.WaitGroup
	for _, site := range []string{"b", "a"} {
		for _, node := range []string{"stream-1", "edge-1", "server-1", "server-2", "server-3"} {
			root := t.TempDir()
			roots[site+" "+node] = root
			role, _, _ := strings.Cut(node, "-")
			all.Go(func() {
				v := provision.Values{Role: provision.Role(role), Site: site, Node: node}
				if _, err := configured(ctx, root, clouds, v); err != nil {
					t.Errorf("%s of %s: %v", node, site, err)
				}
			})
		}
	}
	all.Wait()
	if t.Failed() {
		return
	}
	read := func(node, name string) string {
		text, err := os.ReadFile(filepath.Join(roots[node], "etc/nearcast/secrets", name))
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	for node := range roots {
		for _, name := range []string{provision.CAFile, provision.ConsulGossipFile} {
			if read(node, name) != read("a server-1", name) {
				t.Errorf("%s has another %s", node, name)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(roots[node], "nearcast-secrets-*")); len(left) > 0 {
			t.Errorf("%s left %v behind, with the key of the authority", node, left)
		}
	}
	for _, site := range []string{"a", "b"} {
		if secret := read(site+" server-3", "stream-"+provision.ConsulAgentFile); secret != read(site+" stream-1", provision.ConsulAgentFile) {
			t.Errorf("servers of %s have another token than its stream nodes", site)
		}
		config, err := os.ReadFile(filepath.Join(roots[site+" stream-1"], "etc/nomad.d/stream.hcl"))
		if err != nil || !strings.Contains(string(config), `"203.0.113.9"`) {
			t.Errorf("the stream node does not know its public address: %v", err)
		}
		if strings.Contains(clouds[site].Secret("prod/nodes")+clouds[site].Secret("prod/edge"), "management") {
			t.Errorf("nodes of %s get management tokens", site)
		}
	}

	// Again, as at the next boot: neither files nor secrets change.
	before := fmt.Sprint(clouds["a"].Secret("prod/servers"), clouds["a"].Secret("prod/edge"), clouds["a"].Secret("prod/nodes"))
	for name, root := range roots {
		site, node, _ := strings.Cut(name, " ")
		role, _, _ := strings.Cut(node, "-")
		changed, err := configured(ctx, root, clouds, provision.Values{Role: provision.Role(role), Site: site, Node: node})
		if err != nil || len(changed) > 0 {
			t.Errorf("%s again: %v, changed %v", name, err, changed)
		}
	}
	if before != fmt.Sprint(clouds["a"].Secret("prod/servers"), clouds["a"].Secret("prod/edge"), clouds["a"].Secret("prod/nodes")) {
		t.Error("the secrets changed at the second boot")
	}
}

// TestNodeWaits: a node that starts before the servers gives up with an error that names
// the secret.
func TestNodeWaits(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := configured(ctx, t.TempDir(), map[string]*awstest.Cloud{"a": region(t)}, provision.Values{Role: provision.Edge, Site: "a", Node: "edge-1"})
	if err == nil || !strings.Contains(err.Error(), "prod/edge") {
		t.Errorf("without secrets: %v", err)
	}
}

// TestAWSIsAway: AWS throttles each call for longer than its SDK repeats it, and the
// metadata service does not answer at first. The node is configured all the same.
func TestAWSIsAway(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cloud := region(t)
	clouds := map[string]*awstest.Cloud{"a": cloud}
	if _, err := configured(ctx, t.TempDir(), clouds, provision.Values{Role: provision.Server, Site: "a", Node: "server-1"}); err != nil {
		t.Fatal(err)
	}
	cloud.Throttle(4) // the SDK makes three attempts
	cloud.Fail(5)
	if _, err := configured(ctx, t.TempDir(), clouds, provision.Values{Role: provision.Stream, Site: "a", Node: "stream-1"}); err != nil {
		t.Error(err)
	}
	if left := cloud.Throttle(0); left != 0 {
		t.Errorf("%d calls were not throttled: the test does not test", left)
	}
	// A server writes too.
	fresh := region(t)
	fresh.Throttle(4)
	if _, err := configured(ctx, t.TempDir(), map[string]*awstest.Cloud{"a": fresh}, provision.Values{Role: provision.Server, Site: "a", Node: "server-1"}); err != nil {
		t.Error(err)
	}
}
