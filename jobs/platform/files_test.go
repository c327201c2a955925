package platform_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestFormat: every HCL file of jobs and acl has Nomad's format.
func TestFormat(t *testing.T) {
	nomad := testkit.Tool(t, "nomad")
	check(t, "run nomad fmt -recursive jobs acl", nomad, "fmt", "-check", "-recursive", "..", "../../acl")
}

func TestShellcheck(t *testing.T) {
	shellcheck, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skipf("the Debian package shellcheck is missing: %v", err)
	}
	check(t, "", shellcheck, "../../acl/apply.sh")
}

func check(t *testing.T, advice, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		t.Errorf("%v: %s%s", err, out, advice)
	}
}

// TestPools: a misspelt key of a pool is an error before anything is registered.
func TestPools(t *testing.T) {
	nomad := testkit.Tool(t, "nomad")
	for pools, want := range map[string]string{
		`{"a":{"group":"g","min":0,"max":9}}`: "",
		`{"a":{"group":"g","min":0,"max":9,"seats":8,"wait":"2%","ready":"3m","schedule":"","jobs":"a,all"},"b":{"group":"h","min":1,"max":2}}`: "",
		`{"a":{"group":"g","min":0,"max":9},"b":{"group":"g","min":0,"max":9,"seat":8}}`:                                                        "unknown key; there are group, min, max, seats",
		`{"a":{"group":"g","min":0}}`: "Each pool needs group, min and max",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		out, err := exec.CommandContext(ctx, nomad, "job", "run", "-output", "-var=pools="+pools, "autoscaler.nomad.hcl").CombinedOutput()
		cancel()
		if (err == nil) != (want == "") || want != "" && !strings.Contains(string(out), want) {
			t.Errorf("pools = %s: %v, want %q: %s", pools, err, want, out)
		}
	}
}
