package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// seat is the id of the seat the page holds.
func seat(ctx context.Context, t *testing.T, page *browser.Page) string {
	t.Helper()
	var id string
	testkit.Must(t, page.Eval(ctx, "nearcast.seat", &id))
	if id == "" {
		t.Fatal("the page holds no seat")
	}
	return id
}

// white flips the picture to white, so that a resumed picture can be told from
// a new app's.
func white(ctx context.Context, t *testing.T, page *browser.Page) {
	t.Helper()
	testkit.Must(t, page.Until(ctx, centre+" < 40"))
	testkit.Must(t, page.Key(ctx, "a"))
	testkit.Must(t, page.Until(ctx, centre+" > 200"))
}

func TestReloadComesBackToTheSamePicture(t *testing.T) {
	ctx := testkit.Context(t, time.Minute)
	app := runApp(ctx, t, nil)
	testkit.Must(t, site.WaitIdle(ctx, app))
	page := open(ctx, t, app)
	play(ctx, t, page)
	white(ctx, t, page)
	before := seat(ctx, t, page)

	testkit.Must(t, page.Reload(ctx))
	testkit.Must(t, page.Until(ctx, "window.nearcast && nearcast.state === 'streaming'"))
	testkit.Must(t, page.Until(ctx, centre+" > 200"))
	if after := seat(ctx, t, page); after != before {
		t.Errorf("the page holds seat %s after the reload, %s before", after, before)
	}
}

func TestVanishedBrowserLosesItsSeatAfterTheGrace(t *testing.T) {
	ctx := testkit.Context(t, time.Minute)
	app := runApp(ctx, t, map[string]string{"reconnect_grace": "3s"})
	testkit.Must(t, site.WaitIdle(ctx, app))
	page := open(ctx, t, app)
	play(ctx, t, page)
	page.Close()
	testkit.Retry(ctx, t, "the seat ends as lost", func() error {
		if events := taskEvents(t, app); !strings.Contains(events, "lost") {
			return fmt.Errorf("the task events are %s", events)
		}
		return nil
	})
}

// Ten seconds in which the browser neither sends nor receives, as in a tunnel:
// it comes back to the same picture by itself.
func TestTenSecondsOfSilence(t *testing.T) {
	ctx := testkit.Context(t, 2*time.Minute)
	app := runApp(ctx, t, map[string]string{"reconnect_grace": "60s"})
	testkit.Must(t, site.WaitIdle(ctx, app))
	own, err := browser.Launch(ctx)
	testkit.Must(t, err)
	defer own.Close()
	page, err := own.Open(ctx, site.URL+"/play/"+app)
	testkit.Must(t, err)
	testkit.Must(t, page.Until(ctx, "window.nearcast && document.querySelector('.play-button')"))
	play(ctx, t, page)
	white(ctx, t, page)
	before := seat(ctx, t, page)

	pids := tree(own.PID())
	stop := func(signal syscall.Signal) {
		for _, pid := range pids {
			_ = syscall.Kill(pid, signal) // a renderer may have gone meanwhile
		}
	}
	stop(syscall.SIGSTOP)
	defer stop(syscall.SIGCONT)
	// The seat notices the silence by itself, which takes a few of these seconds.
	silence, end := context.WithTimeout(ctx, 10*time.Second)
	<-silence.Done()
	end()
	stop(syscall.SIGCONT)

	testkit.Must(t, page.Until(ctx, "nearcast.state === 'streaming'"))
	var frames int
	testkit.Must(t, page.Eval(ctx, "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames", &frames))
	testkit.Must(t, page.Until(ctx, fmt.Sprintf(
		"nearcast.state === 'streaming' && document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames !== %d", frames)))
	testkit.Must(t, page.Until(ctx, centre+" > 200"))
	if after := seat(ctx, t, page); after != before {
		t.Errorf("the page holds seat %s after the silence, %s before", after, before)
	}
}

// tree is a process and all its descendants.
func tree(root int) []int {
	parent := map[int]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 {
			parent[pid], _ = strconv.Atoi(fields[1])
		}
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		for pid, of := range parent {
			if of == all[i] && !slices.Contains(all, pid) {
				all = append(all, pid)
			}
		}
	}
	return all
}
