package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
)

// besideScript looks at all of the content, and writes where that is and where it is not.
const besideScript = `cd "$1" && cat model/a local/b tree/c; ls model; ls tree; ` +
	`for f in model/a model/new tree/c; do (echo x >> $f) 2>/dev/null && echo wrote $f; done; (echo x > own) 2>/dev/null && echo wrote own`

// lookBeside has a program look at the task's directory before the content is there, and after.
func lookBeside(conn *cell.Conn, dir string) error {
	ctx := context.Background()
	k := cell.NewKeeper(conn)
	c, _, stdout, stderr, _, err := k.Cell(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	defer closeAll([]*os.File{stdout, stderr})
	look := func(name string) error {
		p, err := c.Start(ctx, cell.Program{Name: name, Path: "/bin/sh", Args: []string{"sh", "-c", besideScript, "sh", dir}, Dir: "/"}, nil, os.Stdout, nil)
		if err != nil {
			return err
		}
		fmt.Println(name, p.Result().Signal)
		return nil
	}
	if err := look("display"); err != nil {
		return err
	}
	if _, err := k.Content(ctx, func(int64, int64, string) {}); err != nil {
		return err
	}
	return look(cell.App)
}

// putContent puts files where nothing is, into a directory that Nomad made, and by the rename
// of a directory, as package content does.
func putContent(dir string) error {
	ready := filepath.Join(dir, ".ready")
	err := errors.Join(os.Mkdir(filepath.Join(dir, "model"), 0o755), os.Mkdir(ready, 0o755))
	for path, text := range map[string]string{"model/a": "A\n", "local/b": "B\n", ".ready/c": "C\n"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, path), []byte(text), 0o444))
	}
	return errors.Join(err, os.Rename(ready, filepath.Join(dir, "tree")))
}

// TestContentComesLater: no program of the cell sees the task's directory before all of the
// content is there, and then the app sees all of it, which it cannot change.
func TestContentComesLater(t *testing.T) {
	needRoot(t)
	s := newSpec(t, true)
	s.Job, s.Content = "beside", []wire.Content{{Source: "s3://bucket/key", Destination: "model/"}}
	k := keep(t, s)
	out, err := io.ReadAll(k.read)
	testkit.Must(t, err)
	const want = "display 0\nA\nB\nC\na\nc\nwrote own\napp 0\n"
	if string(out) != want {
		t.Errorf("the cell's programs printed\n%swant\n%s", out, want)
	}
	k.end(t)
	k.clean(t)
	if b, err := os.ReadFile(filepath.Join(s.TaskDir, "model/a")); err != nil || string(b) != "A\n" {
		t.Errorf("on the node there is %q (%v)", b, err)
	}
	if _, err := os.Stat(filepath.Join(s.TaskDir, "own")); err == nil {
		t.Error("the app wrote to the node's disk")
	}
}

// A volume among the content: the cell is made after that, and shows both.
func TestVolumeAmongContent(t *testing.T) {
	needRoot(t)
	s := newSpec(t, true)
	volume := testkit.ShortDir(t)
	write(t, filepath.Join(volume, "save"), "old")
	s.Mounts = []wire.Mount{{Node: volume, Task: filepath.Join(s.TaskDir, "model", "saves"), ReadOnly: true}}
	s.Content = []wire.Content{{Source: "s3://bucket/key", Destination: "model/"}}
	testkit.Must(t, putContent(s.TaskDir))
	k, c, err := keepCell(t, s)
	testkit.Must(t, err)
	if k.closed != nil {
		t.Error("the cell waits for content, which would not show in it")
	}
	out, _ := run(t, c, cell.Program{Path: "/bin/sh", Args: []string{"sh", "-c", "cat model/a model/saves/save"}, Dir: s.TaskDir})
	if out != "A\nold" {
		t.Errorf("the app read %q", out)
	}
}

