package platform_test

import (
	"context"
	"os/exec"
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
