package keeper

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/cellroot"
)

// TestVolumes: also below a link in the app's content, which leads nowhere on the node.
func TestVolumes(t *testing.T) {
	needRoot(t)
	s := newSpec(t, true)
	volume, saves := testkit.ShortDir(t), testkit.ShortDir(t)
	write(t, filepath.Join(volume, "data"), "x")
	testkit.Must(t, os.Chmod(saves, 0o777))
	outside := testkit.ShortDir(t)
	testkit.Must(t, os.Symlink(outside, filepath.Join(s.TaskDir, "link")))
	plain, linked := "/mnt/volume", filepath.Join(s.TaskDir, "link", "saves")
	s.Mounts = []wire.Mount{{Node: volume, Task: plain, ReadOnly: true}, {Node: saves, Task: linked}}
	c, err := makeCell(t, s)
	testkit.Must(t, err)
	v := seen(t, c, s.TaskDir, nil, question{Paths: []string{plain, linked}})
	checkShows(t, v, map[string]string{plain: "data", linked: ""}, []string{linked})
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("the link led out of the cell: %v, %v", entries, err)
	}
}

// TestVolumeAtRun: a volume hides what the seat shows at its place, and gets nothing of it.
func TestVolumeAtRun(t *testing.T) {
	needRoot(t)
	dir := testkit.ShortDir(t)
	testkit.Must(t, os.Chmod(dir, 0o755))
	write(t, filepath.Join(dir, wire.AppTool), "the tool\n")
	testkit.Must(t, os.Chmod(filepath.Join(dir, wire.AppTool), 0o755))
	tool := filepath.Join(cellroot.ToolsDir, wire.AppTool)
	for _, m := range []wire.Mount{{}, {Task: "/run", ReadOnly: true}, {Task: "/run"}} {
		s := newSpec(t, true)
		s.StreamHost = filepath.Join(dir, "stream-host")
		want := "the tool\n"
		if m.Task != "" {
			want, m.Node = "", testkit.ShortDir(t)
			s.Mounts = []wire.Mount{m}
		}
		c, err := makeCell(t, s)
		testkit.Must(t, err)
		if out, _ := run(t, c, cell.Program{Path: "/bin/sh", Args: []string{"sh", "-c", "cat " + tool + " 2>/dev/null"}, Dir: "/"}); out != want {
			t.Errorf("with %+v the app finds %q", m, out)
		}
		if m.Task == "" {
			continue
		}
		if entries, err := os.ReadDir(m.Node); err != nil || len(entries) > 0 {
			t.Errorf("%+v: the volume has %v, %v", m, entries, err)
		}
	}
}

