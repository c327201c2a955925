package app

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// closedDir is a directory that only root can enter, with one inside.
func closedDir(t *testing.T) (closed, inside string) {
	t.Helper()
	closed = filepath.Join(openDir(t), "closed")
	inside = filepath.Join(closed, "data")
	testkit.Must(t, os.MkdirAll(inside, 0o755))
	testkit.Must(t, os.Chmod(closed, 0o700))
	return closed, inside
}

// TestBelowClosedDir: directory, command and mounts of an app lie below
// a directory that its user cannot enter.
func TestBelowClosedDir(t *testing.T) {
	needRoot(t)
	closed, inside := closedDir(t)
	dir, other, bin, volume := filepath.Join(inside, "alloc", "task"), filepath.Join(inside, "other"), filepath.Join(inside, "bin"), openDir(t)
	for _, d := range []string{dir, other, bin} {
		testkit.Must(t, os.MkdirAll(d, 0o755))
	}
	testkit.Must(t, os.Chmod(dir, 0o777))
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "model"), []byte("from content"), 0o644))
	testkit.Must(t, os.WriteFile(filepath.Join(other, "secret"), []byte("x"), 0o644))
	testkit.Must(t, os.WriteFile(filepath.Join(volume, "saves"), []byte("y"), 0o644))
	command := filepath.Join(bin, "app.test")
	testkit.Must(t, copyFile(self, command))
	testkit.Must(t, os.WriteFile(filepath.Join(bin, "neighbour"), []byte("z"), 0o644))
	mounted := filepath.Join(closed, "not", "there", "yet")

	v := seen(t, Config{Command: command, Dir: dir, User: "nobody", Isolate: true, Stdout: filepath.Join(dir, "stdout"), Stderr: filepath.Join(dir, "stderr"),
		Mounts: []wire.Mount{{Node: volume, Task: mounted}}},
		closed, inside, bin, dir, filepath.Join(dir, "model"), mounted)
	if v.Dir != dir || v.Writes[dir] != "" {
		t.Errorf("working directory %s, want %s: %s", v.Dir, dir, v.Writes[dir])
	}
	for path, want := range map[string]string{
		closed:                      "data not",
		inside:                      "alloc bin",
		bin:                         "app.test",
		filepath.Join(dir, "model"): "from content",
		mounted:                     "saves",
	} {
		if v.Lists[path] != want {
			t.Errorf("%s shows %q, want %q", path, v.Lists[path], want)
		}
	}
	if v.Writes[closed] == "" || v.Writes[inside] == "" {
		t.Error("the cover can be written")
	}
	if _, err := os.Stat(filepath.Join(closed, "not")); err == nil {
		t.Error("the mount point was made on the node")
	}
	if info, err := os.Stat(closed); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the closed directory became %v, %v", info.Mode(), err)
	}
}

// TestClosedDirByLinks: the path leads into a closed directory and out of it again.
func TestClosedDirByLinks(t *testing.T) {
	needRoot(t)
	closed, inside := closedDir(t)
	task := filepath.Join(openDir(t), "task")
	testkit.Must(t, os.Mkdir(task, 0o755))
	testkit.Must(t, os.Chmod(task, 0o777))
	testkit.Must(t, os.Symlink(filepath.Dir(task), filepath.Join(inside, "out")))
	outside := filepath.Join(openDir(t), "in")
	testkit.Must(t, os.Symlink(inside, outside))
	for _, dir := range []string{filepath.Join(inside, "out", "task"), filepath.Join(outside, "out", "task")} {
		v := seen(t, Config{Dir: dir, User: "nobody", Isolate: true, Stdout: filepath.Join(task, "stdout"), Stderr: filepath.Join(task, "stderr")}, dir)
		if v.Writes[dir] != "" || !strings.Contains(v.Lists[dir], "stdout") {
			t.Errorf("%s: %s, %q", dir, v.Writes[dir], v.Lists[dir])
		}
		testkit.Must(t, os.Remove(filepath.Join(task, "stdout")))
	}
	if _, err := os.Stat(filepath.Join(closed, "data", "out", "task")); err != nil {
		t.Error(err)
	}
}

func TestClosedDirWithoutIsolation(t *testing.T) {
	needRoot(t)
	closed, inside := closedDir(t)
	_, err := Start(within(t), Config{Command: "/bin/true", Dir: inside, User: "nobody"})
	var end wire.End
	if !errors.As(err, &end) || end.Code != wire.CodeConfig || !strings.Contains(end.Detail, closed+" is closed") {
		t.Errorf("got %v", err)
	}
}

func TestCanAccess(t *testing.T) {
	needRoot(t)
	closed, inside := closedDir(t)
	for _, c := range []struct {
		user, path string
		want       bool
	}{
		{"nobody", closed, true}, {"nobody", inside, false}, {"nobody", "/tmp", true},
		{"root", inside, true}, {"", inside, true}, {"nobody", filepath.Join(inside, "nowhere", "x"), false},
	} {
		if ok, err := CanAccess(c.user, c.path); err != nil || ok != c.want {
			t.Errorf("%q, %s: %v, %v", c.user, c.path, ok, err)
		}
	}
	// An access control list admits a user that the mode does not.
	if _, err := exec.LookPath("setfacl"); err == nil {
		if out, err := exec.Command("setfacl", "-m", "u:nobody:x", closed).CombinedOutput(); err != nil {
			t.Skipf("no access control lists here: %s", out)
		}
		if ok, err := CanAccess("nobody", inside); err != nil || !ok {
			t.Errorf("with an access control list: %v, %v", ok, err)
		}
	}
}
