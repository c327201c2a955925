package provision_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision/awsapi/awstest"
)

// TestBrokenRelease boots three servers of one image. nearcast cloud roll replaces them by a release whose
// Nomad ends at once: the first new server gets its vote in Consul, is not ready in time, and is given up with
// the reason. The command cancels the replacement before the group launches another one. The three old servers
// keep their votes, and take writes all the time. Then the release is taken back.
func TestBrokenRelease(t *testing.T) {
	if os.Getenv(faultsEnv) == "" {
		t.Skip("takes minutes: set " + faultsEnv + ", or run make test-faults")
	}
	ctx := testkit.Context(t, 12*time.Minute)
	_, debs := bare(t, ctx)
	s := (&faultySite{t: t, ctx: ctx, began: time.Now(), debs: t.TempDir()}).another(31)
	testkit.Must(t, os.CopyFS(s.debs, os.DirFS(debs))) // apt locks the folder
	s.release, _ = release(t, ctx)
	r := &brokenRoll{faultySite: s, group: newGroupOfServers(t)}
	broken := *s
	broken.release = r.broken()
	s.stage("there are two releases")
	image := s.image("server")

	var old []*serverOfGroup
	for i := range 3 {
		old = append(old, r.boot(s, i, image, ""))
		r.group.members = append(r.group.members, old[i].instance)
	}
	for _, n := range old {
		n.hears("ready CONTINUE")
	}
	s.stage("three servers are ready")
	r.opens()
	if err := r.whole(); err != nil {
		t.Fatal(err)
	}
	writing := r.writes(old)

	roll := r.command("roll", "--role", "server", "--pause", "0s")
	r.group.waits("StartInstanceRefresh", roll)
	const within = 90 * time.Second
	fourth := r.boot(&broken, 3, image, within.String())
	s.stage("the broken release has booted")
	fourth.hears("ready ABANDON")
	abandoned := time.Now()
	s.stage("the new server is given up")
	reason := r.group.object("nodes/servers/" + fourth.instance + ".txt")
	// Its Consul is ready, which is with a vote: only the Nomad is missing.
	for _, want := range []string{fourth.instance + " of servers in site-a", "not ready within 1m30s.\n\nnomad: ", brokenWords} {
		if !strings.Contains(reason, want) {
			t.Errorf("the reason does not say %q:\n%s", want, reason)
		}
	}
	// As the group does: the node drains, and ends.
	fourth.metadata.Say("autoscaling/target-lifecycle-state", "Terminated")
	fourth.hears("drain CONTINUE")
	fourth.off()
	cancelled := r.group.waits("CancelInstanceRefresh", nil)
	t.Logf("the replacement was cancelled %.1f s after the server was given up", cancelled.Sub(abandoned).Seconds())
	err := roll.end()
	for _, want := range []string{"server: the node " + fourth.instance + " was given up: ", "nomad: ", "the replacement is cancelled", "Nothing after it was replaced", "nearcast cloud roll --back"} {
		if err == nil || !strings.Contains(roll.said(), want) {
			t.Errorf("roll ends with %v, and does not say %q:\n%s", err, want, roll.said())
		}
	}
	s.stage("the command has stopped")

	testkit.Retry(ctx, t, "the three old servers alone have a vote", r.whole)
	s.stage("the three old servers alone have a vote")
	back := r.command("roll", "--back", "--role", "server")
	if err := back.end(); err != nil || r.group.version != 1 {
		t.Errorf("the release is not taken back: %v, version %d:\n%s", err, r.group.version, back.said())
	}
	writing()
	for _, n := range old {
		if said := n.lifecycle(); !slices.Equal(said, []string{"ready CONTINUE"}) {
			t.Errorf("the group heard of the old server %s: %q", n.instance, said)
		}
	}
	if want := []string{"StartInstanceRefresh", "CancelInstanceRefresh", "UpdateAutoScalingGroup", "StartInstanceRefresh"}; !slices.Equal(r.group.did, want) {
		t.Errorf("the group was told %q, want %q", r.group.did, want)
	}
}

// brokenRoll is a group of servers that an operator gives a broken release.
type brokenRoll struct {
	*faultySite
	group         *groupOfServers
	args          []string // of the operator's commands
	consul, nomad string   // management tokens
}

const brokenWords = "this release is broken"

// broken is the release with a Nomad that says its version, and ends.
func (r *brokenRoll) broken() string {
	r.t.Helper()
	dir := filepath.Join(r.t.TempDir(), "broken")
	version, err := exec.CommandContext(r.ctx, filepath.Join(r.release, "nomad"), "version").Output()
	testkit.Must(r.t, err)
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" != version ] || { echo '%s'; exit; }\necho 'nomad: %s' >&2\nexit 3\n", bytes.TrimSpace(version), brokenWords)
	out, err := exec.CommandContext(r.ctx, "sh", "-ec", `
cp -rl "$0" "$1"
cd "$1"
rm nomad SHA256SUMS
printf %s "$2" >nomad
chmod 755 nomad
find . -type f ! -name SHA256SUMS -printf '%P\0' | sort -z | xargs -0 sha256sum >SHA256SUMS`, r.release, dir, script).CombinedOutput()
	if err != nil {
		r.t.Fatalf("make the broken release: %v: %s", err, out)
	}
	return dir
}

