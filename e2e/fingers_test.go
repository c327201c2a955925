package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// handsLine is what the GTK 3 program says of one event.
type handsLine struct {
	Type   string
	Smooth bool
	DX, DY float64
	Finger int
	X, Y   int
}

// Two fingers that pinch in Chromium are two touches of a GTK 3 program in a seat, and a trackpad's wheel event of less
// than a notch scrolls it by that part.
func TestFingers(t *testing.T) {
	if err := exec.Command("/usr/bin/python3", "-c", `import gi; gi.require_version("Gtk", "3.0")`).Run(); err != nil {
		t.Skip("python3 with gir1.2-gtk-3.0 is not installed")
	}
	testkit.Xdummy(t)
	ctx := testkit.Context(t, 3*time.Minute)
	program, err := os.ReadFile("../seat/input/testdata/hands.py")
	testkit.Must(t, err)
	app := runApp(ctx, t, map[string]string{"command": "/usr/bin/python3", "script": string(program), "touch": "true",
		"max": "1", "memory": "256", "start_timeout": "60s"})
	begin := time.Now()
	testkit.Must(t, site.WaitIdle(ctx, app))
	t.Logf("idle after %v", time.Since(begin).Round(time.Millisecond))
	page := open(ctx, t, app)
	play(ctx, t, page)
	var at struct{ X, Y, Width, Height float64 } // the picture, 1280x720 in the middle of the surface
	testkit.Must(t, page.Eval(ctx, `(({ x, y, width, height }) => {
		const scale = Math.min(width / 1280, height / 720);
		return { X: x + (width - 1280 * scale) / 2, Y: y + (height - 720 * scale) / 2, Width: 1280 * scale, Height: 720 * scale };
	})(document.querySelector('.surface').getBoundingClientRect())`, &at))
	place := func(x, y float64) browser.Point { return browser.Point{X: at.X + x*at.Width, Y: at.Y + y*at.Height} }
	said := func() (all []handsLine) {
		for text := range strings.SplitSeq(appOutput(ctx, t, app, "ready"), "\n") {
			var l handsLine
			if json.Unmarshal([]byte(text), &l) == nil {
				all = append(all, l)
			}
		}
		return all
	}
	until := func(what string, ok func(all []handsLine) bool) {
		t.Helper()
		testkit.Retry(ctx, t, what, func() error {
			if all := said(); !ok(all) {
				return fmt.Errorf("the app said %+v", all)
			}
			return nil
		})
	}

	// A trackpad, with parts of a notch: 40 px are less than half of one. Chromium's protocol says of each of its
	// wheel events that it is a whole notch (wheelDelta 120), as a trackpad does of 40 px alone.
	turned := func(all []handsLine) (sum float64, rough bool) {
		for _, l := range all {
			if l.Type == "scroll" {
				sum, rough = sum+l.DY, rough || !l.Smooth
			}
		}
		return sum, rough
	}
	testkit.Must(t, page.Wheel(ctx, place(0.5, 0.5), 0, 40))
	until("a part of a notch", func(all []handsLine) bool { sum, _ := turned(all); return sum > 0 })
	if sum, rough := turned(said()); sum <= 0.1 || sum >= 0.5 || rough {
		t.Errorf("a wheel event of 40 px turned the app by %v notches, smooth is %v", sum, !rough)
	}
	testkit.Must(t, page.Wheel(ctx, place(0.5, 0.5), 0, -40))
	until("as far back", func(all []handsLine) bool { sum, _ := turned(all); return math.Abs(sum) < 0.01 })

	// Two fingers pinch out.
	testkit.Must(t, page.Touch(ctx, []browser.Point{place(0.45, 0.5), place(0.55, 0.5)}, []browser.Point{place(0.25, 0.5), place(0.75, 0.5)}, 10, true))
	until("two fingers lifted", func(all []handsLine) bool {
		ends := 0
		for _, l := range all {
			if l.Type == "touch-end" {
				ends++
			}
		}
		return ends == 2
	})
	ways := map[int][]handsLine{}
	for _, l := range said() {
		if strings.HasPrefix(l.Type, "touch-") {
			ways[l.Finger] = append(ways[l.Finger], l)
		}
		if l.Type == "press" {
			t.Errorf("a finger pressed a button: %+v", l)
		}
	}
	if len(ways) != 2 {
		t.Fatalf("%d fingers came: %+v", len(ways), ways)
	}
	var from, to []int
	for finger, way := range ways {
		first, last := way[0], way[len(way)-1]
		if first.Type != "touch-begin" || len(way) < 4 || !near(first.Y, 360) || !near(last.Y, 360) {
			t.Errorf("finger %d: %+v", finger, way)
		}
		from, to = append(from, first.X), append(to, last.X)
	}
	slices.Sort(from)
	slices.Sort(to)
	if !near(from[0], 576) || !near(from[1], 704) || !near(to[0], 320) || !near(to[1], 960) {
		t.Errorf("the fingers went from %v to %v, want 576, 704 to 320, 960", from, to)
	}
	leave(ctx, t, page)
	ended(ctx, t, page)
}

// near says that two pixels are the same, but for rounding.
func near(a, b int) bool { return math.Abs(float64(a-b)) <= 2 }
