package capture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-gst/go-gst/gst"
)

// Facts say what this node can capture with.
type Facts struct {
	GStreamer string   // version
	Encoders  []string // elements that encoded frames on this node, best first
	Problems  []string // why it cannot capture, and what to do; empty is healthy
}

// Fingerprint tries every encoder with a few frames. It runs in this process, and a
// GPU driver that crashes ends the process: call it from a separate one.
func Fingerprint(ctx context.Context) (Facts, error) {
	initGStreamer()
	var f Facts
	f.GStreamer = gstVersion()
	for _, e := range encoders {
		if err := ctx.Err(); err != nil {
			return f, err
		}
		if gst.Find(e.element) == nil {
			continue
		}
		if err := try(ctx, e); err == nil {
			f.Encoders = append(f.Encoders, e.element)
		}
	}
	if err := ctx.Err(); err != nil {
		return f, err
	}
	for _, name := range []string{"appsrc", "appsink", "pulsesrc", "opusenc"} {
		if gst.Find(name) == nil {
			f.Problems = append(f.Problems, fmt.Sprintf("GStreamer has no %s: install its base and good plugins", name))
		}
	}
	if len(f.Encoders) == 0 {
		f.Problems = append(f.Problems, errNoEncoder.Error())
	}
	return f, nil
}

// try encodes three pictures, the last as a keyframe.
func try(ctx context.Context, e encoder) error {
	const width, height, fps = 640, 360, 30
	out := make(chan bool, 8)
	v, err := openVideo(e, params{width: width, height: height, fps: fps, bps: 2_000_000}, func(_ []byte, key bool, _ time.Duration) {
		select {
		case out <- key:
		default:
		}
	})
	if err != nil {
		return err
	}
	defer v.close()
	timeout := time.NewTimer(firstFrame)
	defer timeout.Stop()
	picture := make([]byte, 4*width*height)
	for i := range 3 {
		for j := range picture {
			picture[j] = byte(j * (i + 1) / 7)
		}
		if err := v.push(picture, 4*width, time.Duration(i)*time.Second/fps, i == 2); err != nil {
			return err
		}
		select {
		case key := <-out:
			if i == 2 && !key {
				return errors.New("it makes no keyframe on request")
			}
		case <-v.failed:
			return v.failure()
		case <-timeout.C:
			return errors.New("it gave no frame in time")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
