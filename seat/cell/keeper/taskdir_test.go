package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

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
	c, err := makeCell(t, s)
	testkit.Must(t, err)
	out, _ := run(t, c, cell.Program{Path: "/bin/sh", Args: []string{"sh", "-c", "cat model/a model/saves/save"}, Dir: s.TaskDir})
	if out != "A\nold" {
		t.Errorf("the app read %q", out)
	}
}
