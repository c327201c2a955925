// Package capture encodes the picture of an X display into video frames, and the
// sound of a PulseAudio source into Opus packets.
//
//	p, err := capture.Start(ctx, capture.Config{
//		Dial: d.Dial, Cookie: d.Cookie(), Width: 1280, Height: 720, FPS: 30, // d is a display.Display
//		Codec: capture.H264, Encoder: "auto", BitrateBPS: 8_000_000,
//		OnFrame: func(f capture.Frame) { … send f.Data … },
//	})
//	p.Pause()    // nobody watches: no frames, no CPU
//	p.Resume()   // a keyframe comes at once
//	p.Keyframe() // the browser lost a frame
//	err = p.Close()
//
// Low latency has priority. A picture is captured when the display says that it
// changed, at most FPS times a second, and not at the ticks of a clock. So a change
// after a quiet moment is encoded at once, and a still picture costs no CPU. The
// encoder has one picture at a time, so no queue can grow; while it is busy, changes
// are collected for the next picture.
//
// After the last change more frames follow, for three seconds at most. The encoder uses them to
// improve the picture, and a receiver learns that the last packet was lost only from a later
// one. Then one frame a second shows that the stream is alive.
//
// x264 works at the preset for which the node has processor time left (effort), and gets
// what it needs to use its bitrate (usage). Another preset is another encoder, which begins
// with a keyframe: a picture that stands still keeps its preset.
//
// The display's server may be hostile: it is in the application's reach. What it
// sends is checked, the memory that it shares cannot shrink, and a server that does
// not answer for x11.Patience ends the pipeline.
//
// One pipeline encodes once. Who receives the frames, and how many, is up to OnFrame.
package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcast/nearcast/seat/display/x11"
)

// errNoEncoder says that no encoder for the codec works on this node.
var errNoEncoder = errors.New("no video encoder works on this node: install GStreamer's plugin x264, openh264 or vpx")

// Config says what to capture and how to encode it.
type Config struct {
	Dial   x11.Dialer // opens connections to the display
	Cookie x11.Cookie
	Width  int // of the display's screen, at the start
	Height int
	// MaxWidth and MaxHeight are the most that the screen will have: of a larger one
	// the rest is not seen. 0 is Width and Height.
	MaxWidth   int
	MaxHeight  int
	FPS        int
	Codec      string // H264 or VP8
	Encoder    string // a GStreamer element, or "auto"
	BitrateBPS int
	// Main is whether the first browser is expected to decode H.264's Main profile: see SetMain.
	Main bool
	// OnFrame gets each frame as soon as it is encoded, on a thread of the
	// pipeline. It must not block or call Close, and may keep Data.
	OnFrame func(Frame)
	// OnCursor, if it is not nil, gets the cursor whenever its shape has changed. It must not block.
	OnCursor func(Cursor)
	Log      *slog.Logger // nil is slog.Default()

	patience time.Duration // with the display; 0 is x11.Patience. Tests have less
	preset   *preset       // of x264; nil lets it follow the processor time that is left
	// left measures that in place of cpuMeter.left.
	left func(now time.Time) (processors float64, ok bool)
}

func (c Config) check() error {
	switch {
	case c.Width < 16 || c.Height < 16 || c.Width > 8192 || c.Height > 8192:
		return fmt.Errorf("picture size %dx%d: each side must be 16 to 8192 pixels", c.Width, c.Height)
	case c.FPS < 1 || c.FPS > 240:
		return fmt.Errorf("frame rate %d: must be 1 to 240 frames a second", c.FPS)
	case c.BitrateBPS < minBitrate:
		return fmt.Errorf("bitrate %d: must be at least %d bit/s", c.BitrateBPS, minBitrate)
	case c.Dial == nil:
		return errors.New("the Dialer of the display must be set")
	case c.OnFrame == nil:
		return errors.New("OnFrame must be set")
	}
	return nil
}

// minBitrate is the least for a useful picture.
const minBitrate = 100_000

// Frame is one encoded picture: an H.264 access unit in Annex B form, a VP8
// frame, or an Opus packet.
type Frame struct {
	Data     []byte
	Keyframe bool
	PTS      time.Duration // since the start; pauses count
	Duration time.Duration // at the full frame rate
	Captured time.Time     // when the picture was read from the display
}

