package main

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nearcast/nearcast/bench/report"
)

// photons presses a key n times in the page. Each time it waits until the video shows
// the changed picture. The time ends when the frame is due on screen, or at the callback
// if that comes later. The pauses are random: presses must not be in step with frames.
const photons = `(async () => {
	const video = document.querySelector('video');
	const canvas = new OffscreenCanvas(16, 9), c = canvas.getContext('2d', { willReadFrequently: true });
	const bright = () => {
		c.drawImage(video, 0, 0, 16, 9);
		return c.getImageData(8, 4, 1, 1).data[0] > 128;
	};
	const key = (type) => ` + photonKey + `;
	const wait = (ms) => new Promise((r) => setTimeout(r, ms));
	const all = [];
	for (let i = 0; i < %d; i++) {
		await wait(120 + 100 * Math.random());
		const before = bright();
		const start = performance.now();
		key('keydown');
		const end = await new Promise((resolve, reject) => {
			const give = setTimeout(() => reject(new Error('the picture did not flip within 5 s')), 5000);
			const look = (now, frame) => {
				if (bright() === before) return void video.requestVideoFrameCallback(look);
				clearTimeout(give);
				resolve(Math.max(performance.now(), frame.expectedDisplayTime));
			};
			video.requestVideoFrameCallback(look);
		});
		key('keyup');
		all.push(end - start);
	}
	return all;
})()`

// photonKey gives the app a key.
const photonKey = `document.querySelector('div.surface').dispatchEvent(new KeyboardEvent(type, { code: 'KeyA', key: 'a', bubbles: true, cancelable: true }))`

func (b *bench) inputToPhoton(ctx context.Context) error {
	for _, fps := range []int{30, 60} {
		if err := b.streaming(ctx, fps, still, func(ctx context.Context, s streaming) error {
			return b.photon(ctx, s, map[string]any{"fps": fps})
		}); err != nil {
			return fmt.Errorf("at %d fps: %w", fps, err)
		}
	}
	return nil
}

// photon presses keys in a stream that runs.
func (b *bench) photon(ctx context.Context, s streaming, labels map[string]any) error {
	ms, err := b.press(ctx, s, b.presses)
	if err != nil {
		return err
	}
	labels = maps.Clone(labels)
	labels["p99"] = round(report.Quantile(ms, 0.99))
	return b.report.Line("input_to_photon", "ms", ms, labels)
}

// press presses so many keys, and says how long the picture of each took.
func (b *bench) press(ctx context.Context, s streaming, times int) (ms []float64, err error) {
	err = s.page.Eval(ctx, fmt.Sprintf(photons, times), &ms)
	return ms, err
}

// streaming runs the test app at a frame rate, presses Play, and calls measure while
// it streams.
func (b *bench) streaming(ctx context.Context, fps int, picture string, measure func(context.Context, streaming) error) error {
	return b.stream(ctx, streaming{fps: fps, picture: picture}, nil, measure)
}

// stream is streaming with variables of the job: of args, the name or the size.
func (b *bench) stream(ctx context.Context, s streaming, vars map[string]string, measure func(context.Context, streaming) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	rate := strconv.Itoa(s.fps)
	args := "-fps " + rate
	switch s.picture {
	case moving:
		args += " -moving"
	case hungry:
		args += " -moving -busy 4"
	case loaded:
		args += " -busy 4"
	}
	// No warm pool: a replacement would start its display during the measurement.
	all := map[string]string{"name": "bench-" + s.picture + "-" + rate, "warm": "0", "max": "1", "fps": rate, "args": args}
	maps.Copy(all, vars)
	app := all["name"]
	stop, err := b.runApp(ctx, app, all)
	if err != nil {
		return err
	}
	defer stop()
	if s.page, err = b.open(ctx, app); err != nil {
		return err
	}
	if err := b.play(ctx, s.page); err != nil {
		return err
	}
	// Skip the first seconds, in which congestion control and Chromium settle.
	if err := s.page.Until(ctx, "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > "+strconv.Itoa(3*s.fps)); err != nil {
		return err
	}
	if err := s.page.Eval(ctx, "nearcast.seat", &s.seat); err != nil {
		return err
	}
	if err := measure(ctx, s); err != nil {
		return err
	}
	return b.leave(ctx, s.page)
}
