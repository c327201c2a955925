package nomad

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEndIsReadBack(t *testing.T) {
	for _, end := range []wire.End{
		{Reason: wire.ReasonLeft},
		{Reason: wire.ReasonAppExited, ExitCode: 3},
		{Reason: wire.ReasonAppExited, Signal: 11, Detail: "after 3 s"},
		{Reason: wire.ReasonError, Code: wire.CodeContentMissing, Detail: "no object s3://a/b: gone (404)"},
	} {
		if got, ok := parseEnd(end.String()); !ok || got != end {
			t.Errorf("%q was read as %+v", end, got)
		}
	}
	for _, text := range []string{"", "Exit Code: 1", "lefty", "(left)"} {
		if got, ok := parseEnd(text); ok {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
	got := end(task{Events: []taskEvent{
		{Type: "Started"},
		{Type: "Driver", DisplayMessage: "idle: no input for 300 s", Details: map[string]string{"reason": "idle"}},
		{Type: "Terminated", Details: map[string]string{"exit_code": "0"}},
	}})
	if want := (wire.End{Reason: wire.ReasonIdle, Detail: "no input for 300 s"}); got == nil || *got != want {
		t.Errorf("the driver's event was read as %+v", got)
	}
}

func TestDisplay(t *testing.T) {
	want := wire.Display{Width: 640, Height: 480, FPS: 60, Pointer: "relative"}
	block := map[string]any{"width": 640.0, "height": "480", "fps": 60.0, "pointer": "relative"}
	for _, config := range []map[string]any{
		{"display": block, "audio": false}, {"display": []any{block}, "audio": false},
	} {
		if got := display(config); got != want {
			t.Errorf("%v was read as %+v", config, got)
		}
	}
	if got := display(nil); got != (wire.Display{Width: 1280, Height: 720, FPS: 30, Pointer: "auto", Audio: true}) {
		t.Errorf("the default is %+v", got)
	}
}

func TestAccess(t *testing.T) {
	none := "none"
	for _, c := range []struct {
		meta     string
		fallback wire.Access
		want     wire.Access
		warned   bool
	}{
		{none, "", wire.AccessSigned, false},
		{none, wire.AccessPublic, wire.AccessPublic, false},
		{"public", "", wire.AccessPublic, false},
		{" public ", "", wire.AccessPublic, false},
		{"signed", wire.AccessPublic, wire.AccessSigned, false},
		{"login", wire.AccessPublic, wire.AccessLogin, false},
		// What is misspelt is never public.
		{"publik", wire.AccessPublic, wire.AccessSigned, true},
		{"", wire.AccessPublic, wire.AccessSigned, true},
	} {
		client, err := Open(Config{DefaultAccess: c.fallback, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		j := job{ID: "viewer", Meta: map[string]string{}}
		if c.meta != none {
			j.Meta["access"] = c.meta
		}
		said := ""
		if got, _ := client.accessOf(j, func(format string, args ...any) { said = fmt.Sprintf(format, args...) }); got != c.want || (said != "") != c.warned {
			t.Errorf("%q with default %q: %s, says %q", c.meta, c.fallback, got, said)
		}
		client.Close()
	}
}

// TestLoginOf: who may log in to an app, and that what is wrong lets nobody in by a login.
func TestLoginOf(t *testing.T) {
	client, err := Open(Config{DefaultAccess: wire.AccessPublic, Log: slog.New(slog.DiscardHandler)})
	testkit.Must(t, err)
	defer client.Close()
	type meta = map[string]string
	for name, c := range map[string]struct {
		meta   meta
		access wire.Access
		login  wire.AppLogin
		says   string
	}{
		"all that the provider knows": {meta{"access": "login"}, wire.AccessLogin, wire.AppLogin{}, ""},
		"groups":                      {meta{"access": "login", "login_groups": "staff, partners"}, wire.AccessLogin, wire.AppLogin{Groups: []string{"staff", "partners"}}, ""},
		"groups and subjects": {meta{"access": "login", "login_groups": "staff", "login_subjects": " 4711 "}, wire.AccessLogin,
			wire.AppLogin{Groups: []string{"staff"}, Subjects: []string{"4711"}}, ""},
		"names with a comma": {meta{"access": "login", "login_groups": `["cn=a,ou=b"]`}, wire.AccessLogin, wire.AppLogin{Groups: []string{"cn=a,ou=b"}}, ""},
		"an empty list":      {meta{"access": "login", "login_groups": "[]"}, wire.AccessSigned, wire.AppLogin{}, "1 to 32 names"},
		"no name":            {meta{"access": "login", "login_groups": ""}, wire.AccessSigned, wire.AppLogin{}, "is empty"},
		"an empty name":      {meta{"access": "login", "login_subjects": "a,,b"}, wire.AccessSigned, wire.AppLogin{}, "is empty"},
		"broken JSON":        {meta{"access": "login", "login_groups": `["staff"`}, wire.AccessSigned, wire.AppLogin{}, "list of texts in JSON"},
		"numbers":            {meta{"access": "login", "login_subjects": "[4711]"}, wire.AccessSigned, wire.AppLogin{}, "list of texts in JSON"},
		"a long name":        {meta{"access": "login", "login_groups": strings.Repeat("x", 256)}, wire.AccessSigned, wire.AppLogin{}, "256 bytes"},
		"a long list":        {meta{"access": "login", "login_groups": strings.Repeat("x,", 32) + "x"}, wire.AccessSigned, wire.AppLogin{}, "has 33"},
		"a huge list":        {meta{"access": "login", "login_groups": strings.Repeat("x", 5000)}, wire.AccessSigned, wire.AppLogin{}, "more than 4096"},
		"a misspelt key":     {meta{"access": "login", "login_group": "staff"}, wire.AccessSigned, wire.AppLogin{}, "login_group is not known"},
		"not a login":        {meta{"access": "public", "login_groups": "staff"}, wire.AccessPublic, wire.AppLogin{}, `only with access = "login"`},
		"misspelt":           {meta{"access": "logn", "login_groups": "staff"}, wire.AccessSigned, wire.AppLogin{}, `only with access = "login"`},
	} {
		var said []string
		access, login := client.accessOf(job{ID: "viewer", Meta: c.meta}, func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })
		if access != c.access || !reflect.DeepEqual(login, c.login) {
			t.Errorf("%s: %s %+v, want %s %+v", name, access, login, c.access, c.login)
		}
		if all := strings.Join(said, "; "); !strings.Contains(all, c.says) || (all != "") != (c.says != "") {
			t.Errorf("%s: says %q, want %q", name, all, c.says)
		}
	}
}

func TestMaxWhenQueued(t *testing.T) {
	for meta, want := range map[string]time.Duration{
		"none": 15 * time.Minute, "1h": time.Hour, " 90s ": 90 * time.Second, "0": 0,
		"": 15 * time.Minute, "soon": 15 * time.Minute, "-1m": 15 * time.Minute, "1ms": 15 * time.Minute,
	} {
		j := job{ID: "viewer", Meta: map[string]string{}}
		if meta != "none" {
			j.Meta["max_when_queued"] = meta
		}
		if got := maxWhenQueued(j, func(string, ...any) {}); got != want {
			t.Errorf("%q: %s, want %s", meta, got, want)
		}
	}
}

// agent runs a real Nomad, server and client.
func agent(t *testing.T, log io.Writer, more string) (*Client, *testkit.Nomad) {
	t.Helper()
	n := testkit.NewNomad(t)
	n.Start(`
client {
  options = { "driver.allowlist" = "raw_exec" }
}
plugin "raw_exec" {
  config { enabled = true }
}
` + more)
	// In a brain's task Nomad sets this to the brain's namespace.
	t.Setenv("NOMAD_NAMESPACE", "default")
	c, err := Open(Config{Address: n.Address, Namespace: "apps", Log: slog.New(slog.NewTextHandler(io.MultiWriter(testkit.Output(t), log), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	c.driver = "raw_exec"
	n.WaitReady("raw_exec")
	return c, n
}

func run(t *testing.T, c *Client, namespace, hcl string) {
	t.Helper()
	j, err := c.api.Jobs().ParseHCL(hcl, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.api.Jobs().Register(j, &api.WriteOptions{Namespace: namespace}); err != nil {
		t.Fatal(err)
	}
}

func jobHCL(id, meta, script, extra string) string {
	return fmt.Sprintf(`job %q {
  type = "batch"
  datacenters = ["*"]
  parameterized {}
  meta {
    %s
  }
  group "g" {
    restart { attempts = 0 }
    reschedule { attempts = 0 }
    %s
    task "seat" {
      driver = "raw_exec"
      config {
        command = "/bin/sh"
        args = ["-c", %q]
      }
      resources {
        cpu = 50
        memory = 32
      }
    }
  }
}`, id, strings.ReplaceAll(meta, ";", "\n"), extra, script)
}

func TestAgainstNomad(t *testing.T) {
	log := &testkit.Buffer{}
	c, agent := agent(t, log, "")
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
	w := watching(ctx, c)
	defer func() { cancel(); w.stop() }()
	see := w.see

	testkit.Until(t, "the log says that the namespace is missing", func() bool {
		return strings.Contains(log.String(), `Nomad has no \"apps\": run acl/apply.sh`)
	})
	if _, err := c.api.Namespaces().Register(&api.Namespace{Name: "apps"}, nil); err != nil {
		t.Fatal(err)
	}

	run(t, c, "apps", jobHCL("viewer", `warm = "2"; max = "7"; title = "The viewer"
    params = jsonencode([{ name = "model", pattern = "[a-z0-9-]{1,40}", default = "robot" }, { name = "key", secret = true }])`, "exec sleep 600", ""))
	run(t, c, "apps", strings.Replace(jobHCL("tool", "", "true", ""), "parameterized {}", "", 1))
	// What is in another namespace is no app, and hides none of the same name.
	for _, id := range []string{"viewer", "earlier"} {
		run(t, c, "default", jobHCL(id, `max = "9"`, "true", ""))
	}
	testkit.Until(t, "the app is seen", func() bool { return see().Apps["viewer"].Max == 7 })
	app := see().Apps["viewer"]
	if app.Warm != 2 || app.Title != "The viewer" || app.Access != wire.AccessSigned || len(see().Apps) != 1 {
		t.Errorf("apps %+v", see().Apps)
	}
	if want := []wire.Param{{Name: "model", Pattern: "[a-z0-9-]{1,40}", Default: "robot"}, {Name: "key", Secret: true}}; !slices.Equal(app.Params, want) {
		t.Errorf("params %+v", app.Params)
	}

	// The same token starts one seat.
	var ids [2]string
	for i := range ids {
		id, err := c.Dispatch(ctx, app, "s-1")
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = id
	}
	if ids[0] != ids[1] {
		t.Errorf("one token started %v", ids)
	}
	begin := time.Now()
	testkit.Until(t, "it runs", func() bool { return see().Children[ids[0]].State == brain.ChildRunning })
	t.Logf("running is seen after %v", time.Since(begin))
	seat := see().Children[ids[0]]
	if seat.App != "viewer" || seat.Version != app.Version || seat.Token != "s-1" || seat.Alloc == "" || time.Since(seat.Created) > time.Minute {
		t.Errorf("child %+v", seat)
	}
	if live, err := c.Live(ctx, "viewer"); err != nil || !slices.Equal(live, ids[:1]) {
		t.Errorf("live %v, %v", live, err)
	}

	// A changed job is a new version, and its children's ids tell it.
	run(t, c, "apps", jobHCL("viewer", `warm = "x"; max = "3"; access = "public"`, "exit 7", ""))
	testkit.Until(t, "the new version is seen", func() bool { return see().Apps["viewer"].Version == app.Version+1 })
	app = see().Apps["viewer"]
	if app.Warm != 0 || app.Max != 3 || app.Title != "viewer" || app.Access != wire.AccessPublic {
		t.Errorf("app %+v", app)
	}
	failing, err := c.Dispatch(ctx, app, "s-2")
	if err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, "it exits and is dead", func() bool {
		child := see().Children[failing]
		return child.State == brain.ChildDead && child.End != nil && child.End.ExitCode == 7
	})
	if v := see().Children[failing].Version; v != app.Version {
		t.Errorf("version %d, want %d", v, app.Version)
	}

	// No node can take it.
	run(t, c, "apps", jobHCL("huge", "", "exec sleep 600", `constraint {
      attribute = "${node.class}"
      value = "gpu"
    }`))
	testkit.Until(t, "seen", func() bool { return see().Apps["huge"].ID != "" })
	stuck, err := c.Dispatch(ctx, see().Apps["huge"], "s-3")
	if err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, "it is blocked, with a reason", func() bool {
		child := see().Children[stuck]
		return child.State == brain.ChildBlocked && strings.Contains(child.Why, "node.class")
	})
	t.Log(see().Children[stuck].Why)

	// The end of its namesake in another namespace changes nothing for it.
	if _, _, err := c.api.Jobs().Deregister("viewer", true, &api.WriteOptions{Namespace: "default"}); err != nil {
		t.Fatal(err)
	}
	run(t, c, "apps", jobHCL("later", "", "true", ""))
	testkit.Until(t, "a later event is seen", func() bool { return see().Apps["later"].ID != "" })
	if app := see().Apps["viewer"]; app.Max != 3 || len(see().Apps) != 3 {
		t.Errorf("apps %+v", see().Apps)
	}

	// A second watch reads the same from the tables, but for what is dead.
	again := watching(ctx, c)
	testkit.Until(t, "the second watch has read the tables", func() bool { return again.changes() > 0 })
	again.stop()
	first := again.see()
	if got := first.Children[ids[0]]; got.State != brain.ChildRunning || got.Token != "s-1" || got.Version != seat.Version || got.Node == "" {
		t.Errorf("second watch: %+v", got)
	}
	if got, ok := first.Children[failing]; ok {
		t.Errorf("second watch has a dead child: %+v", got)
	}
	if got := first.Children[stuck]; got.State != brain.ChildBlocked || got.Why == "" || got.Token != "s-3" {
		t.Errorf("second watch: %+v", got)
	}
	if len(first.Apps) != 3 || again.changes() != 1 {
		t.Errorf("second watch: %d changes, apps %+v", again.changes(), first.Apps)
	}

	// Nomad is killed and started again. The watch goes on.
	agent.Kill()
	agent.Restart()
	testkit.Retry(testkit.Context(t, time.Minute), t, "nomad has a leader again", func() error { _, err := c.Live(ctx, "viewer"); return err })
	testkit.Retry(testkit.Context(t, time.Minute), t, "nomad takes writes again", func() error { return c.Stop(ctx, ids[0]) })
	testkit.Until(t, "everything is read again, and the log names the app of an earlier release", func() bool {
		return strings.Contains(log.String(), "is in the namespace default") && strings.Contains(log.String(), "job=earlier")
	})
	testkit.Until(t, "stopped is drained", func() bool {
		child := see().Children[ids[0]]
		return child.State == brain.ChildDead && child.End != nil && child.End.Reason == wire.ReasonDrained
	})
	if _, err := c.Dispatch(ctx, brain.App{ID: "never"}, "s-9"); !errors.Is(err, brain.ErrNoApp) {
		t.Errorf("dispatch of an app that does not exist: %v", err)
	}
	if err := c.Stop(ctx, "viewer"); err == nil {
		t.Error("Stop accepted an app")
	}
	if _, _, err := c.api.Jobs().Deregister("viewer", false, nil); err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, "a stopped app is gone", func() bool { _, ok := see().Apps["viewer"]; return !ok })
	if got := see().Children[failing]; got.App != "viewer" {
		t.Errorf("its children are forgotten: %+v", got)
	}
}
