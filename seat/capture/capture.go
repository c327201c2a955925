// Package capture turns the picture of an X display into encoded video frames,
// and the sound of a PulseAudio source into Opus packets.
//
//	p, err := capture.Start(ctx, capture.Config{
//		Display: ":7", XAuthority: file, Width: 1280, Height: 720, FPS: 30,
//		Codec: capture.H264, Encoder: "auto", BitrateBPS: 8_000_000,
//		OnFrame: func(f capture.Frame) { … send f.Data … },
//	})
//	p.Pause()    // nobody watches: costs nothing
//	p.Resume()   // a keyframe comes at once
//	p.Keyframe() // the browser lost its reference
//	err = p.Close()
//
// Latency comes before everything. A picture is captured when the display says
// that it changed, at most FPS times a second, not at the ticks of a clock: a
// change after a quiet moment is encoded at once, and a still picture costs no
// CPU. At most one picture is on its way through the encoder, so no queue can
// grow; while the encoder is busy, changes add up to the next picture.
//
// After the last change a few more frames follow, because the encoder spends on
// them what the last one could not have, and because a receiver learns of a lost
// last packet only from a later one. Then one a second shows that the stream lives.
package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// ErrNoEncoder says that no encoder for the codec works on this machine.
var ErrNoEncoder = errors.New("no video encoder works here: install GStreamer's x264, openh264 or vpx plugin")

// Config says what to capture and how to encode it.
type Config struct {
	Display    string // ":7"
	XAuthority string // file with the display's cookie; empty where it needs none
	Width      int    // of the display's screen
	Height     int
	FPS        int
	Codec      string // H264 or VP8
	Encoder    string // a GStreamer element, or "auto"
	BitrateBPS int
	// Paused starts the pipeline as after Pause.
	Paused bool
	// OnFrame gets each frame as soon as it is encoded, on the pipeline's own
	// thread: it must not block, nor call Close. Data is the receiver's to keep.
	OnFrame func(Frame)
	Log     *slog.Logger // nil is slog.Default()
}

func (c Config) check() error {
	switch {
	case c.Width < 16 || c.Height < 16 || c.Width > 8192 || c.Height > 8192:
		return fmt.Errorf("picture of %dx%d: each side must be 16 to 8192", c.Width, c.Height)
	case c.FPS < 1 || c.FPS > 240:
		return fmt.Errorf("%d frames a second: must be 1 to 240", c.FPS)
	case c.BitrateBPS < minBitrate:
		return fmt.Errorf("bitrate of %d bit/s: must be at least %d", c.BitrateBPS, minBitrate)
	case c.OnFrame == nil:
		return errors.New("capture without OnFrame")
	}
	return nil
}

// Below this a picture is no use to anybody.
const minBitrate = 100_000

// Frame is one encoded picture: an H.264 access unit in Annex B form, a VP8
// frame, or an Opus packet.
type Frame struct {
	Data     []byte
	Keyframe bool
	PTS      time.Duration // since the start; goes on through pauses
	Duration time.Duration // at the full frame rate
	Captured time.Time     // when the picture was taken from the display
}

// Pipeline captures one display until it is closed.
type Pipeline struct {
	cfg    Config
	log    *slog.Logger
	screen *screen
	video  *videoStream
	start  time.Time

	wake chan struct{} // the fields below have changed
	out  chan struct{} // a frame came out of the encoder

	mu       sync.Mutex
	paused   bool
	key      bool
	bitrate  int // to set; 0 is no change
	captured time.Time
	deliver  bool // frames go to OnFrame
	stirred  bool // the display changed since Stirred was asked
	listen   bool // somebody wants to hear of the next change
	err      error

	cancel context.CancelFunc
	done   chan struct{}
}

