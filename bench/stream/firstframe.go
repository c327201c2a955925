package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nearcast/nearcast/dev"
	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// contentBytes is the size of the object that a cold seat fetches.
const contentBytes = 64 << 20

func (b *bench) firstFrameWarm(ctx context.Context) error {
	const app = "bench-warm"
	stop, err := b.runApp(ctx, app, map[string]string{"warm": "1", "max": "2"})
	if err != nil {
		return err
	}
	defer stop()
	var first []float64
	steps := map[string][]float64{}
	for range b.runs {
		ms, marks, err := b.firstFrame(ctx, app, true)
		if err != nil {
			return err
		}
		first = append(first, ms)
		note(steps, marks)
	}
	if err := b.report.Line("first_frame_warm", "ms", first, nil); err != nil {
		return err
	}
	return b.reportParts("first_frame_part", parts, steps, nil)
}

// firstFramePrepared takes turns: Play pressed at once, and after the pointer has rested on it.
func (b *bench) firstFramePrepared(ctx context.Context) error {
	const app = "bench-prepared"
	stop, err := b.runApp(ctx, app, map[string]string{"warm": "2", "max": "3"})
	if err != nil {
		return err
	}
	defer stop()
	first, steps := map[bool][]float64{}, map[bool]map[string][]float64{true: {}, false: {}}
	for range b.runs {
		for _, prepared := range []bool{false, true} {
			rest := func(ctx context.Context, page *browser.Page) error { return nil }
			if prepared {
				rest = b.rest
			}
			ms, marks, err := b.visit(ctx, app, 2, rest)
			if err != nil {
				return err
			}
			first[prepared] = append(first[prepared], ms)
			note(steps[prepared], marks)
		}
	}
	for _, prepared := range []bool{false, true} {
		if err := b.report.Line("first_frame_prepared", "ms", first[prepared], map[string]any{"prepared": prepared}); err != nil {
			return err
		}
		if err := b.reportParts("first_frame_part", parts, steps[prepared], map[string]any{"prepared": prepared}); err != nil {
			return err
		}
	}
	return nil
}

// note adds one first frame to those before it.
func note(steps map[string][]float64, marks map[string]float64) {
	for step, at := range marks {
		steps[step] = append(steps[step], at)
	}
}

// rest has the pointer rest on Play until the connection with a seat is up. It moves a little each second, as a hand does:
// a page learns every few seconds that there are seats to spare.
func (b *bench) rest(ctx context.Context, page *browser.Page) error {
	for {
		if err := page.Hover(ctx, ".play-button"); err != nil {
			return err
		}
		second, cancel := context.WithTimeout(ctx, time.Second)
		err := page.Until(second, "nearcast.prepared")
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

func (b *bench) firstFrameCold(ctx context.Context) error {
	for _, content := range []string{"cached", "uncached"} {
		var first []float64
		steps := map[string][]float64{}
		times := b.cold
		if content == "cached" {
			times++ // the first fills the cache, and does not count
		}
		for i := range times {
			key := "bench/cached"
			if content == "uncached" || i == 0 {
				if content == "uncached" {
					key = fmt.Sprintf("bench/uncached-%d", i)
				}
				if err := b.uploadRandom(ctx, key); err != nil {
					return err
				}
			}
			app := fmt.Sprintf("bench-cold-%s-%d", content, i)
			stop, err := b.runApp(ctx, app, map[string]string{
				"warm": "0", "max": "1", "content": "s3://" + dev.Bucket + "/" + key})
			if err != nil {
				return err
			}
			ms, marks, err := b.firstFrame(ctx, app, false)
			stop()
			if err != nil {
				return err
			}
			if content == "cached" && i == 0 {
				continue
			}
			first = append(first, ms)
			note(steps, marks)
		}
		labels := map[string]any{"content": content}
		if err := b.report.Line("first_frame_cold", "ms", first, labels); err != nil {
			return err
		}
		if err := b.reportParts("first_frame_cold_part", slices.Concat(coldParts, parts), steps, labels); err != nil {
			return err
		}
	}
	return nil
}

// firstFrame is one visit: it opens the page, presses Play and leaves. It returns when
// the first frame came, and when each step before it ended (parts), in ms after Play.
func (b *bench) firstFrame(ctx context.Context, app string, warm bool) (ms float64, marks map[string]float64, err error) {
	idle := 0
	if warm {
		idle = 1
	}
	return b.visit(ctx, app, idle, func(context.Context, *browser.Page) error { return nil })
}

// visit is firstFrame, which begins with so many idle seats, and does something before Play.
func (b *bench) visit(ctx context.Context, app string, idle int, before func(context.Context, *browser.Page) error) (ms float64, marks map[string]float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := b.waitIdle(ctx, app, idle); err != nil {
		return 0, nil, err
	}
	page, err := b.open(ctx, app)
	if err != nil {
		return 0, nil, err
	}
	if err := settle(ctx); err != nil {
		return 0, nil, err
	}
	if err := before(ctx, page); err != nil {
		return 0, nil, err
	}
	if err := b.play(ctx, page); err != nil {
		return 0, nil, err
	}
	if err := page.Eval(ctx, "nearcast.firstFrameMS", &ms); err != nil {
		return 0, nil, err
	}
	if err := page.Until(ctx, "nearcast.marks.drawn !== undefined"); err != nil {
		return 0, nil, err
	}
	if marks, err = b.stepsOf(ctx, page); err != nil {
		return 0, nil, err
	}
	if idle == 0 {
		if err := b.stepsOfStart(ctx, page, marks); err != nil {
			return 0, nil, err
		}
	}
	return ms, marks, b.leave(ctx, page)
}

// uploadRandom puts contentBytes that are in no cache into the bucket.
func (b *bench) uploadRandom(ctx context.Context, key string) error {
	file := filepath.Join(b.site.Dir, "random")
	data := make([]byte, contentBytes)
	_, _ = rand.Read(data) // never fails
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	defer os.Remove(file)
	return b.site.Upload(ctx, key, file)
}
