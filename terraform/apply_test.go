package terraform_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/cloud"
	"github.com/nearcast/nearcast/internal/testkit"
)

// TestApply applies the modules for one region and for three, with Terraform's own AWS provider,
// against moto, an emulator of AWS: the second plan is empty, a site can be removed, and destroy
// leaves nothing. It skips where the provider or moto is missing; testdata/applied.json is what it
// saw when it ran, and TestAppliedResources compares the modules with that.
//
//	make terraform-apply
func TestApply(t *testing.T) {
	provider := providerFile(t)
	moto, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("moto_server is not installed (pip install 'moto[server]'): NOTHING WAS APPLIED")
	}
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip("terraform is not installed: NOTHING WAS APPLIED")
	}
	address := testkit.Address(t)
	ip, port, _ := strings.Cut(address, ":")
	server := exec.Command(moto, "-H", ip, "-p", port)
	server.Env = append(os.Environ(), "MOTO_ACM_VALIDATION_WAIT=1")
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	testkit.Must(t, server.Start())
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	f := newFront(t, "http://"+address)
	testkit.Until(t, "moto answers", func() bool {
		resp, err := http.Get("http://" + address + "/moto-api/data.json")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	w := &workspace{dir: filepath.Join(t.TempDir(), "terraform"), env: f.environment()}
	w.prepare(t, provider)
	var all applied
	for _, sites := range [][]string{{"eu-central-1"}, {"eu-central-1", "us-east-1", "ap-northeast-1"}} {
		t.Run(fmt.Sprintf("%d sites", len(sites)), func(t *testing.T) { all.add(w.walk(t, f, sites)) })
	}
	if !t.Failed() {
		all.Requests = f.calls
		all.check(t)
	}
}

// providerFile is the provider that NEARCAST_AWS_PROVIDER names.
func providerFile(t *testing.T) string {
	t.Helper()
	file := os.Getenv("NEARCAST_AWS_PROVIDER")
	if file == "" {
		t.Skip("NEARCAST_AWS_PROVIDER names no AWS provider: make terraform-apply builds one and runs this test: NOTHING WAS APPLIED")
	}
	if _, err := os.Stat(file); err != nil {
		t.Fatalf("NEARCAST_AWS_PROVIDER: %v", err)
	}
	file, err := filepath.Abs(file)
	testkit.Must(t, err)
	return file
}

// workspace is a copy of this folder that is applied.
type workspace struct {
	dir string
	env []string
}

func (w *workspace) prepare(t *testing.T, provider string) {
	t.Helper()
	testkit.Must(t, os.CopyFS(w.dir, os.DirFS(".")))
	for _, own := range []string{".terraform", ".terraform.lock.hcl", "terraform.tfstate", "terraform.tfvars"} {
		testkit.Must(t, os.RemoveAll(filepath.Join(w.dir, own)))
	}
	mirror := filepath.Join(filepath.Dir(w.dir), "mirror")
	folder := filepath.Join(mirror, "registry.terraform.io", "hashicorp", "aws", "6.34.0", "linux_amd64")
	testkit.Must(t, os.MkdirAll(folder, 0o755))
	testkit.Must(t, os.Symlink(provider, filepath.Join(folder, "terraform-provider-aws_v6.34.0")))
	config := filepath.Join(mirror, "terraform.rc")
	testkit.Must(t, os.WriteFile(config, []byte(fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirror)), 0o600))
	w.env = append(w.env, "TF_CLI_CONFIG_FILE="+config)
	w.must(t, "init", "-input=false", "-no-color")
}

// terraform runs one command, and says how long it took.
func (w *workspace) terraform(t *testing.T, args ...string) (out []byte, err error) {
	t.Helper()
	start := time.Now()
	out, err = run(t, w.dir, "env", append(append(slices.Clone(w.env), "terraform"), args...)...)
	t.Logf("terraform %s: %.0f s", args[0], time.Since(start).Seconds())
	return out, err
}

func (w *workspace) must(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := w.terraform(t, args...)
	if err != nil {
		t.Fatalf("terraform %s: %v\n%s", strings.Join(args, " "), err, out[max(0, len(out)-6000):])
	}
	return out
}