// serverOfGroup is an instance of the group, with its own metadata.
type serverOfGroup struct {
	*faultyNode
	instance, address string
	metadata          *awstest.Cloud
}

// boot launches server i of a release.
func (r *brokenRoll) boot(of *faultySite, i int, image, within string) *serverOfGroup {
	r.t.Helper()
	var join []string
	for n := range 3 {
		join = append(join, network(r.first+n))
	}
	metadata := awstest.New(r.t)
	instance := fmt.Sprintf("i-%017d", i+1)
	metadata.Say("instance-id", instance)
	programs := []string{r.env[0], metadata.RoleEnvironment()[1]}
	name, at := fmt.Sprintf("server-%d", i+1), network(r.first+i)
	return &serverOfGroup{of.launch(name, image, programs, map[string]string{
		"ROLE": "server", "SITE": "site-a", "NODE": name, "SERVERS": "3", "JOIN": strings.Join(join, ","), "ADDRESS": at, "HTTP": at,
		"INTERFACE": "lo", "CPU": "8000", "NO_CLOUD": "yes", "ASG": "servers", "HOOK": "drain", "READY_HOOK": "ready",
		"SECRET_NODES": "nearcast/nodes", "SECRET_SERVERS": "nearcast/servers", "SECRET_EDGE": "nearcast/edge",
		"REPORTS_URL": "s3://system/nodes", "S3_ENDPOINT": r.group.URL, "S3_PATH_STYLE": "yes",
	}, within), instance, at, metadata}
}

// lifecycle is what the group heard of the instance, but for heartbeats.
func (n *serverOfGroup) lifecycle() (said []string) {
	all, _ := n.site.cloud.Actions()
	for _, a := range all {
		if a.Get("InstanceId") == n.instance && a.Get("Action") == "CompleteLifecycleAction" {
			said = append(said, a.Get("LifecycleHookName")+" "+a.Get("LifecycleActionResult"))
		}
	}
	return said
}

// hears waits until the group has heard the words last of the instance.
func (n *serverOfGroup) hears(want string) {
	n.t.Helper()
	for {
		_, next := n.site.cloud.Actions()
		if said := n.lifecycle(); slices.Contains(said, want) {
			n.t.Logf("%s: %q, %.1f s after its boot began", n.name, said, time.Since(n.booted).Seconds())
			return
		} else if len(said) > 0 && want != "drain CONTINUE" {
			n.t.Fatalf("the group heard %q of %s, want %q", said, n.name, want)
		}
		select {
		case <-next:
		case <-n.ctx.Done():
			n.t.Fatalf("the group has not heard %q of %s in time", want, n.name)
		}
	}
}

// opens reads the cluster's secret, as an operator does, and asks the first server.
func (r *brokenRoll) opens() {
	r.t.Helper()
	dir, at := r.t.TempDir(), network(r.first)
	file, outputs := filepath.Join(dir, "cluster.json"), filepath.Join(dir, "outputs.json")
	packed := r.cloud.Secret("nearcast/servers")
	testkit.Must(r.t, os.WriteFile(file, []byte(packed), 0o600))
	testkit.Must(r.t, os.WriteFile(outputs, []byte(`{"sites": {"value": {"site-a": {"servers": 3, "edge_nodes": 2, "router_url": "http://127.0.0.1:1", "brain_url": "ws://127.0.0.1:1/v1/connect",
		"system_bucket": "system", "groups": {"server": "servers"}}}}}`), 0o600))
	r.args = []string{"--outputs", outputs, "--cluster-file", file, "--nomad", at + ":4646", "--consul", at + ":8500"}
	r.consul, r.nomad = tokenOf(r.t, packed, "shared/consul-management.token"), tokenOf(r.t, packed, "shared/nomad-management.token")
}

// whole: Consul and Nomad have the first three servers, and nobody else, with a leader; each is healthy and has a
// vote.
func (r *brokenRoll) whole() (err error) {
	for name, at := range map[string][2]string{"Consul": {":8500", r.consul}, "Nomad": {":4646", r.nomad}} {
		var raft, health struct {
			Servers []struct {
				Node, Name             string // of raft, of health
				Leader, Voter, Healthy bool
			}
		}
		url := "http://" + network(r.first) + at[0] + "/v1/operator/"
		askErr := errors.Join(ask(r.ctx, http.MethodGet, url+"raft/configuration", at[1], nil, &raft), ask(r.ctx, http.MethodGet, url+"autopilot/health", at[1], nil, &health))
		peers, well, leaders := []string{}, []string{}, 0
		for _, s := range raft.Servers {
			if peers = append(peers, nodeOf(s.Node)); s.Leader {
				leaders++
			}
		}
		for _, s := range health.Servers {
			if s.Healthy && s.Voter {
				well = append(well, nodeOf(s.Name))
			}
		}
		slices.Sort(peers)
		slices.Sort(well)
		three := []string{"server-1", "server-2", "server-3"}
		if askErr != nil || !slices.Equal(peers, three) || !slices.Equal(well, three) || leaders != 1 {
			err = errors.Join(err, fmt.Errorf("%s: its peers are %q with %d leaders, and %q are healthy with a vote; %v", name, peers, leaders, well, askErr))
		}
	}
	return err
}

// nodeOf is a server's name without the region that Nomad adds.
func nodeOf(name string) string {
	name, _, _ = strings.Cut(name, ".")
	return name
}
