//go:build !fuzz

package peer_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/testkit/netline"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/capture"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/display/x11"
	"github.com/nearcast/nearcast/seat/peer"
	"github.com/nearcast/nearcast/seat/sound"
)

// watched is a picture that moves and a sine, in a Chromium behind a line.
type watched struct {
	peer     *peer.Peer
	line     *netline.Line
	page     *browser.Page
	pipeline *capture.Pipeline
	audio    *capture.Audio
	bitrate  atomic.Int64 // as congestion control told last
	lowest   atomic.Int64
	// soundSent is how old the first sample of each packet was when it was sent.
	soundSent durations
	// pictureGaps and soundGaps are between what the seat sent.
	pictureGaps, soundGaps durations
}

// durations are measured by one goroutine and read by another.
type durations struct {
	mu  sync.Mutex
	all []time.Duration
}

func (d *durations) add(one time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, one)
}

// since adds what has passed since a moment, which is now from here on.
func (d *durations) since(last *time.Time) {
	now := time.Now()
	if !last.IsZero() {
		d.add(now.Sub(*last))
	}
	*last = now
}

// take returns them in order of length, and forgets them.
func (d *durations) take() (all []time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, d.all = d.all, nil
	slices.Sort(all)
	return all
}

// shown is what the page's measure says.
type shown struct {
	Samples, Concealed, Silent, Inserted, Removed float64
	SoundDelay, Skew, Longest, PictureDelay       float64 // ms
	Sound, SoundLost, FEC, Discarded, Skews       int
	Frames, Dropped, Freezes                      int
	Frozen                                        float64 // s
	Bytes                                         float64
	NACKs, PLIs, Keyframes                        int
	FECVideo, Resent                              int

	Captured float64 // part of the frame rate that the seat captured and sent
	// PictureGap and SoundGap are the longest times in which the seat sent none.
	PictureGap, SoundGap time.Duration
}

// concealed is the part of the sound that the browser made up.
func (s shown) concealed() float64 { return s.Concealed / max(s.Samples, 1) }

// busy says that the machine had too little CPU for what is measured: the app's 30
// pictures a second were not even captured, or the seat sent none for so long that a browser
// cannot but stop. Sound and picture then stop for other reasons.
func (s shown) busy() bool { return s.Captured < 0.9 || s.PictureGap > longGap }

// soundBusy says the same of sound.
func (s shown) soundBusy() bool { return s.busy() || s.SoundGap > longGap }

const longGap = 150 * time.Millisecond

const ceiling = 6_000_000