// walk applies some sites, plans again, removes the last one of three, and destroys.
func (w *workspace) walk(t *testing.T, f *front, sites []string) *state {
	t.Helper()
	ctx := t.Context()
	// Where reachability is reported, and where backups lie.
	regions := slices.Concat(sites, []string{"us-east-1", "eu-west-1", "us-west-2", "ap-northeast-3"})
	slices.Sort(regions)
	regions = slices.Compact(regions)
	testkit.Must(t, f.prepare(ctx, "example.com", regions))
	before, err := f.holds(ctx, regions)
	testkit.Must(t, err)
	w.input(t, sites)
	// An apply that fails leaves its state; the next walk begins without one.
	t.Cleanup(func() { _ = os.Remove(filepath.Join(w.dir, "terraform.tfstate")) })

	w.must(t, "apply", "-auto-approve", "-input=false", "-no-color", "-parallelism=20")
	w.unchanged(t, "after the first apply")
	var shown struct {
		Values state `json:"values"`
	}
	testkit.Must(t, json.Unmarshal(w.must(t, "show", "-json"), &shown))
	f.sees(t, shown.Values.managed())
	reads(t, w.must(t, "output", "-json"), sites)
	if len(sites) > 1 {
		w.input(t, sites[:len(sites)-1])
		w.must(t, "apply", "-auto-approve", "-input=false", "-no-color", "-parallelism=20")
		w.unchanged(t, "after a site was removed")
	}
	w.must(t, "destroy", "-auto-approve", "-input=false", "-no-color", "-parallelism=20")
	after, err := f.holds(ctx, regions)
	testkit.Must(t, err)
	for what, n := range after {
		if n != before[what] {
			t.Errorf("after destroy, %s: %d; before the first apply: %d", what, n, before[what])
		}
	}
	return &shown.Values
}

// unchanged fails where a plan would change what was just applied, and says what.
func (w *workspace) unchanged(t *testing.T, when string) {
	t.Helper()
	w.must(t, "plan", "-out=again", "-input=false", "-no-color", "-parallelism=20")
	var p plan
	testkit.Must(t, json.Unmarshal(w.must(t, "show", "-json", "again"), &p))
	for _, r := range p.Changes {
		if slices.Equal(r.Change.Actions, []string{"no-op"}) || r.Mode == "data" {
			continue
		}
		var differ []string
		for name, after := range r.Change.After {
			if before := r.Change.Before[name]; r.Change.Unknown[name] == nil && fmt.Sprint(before) != fmt.Sprint(after) {
				differ = append(differ, fmt.Sprintf("%s: %v -> %v", name, before, after))
			}
		}
		slices.Sort(differ)
		t.Errorf("%s, a plan does %v to %s:\n%s", when, r.Change.Actions, r.Address, strings.Join(differ, "\n"))
	}
	if len(p.Changes) < 100 {
		t.Errorf("%s, a plan has only %d resources", when, len(p.Changes))
	}
}

// input writes an operator's variables. With TURN and an address for alarms, all resources are made.
func (w *workspace) input(t *testing.T, sites []string) {
	t.Helper()
	regions := map[string]any{}
	for i, site := range sites {
		pools := map[string]any{"cpu": map[string]any{"instance_types": []string{"c7i.2xlarge", "c6i.2xlarge"}, "min": 1, "max": 6}}
		if i == 1 {
			pools["gpu"] = map[string]any{"instance_types": []string{"g6.xlarge"}, "min": 0, "max": 2, "on_demand_base": 0, "local_cache": true}
		}
		regions[site] = map[string]any{"cidr": fmt.Sprintf("10.%d.0.0/16", 10+i), "pools": pools}
	}
	values := map[string]any{
		"domain": "play.example.com", "zone": "example.com", "primary_region": sites[0], "regions": regions, "turn": true,
		"release": "./tests/fixtures/release.tar.gz", "image_parameter": imageParameter, "alarm_email": "operator@example.com",
		// Destroy is for a cluster with content in its buckets.
		"force_destroy": true, "tags": map[string]string{"team": "streaming"},
	}
	if len(sites) > 1 { // what is cheaper
		maps.Copy(values, map[string]any{
			"one_balancer": true, "server_type": "t4g.medium", "edge_type": "t4g.small",
			"release_arm64": "./tests/fixtures/release-arm64.tar.gz", "image_parameter_arm64": imageParameterARM64,
		})
	}
	text, err := json.Marshal(values)
	testkit.Must(t, err)
	testkit.Must(t, os.WriteFile(filepath.Join(w.dir, "terraform.tfvars.json"), text, 0o600))
}

// applied is what TestApply made, by type, and what it asked for.
type applied struct {
	Resources map[string]int `json:"resources"`
	Requests  map[string]int `json:"-"`
	Actions   []string       `json:"requests"`
}

const appliedFile = "testdata/applied.json"

// add keeps the largest state.
func (a *applied) add(s *state) {
	if s == nil {
		return
	}
	counts := map[string]int{}
	for _, r := range s.managed() {
		counts[r.Type]++
	}
	if len(s.managed()) > 0 {
		a.Resources = counts
	}
}

