// Stream measures a stream as a person sees it: in headless Chromium, against a whole
// real site on this machine. It prints one JSON object per line:
//
//	{"measure":"first_frame_warm","unit":"ms","n":25,"p50":212,"p90":260,"max":301}
//
// Measures, at 1280x720 but for those with a label size:
//
//	first_frame_warm   ms  Play pressed → first decoded frame (requestVideoFrameCallback), with an idle seat
//	first_frame_part   ms  Play pressed → each step on the way; label part (parts.go says what they are), and prepared
//	first_frame_prepared ms  as first_frame_warm, in turns: at once, and with a seat that was prepared
//	                       while the pointer rested on Play; label prepared
//	first_frame_cold   ms  as first_frame_warm, without a seat; label content is cached or uncached (64 MB)
//	first_frame_cold_part ms Play pressed → each step of it, those of the seat's start first (coldparts.go); labels content, part
//	input_to_photon    ms  key pressed in the page → the changed picture is due on screen; label fps
//	decoded_fps        /s  frames decoded in each of 30 seconds; labels fps, picture (still, moving, hungry, loaded)
//	dropped_frames         frames that the decoder dropped in those 30 s; labels fps, picture
//	cpu_ratio              CPU seconds of stream-host ÷ those of a bare gst-launch that captures and
//	                       encodes the same display in the same seconds; labels fps, picture
//	ssim                   similarity of what Chromium decoded with what the display showed, while it moves (1 is the
//	                       same); labels content (text, model, game), mbps, worst, used_mbps, fps, codec
//	ssim_still             the same of a text that has stood still for a second
//	seat_start         ms  start of the stream host's process → idle seat; label server, Xvfb and Xorg with the driver
//	                       dummy in turns, and input_to_photon of both
//	rss                MB  resident memory while streaming; label process
//
// It is a benchmark and not a test: it does not fail for slowness.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/bench/report"
	"github.com/nearcast/nearcast/dev"
	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// bench is what each measure needs.
type bench struct {
	site    *dev.Cluster
	chrome  *browser.Browser
	report  *report.Report
	bin     string
	runs    int
	cold    int
	presses int
	chosen  chosen
}

// measures are in the order in which they are taken.
var measures = []struct {
	name string
	take func(*bench, context.Context) error
}{
	{"warm", (*bench).firstFrameWarm},
	{"prepared", (*bench).firstFramePrepared},
	{"cold", (*bench).firstFrameCold},
	{"input", (*bench).inputToPhoton},
	{"steady", (*bench).steady},
	{"hungry", (*bench).hungry},
	{"still60", (*bench).still60},
	{"large", (*bench).large},
	{"quality", (*bench).quality},
	{"servers", (*bench).servers},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench-stream:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	b := &bench{report: report.New(os.Stdout)}
	only := flag.String("only", "", "take only these measures: `warm,prepared,cold,input,steady,hungry,still60,large,quality,servers`")
	flag.StringVar(&b.bin, "bin", "bin", "folder of the binaries, as make build fills it")
	flag.IntVar(&b.runs, "runs", 25, "warm first frames to measure, and as many prepared ones")
	flag.IntVar(&b.cold, "cold", 5, "cold first frames to measure, cached and uncached each, and starts with each X server")
	flag.IntVar(&b.presses, "presses", 120, "key presses to measure at each frame rate")
	flag.StringVar(&b.chosen.content, "content", "", "measure the quality of this alone: `text`, game or model")
	flag.IntVar(&b.chosen.mbps, "mbps", 0, "measure the quality at this bitrate alone: `2`, 6 or 12 Mbit/s")
	flag.Parse()
	if err := b.chosen.check(qualityRates); err != nil {
		return err
	}
	if b.bin, err = filepath.Abs(b.bin); err != nil {
		return err
	}

	dir, err := os.MkdirTemp("", "ncbench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { // apps run as another user
		return err
	}
	ports, err := dev.FreePorts()
	if err != nil {
		return err
	}
	say("starting a site in %s", dir)
	start, cancel := context.WithTimeout(ctx, 15*time.Minute) // servers may have to be built
	defer cancel()
	b.site, err = dev.Start(start, dev.Options{Dir: dir, Bin: b.bin, Apps: []string{}, Ports: ports, Log: os.Stderr})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.site.Close()) }()
	if b.chrome, err = browser.Launch(ctx); err != nil {
		return err
	}
	defer b.chrome.Close()

	for _, m := range measures {
		if *only != "" && !strings.Contains(","+*only+",", ","+m.name+",") {
			continue
		}
		say("measuring %s", m.name)
		if err := m.take(b, ctx); err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
	}
	return nil
}

// say writes to standard error what is done now: a benchmark takes minutes.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench-stream: "+format+"\n", args...)
}