// Pipeline captures one display until it is closed.
type Pipeline struct {
	cfg    Config
	log    *slog.Logger
	screen *screen
	video  *videoStream // the loop's own: another size needs another one
	start  time.Time
	// sized is when the size changed. The loop's own.
	sized   time.Time
	element string
	presets bool // the encoder has them
	// plain is whether the last picture was of one colour.
	plain atomic.Bool
	main  atomic.Bool // see SetMain
	tally tally

	// Of the loop alone.
	bps     int     // the target
	stretch float64 // of the time between two pictures, as the encoder knows it
	usage   usage
	asked   float64 // what the encoder was told: bps · stretch · usage
	lack    lack
	large   time.Time // when the last changed picture came that needed its share of the bits
	working *working

	wake chan struct{} // a field below has changed
	out  chan struct{} // a frame came out of the encoder

	mu       sync.Mutex
	paused   bool
	key      bool
	bitrate  int // to set; 0 means no change
	captured time.Time
	changed  bool    // the picture in the encoder differs from the one before
	with     preset  // of that picture
	came     encoded // the last picture that left the encoder; zero once it was counted
	deliver  bool    // frames go to OnFrame
	stirred  bool    // the display changed since the last call of Stirred
	listen   bool    // the display must be asked for the next change
	// still gets the next picture, no side of which is longer than stillMost; nil where nobody wants one.
	still     chan<- taken
	stillMost int
	err       error

	cancel context.CancelFunc
	done   chan struct{}
}

// Start opens the display and the encoder, and captures until ctx ends or Close is
// called. It returns after the encoder has encoded a frame, so everything that does
// not work on this node is an error of Start.
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
	working := newWorking(cfg)
	screen, err := openScreen(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	failed := errNoEncoder
	for _, try := range tries {
		p := &Pipeline{
			cfg: cfg, log: log, screen: screen, start: time.Now(), key: true, bps: cfg.BitrateBPS, stretch: 1, working: working, usage: newUsage(), asked: float64(cfg.BitrateBPS),
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
		log.Debug("encoder does not work", "encoder", try.element, "error", err)
	}
	screen.close()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, failed
}

// firstFrame limits how long an encoder may take to open its device and encode once.
const firstFrame = 5 * time.Second

// open starts an encoder and encodes the current picture. That frame is discarded:
// it proves that the encoder works, and warms up encoder and memory.
func (p *Pipeline) open(ctx context.Context, e encoder) error {
	v, err := openVideo(e, params{width: p.screen.width, height: p.screen.height, fps: p.cfg.FPS, bps: p.cfg.BitrateBPS, preset: p.working.preset(), main: p.cfg.Main && e.presets}, p.encoded)
	if err != nil {
		return err
	}
	p.video, p.element, p.presets = v, e.element, e.presets
	p.main.Store(p.cfg.Main)
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
			err = errors.New("the encoder gave no frame in time")
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
	took := time.Since(captured)
	if !key {
		p.came = encoded{took: took, size: len(data), changed: p.changed, with: p.with}
	}
	p.mu.Unlock()
	if deliver {
		p.tally.encoded(took)
		p.cfg.OnFrame(Frame{Data: data, Keyframe: key,
			PTS: captured.Sub(p.start), Duration: duration, Captured: captured})
	}
	select {
	case p.out <- struct{}{}:
	default:
	}
}

// Keyframe makes the next frame a keyframe, at once. Several requests before it
// count as one.
func (p *Pipeline) Keyframe() { p.change(func() { p.key = true }) }

// SetBitrate changes the encoder's target.
func (p *Pipeline) SetBitrate(bps int) { p.change(func() { p.bitrate = max(bps, minBitrate) }) }

// Pause stops capturing. A paused pipeline uses no CPU.
func (p *Pipeline) Pause() { p.change(func() { p.paused = true }) }

// Resume continues after Pause. The first frame comes at once and is a keyframe.
func (p *Pipeline) Resume() {
	p.change(func() {
		p.key = p.key || p.paused
		p.paused = false
	})
}

// Stirred reports whether the display changed since the last call, also during a
// pause. The first result means nothing.
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
func (p *Pipeline) Encoder() string { return p.element }

// Preset is the one at which the encoder works now; empty for encoders that have none.
func (p *Pipeline) Preset() string {
	if !p.presets {
		return ""
	}
	return preset(p.working.now.Load()).String()
}

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
	defer context.AfterFunc(ctx, p.screen.x.hangUp)() // the loop may wait for the server
	err := p.loop(ctx)
	// The encoder first: it still uses the picture.
	p.video.close()
	p.screen.close()
	if ctx.Err() == nil {
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
	}
}
