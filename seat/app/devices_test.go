package app

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
)

// made makes device files that work like /dev/null, if this machine allows it.
func made(t *testing.T, dir string, files map[string]uint32, gid int) {
	t.Helper()
	for name, mode := range files {
		path := filepath.Join(dir, name)
		testkit.Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if err := unix.Mknod(path, unix.S_IFCHR|mode, int(unix.Mkdev(1, 3))); err != nil {
			t.Skipf("no device file can be made here: %v", err)
		}
		testkit.Must(t, os.Chmod(path, os.FileMode(mode)))
		testkit.Must(t, os.Chown(path, 0, gid))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Skipf("device files are not served in %s: %v", dir, err)
		}
		f.Close()
	}
}

// TestDevices: the app uses GPU device files that are like /dev/nvidia0, which all
// users may open, and like /dev/dri/renderD128, which a group may open.
func TestDevices(t *testing.T) {
	needRoot(t)
	modes(t, func(t *testing.T, cfg Config) {
		dev := openDir(t)
		const group = 44_321
		made(t, dev, map[string]uint32{"nvidia0": 0o666, "dri/renderD128": 0o660, "dri/card0": 0o660}, group)
		cfg.User = "nobody"
		opens := func(cfg Config, file string) bool {
			t.Helper()
			p := run(t, sh(cfg, "exec 3<>"+filepath.Join(dev, file)))
			wait(t, p)
			code, _ := p.Exit()
			return code == 0
		}
		if !opens(cfg, "nvidia0") {
			t.Error("a device for all users cannot be opened")
		}
		if opens(cfg, "dri/renderD128") {
			t.Error("a group's device was opened although it is not in Config.Devices")
		}
		cfg.Devices = []string{filepath.Join(dev, "nvidia*"), filepath.Join(dev, "dri", "renderD*")}
		for _, file := range []string{"nvidia0", "dri/renderD128"} {
			if !opens(cfg, file) {
				t.Errorf("%s cannot be opened", file)
			}
		}
	})
}

// The real devices of this machine, if it has a GPU.
func TestOwnDevices(t *testing.T) {
	needRoot(t)
	patterns := []string{"/dev/nvidia*", "/dev/dri/renderD*"}
	var script []string
	for _, pattern := range patterns {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			if info, err := os.Stat(file); err == nil && info.Mode()&os.ModeCharDevice != 0 {
				script = append(script, "exec 3<>"+file)
			}
		}
	}
	if len(script) == 0 {
		t.Skip("this machine has no GPU")
	}
	dir := openDir(t)
	p := run(t, sh(Config{Dir: dir, Isolate: true, User: "nobody", Devices: patterns}, strings.Join(script, " && ")))
	wait(t, p)
	if code, _ := p.Exit(); code != 0 {
		t.Errorf("%s: exit %d", script, code)
	}
}

func TestAddDeviceGroups(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	made(t, dir, map[string]uint32{"all": 0o666}, 7)
	made(t, dir, map[string]uint32{"group": 0o660}, 77)
	made(t, dir, map[string]uint32{"again": 0o660}, 77)
	made(t, dir, map[string]uint32{"root": 0o660, "closed": 0o600}, 0)
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o660))
	testkit.Must(t, os.Chown(filepath.Join(dir, "file"), 0, 777))

	var said bytes.Buffer
	before := identity{UID: 65534, GID: 65534, Groups: []int{65534}}
	after := before.addDeviceGroups([]string{filepath.Join(dir, "*"), "/nowhere/*"}, slog.New(slog.NewTextHandler(&said, nil)))
	if !slices.Equal(after.Groups, []int{65534, 77}) || len(before.Groups) != 1 {
		t.Errorf("groups are %v, and were %v", after.Groups, before.Groups)
	}
	if text := said.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, dir+"/root") || !strings.Contains(text, dir+"/closed") {
		t.Errorf("said %s", text)
	}
}
