package testkit

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFindTool(t *testing.T) {
	cache, path := t.TempDir(), t.TempDir()
	t.Setenv("NEARCAST_TOOLS_DIR", cache)
	t.Setenv("PATH", path)
	for _, file := range []string{filepath.Join(cache, "both"), filepath.Join(path, "both"), filepath.Join(path, "one")} {
		Must(t, os.WriteFile(file, nil, 0o755))
	}
	for name, want := range map[string]string{"both": cache, "one": path} {
		if got, err := FindTool(name); err != nil || got != filepath.Join(want, name) {
			t.Errorf("%s is %s, %v", name, got, err)
		}
	}
	if _, err := FindTool("none"); err == nil || !strings.Contains(err.Error(), cache) || !strings.Contains(err.Error(), "dev tools") {
		t.Errorf("a missing tool: %v", err)
	}
	if said := failing(t, func(t testing.TB) { Tool(t, "none") }); !strings.HasPrefix(said, "skipped: none is neither in ") {
		t.Errorf("a test without its tool says %q", said)
	}
}

func TestEnviron(t *testing.T) {
	t.Setenv("NEARCAST_TOOLS_DIR", "/tools")
	t.Setenv("PATH", "/bin")
	t.Setenv("AWS_PROFILE", "production")
	t.Setenv("NOMAD_ADDR", "http://production.example")
	t.Setenv("CONSUL_HTTP_TOKEN", "production")
	t.Setenv("HOME", "/home/nobody")
	env := Environ()
	for _, variable := range env {
		if strings.Contains(variable, "production") {
			t.Errorf("%s is kept", variable)
		}
	}
	for _, want := range []string{"PATH=/tools:/bin", "HOME=/home/nobody", "NEARCAST_TOOLS_DIR=/tools"} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is missing from %q", want, env)
		}
	}
	if n := len(slices.DeleteFunc(env, func(s string) bool { return !strings.HasPrefix(s, "PATH=") })); n != 1 {
		t.Errorf("there are %d PATH", n)
	}
}
