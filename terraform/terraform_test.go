// Package terraform_test checks the Terraform code of this folder without an AWS account:
// its format, its validity, and its tests in tests/, which run against a stand-in for AWS.
//
// The tests check what is intended. This package runs them, and checks every plan that they
// made for rules that hold for each resource, also for one that is added later: its region,
// what it opens, what it leaves in the state.
//
//	NEARCAST_TFCHECK=path/to/tfcheck go test ./terraform
//
// The providers come from the registry if it can be reached, else from an offline stand-in
// with the same schemas: a program with the arguments "DIR test [arguments of terraform
// test]", which $NEARCAST_TFCHECK names, or tfcheck in PATH. The log says which was used.
package terraform_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestTerraform(t *testing.T) {
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip("terraform is not installed (1.9 or newer): https://developer.hashicorp.com/terraform/install")
	}
	t.Run("format", func(t *testing.T) {
		if out, err := run(t, ".", "terraform", "fmt", "-check", "-recursive", "-no-color"); err != nil {
			t.Fatalf("run terraform fmt -recursive here: %v\n%s", err, out)
		}
	})
	c := newChecker(t)
	// One call for all files: most of the time goes into starting.
	seen := c.test(t, []string{"input", "sites", "rights", "removal"}, "-verbose")
	for _, file := range []string{"input", "sites", "rights", "removal"} {
		t.Run(file, func(t *testing.T) {
			f := seen[file]
			if f == nil || f.status != "pass" || f.passed == 0 {
				t.Fatalf("%s.tftest.hcl did not pass:\n%s", file, f.said())
			}
			t.Logf("%d runs passed", f.passed)
			for _, p := range f.plans {
				if file != "input" { // whose plans were given up
					p.check(t)
				}
				if file == "removal" {
					p.checkRemoval(t, "ap-northeast-1")
				}
			}
		})
	}
	t.Run("policies", func(t *testing.T) {
		f := seen["rights"]
		if f == nil || len(f.states) != 1 {
			t.Fatalf("rights.tftest.hcl made no state:\n%s", f.said())
		}
		f.states[0].checkPolicies(t)
	})
	t.Run("messages about wrong input", func(t *testing.T) {
		c.refuse(t)
	})
}

// TestNothingBakedIn searches for values that belong to one account.
func TestNothingBakedIn(t *testing.T) {
	secret := regexp.MustCompile(`\b\d{12}\b|AKIA[0-9A-Z]{16}|ami-[0-9a-f]{8,}|-----BEGIN`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if d != nil && (d.Name() == ".terraform" || d.Name() == "tests") {
				return fs.SkipDir
			}
			return err
		}
		switch filepath.Ext(path) {
		case ".tf", ".tftpl", ".md", ".example":
		default:
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if found := secret.Find(text); found != nil {
			t.Errorf("%s holds %q, which belongs to one account", path, found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checker runs terraform test on a copy of this folder.
type checker struct {
	dir string
	// argv is put before the arguments of terraform test.
	argv []string
}

func newChecker(t *testing.T) *checker {
	c := &checker{dir: filepath.Join(t.TempDir(), "terraform")}
	if err := os.CopyFS(c.dir, os.DirFS(".")); err != nil {
		t.Fatalf("copy this folder: %v", err)
	}
	// An operator's own files are not part of the test.
	for _, own := range []string{".terraform", ".build", "terraform.tfstate", "terraform.tfvars"} {
		if err := os.RemoveAll(filepath.Join(c.dir, own)); err != nil {
			t.Fatal(err)
		}
	}
	out, err := run(t, c.dir, "terraform", "init", "-backend=false", "-input=false", "-no-color")
	if err == nil {
		t.Log("checked with the providers of the registry")
		if out, err := run(t, c.dir, "terraform", "validate", "-no-color"); err != nil {
			t.Fatalf("terraform validate: %v\n%s", err, out)
		}
		c.argv = []string{"terraform", "test"}
		return c
	}
	if !bytes.Contains(out, []byte("Failed to query available provider packages")) && !bytes.Contains(out, []byte("Failed to install provider")) {
		t.Fatalf("terraform init: %v\n%s", err, out)
	}
	offline := os.Getenv("NEARCAST_TFCHECK")
	if offline == "" {
		offline, _ = exec.LookPath("tfcheck")
	}
	if offline == "" {
		t.Skipf("the registry of providers cannot be reached, and neither $NEARCAST_TFCHECK nor PATH names an offline stand-in (tfcheck):\n%s", out)
	}
	if offline, err = filepath.Abs(offline); err != nil {
		t.Fatal(err)
	}
	// It validates before each test.
	t.Logf("checked offline, by %s: the registry cannot be reached", filepath.Base(offline))
	if err := os.RemoveAll(filepath.Join(c.dir, ".terraform")); err != nil {
		t.Fatal(err)
	}
	c.argv = []string{offline, c.dir, "test"}
	return c
}

// test runs files of tests, and returns a report of each.
func (c *checker) test(t *testing.T, files []string, args ...string) map[string]*report {
	t.Helper()
	all := append(c.argv[:len(c.argv):len(c.argv)], "-json")
	for _, f := range files {
		all = append(all, "-filter=tests/"+f+".tftest.hcl")
	}
	// The reports of the files say what failed.
	out, err := run(t, c.dir, all[0], append(all[1:], args...)...)
	seen := read(out)
	if len(seen) == 0 {
		t.Fatalf("%s: %v\n%s", strings.Join(all, " "), err, out)
	}
	return seen
}

// run returns what a command printed. The command and its children end within ten minutes;
// only a very busy machine needs that long.
func run(t *testing.T, dir, name string, args ...string) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_INPUT=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	}
	return out, err
}
