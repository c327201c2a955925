package planet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/dev"
	"github.com/nearcast/nearcast/dev/setup"
	"github.com/nearcast/nearcast/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// binaries is bin/, if make build has filled it and the servers are there.
func binaries(t *testing.T) string {
	t.Helper()
	bin, err := filepath.Abs(filepath.Join("..", "..", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nearcast", "seat-keeper", "stream-host", "plugins/nomad-driver-stream"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			t.Skipf("the binaries are missing, run make build: %v", err)
		}
	}
	dir, err := setup.ToolsDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"consul", "nomad", "versitygw"} {
		_, onPath := exec.LookPath(name)
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil && onPath != nil {
			t.Skipf("%s is missing, run bin/nearcast dev tools", name)
		}
	}
	return bin
}

func minutes(t *testing.T, n int) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// logTo shows the planet's log where the test fails.
func logTo(t *testing.T) io.Writer {
	log := new(testkit.Buffer)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the planet's log:\n%s", log)
		}
	})
	return log
}

func fetch(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, res.Status)
	}
	return body, err
}

// nothingLeft fails the test where a process, a mount or a state file of a cluster is
// left.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	processes, err := procfs.AllProcs()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		environ, _ := p.Environ()
		words, _ := p.CmdLine()
		command := strings.Join(words, " ")
		marked := slices.Contains(environ, dev.Mark(dir)) ||
			strings.Contains(command, "seat-keeper") && strings.Contains(command, dev.RunDir(dir)+"/")
		if marked && p.PID != os.Getpid() {
			t.Errorf("process %d is left: %s", p.PID, command)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte(dir)) {
		t.Errorf("a mount below %s is left, %v", dir, err)
	}
	if _, err := dev.ReadState(dir); !errors.Is(err, dev.ErrNotRunning) {
		t.Errorf("the state of %s is still there, %v", dir, err)
	}
	if _, err := os.Stat(dev.RunDir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there, %v", dev.RunDir(dir), err)
	}
}
