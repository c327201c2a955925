package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nearcast/nearcast/dev"
	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/testkit/scene"
	"github.com/nearcast/nearcast/internal/testkit/ssim"
)

const (
	qualityWidth, qualityHeight = 1280, 720
	qualityPictures             = 45
	// qualityRest is how long a text stands still at both ends.
	qualityRest = 2 * time.Second
	// qualityFor is how long pictures are taken.
	qualityFor = 8 * time.Second
)

// grab takes decoded pictures as the decoder made them: their luma, without scaling and
// without colours. It takes each fifth; and of each rest at an end (the pictures with
// the numbers 0 and last) the one that was there last within its first second.
const grab = `(async (milliseconds, last, cell, bits) => {
	const video = document.querySelector('video');
	const all = window.grabbed = [];
	const number = (y, stride) => {
		let n = 0;
		for (let b = 0; b < bits; b++) n |= (y[(cell >> 1) * stride + b * cell + (cell >> 1)] > 125) << b;
		return n;
	};
	const take = async () => {
		const frame = new VideoFrame(video);
		try {
			const data = new Uint8Array(frame.allocationSize());
			const [luma] = await frame.copyTo(data);
			if (!['I420', 'NV12'].includes(frame.format)) throw new Error('decoded pictures are ' + frame.format);
			return { y: data.slice(luma.offset, luma.offset + luma.stride * frame.codedHeight), stride: luma.stride,
				width: frame.codedWidth, height: frame.codedHeight };
		} finally {
			frame.close();
		}
	};
	const begin = performance.now(), rates = [];
	const watch = setInterval(async () => rates.push(await %s), 1000);
	let n = 0, rest = null;
	await new Promise((done, fail) => {
		const look = async (now) => {
			if (now - begin > milliseconds) return void done();
			video.requestVideoFrameCallback(look);
			try {
				const got = await take(), at = number(got.y, got.stride);
				if (at === 0 || at === last) {
					if (!rest || rest.at !== at) rest = { at, since: now };
					if (now - rest.since <= 1000) rest.got = got;
					return;
				}
				if (rest) {
					if (now - rest.since > 1000) all.push({ ...rest.got, rested: true });
					rest = null;
				}
				if (n++ %% 5 === 0) all.push(got);
			} catch (e) {
				fail(e);
			}
		};
		video.requestVideoFrameCallback(look);
	});
	clearInterval(watch);
	const mean = (name) => rates.reduce((sum, r) => sum + r[name], 0) / Math.max(1, rates.length);
	return { mbps: mean('kbps') / 1000, fps: mean('fps'), codec: rates[0]?.codec ?? '', all: all.map(({ stride, width, height, rested }) => ({ stride, width, height, rested })) };
})(%d, %d, %d, %d)`

// ownRates is what the player says of its stream.
const ownRates = "nearcast.stats()"

// one is the luma of a picture in base64.
const one = `new Promise((done, fail) => {
	const reader = new FileReader();
	reader.onload = () => done(reader.result.split(',')[1]);
	reader.onerror = () => fail(reader.error);
	reader.readAsDataURL(new Blob([window.grabbed[%d].y]));
})`

// grabbed are decoded pictures, and what the stream was like meanwhile.
type grabbed struct {
	Mbps  float64
	FPS   float64
	Codec string
	All   []struct {
		Stride, Width, Height int
		Rested                bool
	}
}

// film is what a display shows.
type film struct {
	name string
	rest time.Duration
	luma [][]byte
	file string // where it is kept, if it is
}

// films draws what is shown, and puts it into the bucket. With keep, it is in the site's
// directory too.
func (b *bench) films(ctx context.Context, keep bool) (all []film, err error) {
	text, err := scene.NewText(qualityWidth, qualityHeight)
	if err != nil {
		return nil, err
	}
	draw := map[string]func(p []byte, n int){
		"text": func(p []byte, n int) { text.Draw(p, 6*n) },
		"game": func(p []byte, n int) { scene.Road(p, qualityWidth, qualityHeight, n) },
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find a folder for pictures: %w", err)
	}
	model, err := scene.Model(ctx, filepath.Join(cache, "nearcast", "scenes"), qualityPictures)
	switch {
	case errors.Is(err, scene.ErrNoViewer):
		say("the model is left out: %v", err)
	case err != nil:
		return nil, err
	default:
		draw["model"] = func(p []byte, n int) { copy(p, model[n]) }
	}
	for _, name := range slices.Sorted(maps.Keys(draw)) {
		f := film{name: name}
		if name == "text" {
			f.rest = qualityRest
		}
		data := make([]byte, 0, qualityPictures*4*qualityWidth*qualityHeight)
		picture := make([]byte, 4*qualityWidth*qualityHeight)
		for n := range qualityPictures {
			draw[name](picture, n)
			scene.Number(picture, qualityWidth, n)
			data = append(data, picture...)
			f.luma = append(f.luma, scene.Luma(picture))
		}
		file := filepath.Join(b.site.Dir, "film-"+name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return nil, fmt.Errorf("write the pictures of %s: %w", name, err)
		}
		err := b.site.Upload(ctx, "bench/film-"+name, file)
		if keep {
			f.file = file
		} else {
			err = errors.Join(err, os.Remove(file))
		}
		if err != nil {
			return nil, fmt.Errorf("put the pictures of %s into the bucket: %w", name, err)
		}
		all = append(all, f)
	}
	return all, nil
}

// qualityRates are the bitrates in Mbit/s, of bench-peers those without the last.
var qualityRates = []int{2, 6, 12}

// errNoModel says that of what was chosen nothing is there.
var errNoModel = errors.New("the model is not there: its viewer is not installed")