// TestVolumeAboveTask: of a volume that hides the task's directory, the keeper gives nothing to the app:
// neither a directory at its place nor one that a link there names.
func TestVolumeAboveTask(t *testing.T) {
	needRoot(t)
	const other = 1_234_567
	for _, way := range []string{"", "/proc/self/root"} { // the second one shows only in the cell where it leads
		for _, entry := range []string{"directory", "link"} {
			t.Run(way+entry, func(t *testing.T) {
				s := newSpec(t, true)
				s.Content = []wire.Content{{Source: "s3://bucket/key", Destination: "model/"}}
				volume := testkit.ShortDir(t)
				private := filepath.Join(volume, filepath.Base(s.TaskDir))
				if entry == "link" {
					private = filepath.Join(volume, "private")
					testkit.Must(t, os.Symlink("private", filepath.Join(volume, filepath.Base(s.TaskDir))))
				}
				testkit.Must(t, os.Mkdir(private, 0o700))
				testkit.Must(t, os.Chown(private, other, other))
				s.Mounts = []wire.Mount{{Node: volume, Task: way + filepath.Dir(s.TaskDir)}}
				k, _, err := keepCell(t, s)
				testkit.Must(t, err)
				if way == "" && k.closed != nil {
					t.Error("the cell came before the content, which its volume hides")
				}
				testkit.Must(t, k.openTask())
				var st unix.Stat_t
				testkit.Must(t, unix.Stat(private, &st))
				if st.Uid != other || st.Gid != other || st.Mode != unix.S_IFDIR|0o700 {
					t.Errorf("the directory of the volume has the owner %d:%d and the mode %o", st.Uid, st.Gid, st.Mode)
				}
			})
		}
	}
}

// The keeper takes as the task's directory only what no program could have made.
func TestClosedTask(t *testing.T) {
	needRoot(t)
	s := newSpec(t, true)
	s.Content = []wire.Content{{Source: "s3://bucket/key", Destination: "model/"}}
	k, _, err := keepCell(t, s)
	testkit.Must(t, err)
	memory, err := os.MkdirTemp("/dev/shm", "nc")
	testkit.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(memory) })
	for _, c := range []struct {
		what string
		dir  string // empty is the cell's own
		uid  int
		mode os.FileMode
		good bool
	}{
		{"the cell's own", "", 0, 0, true},
		{"a user's", "", 1, 0, false},
		{"an open one", "", 0, 0o755, false},
		{"in another file system", memory, 0, 0, false},
	} {
		path := c.dir
		if path == "" {
			path = fmt.Sprintf("/proc/self/fd/%d", k.closed.Fd())
		}
		testkit.Must(t, os.Chown(path, c.uid, 0))
		testkit.Must(t, os.Chmod(path, c.mode))
		f, err := os.Open(path)
		testkit.Must(t, err)
		dir, err := closedTask([]*os.File{f})
		var end wire.End
		if c.good && err != nil || !c.good && (!errors.As(err, &end) || end.Code != wire.CodeConfig) {
			t.Errorf("%s: %v", c.what, err)
		}
		if dir != nil {
			dir.Close()
		}
	}
	k.closed.Close()
	if e := end(wire.CodeContentStore, k.openTask()); e.Code != wire.CodeConfig || !strings.Contains(e.Detail, "give the content to the cell") {
		t.Errorf("a directory that cannot be opened: %+v", e)
	}
	if _, err := closedTask(nil); err == nil {
		t.Error("without a file there is no error")
	}
}

// TestCellAhead: the cell is there when the keeper answers its first request, unless the content comes first.
func TestCellAhead(t *testing.T) {
	needRoot(t)
	for _, content := range [][]wire.Content{nil, {{Source: "s3://bucket/key", Destination: "model/"}}} {
		s := newSpec(t, true)
		s.Job, s.Content = "answered", content
		s.Mounts = []wire.Mount{{Node: testkit.ShortDir(t), Task: filepath.Join(s.TaskDir, "saves")}}
		k := keep(t, s)
		line, err := k.read.ReadString('\n')
		testkit.Must(t, err)
		var host int
		if _, err := fmt.Sscan(line, &host); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if below := cell.Descendants(k.PID(), map[int]bool{host: true}); (len(below) > 0) != (content == nil) {
			t.Errorf("with content %v, the keeper has the processes %v beside the stream host", content, below)
		}
		testkit.Must(t, unix.Kill(k.PID(), unix.SIGTERM))
		k.end(t)
		k.clean(t)
	}
}
