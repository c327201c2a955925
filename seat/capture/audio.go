package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/go-gst/go-gst/gst"
	"github.com/go-gst/go-gst/gst/app"
)

// AudioConfig says which sound to capture.
type AudioConfig struct {
	// PulseServer is "unix:/…/native", or "unix:/proc/self/fd/5" with a descriptor
	// of the socket (O_PATH): this process needs no way to the socket's directory.
	PulseServer string
	// Cookie is the client's cookie file, 256 bytes. It may be a memfd:
	// "/proc/self/fd/6". If it is empty, the client library makes one in the home
	// directory of this process.
	Cookie     string
	Source     string // "nearcast.monitor"
	BitrateBPS int    // 0 is 96 kbit/s
	// OnFrame gets each Opus packet (48 kHz stereo, 10 ms) on a thread of the
	// pipeline. It must not block or call Close, and may keep Data.
	OnFrame func(Frame)
	Log     *slog.Logger // nil is slog.Default()
}

// packetMS is the length of an Opus packet. A shorter one would cost more in headers
// than it saves in latency.
const packetMS = 10

// readMS is how much sound is read at once. Half a packet sends a packet earlier: 13 ms after its
// first sample (median), and 16 ms with a whole one.
const readMS = packetMS / 2

// Audio captures one source until it is closed.
type Audio struct {
	source, encoder *stream
	into            *app.Source // of the encoder
	onFrame         func(Frame)
	log             *slog.Logger
	start           time.Time
	changing        sync.Mutex // held while the capture pauses or resumes

	mu      sync.Mutex
	cutter  soundCutter
	encoded time.Duration // sound that the encoder was given
	inside  []soundPacket // what the encoder works on, in order, without the samples
	paused  bool
	err     error

	cancel context.CancelFunc
	done   chan struct{}
}

// StartAudio connects to the sound server, and captures until ctx ends or Close is
// called.
func StartAudio(ctx context.Context, cfg AudioConfig) (*Audio, error) {
	if cfg.OnFrame == nil {
		return nil, errors.New("OnFrame must be set")
	}
	bps := cfg.BitrateBPS
	if bps == 0 {
		bps = 96_000
	}
	a := &Audio{onFrame: cfg.OnFrame, log: cfg.Log, start: time.Now(), done: make(chan struct{})}
	if a.log == nil {
		a.log = slog.Default()
	}
	if err := a.open(cfg, bps); err != nil {
		return nil, fmt.Errorf("capture sound: %w", err)
	}
	ctx, a.cancel = context.WithCancel(ctx)
	go a.run(ctx)
	return a, nil
}

// open starts the two pipelines. The samples pass through this process in between,
// because only they tell how much sound there was, and what is missing.
func (a *Audio) open(cfg AudioConfig, bps int) (err error) {
	// A source that follows a clock would leave samples out. Without, its timestamps
	// count the samples. Its buffer costs no latency: what is there is taken at once. It
	// is long, because with one of 40 ms a busy node lost a third of the sound while this
	// process waited for a processor.
	a.source, err = openStream(fmt.Sprintf("pulsesrc server=%s device=%s client-name=nearcast do-timestamp=false provide-clock=false "+
		"slave-method=none buffer-time=1000000 latency-time=%d ! audio/x-raw,format=S16LE,layout=interleaved,rate=%d,channels=2",
		strconv.Quote(cfg.PulseServer), strconv.Quote(cfg.Source), readMS*1000, soundRate), a.heard)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	a.encoder, err = openStream(fmt.Sprintf("appsrc name=source format=time is-live=true block=false "+
		"caps=audio/x-raw,format=S16LE,layout=interleaved,rate=%d,channels=2 ! "+
		"opusenc audio-type=restricted-lowdelay frame-size=%d bitrate=%d bitrate-type=constrained-vbr complexity=3",
		soundRate, packetMS, bps), a.packet)
	if err != nil {
		return err
	}
	element, err := a.encoder.pipeline.GetElementByName("source")
	if err != nil {
		return fmt.Errorf("build pipeline: %w", err)
	}
	a.into = app.SrcFromElement(element)
	if err := a.encoder.set(gst.StatePlaying); err != nil {
		return err
	}
	defer useCookie(cfg.Cookie)()
	return a.source.set(gst.StatePlaying) // connects
}

