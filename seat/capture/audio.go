package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/go-gst/go-gst/gst"
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

// Audio captures one source until it is closed.
type Audio struct {
	stream *stream
	log    *slog.Logger

	mu     sync.Mutex
	start  time.Time
	paused bool
	err    error

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
	log := cfg.Log
	if log == nil {
		log = slog.Default()
	}
	a := &Audio{log: log, start: time.Now(), done: make(chan struct{})}
	launch := fmt.Sprintf("pulsesrc server=%s device=%s client-name=nearcast do-timestamp=true provide-clock=false "+
		"buffer-time=40000 latency-time=%d ! audio/x-raw,format=S16LE,rate=48000,channels=2 ! "+
		"opusenc audio-type=restricted-lowdelay frame-size=%d bitrate=%d bitrate-type=cbr complexity=3 perfect-timestamp=false",
		strconv.Quote(cfg.PulseServer), strconv.Quote(cfg.Source), packetMS*1000, packetMS, bps)
	s, err := openStream(launch, func(data []byte, flags gst.BufferFlags, pts, duration time.Duration) {
		if flags&gst.BufferFlagHeader != 0 { // of Ogg; RTP does not use it
			return
		}
		now := time.Now()
		a.mu.Lock()
		paused, since := a.paused, now.Sub(a.start)
		a.mu.Unlock()
		if !paused {
			cfg.OnFrame(Frame{Data: data, Keyframe: true, PTS: since, Duration: duration, Captured: now.Add(-duration)})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("capture sound: %w", err)
	}
	a.stream = s
	restore := useCookie(cfg.Cookie)
	err = s.set(gst.StatePlaying) // connects
	restore()
	if err != nil {
		s.close()
		return nil, fmt.Errorf("capture sound: %w", err)
	}
	ctx, a.cancel = context.WithCancel(ctx)
	go a.run(ctx)
	return a, nil
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
	select {
	case <-ctx.Done():
	case <-a.stream.failed:
		a.mu.Lock()
		a.err = fmt.Errorf("capture sound: %w", a.stream.failure())
		a.mu.Unlock()
	}
	a.stream.close()
}

// Pause stops capturing; the connection to the server stays.
func (a *Audio) Pause() { a.set(true, gst.StatePaused) }

// Resume continues after Pause, with the sound of that moment.
func (a *Audio) Resume() { a.set(false, gst.StatePlaying) }

func (a *Audio) set(paused bool, state gst.State) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.paused == paused || a.stream.closed.Load() {
		return
	}
	a.paused = paused
	if err := a.stream.set(state); err != nil {
		a.log.Warn("sound capture did not change its state", "state", state.String(), "error", err)
	}
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
