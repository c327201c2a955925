package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// sizes are those of displays that are measured at 60 frames a second.
var sizes = [][2]int{{1280, 720}, {1600, 900}, {1920, 1080}, {2560, 1440}}

// large measures larger displays at 60 frames a second.
func (b *bench) large(ctx context.Context) error {
	for _, size := range sizes {
		pictures := []string{moving}
		if size[1] == 1080 {
			pictures = []string{still, moving}
		}
		for _, picture := range pictures {
			name := fmt.Sprintf("%dx%d", size[0], size[1])
			err := b.stream(ctx, streaming{fps: 60, picture: picture, size: name}, map[string]string{
				"name": "bench-" + picture + "-" + name, "width": strconv.Itoa(size[0]), "height": strconv.Itoa(size[1]), "memory": "256",
			}, func(ctx context.Context, s streaming) error {
				streamHost, err := streamHostOf(s.seat)
				if err != nil {
					return err
				}
				before, err := streamHost.Stat()
				if err != nil {
					return fmt.Errorf("read the CPU time of the stream host: %w", err)
				}
				begin := time.Now()
				if err := b.frames(ctx, s); err != nil {
					return err
				}
				after, err := streamHost.Stat()
				if err != nil {
					return fmt.Errorf("read the CPU time of the stream host: %w", err)
				}
				used := (after.CPUTime() - before.CPUTime()) / time.Since(begin).Seconds()
				labels := s.labels()
				return errors.Join(b.report.Value("cpu_stream_host", "CPU s/s", used, labels), b.photon(ctx, s, labels))
			})
			if err != nil {
				return fmt.Errorf("a %s picture of %s: %w", picture, name, err)
			}
		}
	}
	return nil
}
