package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/scene"
	"github.com/nearcast/nearcast/internal/testkit/ssim"
)

// order is which pictures of a film the test app shows in eight seconds, at 30 a second: forth and
// back, with a rest at both ends. rested are those that stand still for a second.
func (f *film) order() (all []int, rested map[int]bool) {
	last, rest := len(f.luma)-1, int(30*f.rest.Seconds())
	rested = map[int]bool{}
	for at, step := 0, 1; len(all) < int(30*qualityFor.Seconds()); at += step {
		all = append(all, at)
		if at == last && step > 0 || at == 0 && step < 0 {
			for n := range rest {
				if all = append(all, at); n == 29 {
					rested[len(all)-1] = true
				}
			}
			step = -step
		}
	}
	return all, rested
}

// A film goes forth and back; one that rests does so at both ends, and its picture counts after a second of it.
func TestOrderOfAFilm(t *testing.T) {
	f := &film{luma: make([][]byte, qualityPictures)}
	all, rested := f.order()
	if len(all) != 240 || len(rested) != 0 || all[44] != 44 || all[45] != 43 || all[88] != 0 || all[89] != 1 {
		t.Errorf("without a rest: %v, %v", all, rested)
	}
	f.rest = qualityRest
	all, rested = f.order()
	if all[44] != 44 || all[44+60] != 44 || all[44+61] != 43 || !rested[44+30] || all[44+60+44] != 0 || !rested[44+60+44+30] || len(rested) != 2 {
		t.Errorf("with a rest: %v, %v", all, rested)
	}
}

// A measure that has no pictures is an error, and prints no line.
func TestNoPicturesIsAnError(t *testing.T) {
	for _, c := range []struct {
		rest          time.Duration
		moving, still int
		measured      bool
	}{{0, 10, 0, true}, {0, 0, 0, false}, {qualityRest, 10, 2, true}, {qualityRest, 10, 0, false}, {qualityRest, 0, 2, false}} {
		if err := (film{name: "text", rest: c.rest}).measured(c.moving, c.still); (err == nil) != c.measured {
			t.Errorf("rest %v, %d pictures moving and %d still: %v", c.rest, c.moving, c.still, err)
		}
	}
}

// What x264 makes of a film is like it, and more so with more bits.
func TestX264(t *testing.T) {
	if testing.Short() {
		t.Skip("encodes for seconds")
	}
	if _, err := exec.LookPath("gst-launch-1.0"); err != nil {
		t.Skip("gst-launch-1.0 is not installed (Debian's package is gstreamer1.0-tools)")
	}
	const pictures = 12
	f := &film{name: "game", file: filepath.Join(t.TempDir(), "film")}
	picture := make([]byte, 4*qualityWidth*qualityHeight)
	var data []byte
	var order []int
	for n := range pictures {
		scene.Road(picture, qualityWidth, qualityHeight, n)
		data, order = append(data, picture...), append(order, n)
		f.luma = append(f.luma, scene.Luma(picture))
	}
	testkit.Must(t, os.WriteFile(f.file, data, 0o600))
	last := 0.0
	for _, mbps := range []int{1, 12} {
		sum := 0.0
		for n, luma := range encode(t, f, order, mbps) {
			sum += ssim.Luma(f.luma[n], luma, qualityWidth, qualityWidth, qualityHeight)
		}
		t.Logf("%d Mbit/s: %.3f", mbps, sum/pictures)
		if sum/pictures < 0.4 || sum/pictures <= last {
			t.Errorf("at %d Mbit/s the similarity is %.3f, before %.3f", mbps, sum/pictures, last)
		}
		last = sum / pictures
	}
}

// x264 encodes the films with x264's preset veryfast, as it comes, at the same bitrates.
func (p *peers) x264() {
	for _, f := range p.films {
		for _, mbps := range peerQualityRates {
			if !p.chosen().has(f.name, mbps) {
				continue
			}
			order, rested := f.order()
			decoded := encode(p, f, order, mbps)
			var moving, still []float64
			for n, luma := range decoded {
				switch value := ssim.Luma(f.luma[order[n]], luma, qualityWidth, qualityWidth, qualityHeight); {
				case rested[n]:
					still = append(still, value)
				case n >= 30 && n%5 == 0 && (f.rest == 0 || order[n] != 0 && order[n] != len(f.luma)-1):
					moving = append(moving, value)
				}
			}
			labels := map[string]any{"product": "x264 veryfast", "content": f.name, "mbps": mbps, "fps": 30}
			testkit.Must(p, errors.Join(p.bench.similarity("ssim", moving, labels), p.bench.similarity("ssim_still", still, labels)))
		}
	}
}

// encode gives the luma of each picture, after x264 and a decoder.
func encode(tb testing.TB, f *film, order []int, mbps int) (decoded [][]byte) {
	tb.Helper()
	data, err := os.ReadFile(f.file)
	testkit.Must(tb, err)
	const size = 4 * qualityWidth * qualityHeight
	cmd := exec.CommandContext(testkit.Context(tb, 5*time.Minute), "gst-launch-1.0", strings.Fields(fmt.Sprintf(
		"-q fdsrc fd=0 blocksize=%d ! rawvideoparse format=bgrx width=%d height=%d framerate=30/1 ! videoconvert ! video/x-raw,format=I420,colorimetry=bt709 ! "+
			"x264enc threads=4 tune=zerolatency speed-preset=veryfast key-int-max=60 bitrate=%d ! video/x-h264,profile=constrained-baseline ! h264parse ! openh264dec ! "+
			"video/x-raw,format=I420 ! fdsink fd=1", size, qualityWidth, qualityHeight, 1000*mbps))...)
	in, err := cmd.StdinPipe()
	testkit.Must(tb, err)
	out, err := cmd.StdoutPipe()
	testkit.Must(tb, err)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	testkit.Must(tb, cmd.Start())
	go func() {
		defer in.Close()
		for _, n := range order {
			if _, err := in.Write(data[n*size : (n+1)*size]); err != nil {
				return // the reader says why
			}
		}
	}()
	picture := make([]byte, qualityWidth*qualityHeight*3/2)
	for {
		if _, err := io.ReadFull(out, picture); err != nil {
			break
		}
		decoded = append(decoded, bytes.Clone(picture[:qualityWidth*qualityHeight]))
	}
	if err := cmd.Wait(); err != nil || len(decoded) != len(order) {
		tb.Fatalf("x264 and a decoder gave %d of %d pictures: %v %s", len(decoded), len(order), err, problems.String())
	}
	return decoded
}

func TestChosen(t *testing.T) {
	all, one := chosen{}, chosen{"text", 2}
	for _, c := range []chosen{{"video", 2}, {"text", 3}, {"", 12}} {
		if c.check(peerQualityRates) == nil {
			t.Errorf("%+v is not refused", c)
		}
	}
	if all.check(qualityRates) != nil || one.check(qualityRates) != nil || !all.has("game", 12) || !one.has("text", 2) || one.has("text", 6) || one.has("game", 2) {
		t.Error("what is chosen")
	}
}
