package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/nearcast/nearcast/dev"
	"github.com/nearcast/nearcast/internal/testkit"
)

// nearcast is a whole site, in which a seat of the app is idle.
type nearcast struct{ *peers }

func (n *nearcast) name() string { return "nearcast" }

func (n *nearcast) play(tb testing.TB, a showing) *stage {
	tb.Helper()
	ctx := testkit.Context(tb, 2*time.Minute)
	rate := strconv.Itoa(a.fps)
	args := append([]string{"-size", "1280x720", "-fps", rate}, a.args...)
	vars := map[string]string{"name": fmt.Sprintf("peers-%d", time.Now().UnixNano()), "warm": "1", "max": "1", "fps": rate,
		"bitrate": fmt.Sprintf("%dMbps", a.mbps), "memory": "512", "start_timeout": "60s", "audio": strconv.FormatBool(a.sound)}
	if a.sound {
		args = append(args, "-sound")
	}
	if a.film != nil {
		args = append(args, "-show", "${NOMAD_TASK_DIR}/film", "-rest", a.film.rest.String())
		vars["content"], vars["content_as"] = "s3://"+dev.Bucket+"/bench/film-"+a.film.name, "local/film"
	}
	vars["args"] = strings.Join(args, " ")
	stop, err := n.bench.runApp(ctx, vars["name"], vars)
	testkit.Must(tb, err)
	testkit.Must(tb, n.bench.waitIdle(ctx, vars["name"], 1))
	s := &stage{tb: tb}
	s.page, err = n.chrome.OpenAfter(ctx, peerHook(tb, a.line), n.bench.site.URL+"/play/"+vars["name"])
	testkit.Must(tb, err)
	s.end = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), time.Minute)
		defer cancel()
		if err := n.bench.leave(ctx, s.page); err != nil {
			tb.Error(err)
		}
		stop()
	}
	testkit.Must(tb, s.page.Until(ctx, "window.nearcast && nearcast.state === 'ready' && document.querySelector('.play-button')"))
	testkit.Must(tb, settle(ctx))
	testkit.Must(tb, n.bench.play(ctx, s.page))
	testkit.Must(tb, s.page.Eval(ctx, `(() => {
		window.press = (type) => `+photonKey+`;
		window.firstMS = () => nearcast.firstFrameMS;
	})()`, nil))
	var seat string
	testkit.Must(tb, s.page.Eval(ctx, "nearcast.seat", &seat))
	host, err := streamHostOf(seat)
	testkit.Must(tb, err)
	s.server, s.display = host.PID, displayServerOf(tb, host)
	return s
}

// displayServerOf is the X server of a seat.
func displayServerOf(tb testing.TB, streamHost procfs.Proc) int {
	tb.Helper()
	own, err := streamHost.Environ()
	testkit.Must(tb, err)
	all, err := procfs.AllProcs()
	testkit.Must(tb, err)
	for _, p := range all {
		environ, err := p.Environ()
		name, _ := p.Comm()
		if err == nil && variable(environ, "NEARCAST_NONCE") == variable(own, "NEARCAST_NONCE") && strings.HasPrefix(name, "X") {
			return p.PID
		}
	}
	tb.Fatal("the seat has no display server")
	return 0
}
