//go:build !fuzz

package peer_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/capture"
	"github.com/nearcast/nearcast/seat/display/x11"
	"github.com/nearcast/nearcast/seat/peer"
)

// A Chromium that may not use UDP plays by TCP, and sends input.
func TestChromiumByTCP(t *testing.T) {
	var seat atomic.Pointer[peer.Peer]
	pipeline, err := capture.Start(t.Context(), capture.Config{Dial: x11.Local(painter(t, painting{fps: 30})), Width: 1280, Height: 720, FPS: 30,
		Codec: capture.H264, Encoder: "auto", BitrateBPS: 4_000_000,
		OnFrame: func(f capture.Frame) {
			if p := seat.Load(); p != nil {
				p.WriteVideo(peer.Frame{Data: f.Data, Keyframe: f.Keyframe, PTS: f.PTS, Captured: f.Captured})
			}
		}})
	testkit.Must(t, err)
	defer pipeline.Close()
	pipeline.Pause()
	inputs := make(chan wire.Input, 100)
	p, err := peer.New(peer.Config{Listen: wire.Listen{Media: "127.0.0.1", Loopback: true}, Codec: capture.H264, MaxBitrateBPS: 4_000_000,
		OnInput: func(in wire.Input) { inputs <- in }, OnKeyframe: pipeline.Keyframe, OnBitrate: pipeline.SetBitrate})
	testkit.Must(t, err)
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
		// Nothing that goes by UDP gets through.
		for line := range strings.Lines(answer) {
			if !strings.HasPrefix(line, "a=candidate:") || strings.Contains(line, " tcp ") {
				io.WriteString(w, line)
			}
		}
	})
	mux.HandleFunc("POST /candidate", func(http.ResponseWriter, *http.Request) {})
	server := httptest.NewServer(mux)
	defer server.Close()
	chromium := browser.Start(t, "autoplay-policy=no-user-gesture-required", "force-webrtc-ip-handling-policy=disable_non_proxied_udp")
	page, err := chromium.Open(testkit.Context(t, time.Minute), server.URL)
	testkit.Must(t, err)
	testkit.Until(t, "90 frames are shown", func() bool {
		if e := evaluate[string](t, page, "state.error"); e != "" {
			t.Fatal(e)
		}
		return evaluate[int](t, page, "state.frames") > 90
	})
	pair := evaluate[string](t, page, `pc.getStats().then((all) => {
		const stats = [...all.values()];
		const pair = all.get(stats.find((s) => s.type === "transport").selectedCandidatePairId);
		return all.get(pair.localCandidateId).protocol + " " + all.get(pair.remoteCandidateId).protocol;
	})`)
	if pair != "tcp tcp" {
		t.Errorf("it plays by %s", pair)
	}
	evaluate[any](t, page, `void input.send('{"t":"key","code":"KeyA","key":"a","p":true}')`)
	select {
	case in := <-inputs:
		if in.Code != "KeyA" {
			t.Errorf("input came as %+v", in)
		}
	case <-time.After(time.Minute):
		t.Error("no input came")
	}
	t.Logf("first frame after %.0f ms", evaluate[float64](t, page, "state.first"))
}
