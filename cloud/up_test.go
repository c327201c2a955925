package cloud

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestUp(t *testing.T) {
	c, sites, said := newCluster(t)
	if pending, err := c.Plan(t.Context(), Options{}); err != nil || pending == 0 || sites["a-1"].runs != 0 {
		t.Fatalf("plan: %d, %v; %d jobs were registered", pending, err, sites["a-1"].runs)
	}
	if text := strings.Join(*said, "\n"); !strings.Contains(text, `b-1: autoscaler: new, pools = {"stream-cpu":{"group":"n-stream-cpu","min":0,"max":9}}`) {
		t.Errorf("the plan says: %s", text)
	}
	changed, err := c.Up(t.Context(), Options{})
	if err != nil || !changed {
		t.Fatalf("up: %t, %v", changed, err)
	}
	a, b := sites["a-1"], sites["b-1"]
	if len(a.jobs) != 3 || len(b.jobs) != 5 {
		t.Errorf("jobs at a-1: %q, at b-1: %q", a.jobs, b.jobs)
	}
	if want := "count = 2\nport = 8081\ninternal_port = 8091\nurl = \"wss://brain.b-1.play.example/v1/connect\"\noptions = [\"--turn=turn:turn.b-1.play.example:3478\",\"--events=s3://system-b/events?region=b-1\"]\n"; b.jobs["brain"] != want {
		t.Errorf("the brain of b-1: %s", b.jobs["brain"])
	}
	token := a.variables[routerVariable]["operator_token"]
	if len(token) != 64 || b.variables[routerVariable]["operator_token"] != token || a.variables[routerVariable]["ticket_key"] != "k" {
		t.Errorf("routers' variables: %q, %q", a.variables[routerVariable], b.variables[routerVariable])
	}
	if secret := b.variables[turnVariable]["secret"]; len(secret) != 64 || b.variables[brainVariable]["turn_secret"] != secret || b.variables[brainVariable]["ticket_keys"] != "K" {
		t.Errorf("the secret of TURN: %q, %q", b.variables[turnVariable], b.variables[brainVariable])
	}
	if changed, err := c.Up(t.Context(), Options{}); changed || err != nil {
		t.Errorf("the second run: %t, %v", changed, err)
	}
	if pending, err := c.Plan(t.Context(), Options{}); pending != 0 || err != nil {
		t.Errorf("the plan after it: %d, %v", pending, err)
	}
	a.stopped["brain"] = true
	if changed, err := c.Up(t.Context(), Options{}); !changed || err != nil || a.stopped["brain"] {
		t.Errorf("with a stopped brain: %t, %v", changed, err)
	}
}

// TestUpKilled ends the command at each of its writes; the next run completes the work.
func TestUpKilled(t *testing.T) {
	whole, _, _ := newCluster(t)
	if _, err := whole.Up(t.Context(), Options{}); err != nil {
		t.Fatal(err)
	}
	for writes := 0; ; writes++ {
		c, sites, _ := newCluster(t)
		sites["b-1"].writes = writes
		_, err := c.Up(t.Context(), Options{})
		if err == nil {
			if writes < 6 {
				t.Errorf("a whole run makes only %d writes at b-1", writes)
			}
			return
		}
		if !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		secret := sites["b-1"].variables[turnVariable]["secret"]
		sites["b-1"].writes = -1
		if _, err := c.Up(t.Context(), Options{}); err != nil {
			t.Fatalf("after it was killed at write %d: %v", writes, err)
		}
		now := sites["b-1"].variables[turnVariable]["secret"]
		if len(sites["b-1"].jobs) != 5 || secret != "" && now != secret || sites["b-1"].variables[brainVariable]["turn_secret"] != now {
			t.Errorf("after it was killed at write %d: jobs %q, variables %q", writes, sites["b-1"].jobs, sites["b-1"].variables)
		}
	}
}

func TestUpWaits(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*fakeSite)
		want  string
	}{
		"no keys yet":    {func(f *fakeSite) { f.variables[routerVariable] = nil }, "systemctl status nearcast-acl"},
		"no token":       {func(f *fakeSite) { f.silent = errors.New("403 (Permission denied)") }, "--cluster-file FILE"},
		"no leader":      {func(f *fakeSite) { f.servers[0].Leader = false }, "there is no leader"},
		"two servers":    {func(f *fakeSite) { f.servers = f.servers[:2] }, "2 of 3 servers have a vote"},
		"edges are away": {func(f *fakeSite) { f.nodes[1].Status, f.nodes[2].Eligible = "down", false }, "1 of 3 are ready"},
		"two tokens": {func(f *fakeSite) {
			f.variables[routerVariable]["operator_token"] = "other"
		}, ""},
	} {
		cluster, sites, _ := newCluster(t)
		sites["a-1"].variables[routerVariable]["operator_token"] = "one"
		c.spoil(sites["b-1"])
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := cluster.Up(ctx, Options{})
		cancel()
		if c.want == "" {
			c.want = "the operators' token at b-1 differs from that at a-1"
		} else if sites["a-1"].runs == 0 {
			t.Errorf("%s: the other site has no jobs", name)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || sites["b-1"].runs > 0 {
			t.Errorf("%s: %v; want %q, and no job", name, err, c.want)
		}
	}
}

// TestUpSiteDown: the other sites go on while the primary one does not answer, where they know the
// operators' token. They make none, because the primary site may have one.
func TestUpSiteDown(t *testing.T) {
	for _, token := range []string{"", "one"} {
		c, sites, _ := newCluster(t)
		sites["a-1"].silent = errors.New("no route")
		sites["b-1"].variables[routerVariable]["operator_token"] = token
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := c.Up(ctx, Options{})
		cancel()
		if err == nil || !strings.Contains(err.Error(), "a-1: servers did not come in time: no route") {
			t.Errorf("with the token %q: %v", token, err)
		}
		waits := strings.Contains(fmt.Sprint(err), "b-1: the operators' token did not come in time: no other site has it, and a-1 does not answer: no route")
		if waits != (token == "") || (len(sites["b-1"].jobs) == 5) != (token != "") {
			t.Errorf("with the token %q: %v; jobs %q", token, err, sites["b-1"].jobs)
		}
	}
}

