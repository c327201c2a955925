package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// The display has the size of the person's window from the first frame on, follows it
// within a second, and the app fills it. A phone in portrait is filled.
func TestDisplayFollowsTheWindow(t *testing.T) {
	ctx := testkit.Context(t, 2*time.Minute)
	app := runApp(ctx, t, map[string]string{"display_max": "1600x1280", "args": "-fps 30 -color white"})
	testkit.Must(t, site.WaitIdle(ctx, app))
	page := open(ctx, t, app, browser.Size{Width: 1280, Height: 720})
	is := func(width, height int) string {
		return fmt.Sprintf("(v => v.videoWidth === %d && v.videoHeight === %d)(document.querySelector('video'))", width, height)
	}
	play(ctx, t, page)
	testkit.Must(t, page.Until(ctx, is(1280, 720)))
	for _, size := range []browser.Size{{Width: 1000, Height: 600}, {Width: 390, Height: 844}, {Width: 1280, Height: 720}} {
		begin := time.Now()
		testkit.Must(t, page.Resize(ctx, size))
		testkit.Must(t, page.Until(ctx, is(int(size.Width), int(size.Height))))
		t.Logf("%dx%d after %v", size.Width, size.Height, time.Since(begin).Round(10*time.Millisecond))
		// The app fills it: every corner but that of its counter is white.
		testkit.Must(t, page.Until(ctx, "(p => p[15] > 200 && p[128] > 200 && p[143] > 200)("+picture+")"))
	}
	leave(ctx, t, page)
}

// What is wrong with a job is said before it is registered, and of one that is.
func TestAppCheckAndList(t *testing.T) {
	ctx := testkit.Context(t, 2*time.Minute)
	nearcast := func(args ...string) (string, int) {
		t.Helper()
		cmd := exec.CommandContext(ctx, filepath.Join(binDir, "nearcast"), append(args, "--nomad", site.Nomad().Address())...)
		out, err := cmd.CombinedOutput()
		if _, exited := err.(*exec.ExitError); err != nil && !exited {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	file := filepath.Join("jobs", "testapp.nomad.hcl")
	vars := []string{"--var", "name=checked", "--var", "testapp=/bin/true"}
	if out, code := nearcast(append([]string{"app", "check", file}, vars...)...); code != 0 || !strings.Contains(out, "checked: nothing is wrong") {
		t.Errorf("a good job: exit status %d\n%s", code, out)
	}
	// The same for people who log in, at a site whose router has no provider.
	if out, code := nearcast(append([]string{"app", "check", "--router", site.URL, "--var", "access=login", file}, vars...)...); code != 1 || strings.Count(out, "problem:") != 1 || !strings.Contains(out, "has no login provider (--oidc-issuer)") {
		t.Errorf("with a login: exit status %d\n%s", code, out)
	}
	if out, code := nearcast("app", "check", "--help"); code != 0 || !strings.Contains(out, "Exit status") {
		t.Errorf("--help: exit status %d\n%s", code, out)
	}

	source, err := os.ReadFile(file)
	testkit.Must(t, err)
	bad := strings.NewReplacer("parameterized {}", "", "max_duration ", "max_durration ", "attempts = 0", "attempts = 2").Replace(string(source))
	typo := filepath.Join(t.TempDir(), "typo.nomad.hcl")
	testkit.Must(t, os.WriteFile(typo, []byte(bad), 0o600))
	out, code := nearcast(append([]string{"app", "check", "--json", "--var", "cpu=90000", "--var", "warm=two", typo}, vars...)...)
	var report struct{ Problems, Notes []string }
	begin := strings.Index(out, "{")
	if end := strings.LastIndex(out, "}"); begin < 0 || json.Unmarshal([]byte(out[begin:end+1]), &report) != nil || code != 1 {
		t.Fatalf("a bad job: exit status %d\n%s", code, out)
	}
	for _, want := range []string{"no block parameterized", `meta.warm = "two"`, "max_durration", "restart { attempts = 2 }", "no node is large enough: wants 90000 MHz, the largest has"} {
		if !slices.ContainsFunc(report.Problems, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("the report does not say %q: %q", want, report.Problems)
		}
	}

	app := runApp(ctx, t, map[string]string{"warm": "-3", "max": "0"})
	out, code = nearcast("app", "list")
	if !strings.Contains(out, app+`: meta.warm = "-3"`) || code != 1 {
		t.Errorf("app list: exit status %d\n%s", code, out)
	}
}

// A person learns that no node is large enough, and does not wait for one.
func TestTooMuchCPU(t *testing.T) {
	ctx := testkit.Context(t, 2*time.Minute)
	app := runApp(ctx, t, map[string]string{"cpu": "90000", "warm": "0", "max": "1"})
	page := open(ctx, t, app)
	testkit.Must(t, page.Click(ctx, ".play-button"))
	if text := ended(ctx, t, page); !strings.Contains(text, "No machine is large enough") {
		t.Errorf("the screen says:\n%s", text)
	}
}
