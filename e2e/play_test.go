package e2e

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	nomad "github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// picture reads the video as 16×9 luminances, 0..255.
const picture = `(() => {
	const canvas = new OffscreenCanvas(16, 9), c = canvas.getContext('2d');
	c.drawImage(document.querySelector('video'), 0, 0, 16, 9);
	const d = c.getImageData(0, 0, 16, 9).data;
	return Array.from({length: 144}, (_, i) => Math.round((d[4*i] + d[4*i+1] + d[4*i+2]) / 3));
})()`

// centre is the luminance in the middle of the video.
const centre = picture + `[4 * 16 + 8]`

// leave ends the session by the page's own button.
func leave(ctx context.Context, t *testing.T, page browser.Driven) {
	t.Helper()
	testkit.Must(t, page.Eval(ctx, `(() => { const end = document.querySelector('.tool.end'); end.click(); end.click(); })()`, nil))
}

// ended waits for the ended (or refused) screen and returns its text.
func ended(ctx context.Context, t *testing.T, page browser.Driven) string {
	t.Helper()
	testkit.Must(t, page.Until(ctx, "['ended', 'refused'].includes(nearcast.state) && document.querySelector('section.ended')"))
	var text string
	testkit.Must(t, page.Eval(ctx, "document.querySelector('section.ended').innerText", &text))
	return text
}

func TestPressPlayHoldLeave(t *testing.T) {
	ctx := testkit.Context(t, time.Minute)
	app := runApp(ctx, t, map[string]string{"args": "-fps 30 -color black", "warm": "auto"})
	testkit.Must(t, site.WaitIdle(ctx, app))
	sizedAlone(ctx, t, app)
	advised(ctx, t, app, 0)

	page := open(ctx, t, app)
	play(ctx, t, page)
	testkit.Must(t, page.Until(ctx, centre+" < 40"))
	traced(ctx, t, page, launchParts)

	// A key flips the picture, a click flips it back.
	testkit.Must(t, page.Key(ctx, "a"))
	testkit.Must(t, page.Until(ctx, centre+" > 200"))
	testkit.Must(t, page.Drag(ctx, 640, 400, 700, 420, 5))
	testkit.Must(t, page.Until(ctx, centre+" < 40"))

	// The app got the input.
	out := appOutput(ctx, t, app, `"type":"button_release"`)
	for _, want := range []string{`"type":"key_press"`, `"text":"a"`, `"type":"button_press"`} {
		if !strings.Contains(out, want) {
			t.Errorf("the app's output has no %s:\n%s", want, out)
		}
	}

	advised(ctx, t, app, 1)
	leave(ctx, t, page)
	if text := ended(ctx, t, page); !strings.Contains(strings.ToLower(text), "ended") {
		t.Errorf("the screen after leaving says %q", text)
	}
	testkit.Retry(ctx, t, "Nomad is told why the seat ended", func() error {
		if events := taskEvents(t, app); !strings.Contains(events, "left") {
			return fmt.Errorf("the task events are %s", events)
		}
		return nil
	})
	// The pool is filled again.
	testkit.Must(t, site.WaitIdle(ctx, app))
}

// appOutput is what the app of the one running seat printed, once it holds want.
func appOutput(ctx context.Context, t *testing.T, app, want string) string {
	t.Helper()
	var out string
	testkit.Retry(ctx, t, "the app prints "+want, func() error {
		out = ""
		for _, stub := range allocs(t, app) {
			alloc, _, err := site.Nomad().Allocations().Info(stub.ID, nil)
			if err != nil {
				return err
			}
			out += logs(ctx, alloc, "stdout")
		}
		if !strings.Contains(out, want) {
			return fmt.Errorf("it printed %q", out)
		}
		return nil
	})
	return out
}

// logs reads what a seat's app printed. Nomad's AllocFS would make a client for each call, and leave its
// connection open: after a hundred looks Nomad refuses more.
func logs(ctx context.Context, alloc *nomad.Allocation, kind string) string {
	q := &nomad.QueryOptions{Params: map[string]string{"task": "app", "type": kind, "plain": "true"}}
	body, err := site.Nomad().Raw().Response("/v1/client/fs/logs/"+alloc.ID, q.WithContext(ctx))
	if err != nil {
		return "" // the seat has not started
	}
	defer body.Close()
	text, _ := io.ReadAll(body) // what came before an error
	return string(text)
}

func TestPhoneHoldsTheApplication(t *testing.T) {
	ctx := testkit.Context(t, time.Minute)
	app := runApp(ctx, t, nil)
	testkit.Must(t, site.WaitIdle(ctx, app))
	page := open(ctx, t, app, browser.Size{Width: 390, Height: 844})
	play(ctx, t, page)
	var overflow bool
	testkit.Must(t, page.Eval(ctx, "document.documentElement.scrollWidth > innerWidth", &overflow))
	if overflow {
		t.Error("the page is wider than the phone")
	}
	var ratio float64
	testkit.Must(t, page.Eval(ctx, "(() => { const v = document.querySelector('video'); return v.videoWidth / v.videoHeight })()", &ratio))
	if ratio < 1.77 || ratio > 1.79 {
		t.Errorf("the picture's aspect is %.3f, want 16:9", ratio)
	}
}

func TestColdSeatStartsOnDemand(t *testing.T) {
	ctx := testkit.Context(t, time.Minute)
	app := runApp(ctx, t, map[string]string{"warm": "0", "max": "1"})
	first := open(ctx, t, app)
	play(ctx, t, first)

	// The app is full now: the next person waits, and is told their place.
	second := open(ctx, t, app)
	testkit.Must(t, second.Click(ctx, ".play-button"))
	testkit.Must(t, second.Until(ctx, "nearcast.state === 'queued'"))
	leave(ctx, t, first)
	testkit.Must(t, second.Until(ctx, "nearcast.state === 'streaming'"))
}

func TestTimeLimitAndIdleEndTheSession(t *testing.T) {
	for reason, vars := range map[string]map[string]string{
		"time-limit": {"max_duration": "3s"},
		"idle":       {"idle_timeout": "3s"},
	} {
		t.Run(reason, func(t *testing.T) {
			ctx := testkit.Context(t, time.Minute)
			app := runApp(ctx, t, vars)
			testkit.Must(t, site.WaitIdle(ctx, app))
			page := open(ctx, t, app)
			play(ctx, t, page)
			ended(ctx, t, page)
			testkit.Retry(ctx, t, "Nomad is told "+reason, func() error {
				if events := taskEvents(t, app); !strings.Contains(events, reason) {
					return fmt.Errorf("the task events are %s", events)
				}
				return nil
			})
		})
	}
}
