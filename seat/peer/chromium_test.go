package peer_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/capture"
	"github.com/nearcast/nearcast/seat/peer"
)

// xvfb starts a display with something that moves on it.
func xvfb(t testing.TB) string {
	t.Helper()
	for _, program := range []string{"Xvfb", "gst-launch-1.0"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	spawn := func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
	}
	display, _ := testkit.Xvfb(t, nil)
	app := exec.Command("gst-launch-1.0", "-q", "videotestsrc", "is-live=true", "pattern=ball", "!",
		"video/x-raw,width=1280,height=720,framerate=30/1", "!", "videoconvert", "!", "ximagesink")
	app.Env = append(os.Environ(), "DISPLAY="+display)
	spawn(app)
	return display
}

// browser opens a page in a headless Chromium.
func browser(t testing.TB, url string) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("Chromium is not installed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.Headless,
		chromedp.Env("HOME="+t.TempDir()),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("autoplay-policy", "no-user-gesture-required"))
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() { chromedp.Cancel(ctx); cancel() })
	if _, err := chromedp.Run(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatalf("open page: %v", err)
	}
	return ctx
}

type pageStats struct {
	Decoded   int     `json:"decoded"`
	Keyframes int     `json:"keyframes"`
	Jitter    float64 `json:"jitter"`
	Decode    float64 `json:"decode"`
	PLI       int     `json:"pli"`
	Dropped   int     `json:"dropped"`
	Codec     string  `json:"codec"`
}

func evaluate[T any](t testing.TB, ctx context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("evaluate %s: %v", expression, err)
	}
	return v
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		<-tick.C
	}
}

func TestChromium(t *testing.T) {
	for _, codec := range []string{capture.H264, capture.VP8} {
		t.Run(codec, func(t *testing.T) { testChromium(t, codec) })
	}
}

func testChromium(t *testing.T, codec string) {
	display := xvfb(t)
	var seat atomic.Pointer[peer.Peer]
	pipeline, err := capture.Start(t.Context(), capture.Config{Display: display, Width: 1280, Height: 720, FPS: 30,
		Codec: codec, Encoder: "auto", BitrateBPS: 8_000_000,
		OnFrame: func(f capture.Frame) {
			if p := seat.Load(); p != nil {
				p.WriteVideo(peer.Frame{Data: f.Data, Keyframe: f.Keyframe, PTS: f.PTS})
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer pipeline.Close()
	pipeline.Pause()
	inputs, states := make(chan wire.Input, 100), make(chan peer.State, 100)
	var lowest atomic.Int64
	lowest.Store(8_000_000)
	p, err := peer.New(peer.Config{Listen: wire.Listen{Loopback: true}, Codec: codec, Audio: true, MaxBitrateBPS: 8_000_000,
		OnInput: func(in wire.Input) { inputs <- in }, OnState: func(s peer.State) { states <- s },
		OnKeyframe: pipeline.Keyframe,
		OnBitrate: func(bps int) {
			pipeline.SetBitrate(bps)
			lowest.Store(min(lowest.Load(), int64(bps)))
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	seat.Store(p)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "testdata/player.html") })
	mux.HandleFunc("POST /offer", func(w http.ResponseWriter, r *http.Request) {
		offer, _ := io.ReadAll(r.Body)
		pipeline.Resume()
		answer, err := p.Answer(r.Context(), string(offer))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		io.WriteString(w, answer)
	})
	mux.HandleFunc("POST /candidate", func(w http.ResponseWriter, r *http.Request) {
		candidate, _ := io.ReadAll(r.Body)
		if err := p.AddCandidate(candidate); err != nil {
			t.Errorf("candidate %s: %v", candidate, err)
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	ctx := browser(t, server.URL)

	eventually(t, "30 frames are shown", func() bool {
		if e := evaluate[string](t, ctx, "state.error"); e != "" {
			t.Fatal(e)
		}
		return evaluate[int](t, ctx, "state.frames") > 30
	})
	first := evaluate[float64](t, ctx, "state.first")
	eventually(t, "both channels are open", func() bool { return evaluate[int](t, ctx, "state.open.length") == 2 })
	evaluate[chromedp.Void](t, ctx, `void input.send('{"t":"key","code":"KeyA","key":"a","p":true}')`)
	evaluate[chromedp.Void](t, ctx, `void pointer.send('{"t":"move","x":0.5,"y":0.25,"n":1}')`)
	evaluate[chromedp.Void](t, ctx, `void input.send('{"t":"ping","seq":7}')`)
	evaluate[chromedp.Void](t, ctx, `void input.send('not json')`)
	seen := map[wire.InputType]wire.Input{}
	for len(seen) < 2 {
		select {
		case in := <-inputs:
			seen[in.Type] = in
		case <-time.After(60 * time.Second):
			t.Fatalf("input is missing, got %v", seen)
		}
	}
	if k, m := seen[wire.InputKey], seen[wire.InputMove]; k.Code != "KeyA" || !k.Pressed || m.X != 0.5 || m.Y != 0.25 {
		t.Errorf("input came as %+v and %+v", k, m)
	}
	eventually(t, "the ping is answered", func() bool { return evaluate[int](t, ctx, "state.pongs") == 1 })
	eventually(t, "the malformed input is counted", func() bool { return p.Stats().InputsMalformed == 1 })

	s := evaluate[pageStats](t, ctx, "stats()")
	t.Logf("%s by %s: first frame %.0f ms after the offer, %d frames, jitter buffer %.1f ms, decode %.1f ms, %d PLI, %d dropped, seat %+v, lowest bitrate %d",
		pipeline.Encoder(), s.Codec, first, s.Decoded, s.Jitter*1000, s.Decode*1000, s.PLI, s.Dropped, p.Stats(), lowest.Load())
	if s.Decoded == 0 || s.Keyframes == 0 {
		t.Errorf("nothing was decoded: %+v", s)
	}

	// A browser that closes is noticed at once, one that dies after a few seconds.
	want, within := peer.Closed, 20*time.Second
	if codec == capture.H264 {
		want, within = peer.Disconnected, 30*time.Second
		if err := chromedp.FromContext(ctx).Browser.Process().Kill(); err != nil {
			t.Fatal(err)
		}
	} else {
		evaluate[chromedp.Void](t, ctx, "void pc.close()")
	}
	left, deadline := time.Now(), time.After(within)
	for {
		select {
		case state := <-states:
			if state == want || state == peer.Closed {
				t.Logf("%v after %v", state, time.Since(left))
				return
			}
		case <-deadline:
			t.Fatal("the end was not noticed")
		}
	}
}
