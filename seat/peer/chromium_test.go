//go:build !fuzz

// Not with the fuzzers: seat/capture's GStreamer bindings take minutes to instrument.

package peer_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/capture"
	"github.com/nearcast/nearcast/seat/display/x11"
	"github.com/nearcast/nearcast/seat/peer"
)

// xvfb starts a display with something that moves on it.
func xvfb(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("gst-launch-1.0"); err != nil {
		t.Skip("gst-launch-1.0 is not installed")
	}
	display, _ := testkit.Xvfb(t, nil)
	app := exec.Command("gst-launch-1.0", "-q", "videotestsrc", "is-live=true", "pattern=ball", "!",
		"video/x-raw,width=1280,height=720,framerate=30/1", "!", "videoconvert", "!", "ximagesink")
	app.Env = append(os.Environ(), "DISPLAY="+display)
	testkit.Start(t, app)
	return display
}

type pageStats struct {
	Decoded   int     `json:"decoded"`
	Keyframes int     `json:"keyframes"`
	Jitter    float64 `json:"jitter"`
	Decode    float64 `json:"decode"`
	PLI       int     `json:"pli"`
	Dropped   int     `json:"dropped"`
	Codec     string  `json:"codec"`
	Format    string  `json:"format"` // of the codec, as it was negotiated
}

func evaluate[T any](t testing.TB, page *browser.Page, expression string) (value T) {
	t.Helper()
	testkit.Must(t, page.Eval(testkit.Context(t, time.Minute), expression, &value))
	return value
}

func TestChromium(t *testing.T) {
	for _, codec := range []string{capture.H264, capture.VP8} {
		t.Run(codec, func(t *testing.T) { testChromium(t, codec) })
	}
}

func testChromium(t *testing.T, codec string) {
	display := xvfb(t)
	var seat atomic.Pointer[peer.Peer]
	var profile atomic.Int32 // of the last keyframe
	pipeline, err := capture.Start(t.Context(), capture.Config{Dial: x11.Local(display), Width: 1280, Height: 720, FPS: 30,
		Codec: codec, Encoder: "auto", BitrateBPS: 8_000_000, Main: true,
		OnFrame: func(f capture.Frame) {
			if at := bytes.Index(f.Data, []byte{0, 0, 1, 0x67}); f.Keyframe && codec == capture.H264 && at >= 0 {
				profile.Store(int32(f.Data[at+4]))
			}
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
		pipeline.SetMain(p.TakesMain())
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
	chromium := browser.Start(t, "autoplay-policy=no-user-gesture-required")
	page, err := chromium.Open(testkit.Context(t, time.Minute), server.URL)
	testkit.Must(t, err)

	testkit.Until(t, "30 frames are shown", func() bool {
		if e := evaluate[string](t, page, "state.error"); e != "" {
			t.Fatal(e)
		}
		return evaluate[int](t, page, "state.frames") > 30
	})
	first := evaluate[float64](t, page, "state.first")
	testkit.Until(t, "both channels are open", func() bool { return evaluate[int](t, page, "state.open.length") == 2 })
	evaluate[any](t, page, `void input.send('{"t":"key","code":"KeyA","key":"a","p":true}')`)
	evaluate[any](t, page, `void pointer.send('{"t":"move","x":0.5,"y":0.25,"n":1}')`)
	evaluate[any](t, page, `void input.send('{"t":"ping","seq":7}')`)
	evaluate[any](t, page, `void input.send('not json')`)
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
	testkit.Until(t, "the ping is answered", func() bool { return evaluate[int](t, page, "state.pongs") == 1 })
	testkit.Until(t, "the malformed input is counted", func() bool { return p.Stats().InputsMalformed == 1 })

	s := evaluate[pageStats](t, page, "stats()")
	t.Logf("%s by %s: first frame %.0f ms after the offer, %d frames, jitter buffer %.1f ms, decode %.1f ms, %d PLI, %d dropped, seat %+v, lowest bitrate %d",
		pipeline.Encoder(), s.Codec, first, s.Decoded, s.Jitter*1000, s.Decode*1000, s.PLI, s.Dropped, p.Stats(), lowest.Load())
	if s.Decoded == 0 || s.Keyframes == 0 {
		t.Errorf("nothing was decoded: %+v", s)
	}
	// Chromium decodes the Main profile of H.264, and is told so.
	if main := codec == capture.H264; p.TakesMain() != main || main && (profile.Load() != 77 || !strings.Contains(s.Format, "profile-level-id=4d00")) {
		t.Errorf("Main is taken: %v; the keyframe has profile %d, Chromium decodes %q", p.TakesMain(), profile.Load(), s.Format)
	}

	// A browser that closes is noticed at once, one that dies after a few seconds.
	want, within := peer.Closed, 20*time.Second
	if codec == capture.H264 {
		want, within = peer.Disconnected, 30*time.Second
		if err := syscall.Kill(chromium.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	} else {
		evaluate[any](t, page, "void pc.close()")
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
