package app

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestIsolation(t *testing.T) {
	needRoot(t)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "node's own")
	dir := openDir(t)
	secret := openDir(t)
	shown := filepath.Join(secret, "kept")
	volume := openDir(t)
	testkit.Must(t, os.WriteFile(filepath.Join(secret, "ticket.key"), []byte("x"), 0o644))
	testkit.Must(t, os.Mkdir(shown, 0o755))
	testkit.Must(t, os.WriteFile(filepath.Join(shown, "here"), []byte("x"), 0o644))
	testkit.Must(t, os.WriteFile(filepath.Join(volume, "data"), []byte("x"), 0o644))
	mounted := filepath.Join(dir, "mnt", "volume")

	v := seen(t, Config{Dir: dir, Isolate: true, Network: wire.NetworkNone, User: "nobody",
		Stdout: filepath.Join(dir, "stdout"), Stderr: filepath.Join(dir, "stderr"),
		Env:  map[string]string{"DISPLAY": ":7"},
		Hide: []string{secret, "/nonexistent/path", filepath.Join(dir, "stderr")}, Show: []string{shown},
		Mounts: []wire.Mount{{Node: volume, Task: mounted, ReadOnly: true}},
	}, secret, shown, mounted, dir, filepath.Join(secret, "ticket.key"), "/proc/1/environ")

	for _, ns := range []string{"pid", "mnt", "net"} {
		if mine, _ := os.Readlink("/proc/self/ns/" + ns); mine == v.Namespaces[ns] || v.Namespaces[ns] == "" {
			t.Errorf("%s namespace is %s, ours is %s", ns, v.Namespaces[ns], mine)
		}
	}
	if mine, _ := os.Readlink("/proc/self/ns/ipc"); mine != v.Namespaces["ipc"] {
		t.Error("the ipc namespace is a new one: shared memory with the display would not work")
	}
	if len(v.Pids) != 2 || v.Pids[0] != 1 {
		t.Errorf("it sees processes %v, want its parent 1 and itself", v.Pids)
	}
	if v.Metadata == "" || v.Took > time.Second {
		t.Errorf("connecting to the metadata address: %q after %v, want a refusal at once", v.Metadata, v.Took)
	}
	if v.Loopback != "" {
		t.Errorf("loopback: %s", v.Loopback)
	}
	if v.UID != 65534 || v.GID != 65534 || !slices.Equal(v.Groups, []int{65534}) {
		t.Errorf("uid %d, gid %d, groups %v", v.UID, v.GID, v.Groups)
	}
	checkPowerless(t, v)
	for path, want := range map[string]string{
		secret:                              "kept",
		shown:                               "here",
		mounted:                             "data",
		filepath.Join(secret, "ticket.key"): "error: ",
		"/proc/1/environ":                   "error: ",
	} {
		if got := v.Lists[path]; !strings.HasPrefix(got, want) || want != "error: " && got != want {
			t.Errorf("%s shows %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{secret, mounted} {
		if v.Writes[path] == "" {
			t.Errorf("%s can be written", path)
		}
	}
	if v.Writes[dir] != "" || v.Dir != dir {
		t.Errorf("working directory %s: %s", v.Dir, v.Writes[dir])
	}
	wantEnv := []string{"DISPLAY=:7", "HOME=" + dir + "/.nearcast", "LOGNAME=nobody", "PATH=" + defaultPath,
		"USER=nobody", "XDG_RUNTIME_DIR=" + dir + "/.nearcast/.runtime"}
	if !slices.Equal(v.Env, wantEnv) {
		t.Errorf("environment %q\nwant %q", v.Env, wantEnv)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	testkit.Must(t, err)
	if strings.Contains(string(mounts), secret) || strings.Contains(string(mounts), mounted) {
		t.Error("the app's mounts are visible on the node")
	}
}

// TestDirInHiddenPath: the task directory lies below the agent's, which is hidden.
func TestDirInHiddenPath(t *testing.T) {
	needRoot(t)
	data := openDir(t)
	dir := filepath.Join(data, "alloc", "task")
	secrets := filepath.Join(dir, "secrets")
	testkit.Must(t, os.MkdirAll(secrets, 0o755))
	testkit.Must(t, os.WriteFile(filepath.Join(secrets, "token"), []byte("x"), 0o644))
	testkit.Must(t, os.Chmod(dir, 0o777))
	out := openDir(t)
	v := seen(t, Config{Dir: dir, Isolate: true, Hide: []string{secrets, data},
		Stdout: filepath.Join(out, "stdout"), Stderr: filepath.Join(out, "stderr")}, data, dir, secrets)
	if v.Lists[data] != "alloc" || v.Lists[dir] != ".nearcast secrets" || v.Lists[secrets] != "" {
		t.Errorf("sees %q", v.Lists)
	}
}

func TestHostNetwork(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	v := seen(t, Config{Dir: dir, Isolate: true, Network: wire.NetworkHost, Stdout: filepath.Join(dir, "stdout"), Stderr: filepath.Join(dir, "stderr")})
	if mine, _ := os.Readlink("/proc/self/ns/net"); mine != v.Namespaces["net"] {
		t.Error("the network namespace is a new one")
	}
}

func TestNoPrivilegesWithoutIsolation(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "node's own")
	dir := openDir(t)
	v := seen(t, Config{Dir: dir, Stdout: filepath.Join(dir, "stdout"), Stderr: filepath.Join(dir, "stderr")})
	checkPowerless(t, v)
	for _, kv := range v.Env {
		if strings.HasPrefix(kv, "AWS_") {
			t.Errorf("environment has %s", kv)
		}
	}
}

func checkPowerless(t *testing.T, v view) {
	t.Helper()
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if os.Geteuid() != 0 && set == "CapBnd" {
			continue
		}
		if strings.Trim(v.Status[set], "0") != "" || v.Status[set] == "" {
			t.Errorf("%s is %s", set, v.Status[set])
		}
	}
	if v.Status["NoNewPrivs"] != "1" {
		t.Errorf("NoNewPrivs is %q", v.Status["NoNewPrivs"])
	}
	if len(v.FDs) != 3 {
		t.Errorf("has descriptors %q, want the standard three", v.FDs)
	}
}

func TestMissingMount(t *testing.T) {
	needRoot(t)
	_, err := Start(within(t), Config{Command: "/bin/true", Dir: openDir(t), Isolate: true,
		Mounts: []wire.Mount{{Node: "/no/such/volume", Task: "/mnt"}}})
	var end wire.End
	if !errors.As(err, &end) || end.Code != wire.CodeConfig {
		t.Errorf("missing mount: %v", err)
	}
}
