package display

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jezek/xgb/randr"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/display/xserver"
)

func TestSizes(t *testing.T) { testkit.EachDisplay(t, sizes) }

func sizes(t *testing.T, server wire.XServer) {
	for _, size := range [][2]int{{1366, 768}, {2560, 1440}, {641, 361}, {4096, 4096}, {64, 4096}, {leastWidth, leastHeight}} {
		t.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(t *testing.T) {
			d := startSize(t, server, size[0], size[1])
			if got := screenshot(t, d).Bounds().Size(); got.X != size[0] || got.Y != size[1] {
				t.Errorf("the picture is %v", got)
			}
		})
	}
}

// An application that sets another mode would change the size of the picture.
func TestXorgHasOneMode(t *testing.T) {
	d := startSize(t, testkit.Xorg(t), 1366, 768)
	conn := dialApp(t, d)
	if err := randr.Init(conn); err != nil {
		t.Fatal(err)
	}
	r, err := randr.GetScreenResources(conn, d.wm.root).Reply()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Modes) != 1 || r.Modes[0].Width != 1366 || r.Modes[0].Height != 768 {
		t.Errorf("modes are %+v", r.Modes)
	}
}

// Keys that end Xorg, or change the console or the mode, do nothing.
func TestXorgIgnoresItsOwnKeys(t *testing.T) {
	d := start(t, testkit.Xorg(t))
	cmd := exec.CommandContext(within(t), "xdotool", "key", "ctrl+alt+BackSpace", "ctrl+alt+F2", "ctrl+alt+KP_Add", "ctrl+alt+KP_Subtract")
	cmd.Env = append(d.Env(), "PATH="+os.Getenv("PATH"))
	if _, err := exec.LookPath("xdotool"); err != nil {
		t.Skip("xdotool is not installed")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("xdotool: %v: %s", err, out)
	}
	if got := screenshot(t, d).Bounds().Size(); got.X != testWidth || got.Y != testHeight {
		t.Errorf("after the keys, the picture is %v", got)
	}
}

// The error has what Xorg wrote to its log about it, and nothing else of the log.
func TestErrorOfXorgIsFromItsLog(t *testing.T) {
	server := testkit.Xorg(t)
	dir := t.TempDir()
	d, err := Start(within(t), Config{Width: 640, Height: 64, Server: server, Runner: cell.Local{Dir: t.TempDir()}, Dir: dir})
	if err == nil {
		d.Close()
		t.Fatal("the driver accepts 64 lines")
	}
	if text := err.Error(); !strings.Contains(text, "Virtual height (64) is too small") || strings.Contains(text, "mouse") || strings.Contains(text, "log file") {
		t.Errorf("the error is %q", text)
	}
	left, _ := filepath.Glob(dir + "/*")
	if len(left) != 1 || filepath.Base(left[0]) != xserver.LogFile {
		t.Errorf("left: %q", left)
	}
}

// BenchmarkStart measures how long Start takes. The servers take turns, so that
// other load on the machine is the same for both. Xorg has the driver dummy; a
// GPU's driver was not measured.
func BenchmarkStart(b *testing.B) {
	testkit.NeedXvfb(b)
	servers := []wire.XServer{{Server: wire.ServerXvfb}, testkit.Xorg(b)}
	took := map[string][]float64{} // ms
	for b.Loop() {
		for _, server := range servers {
			begin := time.Now()
			d := startSize(b, server, 1280, 720)
			took[server.Server] = append(took[server.Server], float64(time.Since(begin).Microseconds())/1000)
			d.Close()
		}
	}
	for name, all := range took {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], name+"-p50-ms")
		b.ReportMetric(all[len(all)*9/10], name+"-p90-ms")
	}
}