// chosen is what is compared; the zero value is all.
type chosen struct {
	content string
	mbps    int
}

func (c chosen) check(rates []int) error {
	if !slices.Contains([]string{"", "game", "model", "text"}, c.content) {
		return fmt.Errorf("-content %q must be text, game or model", c.content)
	}
	if c.mbps != 0 && !slices.Contains(rates, c.mbps) {
		return fmt.Errorf("-mbps %d must be one of %v", c.mbps, rates)
	}
	return nil
}

func (c chosen) has(content string, mbps int) bool {
	return (c.content == "" || c.content == content) && (c.mbps == 0 || c.mbps == mbps)
}

// quality compares what Chromium decodes with what the display showed.
func (b *bench) quality(ctx context.Context) error {
	films, err := b.films(ctx, false)
	if err != nil {
		return err
	}
	taken := 0
	for _, f := range films {
		for _, mbps := range qualityRates {
			if !b.chosen.has(f.name, mbps) {
				continue
			}
			taken++
			if err := b.similar(ctx, f, mbps); err != nil {
				return fmt.Errorf("%s at %d Mbit/s: %w", f.name, mbps, err)
			}
		}
	}
	if taken == 0 {
		return errNoModel
	}
	return nil
}

func (b *bench) similar(ctx context.Context, f film, mbps int) error {
	args := fmt.Sprintf("-fps 30 -size %dx%d -show ${NOMAD_TASK_DIR}/film -rest %v", qualityWidth, qualityHeight, f.rest)
	return b.stream(ctx, streaming{fps: 30, picture: f.name}, map[string]string{
		"name": fmt.Sprintf("bench-film-%s-%d", f.name, mbps), "args": args, "bitrate": fmt.Sprintf("%dMbps", mbps),
		"content": "s3://" + dev.Bucket + "/bench/film-" + f.name, "content_as": "local/film", "memory": "512", "start_timeout": "60s",
	}, func(ctx context.Context, s streaming) error {
		if err := untilBitrate(ctx, s.page, mbps); err != nil {
			return err
		}
		got, err := grabPictures(ctx, s.page, ownRates)
		if err != nil {
			return err
		}
		moving, still, err := compareAll(ctx, s.page, f, got)
		if err != nil {
			return err
		}
		labels := map[string]any{"content": f.name, "mbps": mbps, "used_mbps": round(got.Mbps), "fps": round(got.FPS), "codec": got.Codec}
		return errors.Join(b.similarity("ssim", moving, labels), b.similarity("ssim_still", still, labels))
	})
}

// grabPictures takes pictures from a page; rates is what says its kbps, fps and codec.
func grabPictures(ctx context.Context, page *browser.Page, rates string) (got grabbed, err error) {
	err = page.Eval(ctx, fmt.Sprintf(grab, rates, qualityFor.Milliseconds(), qualityPictures-1, scene.NumberCell, scene.NumberBits), &got)
	return got, err
}

// untilBitrate waits until the stream has its bitrate, or for so long that the
// content does not need it.
func untilBitrate(ctx context.Context, page *browser.Page, mbps int) error {
	return page.Eval(ctx, fmt.Sprintf(`(async () => {
		for (let i = 0; i < 12; i++) {
			await new Promise((r) => setTimeout(r, 1000));
			if ((await nearcast.stats()).kbps > 850 * %d) return;
		}
	})()`, mbps), nil)
}

// compareAll fetches the pictures, and compares each with the one of its number.
func compareAll(ctx context.Context, page *browser.Page, f film, got grabbed) (moving, still []float64, err error) {
	for i, p := range got.All {
		var text string
		if err := page.Eval(ctx, fmt.Sprintf(one, i), &text); err != nil {
			return nil, nil, err
		}
		luma, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, nil, fmt.Errorf("read picture %d: %w", i, err)
		}
		if p.Width != qualityWidth || p.Height != qualityHeight || len(luma) < p.Stride*p.Height {
			return nil, nil, fmt.Errorf("a picture of %dx%d was decoded", p.Width, p.Height)
		}
		number, err := scene.ReadNumber(luma, p.Stride)
		if err != nil {
			return nil, nil, fmt.Errorf("read the number of picture %d: %w", i, err)
		}
		if number >= len(f.luma) {
			return nil, nil, fmt.Errorf("picture %d shows number %d, and there are %d", i, number, len(f.luma))
		}
		tight := luma
		if p.Stride != qualityWidth {
			tight = make([]byte, 0, qualityWidth*qualityHeight)
			for y := range qualityHeight {
				tight = append(tight, luma[y*p.Stride:][:qualityWidth]...)
			}
		}
		value := ssim.Luma(f.luma[number], tight, qualityWidth, qualityWidth, qualityHeight)
		if p.Rested {
			still = append(still, value)
		} else {
			moving = append(moving, value)
		}
	}
	return moving, still, f.measured(len(moving), len(still))
}

// measured is an error where pictures are missing: what measured nothing must not pass for a measurement.
func (f film) measured(moving, still int) error {
	switch {
	case moving == 0:
		return fmt.Errorf("in %v no picture of %s that moves was decoded", qualityFor, f.name)
	case still == 0 && f.rest > 0:
		return fmt.Errorf("in %v %s did not stand still for a second", qualityFor, f.name)
	}
	return nil
}

// similarity writes the mean and the worst.
func (b *bench) similarity(measure string, values []float64, labels map[string]any) error {
	if len(values) == 0 {
		return nil
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	labels = maps.Clone(labels)
	labels["n"], labels["worst"] = len(values), round(slices.Min(values))
	return b.report.Value(measure, "", sum/float64(len(values)), labels)
}

// round keeps three decimals, as package report does.
func round(v float64) float64 { return math.Round(1000*v) / 1000 }