// heard gets samples, on the source's thread.
func (a *Audio) heard(pcm []byte, _ gst.BufferFlags, pts, _ time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.paused {
		return
	}
	position := int64((pts*soundRate + time.Second/2) / time.Second)
	for _, p := range a.cutter.take(pcm, position, time.Since(a.start)) {
		buffer := gst.NewBufferFromBytes(p.pcm)
		// The encoder knows of no gaps: it would fill them with packets.
		buffer.SetPresentationTimestamp(gst.ClockTime(a.encoded))
		buffer.SetDuration(gst.ClockTime(packetTime))
		a.encoded += packetTime
		p.pcm = nil
		a.inside = append(a.inside, p)
		runtime.SetFinalizer(buffer, nil)
		flow := a.into.PushBuffer(buffer) // takes its own reference
		buffer.Unref()
		if flow != gst.FlowOK {
			a.source.fail(fmt.Errorf("the encoder refused sound: %v", flow))
		}
	}
}

// packet gets what the encoder made, on its thread.
func (a *Audio) packet(data []byte, flags gst.BufferFlags, _, duration time.Duration) {
	if flags&gst.BufferFlagHeader != 0 { // of Ogg; RTP does not use it
		return
	}
	a.mu.Lock()
	if len(a.inside) == 0 {
		a.mu.Unlock()
		return
	}
	p, paused := a.inside[0], a.paused
	a.inside = a.inside[1:]
	a.mu.Unlock()
	if !paused {
		a.onFrame(Frame{Data: data, Keyframe: true, PTS: p.pts, Duration: duration, Captured: a.start.Add(p.captured)})
	}
}

var cookieEnv sync.Mutex

// useCookie gives the client library the path of the cookie file. The library reads
// it only from the environment of this process, and only while it connects.
func useCookie(path string) (restore func()) {
	if path == "" {
		return func() {}
	}
	const name = "PULSE_COOKIE"
	cookieEnv.Lock()
	old, had := os.LookupEnv(name)
	os.Setenv(name, path)
	return func() {
		defer cookieEnv.Unlock()
		if had {
			os.Setenv(name, old)
		} else {
			os.Unsetenv(name)
		}
	}
}

func (a *Audio) run(ctx context.Context) {
	defer close(a.done)
	defer a.cancel()
	failed := func(s *stream) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.err = fmt.Errorf("capture sound: %w", s.failure())
	}
	select {
	case <-ctx.Done():
	case <-a.source.failed:
		failed(a.source)
	case <-a.encoder.failed:
		failed(a.encoder)
	}
	a.close()
	a.log.Debug("sound capture ended", "stats", a.Stats())
}

func (a *Audio) close() {
	a.source.close()
	if a.encoder != nil {
		a.encoder.close()
	}
}

// Pause stops capturing; the connection to the server stays.
func (a *Audio) Pause() { a.set(true, gst.StatePaused) }

// Resume continues after Pause, with the sound of that moment.
func (a *Audio) Resume() { a.set(false, gst.StatePlaying) }

func (a *Audio) set(paused bool, state gst.State) {
	a.changing.Lock()
	defer a.changing.Unlock()
	a.mu.Lock()
	same := a.paused == paused
	a.paused = paused
	if !same {
		a.cutter.restart()
	}
	a.mu.Unlock()
	if same || a.source.closed.Load() {
		return
	}
	// Without the lock: a pipeline waits for its thread, which may be in heard.
	if err := a.source.set(state); err != nil {
		a.log.Warn("sound capture did not change its state", "state", state.String(), "error", err)
	}
}

// Stats counts the packets.
func (a *Audio) Stats() SoundStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cutter.counts
}

// Done is closed when the capture has ended.
func (a *Audio) Done() <-chan struct{} { return a.done }

// Err says why the capture ended by itself; nil while it runs and after Close.
func (a *Audio) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// Close ends the capture and waits for it: OnFrame is not called afterwards.
func (a *Audio) Close() error {
	a.cancel()
	<-a.done
	return nil
}