// Start opens the display and the encoder, and captures until ctx ends or Close.
// When it returns, a frame has come out of the encoder, so whatever cannot work
// here is its error.
func Start(ctx context.Context, cfg Config) (*Pipeline, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	tries, err := candidates(cfg.Codec, cfg.Encoder)
	if err != nil {
		return nil, err
	}
	log := cfg.Log
	if log == nil {
		log = slog.Default()
	}
	screen, err := openScreen(cfg, log)
	if err != nil {
		return nil, err
	}
	failed := ErrNoEncoder
	for _, try := range tries {
		p := &Pipeline{
			cfg: cfg, log: log, screen: screen, start: time.Now(), paused: cfg.Paused, key: true,
			wake: make(chan struct{}, 1), out: make(chan struct{}, 1), done: make(chan struct{}),
		}
		if err = p.open(ctx, try); err == nil {
			ctx, p.cancel = context.WithCancel(ctx)
			go p.run(ctx)
			return p, nil
		}
		if ctx.Err() != nil {
			break
		}
		failed = fmt.Errorf("%w: %s: %w", failed, try.element, err)
		log.Debug("encoder does not work here", "encoder", try.element, "err", err)
	}
	screen.close()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, failed
}

// firstFrame bounds how long an encoder may take to open its device and encode once.
const firstFrame = 5 * time.Second

// open starts an encoder and encodes the picture that is there. Nobody gets
// that frame: what counts is that encoder and memory are warm.
func (p *Pipeline) open(ctx context.Context, e encoder) error {
	v, err := openVideo(e, params{p.screen.width, p.screen.height, p.cfg.FPS, p.cfg.BitrateBPS}, p.encoded)
	if err != nil {
		return err
	}
	p.video = v
	timeout := time.NewTimer(firstFrame)
	defer timeout.Stop()
	picture, err := p.screen.grab()
	if err == nil {
		err = v.push(picture, p.screen.stride, time.Since(p.start), false)
	}
	if err == nil {
		select {
		case <-p.out:
			p.deliver = true
			return nil
		case <-v.failed:
			err = v.failure()
		case <-timeout.C:
			err = errors.New("no frame came out")
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	v.close()
	return err
}

// encoded runs on the encoder's thread.
func (p *Pipeline) encoded(data []byte, key bool, duration time.Duration) {
	p.mu.Lock()
	deliver, captured := p.deliver && !p.paused, p.captured
	p.mu.Unlock()
	if deliver {
		p.cfg.OnFrame(Frame{Data: data, Keyframe: key,
			PTS: captured.Sub(p.start), Duration: duration, Captured: captured})
	}
	select {
	case p.out <- struct{}{}:
	default:
	}
}

// Keyframe asks that the next frame be a keyframe, and that it come at once.
// Requests before it are one.
func (p *Pipeline) Keyframe() { p.change(func() { p.key = true }) }

// SetBitrate changes the encoder's target.
func (p *Pipeline) SetBitrate(bps int) { p.change(func() { p.bitrate = max(bps, minBitrate) }) }

// Pause stops capturing: no frames, no CPU.
func (p *Pipeline) Pause() { p.change(func() { p.paused = true }) }

// Resume goes on after Pause; the first frame comes at once and is a keyframe.
func (p *Pipeline) Resume() {
	p.change(func() {
		p.key = p.key || p.paused
		p.paused = false
	})
}

// Stirred reports whether the display changed since it was last asked, also
// during a pause. The first answer says nothing.
func (p *Pipeline) Stirred() (stirred bool) {
	p.change(func() {
		stirred, p.stirred, p.listen = p.stirred, false, true
	})
	return stirred
}

func (p *Pipeline) change(f func()) {
	p.mu.Lock()
	f()
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Encoder is the GStreamer element that was chosen.
func (p *Pipeline) Encoder() string { return p.video.encoder.element }

// Done is closed when the pipeline has ended.
func (p *Pipeline) Done() <-chan struct{} { return p.done }

// Err says why the pipeline ended by itself; nil while it runs and after Close.
func (p *Pipeline) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Close ends the pipeline and waits for it: OnFrame is not called afterwards.
func (p *Pipeline) Close() error {
	p.cancel()
	<-p.done
	return nil
}

func (p *Pipeline) run(ctx context.Context) {
	defer close(p.done)
	defer p.cancel()
	err := p.loop(ctx)
	// The encoder first: it still reads the picture.
	p.video.close()
	p.screen.close()
	if ctx.Err() == nil {
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
	}
}
