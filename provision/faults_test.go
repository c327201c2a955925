package provision_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision/awsapi"
	"github.com/nearcast/nearcast/provision/awsapi/awstest"
)

// faultsEnv says for how long AWS fails in TestFaults, such as 20m.
const faultsEnv = "NEARCAST_FAULTS"

// faultsSeed is that of the faults. The nodes ask at other moments in each run.
const faultsSeed = 14

// TestFaults boots one image without a secret as a server, an edge node and a stream node, while AWS fails.
// For a stated time no request is answered well; then, for half of that time, every other one is. Each node
// has to become ready, and to tell its group. After that an edge node and a stream node of the image, and of
// bare machines, show how long each takes.
func TestFaults(t *testing.T) {
	text := os.Getenv(faultsEnv)
	if text == "" {
		t.Skip("takes minutes: set " + faultsEnv + ", or run make test-faults")
	}
	fails, err := time.ParseDuration(text)
	testkit.Must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), fails+fails/2+10*time.Minute)
	defer cancel()
	_, debs := bare(t, ctx)
	s := (&faultySite{t: t, ctx: ctx, began: time.Now(), debs: t.TempDir()}).another(21)
	// apt locks the folder, and another test may install just now.
	testkit.Must(t, os.CopyFS(s.debs, os.DirFS(debs)))
	s.release, _ = release(t, ctx)
	s.stage("there is a release")
	image := s.image("server", "edge", "stream")

	storm := awstest.Storm{Seed: faultsSeed, Until: time.Now().Add(fails), Calm: time.Now().Add(fails + fails/2), Hang: 30 * time.Second}
	s.cloud.Begin(storm)
	var nodes []*faultyNode
	for i, role := range []string{"server", "edge", "stream"} {
		nodes = append(nodes, s.boot(role, role, 21+i, image))
	}
	s.stage("the image has booted as each role")
	for _, n := range nodes {
		n.ready()
		if n.heard.Before(storm.Until) {
			t.Errorf("the group of %s heard of it while AWS failed", n.group)
		}
		// At most: one after the other is waited for.
		t.Logf("%s: ready within %.1f s after its boot began, %.1f s after AWS answered again", n.group, n.took.Seconds(), n.heard.Sub(storm.Until).Seconds())
	}
	s.stage("each node is ready")
	failed := s.cloud.Failed()
	t.Logf("seed %d: requests that failed, by kind, and \"\" for those that did not: %v", storm.Seed, failed)
	for _, kind := range awstest.Kinds {
		if failed[kind] == 0 && kind != "answer lost" {
			t.Errorf("no request failed by: %s", kind)
		}
	}
	for _, n := range nodes {
		n.sound()
		n.whole()
	}

	s.cloud.Begin(awstest.Storm{})
	for i, role := range []string{"edge", "stream", "server"} {
		at, next := s, s
		if role == "server" { // the first one of a new site: it makes the secrets, and is its own quorum
			at, next = s.another(24+2*i), s.another(25+2*i)
		}
		of := at.boot(role, role+"-of-image", 24+2*i, image)
		of.ready()
		of.off()
		alone := next.boot(role, role+"-of-bare", 25+2*i, "")
		alone.ready()
		alone.off()
		t.Logf("%s, while AWS answers: ready %.1f s after its boot began as an image, %.1f s as a bare machine", role, of.took.Seconds(), alone.took.Seconds())
	}
	nodes[1].dies()
	s.stage("a node whose Nomad stays dead is given up")
}

// faultySite is a site of an image's machines in AWS.
type faultySite struct {
	t       *testing.T
	ctx     context.Context
	began   time.Time
	cloud   *awstest.Cloud
	env     []string // of a node's programs
	release string
	debs    string // packages from earlier tests
	first   int    // the number of its server, in the network
}

// another is a site with the same release, without nodes or secrets.
func (s *faultySite) another(first int) *faultySite {
	of := *s
	of.cloud, of.first = awstest.New(s.t), first
	of.cloud.Region = "site-a"
	for _, name := range []string{"servers", "edge", "nodes"} {
		of.cloud.NewSecret("nearcast/" + name)
	}
	of.cloud.Say("public-ipv4", "203.0.113.7")
	of.env = of.cloud.RoleEnvironment()
	return &of
}

func (s *faultySite) stage(what string) {
	s.t.Helper()
	s.t.Logf("%5.1f s  %s", time.Since(s.began).Seconds(), what)
}

