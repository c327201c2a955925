package capture

import (
	"context"
	"errors"
	"log/slog"
)

// AudioConfig says which sound to capture.
type AudioConfig struct {
	PulseServer string // "unix:/…/native"
	Source      string // "nearcast.monitor"
	BitrateBPS  int    // 0 is 96 kbit/s
	// OnFrame gets each Opus packet (48 kHz stereo, 10 ms); it must not block.
	OnFrame func(Frame)
	Log     *slog.Logger
}

// Audio captures one source until it is closed.
type Audio struct{}

// StartAudio connects to the sound server and captures until ctx ends or Close.
func StartAudio(ctx context.Context, cfg AudioConfig) (*Audio, error) {
	return nil, errors.ErrUnsupported
}

func (a *Audio) Pause()                {}
func (a *Audio) Resume()               {}
func (a *Audio) Done() <-chan struct{} { return nil }
func (a *Audio) Err() error            { return nil }
func (a *Audio) Close() error          { return nil }
