package cloud_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/cloud"
	cloudnomad "github.com/nearcast/nearcast/cloud/nomad"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/nodetest"
	"github.com/nearcast/nearcast/provision/secrets"
)

// operator runs nearcast cloud against a real site.
type operator struct {
	t    *testing.T
	ctx  context.Context
	dir  string
	bin  string
	args []string // of each command
}

// TestWalk brings a real site up with the program itself, publishes to it, and has it examined
// while it is well and while it is not.
func TestWalk(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real agents")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: Nomad's clients do")
	}
	ctx := testkit.Context(t, 4*time.Minute)
	bin, err := os.MkdirTemp("/tmp", "ncc") // seats run as other users
	testkit.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(bin) })
	testkit.Must(t, os.Chmod(bin, 0o755))
	testkit.BuildAll(t, bin, "nearcast", "seat-keeper", "stream-host", "plugins/nomad-driver-stream")
	o := &operator{t: t, ctx: ctx, dir: t.TempDir(), bin: bin}
	keys := t.TempDir()
	if _, err := secrets.Make(secrets.Config{Dir: keys, Sites: []string{"site-a"}}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	stage := func(what string) { t.Logf("%4.1f s  %s", time.Since(began).Seconds(), what) }
	values := provision.Values{Site: "site-a", Servers: 1, Join: []string{nodetest.Network(41)}}
	start := func(role provision.Role, n int) *nodetest.Node {
		v := values
		v.Role = role
		if role == provision.Stream {
			v.Tuning.Drivers = []string{"stream"}
			v.Paths.Plugins, v.Paths.StreamHost = filepath.Join(bin, "plugins"), filepath.Join(bin, "stream-host")
		}
		return nodetest.Start(t, ctx, keys, v, n)
	}
	server := start(provision.Server, 41)
	edge := start(provision.Edge, 42)
	start(provision.Edge, 43)
	stream := start(provision.Stream, 44)
	packed, err := secrets.Pack(keys, "site-a")
	testkit.Must(t, err)
	port := testkit.Ports(t, 1)[0]
	router := fmt.Sprintf("http://127.0.0.1:%d", port)
	o.write("cluster.json", packed)
	o.write("outputs.json", fmt.Sprintf(`{"sites": {"value": {"site-a": {"primary": true, "servers": 1, "edge_nodes": 2, "router_url": %q, "brain_url": "ws://127.0.0.1:1/v1/connect"}}}}`, router))
	// Other than in a cluster: tasks have no chroot, and the agents share a machine.
	o.write("settings", fmt.Sprintf("# of this machine\nrouter.driver=raw_exec\nbrain.driver=raw_exec\nrouter.binary=%[1]s\nbrain.binary=%[1]s\nrouter.port=%[2]d\nbrain.port=0\nrouter.internal_port=0\nbrain.internal_port=0\nrouter.options=[\"--consul=%[3]s:8500\"]\nbrain.options=[\"--consul=%[3]s:8500\"]\nprefetch.driver=raw_exec\nprefetch.binary=%[1]s\n",
		filepath.Join(bin, "nearcast"), port, edge.Address))
	o.args = []string{"--outputs", o.path("outputs.json"), "--cluster-file", o.path("cluster.json"), "--no-aws",
		"--nomad", server.Address + ":4646", "--consul", server.Address + ":8500"}
	up := []string{"up", "--settings", o.path("settings"), "--wait", "2m"}
	plan := []string{"plan", "--settings", o.path("settings")}

	for port, path := range map[int]string{nodetest.ConsulPort: "/v1/status/leader", nodetest.NomadPort: "/v1/regions"} {
		nodetest.Eventually(t, ctx, "the server listens", func() error { return server.Ask("GET", port, path, "", nil, nil) })
	}
	// The command waits while the servers set up their access control.
	first := make(chan error, 1)
	var said bytes.Buffer
	go func() {
		out, err := o.command(up...).CombinedOutput()
		said.Write(out)
		first <- err
	}()
	server.ACL()
	stage("the access control is set up")
	if err := <-first; err != nil || !strings.Contains(said.String(), "site-a: prefetch is healthy") {
		t.Fatalf("up: %v\n%s", err, said.String())
	}
	stage("it is up")
	if out := o.run(0, up...); !strings.Contains(out, "Nothing changed") || strings.Contains(out, "new") || strings.Contains(out, "changes:") {
		t.Errorf("the second run: %s", out)
	}
	if out := o.run(0, plan...); !strings.Contains(out, "would change nothing") {
		t.Errorf("the plan after it: %s", out)
	}
	// Turned off, and on again.
	off := append(up, "--set", "prefetch.every=0")
	if out := o.run(0, off...); !strings.Contains(out, "site-a: prefetch is healthy, version 1, 0 of 0 run") {
		t.Errorf("without prefetch: %s", out)
	}
	if out := o.run(0, off...); !strings.Contains(out, "Nothing changed") {
		t.Errorf("without prefetch again: %s", out)
	}
	if out := o.run(0, up...); !strings.Contains(out, "site-a: prefetch is healthy, version 2, 1 of 1 run") {
		t.Errorf("with prefetch again: %s", out)
	}
	if out := o.run(0, append(plan, "--set", "router.count=2")...); !strings.Contains(out, `router: changes: Count: "1" → "2"`) {
		t.Errorf("the plan of another count: %s", out)
	}
	for _, job := range []string{"console.url=http://localhost:8070", "observability.retention=9d"} {
		if out := o.run(map[bool]int{true: 1}[strings.HasPrefix(job, "console")], append(plan, "--set", job)...); !strings.Contains(out, `observability: new, retention = "9d"`) && !strings.Contains(out, "docs/CONSOLE-SETUP.md") {
			t.Errorf("the plan with %s: %s", job, out)
		}
	}
	stage("it is up again, and planned")

	app := filepath.Join(nodetest.Source(t), "jobs", "testapp.nomad.hcl")
	publish := []string{"publish", app, "--driver", filepath.Join(bin, "plugins", "nomad-driver-stream"), "--var", "warm=0", "--var", "testapp=" + filepath.Join(bin, "testapp")}
	if out := o.run(0, publish...); !strings.Contains(out, "site-a: ok: registered") {
		t.Errorf("publish: %s", out)
	}
	if out := o.run(0, publish...); !strings.Contains(out, "site-a: ok: nothing changes") {
		t.Errorf("publish again: %s", out)
	}
	text, err := os.ReadFile(app)
	testkit.Must(t, err)
	o.write("wrong.nomad.hcl", strings.Replace(string(text), `"apps"`, `"default"`, 1))
	if out := o.run(1, "publish", o.path("wrong.nomad.hcl")); !strings.Contains(out, `site-a: FAILED: namespace = "default"`) {
		t.Errorf("publish of a job that is wrong: %s", out)
	}
	stage("an app is published")

	testkit.Retry(ctx, t, "the doctor finds nothing", func() error {
		out, err := o.command("doctor").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "nothing is wrong at 1 sites") {
			return fmt.Errorf("%w: %s", errors.Join(err, errors.New("it says")), out)
		}
		return nil
	})
	stage("the doctor finds nothing")
	all, err := cloudnomad.Open(cloudnomad.Config{Address: server.Address + ":4646", Token: server.Secret(provision.NomadManagementFile)})
	testkit.Must(t, err)
	defer all.Close()
	site := all.At("site-a")
	known, err := site.Nodes(ctx)
	if err != nil || len(known) != 4 { // also the server: it runs a client, which takes no seats
		t.Errorf("nodes: %+v, %v", known, err)
	}
	for _, n := range known {
		if offset, err := site.ClockOffset(ctx, n.ID); err != nil || offset.Abs() > 5*time.Second {
			t.Errorf("the clock of %s: %s, %v", n.Name, offset, err)
		}
	}
	if words, err := site.LastFailure(ctx, "testapp"); err != nil || words != "" {
		t.Errorf("before a seat failed: %q, %v", words, err)
	}
	o.run(0, append(slices.Clone(publish[:4]), "--var", "warm=1", "--var", "testapp=/bin/false")...)
	testkit.Retry(ctx, t, "the last failure of the app", func() error {
		words, err := site.LastFailure(ctx, "testapp")
		if err != nil || !strings.HasPrefix(words, "on "+stream.Values.Node+" at ") || strings.HasSuffix(words, ": ") {
			return fmt.Errorf("it is %q, %v", words, err)
		}
		t.Log("the seat failed " + words)
		return nil
	})
	o.run(0, publish...) // which runs no seat
	stage("clocks and the failure of a seat are known")
	var nodes []struct{ ID, Name string }
	management := server.Secret(provision.NomadManagementFile)
	testkit.Must(t, server.Ask("GET", nodetest.NomadPort, "/v1/nodes", management, nil, &nodes))
	for _, n := range nodes {
		if n.Name == stream.Values.Node {
			testkit.Must(t, server.Ask("PUT", nodetest.NomadPort, "/v1/node/"+n.ID+"/eligibility", management, map[string]string{"NodeID": n.ID, "Eligibility": "ineligible"}, nil))
		}
	}
	testkit.Must(t, server.Ask("DELETE", nodetest.NomadPort, "/v1/job/brain", management, nil, nil))
	var findings []cloud.Finding
	testkit.Must(t, json.Unmarshal([]byte(o.run(1, "doctor", "--json")), &findings))
	problems := ""
	for _, f := range findings {
		problems += f.Problem + "\n"
	}
	for _, want := range []string{"the job brain is stopped", "the node " + stream.Values.Node + " (pool stream-cpu"} {
		if !strings.Contains(problems, want) {
			t.Errorf("the doctor does not say %q:\n%s", want, problems)
		}
	}
	if out := o.run(0, up...); !strings.Contains(out, "The platform runs at all sites") {
		t.Errorf("up after the brain was stopped: %s", out)
	}
	if out := o.run(1, "doctor"); strings.Contains(out, "the job brain") || !strings.Contains(out, "takes no work") {
		t.Errorf("the doctor, with the node alone: %s", out)
	}
	o.args[len(o.args)-1] = "127.0.0.1:1"
	if out := o.run(1, "doctor"); !strings.Contains(out, "Open tunnels to a server") {
		t.Errorf("without a tunnel: %s", out)
	}
	stage("the end")
}

func (o *operator) path(name string) string { return filepath.Join(o.dir, name) }

func (o *operator) write(name, text string) {
	o.t.Helper()
	testkit.Must(o.t, os.WriteFile(o.path(name), []byte(text), 0o600))
}

func (o *operator) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(o.ctx, filepath.Join(o.bin, "nearcast"), append(append([]string{"cloud"}, args...), o.args...)...)
	cmd.Env = testkit.Environ()
	return cmd
}

// run runs a command, whose exit code must be the one.
func (o *operator) run(code int, args ...string) string {
	o.t.Helper()
	cmd := o.command(args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		o.t.Fatalf("nearcast cloud %s: %v, want code %d:\n%s%s", strings.Join(args, " "), err, code, &out, &said)
	}
	if args[len(args)-1] == "--json" {
		return out.String()
	}
	return out.String() + said.String()
}
