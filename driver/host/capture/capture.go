// Package capture turns the picture of an X display into encoded video frames,
// and the sound of a PulseAudio source into Opus packets.
package capture

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// ErrNoEncoder says that no encoder for the codec works on this machine.
var ErrNoEncoder = errors.New("no video encoder works here: install GStreamer's x264, openh264 or vpx plugin")

// Config says what to capture and how to encode it.
type Config struct {
	Display    string // ":7"
	XAuthority string // file; empty where the display needs none
	Width      int
	Height     int
	FPS        int
	Codec      string // "h264" or "vp8"
	Encoder    string // a GStreamer element, or "auto"
	BitrateBPS int
	// OnFrame gets each frame as soon as it is encoded, on the pipeline's own
	// thread: it must not block. Data is the receiver's to keep.
	OnFrame func(Frame)
	Log     *slog.Logger
}

// Frame is one encoded picture: an H.264 access unit in Annex B form, or a VP8 frame.
type Frame struct {
	Data     []byte
	Keyframe bool
	PTS      time.Duration // since the pipeline started; goes on through pauses
	Duration time.Duration // until the next frame is due
	Captured time.Time     // when the picture was taken from the display
}

// Pipeline captures one display until it is closed.
type Pipeline struct{}

// Start opens the display and the encoder, and captures until ctx ends or Close.
func Start(ctx context.Context, cfg Config) (*Pipeline, error) { return nil, errors.ErrUnsupported }

// Keyframe asks that the next frame be a keyframe. Requests meanwhile become one.
func (p *Pipeline) Keyframe() {}

// SetBitrate changes the encoder's target.
func (p *Pipeline) SetBitrate(bps int) {}

// Pause stops capturing: no frames, no CPU.
func (p *Pipeline) Pause() {}

// Resume goes on after Pause; the first frame comes at once and is a keyframe.
func (p *Pipeline) Resume() {}

// Encoder is the GStreamer element that was chosen.
func (p *Pipeline) Encoder() string { return "" }

// Done is closed when the pipeline has ended.
func (p *Pipeline) Done() <-chan struct{} { return nil }

// Err says why the pipeline ended by itself; nil while it runs and after Close.
func (p *Pipeline) Err() error { return nil }

// Close ends the pipeline and waits for it: OnFrame is not called afterwards.
func (p *Pipeline) Close() error { return nil }
