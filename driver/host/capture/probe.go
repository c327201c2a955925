package capture

import "context"

// Facts is what this machine can capture with.
type Facts struct {
	GStreamer string   // version
	Encoders  []string // elements that really encode here, best first
	Problems  []string // why it cannot, each with what to do; empty is healthy
}

// Probe tries every encoder with a few frames, in this process: a GPU driver
// that crashes takes the caller along, so call it from a process made for it.
func Probe(ctx context.Context) (Facts, error) { return Facts{}, nil }
