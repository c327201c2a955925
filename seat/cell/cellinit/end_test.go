package cellinit_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/testcell"
)

// busy starts a server and an app with orphans, and returns all processes.
func busy(t *testing.T, c *testcell.Cell) (app program, all []int) {
	t.Helper()
	script(t, c, "server", `trap 'rm -f made' TERM EXIT; : > made; echo up; sleep 1000 & wait`).line(t)
	app = script(t, c, cell.App, orphans+`trap '' TERM; echo up; while :; do sleep 0.01; done`)
	app.line(t)
	testkit.Until(t, "orphans", func() bool { all = pids(c); return sleepers(all) == 3 })
	return app, append(all, c.Init())
}

func TestEndOfConnection(t *testing.T) {
	modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
		app, all := busy(t, c)
		testkit.Must(t, c.Freeze())
		c.Close()
		wait(t, "end of the first process", c.Ended)
		gone(t, all)
		if got := app.wait(t); got.Signal != int(unix.SIGKILL) {
			t.Errorf("the app's end is %+v", got)
		}
		// What has ended already can be ended again.
		if err := c.Kill(); err != cell.ErrEnded {
			t.Errorf("Kill after the end: %v", err)
		}
		if err := app.Signal(15, false); err != nil {
			t.Errorf("Signal after the end: %v", err)
		}
		if cpu := c.CPU(); cpu != 0 {
			t.Errorf("CPU after the end: %v", cpu)
		}
	})
}

// TestEndWhileForking: a process that starts while the others are ended ends too.
func TestEndWhileForking(t *testing.T) {
	for range 3 {
		modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
			script(t, c, cell.App, `while :; do (setsid sleep 1000 & ) ; (sleep 0.005; setsid sleep 1000) & sleep 0.01; done`)
			var all []int
			testkit.Until(t, "children", func() bool { all = pids(c); return sleepers(all) > 5 })
			c.Close()
			wait(t, "end of the first process", c.Ended)
			gone(t, all)
		})
	}
}

// TestKillFirstProcess: without a cell the servers end too, so that the stream host
// notices, but the app's orphans are left to the driver.
func TestKillFirstProcess(t *testing.T) {
	modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
		app, all := busy(t, c)
		if c.DisplayNumber() != 0 {
			left := all
			defer func() {
				for _, pid := range left {
					unix.Kill(pid, unix.SIGKILL)
				}
				gone(t, left)
			}()
			all = []int{app.PID, c.Init()}
		}
		testkit.Must(t, unix.Kill(c.Init(), unix.SIGKILL))
		wait(t, "end of the connection", c.Done())
		gone(t, all)
		if got := app.wait(t); got.Signal != int(unix.SIGKILL) {
			t.Errorf("the app's end is %+v", got)
		}
	})
}

// bomb forks without end, and ignores what can be ignored. A shell ends when it cannot
// fork; in "command eval" it goes on, so that the bomb does not end by itself at the limit.
const bomb = `echo up; trap '' TERM HUP INT; b() { while :; do command eval 'b &'; done; }; b 2>/dev/null`

// TestForkBomb: the limit holds, and however fast it forks, the cell ends.
func TestForkBomb(t *testing.T) {
	const limit = 100
	needRoot(t)
	c := testcell.Start(t, testcell.Options{Isolate: true, Processes: limit})
	server := script(t, c, "server", `trap 'echo alive' HUP; echo up; while :; do sleep 0.01; done`)
	server.line(t)
	p := script(t, c, cell.App, bomb)
	p.line(t)
	testkit.Until(t, "the bomb", func() bool { return len(pids(c)) > limit/2 })
	if n := len(pids(c)); n > limit {
		t.Errorf("%d processes, the limit is %d", n, limit)
	}
	begin := time.Now()
	c.Freeze()
	c.Kill()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("two orders took %v", took)
	}
	all := pids(c)
	c.Close()
	wait(t, "end of the first process", c.Ended)
	gone(t, all)
}
