package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/enter"
)

// beside runs a command in a cell, by a given seat-keeper.
func beside(t *testing.T, keeper string, c *cell.Client, s wire.Spec, env []string, command ...string) (out string, code int) {
	t.Helper()
	args := []string{enter.Arg, "--target", fmt.Sprint(c.Init()), "--user", s.User, "--dir", s.TaskDir}
	if s.Isolate {
		args = append(args, "--confined")
	}
	cmd := exec.CommandContext(testkit.Context(t, time.Minute), keeper, append(append(args, "--"), command...)...)
	cmd.Env = env
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return b.String(), cmd.ProcessState.ExitCode()
}

// TestEnter: a command beside the app is where the app is, and has no more power.
func TestEnter(t *testing.T) {
	needRoot(t)
	modes(t, func(t *testing.T, s wire.Spec) {
		c, err := makeCell(t, s)
		testkit.Must(t, err)
		env := []string{"PATH=/usr/bin:/bin", "A=1"}
		const status = `grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp):' /proc/self/status; pwd; echo $A`
		out, code := beside(t, program, c, s, env, "sh", "-c", status)
		id, _, _ := strings.Cut(s.User, ":")
		ids := strings.Repeat("\t"+id, 4)
		seccomp := "0"
		if s.Isolate {
			seccomp = "2"
		}
		want := "Uid:" + ids + "\nGid:" + ids + "\nGroups:\t" + id + " \n"
		for _, set := range []string{"Inh", "Prm", "Eff", "Bnd", "Amb"} {
			want += "Cap" + set + ":\t0000000000000000\n"
		}
		want += "NoNewPrivs:\t1\nSeccomp:\t" + seccomp + "\n" + s.TaskDir + "\n1\n"
		if out != want || code != 0 {
			t.Errorf("exit status %d, it has\n%swant\n%s", code, out, want)
		}
		for _, ns := range []string{"pid", "mnt", "net", "ipc", "uts"} {
			cells, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", c.Init(), ns))
			testkit.Must(t, err)
			if out, _ := beside(t, program, c, s, env, "readlink", "/proc/self/ns/"+ns); strings.TrimSpace(out) != cells {
				t.Errorf("%s namespace %q, the cell's is %q", ns, out, cells)
			}
		}
		if out, code := beside(t, program, c, s, env, "sh", "-c", "ls -l /proc/self/fd"); code != 0 || strings.Count(out, " -> ") != 4 { // with that of ls
			t.Errorf("it has the descriptors\n%s", out)
		}
	})
}

func TestEnterCodes(t *testing.T) {
	needRoot(t)
	s := newSpec(t, true)
	write(t, filepath.Join(s.TaskDir, "plain"), "x")
	c, err := makeCell(t, s)
	testkit.Must(t, err)
	for _, x := range []struct {
		command []string
		code    int
	}{
		{[]string{"sh", "-c", "exit 3"}, 3},
		{[]string{"sh", "-c", "kill -KILL $$"}, 137},
		{[]string{"true"}, 0},
		{[]string{"no-such-command"}, 127},
		{[]string{"/no/such/command"}, 127},
		{[]string{program}, 0}, // the cell has the app's command
	} {
		if x.command[0] == program {
			x.command = []string{"test", "-x", program}
		}
		if out, code := beside(t, program, c, s, []string{"PATH=/usr/bin:/bin"}, x.command...); code != x.code || code == 127 && !strings.Contains(out, x.command[0]) {
			t.Errorf("%q: exit status %d, want %d: %s", x.command, code, x.code, out)
		}
	}
	c.Close()
	gone(t, []int{c.Init()})
	if out, code := beside(t, program, c, s, nil, "/bin/true"); code != 125 || !strings.Contains(out, "the seat has ended") {
		t.Errorf("after the end of the cell: exit status %d: %s", code, out)
	}
}

// TestEnterPreload: the environment is the app's. The part of seat-keeper that is root
// does not load a library that it names.
func TestEnterPreload(t *testing.T) {
	needRoot(t)
	keeper := filepath.Join(testkit.ShortDir(t), "seat-keeper")
	testkit.Must(t, testkit.Build(testkit.Context(t, time.Minute), "cmd/seat-keeper", keeper))
	s := newSpec(t, true)
	c, err := makeCell(t, s)
	testkit.Must(t, err)
	// The loader of a dynamic program complains about a library that is missing.
	out, code := beside(t, keeper, c, s, []string{"PATH=/usr/bin:/bin", "LD_PRELOAD=/no/such/library.so"}, "true")
	if n := strings.Count(out, "/no/such/library.so"); code != 0 || n != 1 {
		t.Errorf("exit status %d, %d loaders tried to load it, want only the command's: %s", code, n, out)
	}
}