// image makes one for some roles, and returns the folder of what it has more than a bare machine.
func (s *faultySite) image(roles ...string) string {
	s.t.Helper()
	m := newMachine(s.t, s.ctx, "image", map[string]string{"release": s.release})
	m.debs = s.debs
	m.start("sleep", "infinity")
	began := time.Now()
	for _, role := range roles {
		m.run("sh", "/run/release/provision/install.sh", "--role", role, "--release", "/run/release", "--image")
	}
	s.t.Logf("an image for %s: %.1f s", strings.Join(roles, ", "), time.Since(began).Seconds())
	for _, dir := range []string{"/etc/nearcast", "/etc/consul.d", "/etc/nomad.d"} {
		if said := m.run("find", dir, "-type", "f"); said != "" {
			s.t.Errorf("the image has %s", said)
		}
	}
	m.off()
	s.stage("there is an image")
	return filepath.Join(m.disk, "upper")
}

// faultyNode is a machine that its group launched.
type faultyNode struct {
	*machine
	site   *faultySite
	group  string
	booted time.Time
	heard  time.Time // that it is ready
	took   time.Duration
}

// boot launches a node of an image, or without one of a bare machine.
func (s *faultySite) boot(role, group string, n int, image string) *faultyNode {
	s.t.Helper()
	values := map[string]string{
		"ROLE": role, "SITE": "site-a", "NODE": group + "-1", "SERVERS": "1", "JOIN": network(s.first), "ADDRESS": network(n), "HTTP": network(n),
		"INTERFACE": "lo", "CPU": "8000", "NO_CLOUD": "yes", "ASG": group, "HOOK": "drain", "READY_HOOK": "ready", "SECRET_NODES": "nearcast/nodes",
	}
	switch role {
	case "server":
		values["SECRET_SERVERS"], values["SECRET_EDGE"] = "nearcast/servers", "nearcast/edge"
	case "edge":
		values["SECRET_EDGE"] = "nearcast/edge"
	case "stream":
		values["PUBLIC_IP"] = "imds"
	}
	return s.launch(group, image, s.env, values, "")
}

// launch boots a machine, and has it become a node as user data do. programs is the environment of its
// programs, and within the time after which it is given up; "" is the product's.
func (s *faultySite) launch(name, image string, programs []string, values map[string]string, within string) *faultyNode {
	s.t.Helper()
	role := values["ROLE"]
	text := ""
	for _, name := range slices.Sorted(maps.Keys(values)) {
		text += fmt.Sprintf("NEARCAST_%s='%s'\n", name, values[name])
	}
	env := s.t.TempDir()
	testkit.Must(s.t, os.WriteFile(filepath.Join(env, "env"), []byte(text), 0o644))
	m := newMachine(s.t, s.ctx, name, map[string]string{"release": s.release, "env": env})
	m.debs = s.debs
	if image != "" {
		m.bare = image + ":" + m.bare
	}
	node := &faultyNode{machine: m, site: s, group: values["ASG"], booted: time.Now()}
	m.boot()
	if role == "stream" {
		m.netOfFirewall()
	}
	// The real metadata service has the same address everywhere.
	m.write("/etc/systemd/system/nearcast-.service.d/test.conf", "[Service]\nEnvironment="+strings.Join(programs, " ")+"\n")
	if within != "" {
		m.write("/etc/systemd/system/nearcast-ready.service.d/quick.conf", "[Service]\nExecStart=\nExecStart=/usr/local/bin/nearcast provision ready --within "+within+"\n")
	}
	// As user data do: until it works.
	start := []string{"systemd-run", "--quiet", "--unit=user-data", "--property=RemainAfterExit=yes"}
	for _, one := range programs {
		start = append(start, "--setenv="+one)
	}
	m.run(append(start, "sh", "-c", "until sh /run/release/provision/install.sh --role "+role+" --env /run/env/env --release /run/release; do sleep 2; done")...)
	return node
}

// actions are what its group heard of its launch, but for heartbeats.
func (n *faultyNode) actions() (said []string) {
	all, _ := n.site.cloud.Actions()
	for _, a := range all {
		if a.Get("AutoScalingGroupName") == n.group && a.Get("Action") == "CompleteLifecycleAction" {
			said = append(said, a.Get("LifecycleHookName")+" "+a.Get("LifecycleActionResult"))
		}
	}
	return said
}