// TestUpConsole: the console runs at one site, where a setting names it, and only when somebody
// could log in.
func TestUpConsole(t *testing.T) {
	c, sites, _ := newCluster(t)
	settings, err := c.Outputs.ParseSettings([]string{"b-1/console.url=http://localhost:8070", "console.port=8070", "observability.retention=9d"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Up(t.Context(), Options{Settings: settings}); err == nil || !strings.Contains(err.Error(), "docs/CONSOLE-SETUP.md") {
		t.Errorf("without its variable: %v", err)
	}
	sites["b-1"].variables[consoleVariable] = map[string]string{"token": "secret"}
	if _, err := c.Up(t.Context(), Options{Settings: settings}); err != nil {
		t.Error(err)
	}
	if a, b := sites["a-1"].jobs, sites["b-1"].jobs; a["console"] != "" || b["console"] != "url = \"http://localhost:8070\"\nport = \"8070\"\n" || a["observability"] == "" || b["observability"] == "" {
		t.Errorf("jobs at a-1: %q, at b-1: %q", a, b)
	}
}

// TestUpPrefetch: the job prefetch runs by default. At a site with the access control of an earlier release
// all other jobs run, and what is missing is said.
func TestUpPrefetch(t *testing.T) {
	c, sites, _ := newCluster(t)
	b := sites["b-1"]
	b.earlier = true
	want := "b-1: prefetch: the site has the access control of an earlier release: Nomad has no namespace fetches"
	if _, err := c.Up(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), want) || len(sites["a-1"].jobs) != 3 || len(b.jobs) != 4 {
		t.Errorf("up: %v; jobs at b-1: %q", err, b.jobs)
	}
	if _, err := c.Plan(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("plan: %v", err)
	}
	off, err := c.Outputs.ParseSettings([]string{"b-1/prefetch.every=0"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Up(t.Context(), Options{Settings: off}); err != nil || b.jobs["prefetch"] != "every = \"0\"\n" {
		t.Errorf("turned off: %v; jobs at b-1: %q", err, b.jobs)
	}
	b.earlier = false
	if _, err := c.Up(t.Context(), Options{}); err != nil || b.jobs["prefetch"] != "" || len(b.jobs) != 5 {
		t.Errorf("with the access control of this one: %v; jobs at b-1: %q", err, b.jobs)
	}
}

func TestUnhealthy(t *testing.T) {
	for _, c := range []struct {
		state          State
		missing, fatal string
	}{
		{State{Exists: true, Wanted: 2, Running: 2, Deployment: "successful"}, "", ""},
		{State{Exists: true, Wanted: 2, Running: 1, Deployment: "running"}, "the deployment is not complete", ""},
		{State{Exists: true, Wanted: 2, Running: 2, Version: 3, DeploymentVersion: 2, Deployment: "successful"}, "the deployment is not complete", ""},
		{State{Exists: true, Wanted: 2, Running: 1, Deployment: "successful", Trouble: []string{"the node pool edge has no node"}}, "1 of 2 run (the node pool edge has no node)", ""},
		{State{Exists: true, Deployment: "failed", Why: "unhealthy allocations"}, "", "its deployment failed: unhealthy allocations"},
		{State{Exists: true, Wanted: 1, Version: 2, DeploymentVersion: 1, Deployment: "failed"}, "the deployment is not complete", ""}, // an earlier one
		{State{Exists: true, Stopped: true}, "", "somebody stopped it"},
		{State{Exists: true, Version: 2, DeploymentVersion: 1, Deployment: "successful"}, "", ""}, // turned off
		{State{Exists: true, Running: 1, Version: 2, DeploymentVersion: 1, Deployment: "successful"}, "the deployment is not complete", ""},
	} {
		missing, err := unhealthy(c.state)
		if !strings.Contains(missing, c.missing) || (missing == "") != (c.missing == "") || (err == nil) != (c.fatal == "") || err != nil && err.Error() != c.fatal {
			t.Errorf("%+v: %q, %v", c.state, missing, err)
		}
	}
}

func TestPublish(t *testing.T) {
	c, sites, _ := newCluster(t)
	sites["a-1"].fails = errors.New("the disk is full")
	app := App{Job: Job{Name: "viewer", Source: "variable \"bucket\" {}\n", Variables: []Variable{{"warm", `"1"`}}}}
	got := c.Publish(t.Context(), c.Outputs.Sites, app)
	if len(got) != 2 || got[0].OK || got[0].Words != "the disk is full" || !got[1].OK || got[1].Words != "registered" {
		t.Errorf("published: %+v", got)
	}
	sites["a-1"].fails = nil
	app.Check = func(_ context.Context, site string, job Job) (problems, notes []string, err error) {
		if site == "b-1" {
			return []string{"no node is large enough"}, nil, nil
		}
		return nil, []string{"needs the volume data"}, nil
	}
	got = c.Publish(t.Context(), c.Outputs.Sites, app)
	if !got[0].OK || got[0].Words != "registered; note: needs the volume data" || got[1].OK || got[1].Words != "no node is large enough" {
		t.Errorf("published: %+v", got)
	}
	if want := "bucket = \"content-a\"\nwarm = \"1\"\n"; sites["a-1"].jobs["viewer"] != want {
		t.Errorf("variables: %q", sites["a-1"].jobs["viewer"])
	}
}