func watch(t testing.TB, way netline.Way, p painting) *watched {
	fps := p.fps
	t.Helper()
	server, err := sound.Start(t.Context(), sound.Config{Runner: cell.Local{Dir: t.TempDir()}})
	if errors.Is(err, sound.ErrNotInstalled) {
		t.Skip(err)
	}
	testkit.Must(t, err)
	t.Cleanup(func() { server.Close() })
	sine := exec.Command("gst-launch-1.0", "-q", "audiotestsrc", "wave=sine", "freq=440", "is-live=true", "!", "pulsesink")
	sine.Env = append(server.Env(), "PATH="+os.Getenv("PATH"), "HOME="+t.TempDir())

	w := &watched{line: netline.New(t, way)}
	w.bitrate.Store(ceiling)
	display := painter(t, p)
	var pictureAt, soundAt time.Time
	w.pipeline, err = capture.Start(t.Context(), capture.Config{Dial: x11.Local(display), Width: 1280, Height: 720, FPS: fps,
		Codec: capture.H264, Encoder: "auto", BitrateBPS: ceiling,
		OnFrame: func(f capture.Frame) {
			w.pictureGaps.since(&pictureAt)
			w.peer.WriteVideo(peer.Frame{Data: f.Data, Keyframe: f.Keyframe, PTS: f.PTS, Captured: f.Captured})
		}})
	testkit.Must(t, err)
	t.Cleanup(func() { w.pipeline.Close() })
	w.pipeline.Pause()
	states := make(chan peer.State, 100)
	w.peer, err = peer.New(peer.Config{Listen: wire.Listen{Media: "127.0.0.1", Loopback: true}, Codec: capture.H264, Audio: true, MaxBitrateBPS: ceiling,
		OnState: func(s peer.State) { states <- s }, OnKeyframe: w.pipeline.Keyframe,
		OnBitrate: func(bps int) {
			w.pipeline.SetBitrate(bps)
			w.bitrate.Store(int64(bps))
			w.lowest.Store(min(w.lowest.Load(), int64(bps)))
		}})
	testkit.Must(t, err)
	t.Cleanup(func() { w.peer.Close() })
	w.audio, err = capture.StartAudio(t.Context(), capture.AudioConfig{PulseServer: server.Server(), Cookie: server.Cookie(), Source: sound.Source,
		OnFrame: func(f capture.Frame) {
			w.soundSent.add(time.Since(f.Captured))
			w.soundGaps.since(&soundAt)
			w.peer.WriteAudio(peer.Frame{Data: f.Data, PTS: f.PTS, Captured: f.Captured})
		}})
	testkit.Must(t, err)
	t.Cleanup(func() { w.audio.Close() })
	testkit.Start(t, sine)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(rw http.ResponseWriter, r *http.Request) { http.ServeFile(rw, r, "testdata/player.html") })
	mux.HandleFunc("POST /offer", func(rw http.ResponseWriter, r *http.Request) {
		offer, _ := io.ReadAll(r.Body)
		w.pipeline.Resume()
		answer, err := w.peer.Answer(r.Context(), netline.WithoutCandidates(string(offer)))
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		io.WriteString(rw, w.line.Through(t, answer))
	})
	mux.HandleFunc("POST /candidate", func(http.ResponseWriter, *http.Request) {})
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	chromium := browser.Start(t, "autoplay-policy=no-user-gesture-required")
	w.page, err = chromium.Open(testkit.Context(t, time.Minute), web.URL)
	testkit.Must(t, err)
	testkit.Until(t, "30 frames are shown", func() bool {
		if e := evaluate[string](t, w.page, "state.error"); e != "" {
			t.Fatal(e)
		}
		return evaluate[int](t, w.page, "state.frames") > 30
	})
	return w
}

func (w *watched) measure(t testing.TB, what string, length time.Duration) shown {
	t.Helper()
	begin, before := time.Now(), w.peer.Stats().VideoFrames
	w.pictureGaps.take()
	w.soundGaps.take()
	s := evaluate[shown](t, w.page, fmt.Sprintf("measure(%d)", length.Milliseconds()))
	s.Captured = float64(w.peer.Stats().VideoFrames-before) / time.Since(begin).Seconds() / 30
	if all := w.pictureGaps.take(); len(all) > 0 {
		s.PictureGap = all[len(all)-1]
	}
	if all := w.soundGaps.take(); len(all) > 0 {
		s.SoundGap = all[len(all)-1]
	}
	t.Logf("%s: %.2f %% of the sound concealed; %.1f fps, %d freezes of %.2f s, longest wait %.0f ms; sound %.0f ms before the picture; %.2f Mbit/s; target %.2f; %+v; seat %+v, sound %+v",
		what, 100*s.concealed(), float64(s.Frames)/length.Seconds(), s.Freezes, s.Frozen, s.Longest, s.Skew, 8*s.Bytes/length.Seconds()/1e6, float64(w.bitrate.Load())/1e6, s, w.peer.Stats(), w.audio.Stats())
	return s
}

// verdict is that of two rounds that are right, or of two that are not: the median of three.
type verdict struct{ right, wrong int }

func (v *verdict) count(judged, right bool) {
	switch {
	case !judged || v.told():
	case right:
		v.right++
	default:
		v.wrong++
	}
}

