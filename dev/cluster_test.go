package dev

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/nearcast/nearcast/dev/setup"
	"github.com/nearcast/nearcast/internal/testkit"
)

// binaries is ../bin, if make build has filled it and the servers are there.
func binaries(t *testing.T) string {
	t.Helper()
	bin, err := filepath.Abs(filepath.Join("..", "bin"))
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
	return testkit.Context(t, time.Duration(n)*time.Minute)
}

// logTo shows the cluster's log where the test fails.
func logTo(t *testing.T) io.Writer {
	log := new(testkit.Buffer)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the cluster's log:\n%s", log)
		}
	})
	return log
}

// request sends one request to the cluster and returns the answer's body.
func request(ctx context.Context, t *testing.T, method, url, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := plainClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		t.Fatalf("%s %s: %s %v\n%s", method, url, res.Status, err, text)
	}
	return string(text)
}

// nothingLeft fails the test where a process, a mount or a state file of the
// cluster is left.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	if left, err := leftovers(dir, RunDir(dir)); err != nil || len(left) > 0 {
		t.Errorf("left over: %+v, %v", left, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte(dir)) {
		t.Errorf("a mount below %s is left, %v", dir, err)
	}
	for _, gone := range []string{filepath.Join(dir, stateFile), RunDir(dir)} {
		if _, err := os.Stat(gone); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there, %v", gone, err)
		}
	}
}

// TestCluster starts a site, kills each of its processes in turn, stops it, and
// starts it again where it was.
func TestCluster(t *testing.T) {
	bin, ctx := binaries(t), minutes(t, 3)
	ports := PortsFrom(testkit.Ports(t, 13)[0])
	options := Options{Dir: filepath.Join(t.TempDir(), "site"), Bin: bin, Apps: []string{}, Ports: ports, Log: logTo(t)}
	c, err := Start(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := Start(ctx, options); !errors.Is(err, ErrAlreadyRunning) {
		t.Fatalf("a second cluster in the same folder: %v", err)
	}
	state, err := ReadState(c.Dir)
	if err != nil || !state.Running() || state.URL != c.URL || len(state.Processes) != 6 {
		t.Errorf("state %+v, %v", state, err)
	}
	kv := "http://" + c.ConsulAddress + "/v1/kv/remember"
	request(ctx, t, http.MethodPut, kv, "me")
	object := filepath.Join(t.TempDir(), "object")
	if err := os.WriteFile(object, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Upload(ctx, "some/key", object); err != nil {
		t.Fatal(err)
	}

	// Nomad last: of a task that it found again it lets go slowly.
	for _, name := range []string{"consul", "nomad-server", "s3", "router", "brain", "nomad"} {
		if err := c.Kill(ctx, name); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	remembers := func() {
		t.Helper()
		if got := request(ctx, t, http.MethodGet, kv+"?raw", ""); got != "me" {
			t.Errorf("Consul remembers %q", got)
		}
		got, err := c.S3().GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(Bucket), Key: aws.String("some/key")})
		if err != nil {
			t.Fatal(err)
		}
		defer got.Body.Close()
		if text, err := io.ReadAll(got.Body); err != nil || string(text) != "content" {
			t.Errorf("the object holds %q, %v", text, err)
		}
	}
	remembers()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, c.Dir)
	if err := c.Ports.check(); err != nil {
		t.Error(err)
	}

	if c, err = Start(ctx, options); err != nil {
		t.Fatalf("start again: %v", err)
	}
	remembers()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, c.Dir)
}

// The servers of a killed cluster end with it, Down ends what Nomad ran, and the next
// start works.
func TestKilledSupervisor(t *testing.T) {
	bin, ctx := binaries(t), minutes(t, 2)
	dir := filepath.Join(t.TempDir(), "site")
	port := testkit.Ports(t, 13)[0]
	log := logTo(t)
	up := func() *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, "nearcast"), "dev", "up", "--no-apps", "--dir", dir, "--port", strconv.Itoa(port))
		cmd.Dir = ".."
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			Down(context.WithoutCancel(ctx), dir, log)
		})
		return cmd
	}
	first := up()
	waitURL(ctx, t, "http://"+local(port)+"/healthz")
	state, err := ReadState(dir)
	if err != nil || state.PID != first.Process.Pid {
		t.Fatalf("state %+v, %v", state, err)
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.Wait()
	for _, p := range state.Processes {
		if p.Name == "router" || p.Name == "brain" || p.Name == "console" {
			continue
		}
		testkit.Within(t, 2*time.Minute, p.Name+" ends with its supervisor", func() bool { return p.PID == 0 || !alive(p.PID, p.Started) })
	}
	if err := Down(ctx, dir, log); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, dir)
	if err := Down(ctx, dir, log); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a second down: %v", err)
	}

	second := up()
	waitURL(ctx, t, "http://"+local(port)+"/healthz")
	ended := make(chan error, 1)
	go func() { ended <- second.Wait() }()
	if err := second.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Ctrl-C: %v", err)
		}
	case <-ctx.Done():
		t.Fatal("Ctrl-C does not end it")
	}
	nothingLeft(t, dir)
}

// A start that cannot succeed says why and leaves no process.
func TestStartRefuses(t *testing.T) {
	bin, ctx := binaries(t), minutes(t, 1)
	ports := PortsFrom(testkit.Ports(t, 13)[0])
	l, err := net.Listen("tcp", local(ports.Consul))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := filepath.Join(t.TempDir(), "site")
	if _, err := Start(ctx, Options{Dir: dir, Bin: bin, Ports: ports}); err == nil || !strings.Contains(err.Error(), "--port") {
		t.Errorf("with a taken port: %v", err)
	}
	if _, err := Start(ctx, Options{Dir: dir, Bin: t.TempDir(), Ports: ports}); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("without binaries: %v", err)
	}
	l.Close()
	if _, err := Start(ctx, Options{Dir: dir, Bin: bin, Ports: ports, Apps: []string{"no-such-app"}}); err == nil || !strings.Contains(err.Error(), `no sample app "no-such-app"`) {
		t.Errorf("with an unknown app: %v", err)
	}
	if left, err := leftovers(dir, RunDir(dir)); err != nil || len(left) > 0 {
		t.Errorf("left over: %+v, %v", left, err)
	}
}

func waitURL(ctx context.Context, t *testing.T, url string) {
	t.Helper()
	testkit.Retry(ctx, t, url+" answers", func() error {
		_, err := get(ctx, plainClient, url)
		return err
	})
}
