package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	nomad "github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/dev"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/testkit/otlp"
	"github.com/nearcast/nearcast/internal/wire"
)

// The site and the browser that all tests share.
var (
	site   *dev.Cluster
	chrome *browser.Browser
	binDir string
	// collector gets the traces of the site's launches.
	collector *otlp.Collector
)

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	if binDir, err = filepath.Abs(filepath.Join("..", "bin")); err != nil {
		return 0, err
	}
	if _, err := os.Stat(filepath.Join(binDir, "stream-host")); err != nil {
		return 0, fmt.Errorf("the binaries are missing: run make build (%w)", err)
	}
	dir, err := os.MkdirTemp("", "nce2e-")
	if err != nil {
		return 0, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // apps run as a user of their own
		return 0, err
	}
	log, err := os.Create(filepath.Join(dir, "dev.log"))
	if err != nil {
		return 0, err
	}
	defer log.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	collector = otlp.Start()
	defer collector.Close()
	os.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	os.Setenv("OTEL_BSP_SCHEDULE_DELAY", "200") // ms, so that no test waits
	ports, err := dev.FreePorts()
	if err != nil {
		return 0, err
	}
	site, err = dev.Start(ctx, dev.Options{
		Dir: filepath.Join(dir, "site"), Bin: binDir, Apps: []string{}, Ports: ports, Console: true, Log: io.MultiWriter(log),
	})
	if err != nil {
		return 0, fmt.Errorf("start the site (its logs are in %s): %w", dir, err)
	}
	chrome, err = browser.Launch(context.Background(), "autoplay-policy=no-user-gesture-required")
	if err != nil {
		return 0, errors.Join(err, site.Close())
	}
	code = m.Run()
	chrome.Close()
	if err := site.Close(); err != nil {
		return 0, fmt.Errorf("stop the site (its logs are in %s): %w", dir, err)
	}
	if err := nothingLeft(site.Dir); err != nil {
		return 0, fmt.Errorf("after the site was stopped: %w", err)
	}
	if code == 0 {
		return 0, os.RemoveAll(dir)
	}
	fmt.Fprintln(os.Stderr, "e2e: the site's logs are kept in", dir)
	return code, nil
}

// nothingLeft looks for processes that were started for the site in dir.
func nothingLeft(dir string) error {
	left := processesNaming(dir)
	if len(left) > 0 {
		return fmt.Errorf("%d processes are left: %s", len(left), strings.Join(left, "; "))
	}
	return nil
}

// processesNaming lists the processes that have text on their command line or
// in their environment.
func processesNaming(text string) []string {
	var found []string
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		command, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(command) == 0 || e.Name() == fmt.Sprint(os.Getpid()) {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if strings.Contains(string(command), text) || strings.Contains(string(environ), text) {
			found = append(found, e.Name()+" "+strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return found
}

// runApp registers the test app under a name made of the test's, with the given
// variables, and takes it away again when the test is over.
func runApp(ctx context.Context, t *testing.T, vars map[string]string) (app string) {
	t.Helper()
	app = "t-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-", " ", "-").Replace(strings.TrimPrefix(t.Name(), "Test")))
	all := map[string]string{"name": app, "testapp": filepath.Join(binDir, "testapp")}
	maps.Copy(all, vars)
	if _, err := site.RunJob(ctx, filepath.Join("jobs", "testapp.nomad.hcl"), all); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopApp(t, app) })
	testkit.Retry(ctx, t, "the router knows "+app, func() error {
		_, err := capacity(ctx, app)
		return err
	})
	return app
}

// stopApp purges an app and all its seats.
func stopApp(t *testing.T, app string) {
	jobs := site.Nomad().Jobs()
	if _, _, err := jobs.Deregister(app, true, nil); err != nil {
		t.Errorf("take %s away: %v", app, err)
	}
	for _, job := range children(t, app) {
		if _, _, err := jobs.Deregister(job.ID, true, nil); err != nil {
			t.Errorf("stop %s: %v", job.ID, err)
		}
	}
}

func children(t *testing.T, app string) []*nomad.JobListStub {
	jobs, _, err := site.Nomad().Jobs().PrefixList(app + "/dispatch-")
	if err != nil {
		t.Fatalf("list the seats of %s: %v", app, err)
	}
	return jobs
}

// capacity is an app's capacity as the router tells it.
func capacity(ctx context.Context, app string) (wire.Capacity, error) {
	apps, err := site.AppList(ctx)
	if err != nil {
		return wire.Capacity{}, err
	}
	for _, a := range apps.Apps {
		if a.ID == app {
			return a.Sites[dev.Site], nil
		}
	}
	return wire.Capacity{}, fmt.Errorf("the router knows no app %s", app)
}

// allocs are the seats an app ever had, as Nomad knows them.
func allocs(t *testing.T, app string) []*nomad.AllocationListStub {
	t.Helper()
	var all []*nomad.AllocationListStub
	for _, job := range children(t, app) {
		of, _, err := site.Nomad().Jobs().Allocations(job.ID, true, nil)
		if err != nil {
			t.Fatalf("list allocations: %v", err)
		}
		all = append(all, of...)
	}
	return all
}

// taskEvents are the messages of all task events of an app's seats.
func taskEvents(t *testing.T, app string) string {
	var all strings.Builder
	for _, a := range allocs(t, app) {
		for _, task := range a.TaskStates {
			for _, e := range task.Events {
				fmt.Fprintf(&all, "%s: %s %s\n", e.Type, e.DisplayMessage, e.Message)
			}
		}
	}
	return all.String()
}

// open opens the app's page and waits until it can be played.
func open(ctx context.Context, t *testing.T, app string, size ...browser.Size) *browser.Page {
	t.Helper()
	page, err := chrome.Open(ctx, site.URL+"/play/"+app, size...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(page.Close)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the page's console: %q", page.Console())
		}
	})
	testkit.Must(t, page.Until(ctx, "window.nearcast && nearcast.state === 'ready' && document.querySelector('.play-button')"))
	return page
}

// play presses Play and waits for the picture.
func play(ctx context.Context, t *testing.T, page browser.Driven) {
	t.Helper()
	testkit.Must(t, page.Click(ctx, ".play-button"))
	testkit.Must(t, page.Until(ctx, "nearcast.state === 'streaming' && nearcast.firstFrameMS !== null"))
}