// ready waits until the group has heard that the node is.
func (n *faultyNode) ready() {
	n.t.Helper()
	for {
		_, next := n.site.cloud.Actions()
		if said := n.actions(); len(said) > 0 {
			if said[0] != "ready CONTINUE" {
				n.t.Fatalf("the group of %s heard %q", n.group, said)
			}
			n.heard = time.Now()
			n.took = n.heard.Sub(n.booted)
			return
		}
		select {
		case <-next:
		case <-n.ctx.Done():
			n.t.Fatalf("the group of %s has not heard in time that it is ready", n.group)
		}
	}
}

// whole looks at a node that is ready: its units, and that it was neither drained nor given up.
func (n *faultyNode) whole() {
	n.t.Helper()
	testkit.Retry(n.ctx, n.t, n.group+" is whole", func() error {
		said, err := n.try("nearcast", "provision", "ready", "--once")
		if err == nil && strings.Count(said, " ready\n") != 3 {
			err = errors.New(said)
		}
		if health := n.unit("nearcast-health"); !strings.HasPrefix(n.group, "server") {
			err = errors.Join(err, health.is("active running success"))
		} else if health["LoadState"] != "not-found" {
			err = errors.Join(err, errors.New("a server has nearcast-health"))
		}
		for name, state := range map[string]string{
			"consul": "active running success", "nomad": "active running success", "user-data": "active exited success",
			"nearcast-configure": "inactive dead success", "nearcast-ready": "active exited success", "nearcast-drain": "active running success",
		} {
			err = errors.Join(err, n.unit(name).is(state))
		}
		return err
	})
	if said := n.actions(); slices.ContainsFunc(said, func(a string) bool { return a != "ready CONTINUE" }) {
		n.t.Errorf("the group of %s heard %q", n.group, said)
	}
}

// dies: Nomad loses its configuration and is killed, so that neither systemd nor a restart brings it back. The
// node tells its group, in seconds here, and its drain need not wait.
func (n *faultyNode) dies() {
	n.t.Helper()
	const instance = "i-0123456789abcdef0" // what the metadata service says
	n.site.cloud.Group(n.group, 1, awsapi.Member{Instance: instance, State: "InService", Healthy: true})
	n.write("/etc/systemd/system/nearcast-health.service.d/quick.conf", "[Service]\nExecStart=\nExecStart=/usr/local/bin/nearcast provision health --dead 12s --spread 1s --young 0 --poll 1s\n")
	n.run("systemctl", "daemon-reload")
	n.run("systemctl", "restart", "nearcast-health")
	says := func(count int, text string) {
		n.t.Helper()
		testkit.Retry(n.ctx, n.t, "nearcast-health says: "+text, func() error {
			said, err := n.try("journalctl", "_SYSTEMD_INVOCATION_ID="+n.unit("nearcast-health")["InvocationID"], "--output=cat")
			if err == nil && strings.Count(said, text) < count {
				err = errors.New(said)
			}
			return err
		})
	}
	says(1, "the node is well")
	n.run("systemctl", "stop", "nomad")
	says(1, "somebody has stopped nomad") // that is no fault
	n.run("mv", "/etc/nomad.d/agent.hcl", "/root/agent.hcl")
	n.run("systemctl", "start", "--no-block", "nomad")
	began := time.Now()
	for {
		all, next := n.site.cloud.Actions()
		if i := slices.IndexFunc(all, func(a url.Values) bool { return a.Get("Action") == "SetInstanceHealth" }); i >= 0 {
			if all[i].Get("InstanceId") != instance || all[i].Get("HealthStatus") != "Unhealthy" {
				n.t.Errorf("the group of %s heard %v", n.group, all[i])
			}
			break
		}
		select {
		case <-next:
		case <-n.ctx.Done():
			n.t.Fatalf("the group of %s has not heard that its Nomad is dead", n.group)
		}
	}
	n.t.Logf("%s: its group heard %.1f s after its Nomad died", n.group, time.Since(began).Seconds())
	testkit.Retry(n.ctx, n.t, "the mark for the drain", func() error { _, err := n.try("test", "-e", "/run/nearcast-dead"); return err })
	says(2, "restarting what is dead")
	n.site.cloud.Say("autoscaling/target-lifecycle-state", "Terminated")
	testkit.Retry(n.ctx, n.t, "the group goes on", func() error {
		if said := n.actions(); !slices.Contains(said, "drain CONTINUE") {
			return fmt.Errorf("it heard %q", said)
		}
		return nil
	})
	if said := n.run("journalctl", "--unit=nearcast-drain", "--output=cat"); !strings.Contains(said, "this node is given up: there is nothing to drain") {
		n.t.Errorf("the drain says %s", said)
	}
}
