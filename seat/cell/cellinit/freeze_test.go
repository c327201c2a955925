package cellinit_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/testcell"
)

// inRoot is a path of the cell, as this process sees it.
func inRoot(c *testcell.Cell, path string) string {
	if c.DisplayNumber() < 0 { // it has no file system of its own
		return path
	}
	return "/proc/" + strconv.Itoa(c.Init()) + "/root" + path
}

// stopped reports whether all processes of the app are stopped.
func stopped(c *testcell.Cell, server program) bool {
	app := cell.Descendants(c.Init(), map[int]bool{server.PID: true})
	for _, p := range app {
		if p.State != "T" {
			return false
		}
	}
	return len(app) > 0
}

func TestFreeze(t *testing.T) {
	modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
		server := script(t, c, "server", `trap 'echo alive' HUP; echo up; while :; do sleep 0.01; done`)
		server.line(t)
		script(t, c, cell.App, `(setsid sh -c 'while :; do :; done' &); while :; do i=$((i+1)); done`)
		testkit.Until(t, "work", func() bool { return c.CPU() > 0 })
		testkit.Must(t, c.Freeze())
		testkit.Until(t, "standstill", func() bool { return stopped(c, server) })
		before := c.CPU()
		testkit.Must(t, server.Signal(1, false))
		if line := server.line(t); line != "alive" {
			t.Errorf("the server printed %q", line)
		}
		pass(t, "0.1")
		if after := c.CPU(); after != before {
			t.Errorf("the frozen app used %v", after-before)
		}
		testkit.Must(t, c.Freeze()) // twice is harmless
		testkit.Must(t, c.Thaw())
		testkit.Until(t, "work after the thaw", func() bool { return c.CPU() > before })
	})
}

// TestCPU: the work of servers does not count, but that of children that ended does.
func TestCPU(t *testing.T) {
	modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
		server := script(t, c, "server", `echo up; while :; do :; done`)
		server.line(t)
		testkit.Until(t, "work of the server", func() bool {
			stat, ok := cell.ProcessStat(server.PID)
			return ok && cell.CPUTime(stat) > 50*time.Millisecond
		})
		if cpu := c.CPU(); cpu != 0 {
			t.Errorf("%v before the app runs", cpu)
		}
		p := script(t, c, cell.App, `sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; echo done; exec sleep 1000`)
		p.line(t)
		if cpu := c.CPU(); cpu < 20*time.Millisecond || cpu > 10*time.Second {
			t.Errorf("%v after a child counted to 300000", cpu)
		}
		testkit.Must(t, c.Kill())
		p.wait(t)
		if cpu := c.CPU(); cpu != 0 {
			t.Errorf("%v after the app ended", cpu)
		}
	})
}

func TestFreezeWhileForking(t *testing.T) {
	modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
		server := script(t, c, "server", `echo up; exec sleep 1000`)
		server.line(t)
		script(t, c, cell.App, `while :; do /bin/true & done`)
		testkit.Until(t, "children", func() bool { return len(pids(c)) > 2 })
		for range 3 {
			testkit.Must(t, c.Freeze())
			testkit.Until(t, "standstill", func() bool { return stopped(c, server) })
			if !slices.Contains(pids(c), server.PID) {
				t.Error("the server has ended")
			}
			testkit.Must(t, c.Thaw())
		}
	})
}
