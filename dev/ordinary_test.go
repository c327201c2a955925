package dev

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	nomad "github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/dev/setup"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestOrdinaryUser runs the command as somebody who is not root: seats run, and people
// are told that apps are not isolated.
func TestOrdinaryUser(t *testing.T) {
	bin, ctx := binaries(t), minutes(t, 3)
	dir := testkit.ShortDir(t)
	site := filepath.Join(dir, "site")
	ports := PortsFrom(testkit.Ports(t, 13)[0])
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "nearcast"), "dev", "up", "--dir", site, "--port", fmt.Sprint(ports.Router),
		"--apps", "testapp", "--var", "warm=1", "--var", "testapp="+filepath.Join(bin, "testapp"))
	out := new(testkit.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), "HOME="+dir)
	if os.Geteuid() == 0 {
		nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
		for _, path := range []string{cmd.Path, filepath.Join("..", "jobs", "testapp.nomad.hcl")} {
			look := exec.CommandContext(ctx, "test", "-r", path)
			look.SysProcAttr = &syscall.SysProcAttr{Credential: nobody}
			if look.Run() != nil {
				t.Skipf("the user nobody cannot read %s: make the source tree readable", path)
			}
		}
		tools := filepath.Join(dir, "tools")
		copyTools(t, tools)
		for _, path := range []string{dir, tools} {
			testkit.Must(t, os.Chmod(path, 0o755))
			testkit.Must(t, os.Chown(path, int(nobody.Uid), int(nobody.Gid)))
		}
		cmd.Env = append(cmd.Env, "NEARCAST_TOOLS_DIR="+tools)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: nobody}
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	testkit.Must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended
		if err := <-ended; err != nil {
			t.Errorf("nearcast dev up: %v", err)
		}
		nothingLeft(t, site)
		if t.Failed() {
			t.Logf("it printed:\n%s", out)
		}
	}()

	testkit.Retry(ctx, t, "a seat is idle", func() error {
		response, err := http.Get("http://" + local(ports.Router) + "/v1/apps")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		var apps wire.AppsResponse
		if err := json.NewDecoder(response.Body).Decode(&apps); err != nil {
			return err
		}
		for _, app := range apps.Apps {
			if app.Sites[Site].Idle > 0 {
				return nil
			}
		}
		return fmt.Errorf("the router knows %+v", apps)
	})
	http.DefaultClient.CloseIdleConnections()

	if text := out.String(); os.Geteuid() == 0 && !strings.Contains(text, "You are not root") {
		t.Error("the command does not say what is not isolated")
	}
	client, err := nomad.NewClient(&nomad.Config{Address: "http://" + local(ports.Nomad)})
	testkit.Must(t, err)
	defer client.Close()
	nodes, _, err := client.Nodes().List(nil)
	testkit.Must(t, err)
	if len(nodes) != 1 {
		t.Fatalf("Nomad has %d nodes", len(nodes))
	}
	if driver := nodes[0].Drivers["stream"]; driver == nil || !driver.Healthy || !strings.Contains(driver.HealthDescription, "apps are not isolated") {
		t.Errorf("the driver says %+v", driver)
	}
}

// copyTools makes the servers readable for another user.
func copyTools(t *testing.T, dir string) {
	t.Helper()
	from, err := setup.ToolsDir()
	testkit.Must(t, err)
	testkit.Must(t, os.Mkdir(dir, 0o755))
	if _, err := os.Stat(from); err != nil {
		return // they are on PATH
	}
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", "--", from+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("copy the servers: %v\n%s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), "chmod", "-R", "a+rX", dir).CombinedOutput(); err != nil {
		t.Fatalf("copy the servers: %v\n%s", err, out)
	}
}