func (v verdict) told() bool { return v.right == 2 || v.wrong == 2 }

// mostFrozen is how many of 12 seconds a picture may stand still at 5 % of loss.
const mostFrozen = 0.5

// TestMedia shows what a person gets on a bad and on a good line.
func TestMedia(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for 70 s")
	}
	w := watch(t, netline.Way{Loss: 0.05, Jitter: 10 * time.Millisecond, Delay: 20 * time.Millisecond}, painting{fps: 30})
	w.measure(t, "5 % of loss, the first seconds", 3*time.Second)
	var picture, sound verdict
	for range 5 { // rounds in which the machine had too little CPU do not count
		s := w.measure(t, "5 % of loss", 12*time.Second)
		picture.count(!s.busy(), s.Frozen <= mostFrozen && s.FECVideo > 0)
		sound.count(!s.soundBusy(), s.concealed() <= 0.01)
		if picture.told() && sound.told() {
			break
		}
	}
	t.Logf("5 %% of loss: picture %+v, sound %+v", picture, sound)
	if picture.wrong == 2 {
		t.Errorf("at 5 %% of loss the picture is frozen for more than %.1f of 12 s, or nothing makes up for lost packets", mostFrozen)
	}
	if sound.wrong == 2 {
		t.Error("more than 1 % of the sound is concealed at 5 % of loss")
	}
	w.line.Set(netline.Way{})
	w.measure(t, "after the loss", 3*time.Second)
	if s := w.measure(t, "loopback", 30*time.Second); s.concealed() > 0.005 && !s.soundBusy() || s.Samples < 48000*25 {
		t.Errorf("%.2f %% of %.0f samples are concealed on a line that loses nothing", 100*s.concealed(), s.Samples)
	}
	var waits []float64
	busy := false
	for range 3 {
		w.line.Set(netline.Way{Cut: true})
		evaluate[any](t, w.page, "new Promise((r) => setTimeout(r, 2000))")
		w.line.Set(netline.Way{})
		waits = append(waits, evaluate[float64](t, w.page, `new Promise((r) => {
			const begun = performance.now();
			document.getElementById("v").requestVideoFrameCallback(() => r(performance.now() - begun));
		})`))
		busy = w.measure(t, "after a cut", time.Second).busy() || busy
	}
	slices.Sort(waits)
	t.Logf("after cuts of 2 s the next picture comes after %.0f ms", waits)
	if waits[1] > 500 || waits[2] > 1500 && !busy {
		t.Errorf("after cuts of 2 s the next picture comes after %.0f ms", waits)
	}
}

// TestBusyNode has all processors busy: to wait for one is no congestion, and makes no picture coarse. The loops have the
// weight of the seat's own threads, and so more than an app's.
func TestBusyNode(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for 10 s")
	}
	w := watch(t, netline.Way{}, painting{fps: 30})
	testkit.UntilSeen(t, "the bitrate is the ceiling", func() (any, bool) { return w.bitrate.Load(), w.bitrate.Load() == ceiling })
	for range 8 * runtime.NumCPU() {
		testkit.Start(t, exec.Command("sh", "-c", "while :; do :; done"))
	}
	w.lowest.Store(ceiling)
	s := w.measure(t, "all processors busy", 10*time.Second)
	lowest, picture := w.lowest.Load(), 8*s.Bytes/float64(max(s.Frames, 1))
	t.Logf("the bitrate is at least %.1f Mbit/s; a picture has %.0f kbit", float64(lowest)/1e6, picture/1000)
	if lowest < ceiling*8/10 {
		t.Errorf("the bitrate fell to %.1f of 6 Mbit/s, and the line carries everything; %.0f %% of the pictures are captured", float64(lowest)/1e6, 100*s.Captured)
	}
	if picture < 0.8*ceiling/30 {
		t.Errorf("a picture has %.0f kbit, and 6 Mbit/s have 200 for each; %.0f %% of them are captured", picture/1000, 100*s.Captured)
	}
}
