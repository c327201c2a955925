package provision_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestRetriesDiffer: a step of the boot that failed waits for a random time before it is tried again,
// and one that succeeded, or that somebody ended, does not.
func TestRetriesDiffer(t *testing.T) {
	dir := t.TempDir()
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "sleep"), []byte("#!/bin/sh\necho \"$1\"\n"), 0o700))
	for _, name := range []string{"nearcast-acl.service", "nearcast-configure.service"} {
		unit, err := os.ReadFile(filepath.Join("units", name))
		testkit.Must(t, err)
		line := regexp.MustCompile(`(?m)^ExecStopPost=-/bin/sh -c '(.*)'$`).FindSubmatch(unit)
		if line == nil {
			t.Errorf("%s waits for no random time", name)
			continue
		}
		waits := func(code, status string) string {
			cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(string(line[1]), "$$", "$"))
			cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "EXIT_CODE=" + code, "EXIT_STATUS=" + status}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v: %s", name, err, out)
			}
			return strings.TrimSpace(string(out))
		}
		seen := map[string]bool{}
		for range 40 {
			said := waits("exited", "1")
			if n, err := strconv.Atoi(said); err != nil || n < 0 || n > 10 {
				t.Fatalf("%s waits for %q seconds", name, said)
			}
			seen[said] = true
		}
		if len(seen) < 3 {
			t.Errorf("%s always waits for the same seconds: %v", name, seen)
		}
		for _, end := range []string{"exited 0", "killed TERM"} {
			code, status, _ := strings.Cut(end, " ")
			if said := waits(code, status); said != "" {
				t.Errorf("%s, %s: it waits for %s seconds", name, end, said)
			}
		}
	}
}
