package driver

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// reverts publishes two versions of an app's files, and takes the second one back: the next person sees
// the files of the first again, as "nomad job revert" restores the job, and the job names the version.
func (a *agent) reverts(t *testing.T, nearcast, endpoint, region string) {
	block := regexp.MustCompile(`(?s)content \{.*?\n\}`)
	// publish uploads the files of a folder as a version, and registers the job that names it.
	publish := func(files map[string]string) {
		t.Helper()
		folder := t.TempDir()
		for name, text := range files {
			testkit.Must(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644))
		}
		cmd := exec.Command(nearcast, "app", "publish", folder, "--to", "s3://content/game", "--endpoint", endpoint, "--region", region)
		cmd.Env = append(testkit.Environ(), "AWS_ACCESS_KEY_ID="+os.Getenv("AWS_ACCESS_KEY_ID"), "AWS_SECRET_ACCESS_KEY="+os.Getenv("AWS_SECRET_ACCESS_KEY"), "AWS_EC2_METADATA_DISABLED=true")
		out, err := cmd.Output()
		if err != nil || !strings.Contains(string(out), "manifest") {
			t.Fatalf("publish: %v\n%s", err, out)
		}
		a.register("game", block.FindString(string(out)))
	}
	dispatched := regexp.MustCompile(`game/dispatch-\S+`)
	// sees is what a new seat's app sees in its folder.
	sees := func() string {
		t.Helper()
		job := dispatched.FindString(a.must("job", "dispatch", "-detach", "game"))
		var allocs []allocation
		var said []string
		eventually(t, "a seat of "+job+" is ready", func() bool {
			if a.get("/v1/job/"+strings.ReplaceAll(job, "/", "%2F")+"/allocations", &allocs) != nil || len(allocs) != 1 {
				return false
			}
			said = a.alloc(allocs[0].ID).messages()
			return strings.Contains(strings.Join(said, "\n"), "ready")
		})
		out := a.must("alloc", "exec", "-i=false", "-t=false", allocs[0].ID, "/bin/sh", "-c", `cd "$NOMAD_TASK_DIR"/game && for f in *; do echo "$f: $(cat "$f")"; done`)
		a.must("job", "stop", "-detach", "-purge", job)
		return strings.TrimSpace(out)
	}
	began := time.Now()
	const first = "page: one\nsame: as before"
	publish(map[string]string{"page": "one", "same": "as before"})
	if got := sees(); got != first {
		t.Fatalf("of the first version a person sees %q", got)
	}
	publish(map[string]string{"page": "two", "same": "as before", "more": "of it"})
	if got, want := sees(), "more: of it\npage: two\nsame: as before"; got != want {
		t.Fatalf("of the second version a person sees %q", got)
	}
	a.must("job", "revert", "-detach", "game", "0")
	if got := sees(); got != first {
		t.Errorf("after the revert a person sees %q, want %q", got, first)
	}
	t.Logf("two versions and a revert took %v", time.Since(began))
}
