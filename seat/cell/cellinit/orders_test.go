package cellinit_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/testcell"
)

// TestLateOrders: what an app could have changed is not touched once it runs, nor after
// its end.
func TestLateOrders(t *testing.T) {
	modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
		path := filepath.Join(c.Dir, "cookie")
		testkit.Must(t, c.WriteFile(path, []byte("x")))
		if err := c.WriteFile(path, []byte("y")); err == nil {
			t.Error("a file was written twice")
		}
		f, err := c.Open(path)
		testkit.Must(t, err)
		defer f.Close()
		var stat unix.Stat_t
		testkit.Must(t, unix.Fstat(int(f.Fd()), &stat))
		if stat.Mode&0o777 != 0o600 || int(stat.Uid) != c.Identity.UID || stat.Size != 1 {
			t.Errorf("mode %o, uid %d, %d bytes", stat.Mode, stat.Uid, stat.Size)
		}
		if _, err := f.Read(make([]byte, 1)); !errors.Is(err, unix.EBADF) {
			t.Errorf("the descriptor can be read: %v", err)
		}
		app := script(t, c, cell.App, `echo up; read x; exit 0`)
		app.line(t)
		for _, when := range []string{"while the app runs", "after its end"} {
			_, start := c.Start(t.Context(), cell.Program{Name: "server", Path: "/bin/true", Dir: "/"})
			_, again := c.Start(t.Context(), cell.Program{Name: "app2", Path: "/bin/true", Dir: "/"})
			_, dial := c.Dial("/x")
			_, open := c.Open("/")
			for _, err := range []error{start, again, dial, open, c.WriteFile(filepath.Join(c.Dir, "new"), nil)} {
				if err == nil || !strings.Contains(err.Error(), "the app runs already") {
					t.Errorf("%s: %v", when, err)
				}
			}
			testkit.Must(t, c.Kill())
			app.wait(t)
		}
	})
}

// TestDial: a socket that a server of the cell serves.
func TestDial(t *testing.T) {
	modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
		path := filepath.Join(c.Dir, "socket")
		if _, err := c.Dial(path); err == nil {
			t.Error("connected to nothing")
		}
		outside := inRoot(c, path)
		l, err := net.Listen("unix", outside)
		testkit.Must(t, err)
		defer l.Close()
		testkit.Must(t, os.Chmod(outside, 0o666))
		conn, err := c.Dial(path)
		testkit.Must(t, err)
		defer conn.Close()
		peer, err := l.Accept()
		testkit.Must(t, err)
		peer.Write([]byte("hello"))
		peer.Close()
		if b, err := io.ReadAll(conn); err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
	})
}

// TestListenAndLink: a socket that the stream host serves for programs of the cell, at a
// name that comes and goes while the app runs.
func TestListenAndLink(t *testing.T) {
	modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
		socket, name := filepath.Join(c.Dir, "socket"), filepath.Join(c.Dir, "name")
		l, err := c.Listen(socket)
		testkit.Must(t, err)
		defer l.Close()
		if _, err := c.Listen(socket); err == nil {
			t.Error("two listen at one socket")
		}
		app := script(t, c, cell.App, `echo up; while read x; do :; done; sleep 1000`)
		app.line(t)
		there := func() bool { _, err := os.Lstat(inRoot(c, name)); return err == nil }
		for range 2 { // twice is harmless
			testkit.Must(t, c.Link(name, socket))
		}
		if to, err := os.Readlink(inRoot(c, name)); err != nil || to != socket {
			t.Errorf("the link leads to %q, %v", to, err)
		}
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: inRoot(c, socket), Net: "unix"})
		testkit.Must(t, err)
		defer conn.Close()
		peer, err := l.Accept()
		testkit.Must(t, err)
		peer.Close()
		testkit.Must(t, c.Link(name, ""))
		if there() {
			t.Error("the link is left")
		}
		if err := c.Link(name, ""); err == nil {
			t.Error("a link that is gone was taken away")
		}
		if _, err := c.Listen(name); err == nil || !strings.Contains(err.Error(), "the app runs already") {
			t.Errorf("listen while the app runs: %v", err)
		}
	})
}

func TestCommand(t *testing.T) {
	write := func(t *testing.T, path, text string, mode os.FileMode) {
		testkit.Must(t, os.WriteFile(path, []byte(text), mode))
		testkit.Must(t, os.Chmod(path, mode))
	}
	modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
		// One cell is enough: an app that did not start may be started again.
		at := func(name string) string { return filepath.Join(c.Dir, name) }
		write(t, at("plain"), "no program", 0o644)
		write(t, at("garbage"), "\x01\x02\x03", 0o755)
		write(t, at("script"), "#!/no/such/interpreter\n", 0o755)
		for name, x := range map[string]struct{ path, dir, code, has string }{
			"missing":          {"/no/such/game", c.Dir, wire.CodeAppNotFound, "/no/such/game does not exist"},
			"missing relative": {"local/game", c.Dir, wire.CodeAppNotFound, "local/game does not exist"},
			"not in PATH":      {"nosuchgame", c.Dir, wire.CodeAppNotFound, "PATH"},
			"not executable":   {at("plain"), c.Dir, wire.CodeAppNotFound, "not executable"},
			"by name":          {"plain", c.Dir, wire.CodeAppNotFound, "not executable"},
			"directory":        {c.Dir, c.Dir, wire.CodeAppNotFound, "directory"},
			"no format":        {at("garbage"), c.Dir, wire.CodeAppNotFound, "cannot be executed"},
			"no interpreter":   {at("script"), c.Dir, wire.CodeAppNotFound, "interpreter"},
			"no directory":     {"/bin/true", "/no/such/dir", wire.CodeConfig, "/no/such/dir"},
		} {
			_, err := c.Start(testkit.Context(t, time.Minute), cell.Program{Name: cell.App, Path: x.path, Args: []string{x.path}, Dir: x.dir, SearchPath: "/usr/bin:/bin"})
			var end wire.End
			if !errors.As(err, &end) || end.Reason != wire.ReasonError || end.Code != x.code || !strings.Contains(end.Detail, x.has) {
				t.Errorf("%s: %v, want %s with %q", name, err, x.code, x.has)
			}
			err = c.Find(testkit.Context(t, time.Minute), cell.Program{Name: cell.App, Path: x.path, Dir: x.dir, SearchPath: "/usr/bin:/bin"})
			if there := name == "no format" || name == "no interpreter"; there != (err == nil) || !there && !errors.Is(err, end) {
				t.Errorf("%s: before the start: %v, want %v", name, err, end)
			}
		}
	})
	for path, code := range map[string]int{"false": 1, "game": 7, "./game": 7} {
		modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
			write(t, filepath.Join(c.Dir, "game"), "#!/bin/sh\nexit 7\n", 0o755)
			p := run(t, c, cell.Program{Name: cell.App, Path: path, Args: []string{path}, Dir: c.Dir, SearchPath: "relative:/usr/bin:/bin"})
			if got := p.wait(t); got.ExitCode != code {
				t.Errorf("%s: %+v, want %d", path, got, code)
			}
		})
	}
}

// TestCollectorLeavesDescriptors: a first process that allocates much, as where the node
// has thousands of mounts, keeps its connection and its spec.
func TestCollectorLeavesDescriptors(t *testing.T) {
	modes(t, testcell.Options{Env: []string{"GOGC=1"}}, func(t *testing.T, c *testcell.Cell) {
		script(t, c, cell.App, `echo up`).line(t)
	})
}
