package capture

import (
	"sync"
	"time"
)

// Figures are sums since the start. Who looks twice has what happened between.
type Figures struct {
	Pictures int // that were captured
	Changed  int // of them, those that differ from the one before
	// Capture is the time of the changed ones from the change to the copy, Encode that of the Encoded
	// ones from the copy to the end of the encoder.
	Capture time.Duration
	Encoded int
	Encode  time.Duration
	// Encoder is the GStreamer element, and Preset what x264 works at now, else empty.
	Encoder, Preset string
}

// tally sums up what a pipeline does.
type tally struct {
	mu  sync.Mutex
	sum Figures
}

// captured counts a picture. since is when it changed; zero where it did not.
func (t *tally) captured(since, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Pictures++
	if !since.IsZero() {
		t.sum.Changed++
		t.sum.Capture += now.Sub(since)
	}
}

func (t *tally) encoded(took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Encoded++
	t.sum.Encode += took
}

// Figures are those of this moment.
func (p *Pipeline) Figures() Figures {
	p.tally.mu.Lock()
	defer p.tally.mu.Unlock()
	f := p.tally.sum
	f.Encoder, f.Preset = p.Encoder(), p.Preset()
	return f
}