func TestWrongVolumes(t *testing.T) {
	needRoot(t)
	volume := testkit.ShortDir(t)
	for name, m := range map[string]wire.Mount{
		"missing":         {Node: "/no/such/volume", Task: "/mnt"},
		"relative":        {Node: volume, Task: "mnt"},
		"on a file":       {Node: volume, Task: "/usr/bin/env"},
		"on the node":     {Node: volume, Task: "/usr/nearcast-test"},
		"by a link there": {Node: volume, Task: "TASK/link/nearcast-test"},
	} {
		s := newSpec(t, true)
		testkit.Must(t, os.Symlink("/usr", filepath.Join(s.TaskDir, "link")))
		m.Task = strings.Replace(m.Task, "TASK", s.TaskDir, 1)
		s.Mounts = []wire.Mount{m}
		_, err := makeCell(t, s)
		var end wire.End
		if !errors.As(err, &end) || end.Code != wire.CodeConfig || !strings.Contains(end.Detail, m.Task) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Lstat("/usr/nearcast-test"); err == nil {
		t.Error("a mount point was made on the node")
	}
}

// TestClosedDir: the task's directory lies below one that only root can enter.
func TestClosedDir(t *testing.T) {
	needRoot(t)
	modes(t, func(t *testing.T, s wire.Spec) {
		closed := filepath.Dir(filepath.Dir(s.TaskDir))
		testkit.Must(t, os.Chmod(closed, 0o700))
		c, err := makeCell(t, s)
		testkit.Must(t, err)
		if s.Isolate {
			if v := seen(t, c, s.TaskDir, nil, question{Paths: []string{s.TaskDir}}); v.Writes[s.TaskDir] != "" {
				t.Errorf("the app cannot write: %s", v.Writes[s.TaskDir])
			}
			return
		}
		_, err = c.Start(t.Context(), cell.Program{Name: cell.App, Path: "/bin/true", Args: []string{"true"}, Dir: s.TaskDir})
		var end wire.End
		if !errors.As(err, &end) || end.Code != wire.CodeConfig || !strings.Contains(end.Detail, closed+" is closed") {
			t.Errorf("%v", err)
		}
	})
}

// made makes device files that work like /dev/null, if this machine allows it.
func made(t *testing.T, dir string, files map[string]uint32, gid int) {
	t.Helper()
	for name, mode := range files {
		path := filepath.Join(dir, name)
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

// TestDevices: device files like /dev/nvidia0, which all users may open, and like
// /dev/dri/renderD128, which a group may open.
func TestDevices(t *testing.T) {
	needRoot(t)
	modes(t, func(t *testing.T, s wire.Spec) {
		dev := testkit.ShortDir(t)
		made(t, dev, map[string]uint32{"nvidia0": 0o666, "renderD128": 0o660}, 44_321)
		made(t, dev, map[string]uint32{"card0": 0o660}, 44_322)
		if s.Isolate {
			s.Devices = []string{filepath.Join(dev, "nvidia0"), filepath.Join(dev, "renderD128")}
		} else {
			s.Devices = []string{filepath.Join(dev, "renderD*")}
		}
		c, err := makeCell(t, s)
		testkit.Must(t, err)
		out, result := run(t, c, cell.Program{Path: "/bin/sh", Args: []string{"sh", "-c",
			"cd " + dev + "; : <>nvidia0 && : <>renderD128 && ! (: <>card0) 2>/dev/null"}, Dir: s.TaskDir})
		if result.ExitCode != 0 {
			t.Errorf("%+v: %s", result, out)
		}
	})
}

// The stream host is outside the cell. It gets the files of a reserved GPU alone, and no other
// device of the task.
func TestHostDevices(t *testing.T) {
	task := []string{"/dev/nvidia1", "/dev/nvidiactl", "/dev/dri/renderD129", "/dev/uinput"}
	k := &keeper{spec: wire.Spec{GPU: "GPU-1", Devices: task}}
	if got := k.hostDevices(); !slices.Equal(got, task[:3]) || len(k.spec.Devices) != 4 || k.spec.Devices[3] != "/dev/uinput" {
		t.Errorf("with a GPU reserved: %v of %v", got, k.spec.Devices)
	}
	k.spec.GPU = ""
	if got := k.hostDevices(); !slices.Contains(got, "/dev/dri") || slices.Contains(got, "/dev/uinput") {
		t.Errorf("without: %v", got)
	}
}

func TestDeviceGroups(t *testing.T) {
	needRoot(t)
	dir := testkit.ShortDir(t)
	made(t, dir, map[string]uint32{"all": 0o666}, 7)
	made(t, dir, map[string]uint32{"group": 0o660, "again": 0o660}, 77)
	made(t, dir, map[string]uint32{"root": 0o660, "closed": 0o600}, 0)
	write(t, filepath.Join(dir, "file"), "")
	testkit.Must(t, os.Chown(filepath.Join(dir, "file"), 0, 777))
	var said bytes.Buffer
	id := cell.Identity{UID: 65534, GID: 65534, Groups: []int{65534}}
	after := id.WithGroups(deviceGroups(id, []string{filepath.Join(dir, "*"), "/nowhere/*"}, slog.New(slog.NewTextHandler(&said, nil)))...)
	if !slices.Equal(after.Groups, []int{65534, 77}) || len(id.Groups) != 1 {
		t.Errorf("groups are %v, and were %v", after.Groups, id.Groups)
	}
	if text := said.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, dir+"/root") || !strings.Contains(text, dir+"/closed") {
		t.Errorf("said %s", text)
	}
}

func TestOutput(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	testkit.Must(t, unix.Mkfifo(fifo, 0o600))
	f, err := openOutput(fifo) // without a reader
	testkit.Must(t, err)
	defer f.Close()
	if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("a write would not wait for the reader: %o, %v", flags, err)
	}
	file := filepath.Join(dir, "file")
	testkit.Must(t, os.WriteFile(file, []byte("a"), 0o600))
	g, err := openOutput(file)
	testkit.Must(t, err)
	defer g.Close()
	g.WriteString("b")
	if b, err := os.ReadFile(file); err != nil || string(b) != "ab" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := openOutput("/no/such/dir/out"); err == nil || !strings.Contains(err.Error(), "/no/such/dir/out") {
		t.Errorf("%v", err)
	}
}
