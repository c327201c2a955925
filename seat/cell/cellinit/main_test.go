package cellinit_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/testcell"
)

func TestMain(m *testing.M) {
	testcell.Main()
	goleak.VerifyTestMain(m)
}

// modes runs a test in a cell, and without one.
func modes(t *testing.T, o testcell.Options, test func(t *testing.T, c *testcell.Cell)) {
	for _, isolate := range []bool{false, true} {
		t.Run(fmt.Sprintf("isolate=%v", isolate), func(t *testing.T) {
			if isolate && os.Geteuid() != 0 {
				t.Skip("to make a cell needs root")
			}
			o.Isolate = isolate
			test(t, testcell.Start(t, o))
		})
	}
}

// program is one that prints to the test.
type program struct {
	*cell.Process
	out  *os.File
	read *bufio.Reader
}

// script starts a shell script under a name.
func script(t *testing.T, c *testcell.Cell, name, text string, args ...string) program {
	t.Helper()
	return run(t, c, cell.Program{Name: name, Path: "/bin/sh", Args: append([]string{"sh", "-c", text, "sh"}, args...), Env: []string{"PATH=/usr/bin:/bin"}, Dir: c.Dir})
}

func run(t *testing.T, c *testcell.Cell, p cell.Program) program {
	t.Helper()
	r, w, err := os.Pipe()
	testkit.Must(t, err)
	t.Cleanup(func() { r.Close() })
	process, err := c.Start(testkit.Context(t, time.Minute), p, nil, w, os.Stderr)
	w.Close()
	testkit.Must(t, err)
	return program{process, r, bufio.NewReader(r)}
}

// line is the next line that the program prints.
func (p program) line(t *testing.T) string {
	t.Helper()
	p.out.SetReadDeadline(time.Now().Add(time.Minute))
	line, err := p.read.ReadString('\n')
	if err != nil {
		t.Fatalf("read what the program prints: %v, after %q", err, line)
	}
	return strings.TrimSuffix(line, "\n")
}

// wait returns how the program ended.
func (p program) wait(t *testing.T) cell.Result {
	t.Helper()
	wait(t, "end of the program", p.Done())
	return p.Result()
}

func wait(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-testkit.Context(t, time.Minute).Done():
		t.Fatalf("%s: not within a minute", what)
	}
}

// pids are the processes of a cell, as the node sees them, without the first one.
func pids(c *testcell.Cell) (all []int) {
	for _, p := range cell.Descendants(c.Init(), nil) {
		all = append(all, p.PID)
	}
	return all
}

// sleepers counts the processes that sleep for 1000 s.
func sleepers(pids []int) (n int) {
	for _, pid := range pids {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && string(b) == "sleep\x001000\x00" {
			n++
		}
	}
	return n
}

// gone waits until none of the processes lives.
func gone(t *testing.T, pids []int) {
	t.Helper()
	testkit.UntilSeen(t, "end of all processes", func() (any, bool) {
		var left []int
		for _, pid := range pids {
			if _, ok := cell.ProcessStat(pid); ok {
				left = append(left, pid)
			}
		}
		return left, len(left) == 0
	})
}

// pass lets time pass, in which the cell could do something.
func pass(t *testing.T, seconds string) {
	t.Helper()
	testkit.Must(t, exec.CommandContext(t.Context(), "sleep", seconds).Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("to make a cell needs root")
	}
}
