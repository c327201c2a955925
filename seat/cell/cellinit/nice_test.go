package cellinit_test

import (
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/testcell"
)

// TestAppYields: the app's processes are nicer than the display, whatever the agent's own
// nice value is, also those that it starts.
func TestAppYields(t *testing.T) {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	testkit.Must(t, err)
	own := 20 - raw
	modes(t, testcell.Options{AppNice: 3}, func(t *testing.T, c *testcell.Cell) {
		const print = `nice; (nice) & wait; read x`
		display := script(t, c, "display", print)
		app := script(t, c, cell.App, "sleep 0.2; "+print)
		for range 2 {
			if got := display.line(t); got != strconv.Itoa(own) {
				t.Errorf("the display's nice value is %s, want %d", got, own)
			}
			if got, want := app.line(t), strconv.Itoa(min(own+3, 19)); got != want {
				t.Errorf("the app's nice value is %s, want %s", got, want)
			}
		}
	})
}