// check compares with what the file says, or writes it with NEARCAST_UPDATE=yes.
func (a *applied) check(t *testing.T) {
	t.Helper()
	a.Actions = slices.Sorted(maps.Keys(a.Requests))
	now, err := json.MarshalIndent(a, "", "  ")
	testkit.Must(t, err)
	now = append(now, '\n')
	if os.Getenv("NEARCAST_UPDATE") == "yes" {
		testkit.Must(t, os.MkdirAll(filepath.Dir(appliedFile), 0o755))
		testkit.Must(t, os.WriteFile(appliedFile, now, 0o644))
		return
	}
	var want applied
	testkit.Must(t, json.Unmarshal([]byte(text(t, appliedFile)), &want))
	// Which of the requests that wait for something are made, depends on time.
	added := slices.DeleteFunc(slices.Clone(a.Actions), func(action string) bool { return slices.Contains(want.Actions, action) })
	if !maps.Equal(a.Resources, want.Resources) || len(added) > 0 {
		t.Errorf("%s is not what was applied (NEARCAST_UPDATE=yes writes it): new requests are %q; all:\n%s", appliedFile, added, now)
	}
}

// TestAppliedResources finds a type of resource in the modules that TestApply has never made.
func TestAppliedResources(t *testing.T) {
	var a applied
	testkit.Must(t, json.Unmarshal([]byte(text(t, appliedFile)), &a))
	types := moduleTypes(t)
	for _, name := range types {
		if a.Resources[name] == 0 {
			t.Errorf("%s was never applied: run TestApply with NEARCAST_UPDATE=yes (terraform/README.md)", name)
		}
	}
	if len(types) < 30 || len(a.Resources) != len(types) {
		t.Errorf("%d types in modules, %d in %s", len(types), len(a.Resources), appliedFile)
	}
}

// moduleTypes lists the types of resources in the modules.
func moduleTypes(t *testing.T) (types []string) {
	t.Helper()
	for _, pattern := range []string{"*.tf", filepath.Join("modules", "*", "*.tf")} {
		files, err := filepath.Glob(pattern)
		testkit.Must(t, err)
		for _, file := range files {
			for _, m := range regexp.MustCompile(`(?m)^resource "([a-z0-9_]+)"`).FindAllStringSubmatch(text(t, file), -1) {
				types = append(types, m[1])
			}
		}
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// reads gives the outputs to what nearcast cloud reads them with.
func reads(t *testing.T, outputs []byte, sites []string) {
	t.Helper()
	o, err := cloud.ReadOutputs(outputs)
	testkit.Must(t, err)
	if got := o.Names(); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(sites))) {
		t.Errorf("the outputs name the sites %q", got)
	}
	for _, s := range o.Sites {
		pool := s.Pools["stream-cpu"]
		if s.Primary != (s.Name == sites[0]) || s.Backups.Bucket == "" || s.Backups.Region == s.Name || s.SystemBucket == "" || s.ContentBucket == "" ||
			s.Groups["server"] == "" || s.Groups["edge"] == "" || pool.Group != s.Groups["stream-cpu"] || pool.Min != 1 || pool.Max != 6 || len(s.Alarms) == 0 ||
			strings.Contains(s.BrainURL, ":8443") != (len(sites) > 1) {
			t.Errorf("the outputs say of %s: %+v", s.Name, s)
		}
	}
}

// sees asks the account itself about what was applied: hooks of each group, its first nodes, and the
// alarms. It leaves an object in each bucket, which destroy has to remove; not in those of backups, which
// an operator empties by hand.
func (f *front) sees(t *testing.T, made []stateResource) {
	t.Helper()
	for _, r := range made {
		region, _ := r.Values["region"].(string)
		name, _ := r.Values["name"].(string)
		bucket, _ := r.Values["bucket"].(string)
		switch r.Type {
		case "aws_autoscaling_group":
			hooks, err := f.ask(t.Context(), region, "autoscaling", "2011-01-01", "DescribeLifecycleHooks", map[string]string{"AutoScalingGroupName": name})
			testkit.Must(t, err)
			for _, hook := range []string{"ready", "drain"} {
				if !strings.Contains(hooks, "<LifecycleHookName>"+hook+"</LifecycleHookName>") {
					t.Errorf("%s has no hook %s:\n%s", r.Address, hook, hooks)
				}
			}
			groups, err := f.ask(t.Context(), region, "autoscaling", "2011-01-01", "DescribeAutoScalingGroups", map[string]string{"AutoScalingGroupNames.member.1": name})
			testkit.Must(t, err)
			if n, want := strings.Count(groups, "<InstanceId>"), r.Values["min_size"]; fmt.Sprint(n) != fmt.Sprint(want) {
				t.Errorf("%s starts with %d nodes; want %v", r.Address, n, want)
			}
		case "aws_cloudwatch_metric_alarm":
			f.mu.Lock()
			if alarm, _ := r.Values["alarm_name"].(string); f.alarms[region][alarm] == nil {
				t.Errorf("%s is not in %s", r.Address, region)
			}
			f.mu.Unlock()
		case "aws_s3_bucket":
			if strings.HasSuffix(r.Address, `["backups"]`) {
				continue
			}
			_, err := f.ask(t.Context(), region, "s3", "", "PUT /"+bucket+"/viewer/model.glb", map[string]string{"body": "content"})
			testkit.Must(t, err)
		}
	}
}
