package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// decoded counts the frames the page has decoded; a new peer connection starts again at 0.
const decoded = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"

// flows waits until n more frames were decoded than now, by the same connection.
func flows(ctx context.Context, t *testing.T, page *browser.Page, n int) {
	t.Helper()
	var now int
	testkit.Must(t, page.Eval(ctx, decoded, &now))
	testkit.Must(t, page.Until(ctx, fmt.Sprintf("%s >= %d", decoded, now+n)))
}

// watchFrames notes in the page the longest time between two frames.
const watchFrames = `(() => {
	const video = document.querySelector('video');
	window.longest = 0;
	let last = performance.now();
	const step = (now) => { window.longest = Math.max(window.longest, now - last); last = now; video.requestVideoFrameCallback(step); };
	video.requestVideoFrameCallback(step);
})()`

// Each process of the chain but the stream host is killed while frames flow: the
// stream goes on, and the process is started again and finds its state again.
func TestKillMidStream(t *testing.T) {
	for _, name := range []string{"brain", "router", "consul", "nomad", "plugin"} {
		t.Run(name, func(t *testing.T) {
			ctx := testkit.Context(t, 2*time.Minute)
			app := runApp(ctx, t, nil)
			testkit.Must(t, site.WaitIdle(ctx, app))
			page := open(ctx, t, app)
			play(ctx, t, page)
			white(ctx, t, page)
			held := seat(ctx, t, page)
			testkit.Must(t, page.Eval(ctx, watchFrames, nil))

			if name == "plugin" {
				killPlugin(t)
			} else {
				testkit.Must(t, site.Kill(ctx, name))
				testkit.Must(t, site.Wait(ctx, name))
			}
			flows(ctx, t, page, 60)

			// Input still reaches the app, and the session can be ended.
			testkit.Must(t, page.Key(ctx, "a"))
			testkit.Must(t, page.Until(ctx, centre+" < 40"))
			if now := seat(ctx, t, page); now != held {
				t.Errorf("the page holds seat %s, held %s before", now, held)
			}
			var longest float64
			testkit.Must(t, page.Eval(ctx, "window.longest", &longest))
			t.Logf("longest time between frames: %.0f ms", longest)
			if longest > 2000 {
				t.Errorf("the picture stood still for %.0f ms", longest)
			}
			if name == "brain" {
				testkit.Must(t, page.Until(ctx, "nearcast.connected"))
			}
			leave(ctx, t, page)
			ended(ctx, t, page)

			// A new session starts from the healed site.
			testkit.Must(t, site.WaitIdle(ctx, app))
			again := open(ctx, t, app)
			play(ctx, t, again)
			leave(ctx, t, again)
			ended(ctx, t, again)
		})
	}
}

// killPlugin kills the driver's plugin process, which the Nomad agent started.
func killPlugin(t *testing.T) {
	t.Helper()
	for _, p := range processesNaming(site.Dir) {
		var pid int
		var command string
		if _, err := fmt.Sscan(p, &pid, &command); err == nil && filepath.Base(command) == "nomad-driver-stream" {
			testkit.Must(t, syscall.Kill(pid, syscall.SIGKILL))
			return
		}
	}
	t.Fatal("found no plugin process")
}

// The keeper of a seat and its stream host end with each other, and the cell with both.
func TestKilledKeeper(t *testing.T) {
	killed(t, func(keeper int) int { return keeper })
}

func TestKilledStreamHost(t *testing.T) {
	killed(t, func(keeper int) int {
		for _, pid := range tree(keeper)[1:] {
			if command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.Contains(string(command), "stream-host\x00--keeper") {
				return pid
			}
		}
		t.Fatal("found no stream host below the keeper")
		return 0
	})
}

// killed kills a process of a seat that a person uses. which gets the keeper's pid.
func killed(t *testing.T, which func(keeper int) int) {
	ctx := testkit.Context(t, time.Minute)
	app := runApp(ctx, t, nil)
	testkit.Must(t, site.WaitIdle(ctx, app))
	page := open(ctx, t, app)
	play(ctx, t, page)
	held := seat(ctx, t, page)

	keeper := 0
	for _, p := range processesNaming("/run/" + held[:8]) {
		var pid int
		var command string
		if _, err := fmt.Sscan(p, &pid, &command); err == nil && filepath.Base(command) == "seat-keeper" && strings.Contains(p, "spec.json") {
			keeper = pid
		}
	}
	if keeper == 0 {
		t.Fatalf("found no keeper of %s among %q", held, processesNaming("/run/"+held[:8]))
	}
	all := tree(keeper)
	if len(all) < 4 { // keeper, stream host, the cell's first process, its programs
		t.Fatalf("the seat has %d processes", len(all))
	}
	testkit.Must(t, syscall.Kill(which(keeper), syscall.SIGKILL))

	// The person is told, and offered a new seat.
	ended(ctx, t, page)
	testkit.Retry(ctx, t, "nothing of the seat is left", func() error {
		for _, pid := range all {
			if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(state), ") Z ") {
				return fmt.Errorf("process %d lives: %.80s", pid, state)
			}
		}
		return nil
	})
	testkit.Retry(ctx, t, "Nomad is told", func() error {
		if events := taskEvents(t, app); !strings.Contains(events, "stream-host-died") {
			return fmt.Errorf("the task events are %s", events)
		}
		return nil
	})
	testkit.Must(t, site.WaitIdle(ctx, app))
	testkit.Must(t, page.Click(ctx, "section.ended button.primary"))
	testkit.Must(t, page.Until(ctx, "nearcast.state === 'streaming'"))
	if now := seat(ctx, t, page); now == held {
		t.Error("the page holds the dead seat")
	}
}
