package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/scene"
	"github.com/nearcast/nearcast/internal/testkit/ssim"
)

const (
	qualityWidth, qualityHeight = 1280, 720
	qualityFrames               = 120 // four seconds
)

// content is what is encoded to measure quality: it draws a picture.
type content struct {
	name  string
	draw  func(picture []byte, frame int)
	still int // the first picture that is as all after it; 0 is none
}

// contents are a text that scrolls for three seconds and then stands still, the model of
// the sample viewer that turns, and a racing game.
func contents(t testing.TB) []content {
	text, err := scene.NewText(qualityWidth, qualityHeight)
	testkit.Must(t, err)
	const stands = 90
	all := []content{
		{"text", func(p []byte, n int) { text.Draw(p, 6*min(n, stands)) }, stands},
		{"game", func(p []byte, n int) { scene.Road(p, qualityWidth, qualityHeight, n) }, 0},
	}
	if model := turning(t); model != nil {
		all = append(all, content{"model", func(p []byte, n int) {
			n %= 2 * len(model)
			copy(p, model[min(n, 2*len(model)-1-n)])
		}, 0})
	}
	return all
}

// turning is the sample viewer, if it is installed.
func turning(t testing.TB) [][]byte {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	pictures, err := scene.Model(t.Context(), filepath.Join(cache, "nearcast", "scenes"), 45)
	if errors.Is(err, scene.ErrNoViewer) {
		t.Log(err)
		return nil
	}
	testkit.Must(t, err)
	return pictures
}

// asItComes is x264 with the preset and tuning that others use, and its own defaults.
func asItComes(p params) string {
	return fmt.Sprintf("x264enc name=enc tune=zerolatency speed-preset=veryfast threads=%d key-int-max=60 byte-stream=true bitrate=%d ! "+h264Caps,
		threads(), p.bps/1000)
}

func x264() encoder {
	return encoders[slices.IndexFunc(encoders, func(e encoder) bool { return e.element == "x264enc" })]
}

// encoding is what an encoder made of a content.
type encoding struct {
	packets [][]byte
	shown   [][]byte        // luma
	took    []time.Duration // from the picture to its packet
	cpu     []time.Duration
}

func encodeAll(t testing.TB, e encoder, p params, c content, frames int, corrected bool) (made encoding) {
	t.Helper()
	out := make(chan []byte, 1)
	v, err := openVideo(e, p, func(data []byte, _ bool, _ time.Duration) { out <- data })
	testkit.Must(t, err)
	defer v.close()
	picture := make([]byte, 4*p.width*p.height)
	used := newUsage()
	for n := range frames {
		c.draw(picture, n)
		before, begin := selfCPU(t), time.Now()
		testkit.Must(t, v.push(picture, 4*p.width, time.Duration(n)*time.Second/time.Duration(p.fps), false))
		select {
		case data := <-out:
			made.took = append(made.took, time.Since(begin))
			made.cpu = append(made.cpu, selfCPU(t)-before)
			made.packets = append(made.packets, data)
			if n > 0 && corrected { // as the loop does
				testkit.Must(t, v.setBitrate(int(float64(p.bps)*used.picture(float64(len(data)), float64(p.bps/p.fps)/8))))
			}
		case <-v.failed:
			t.Fatal(v.failure())
		case <-time.After(10 * time.Second):
			t.Fatal("no frame")
		}
		made.shown = append(made.shown, luma(picture, p.width, p.height))
	}
	return made
}

// mbps is the bitrate of some frames.
func (m encoding) mbps(from, to, fps int) (sum float64) {
	for _, data := range m.packets[from:to] {
		sum += 8 * float64(len(data)) / 1e6
	}
	return sum * float64(fps) / float64(to-from)
}

func (m encoding) largest() (size int) {
	for _, data := range m.packets {
		size = max(size, len(data))
	}
	return size
}

// luma is that of a picture, as the encoder gets it.
func luma(picture []byte, width, height int) []byte {
	all := make([]byte, i420Size(width, height))
	convertPicture(all, picture, 4*width, width, height, true)
	return all[:width*height]
}

// similar decodes, and compares each picture with what was shown.
func (m encoding) similar(t testing.TB, decoder string, width, height int) (each []float64) {
	t.Helper()
	for n, decoded := range decodeLuma(t, decoder, m.packets, width, height) {
		each = append(each, ssim.Luma(m.shown[n], decoded, width, width, height))
	}
	return each
}

// decodeH264 is the decoder of H.264 for decodeLuma.
const decodeH264 = "caps=" + h264In + " ! h264parse ! openh264dec"

// decodeLuma decodes. decoder is what follows the element appsrc.
func decodeLuma(t testing.TB, decoder string, packets [][]byte, width, height int) (all [][]byte) {
	t.Helper()
	pictures := make(chan []byte, len(packets)+1)
	s, err := openStream("appsrc name=source format=time "+decoder+" ! video/x-raw,format=I420",
		func(data []byte, _ flagsType, _, _ time.Duration) { pictures <- data[:width*height] })
	if err != nil {
		t.Skipf("cannot decode here: %v", err)
	}
	defer s.close()
	pushAll(t, s, packets)
	for range packets {
		select {
		case p := <-pictures:
			all = append(all, p)
		case <-s.failed:
			t.Fatal(s.failure())
		case <-time.After(10 * time.Second):
			return all
		}
	}
	return all
}

func mean(values []float64) (sum float64) {
	for _, v := range values {
		sum += v / float64(len(values))
	}
	return sum
}

func milliseconds(d []time.Duration) (all []float64) {
	for _, v := range d {
		all = append(all, float64(v.Microseconds())/1000)
	}
	slices.Sort(all)
	return all
}

// BenchmarkQuality measures each preset with each content: structural similarity of what
// is decoded with what was shown, processor time and time of a picture.
func BenchmarkQuality(b *testing.B) {
	for _, c := range contents(b) {
		drawn := make([][]byte, qualityFrames)
		for n := range drawn {
			drawn[n] = make([]byte, 4*qualityWidth*qualityHeight)
			c.draw(drawn[n], n)
		}
		c.draw = func(p []byte, n int) { copy(p, drawn[n]) }
		for _, mbps := range []int{2, 6, 12} {
			measure := func(name string, e encoder, p params, corrected bool) (used float64) {
				made := encodeAll(b, e, p, c, qualityFrames, corrected)
				each := made.similar(b, decodeH264, p.width, p.height)
				end := len(each)
				if c.still > 0 {
					end = c.still
				}
				took, cpu := milliseconds(made.took[1:end]), milliseconds(made.cpu[1:end])
				used = made.mbps(1, end, p.fps)
				row := map[string]any{"content": c.name, "mbps": mbps, "encoder": name, "ssim": mean(each[p.fps:end]), "ssim_worst": slices.Min(each[p.fps:end]),
					"ssim_first_second": mean(each[:p.fps]),
					"encode_p50_ms":     took[len(took)/2], "encode_p90_ms": took[len(took)*9/10], "cpu_p50_ms": cpu[len(cpu)/2],
					"used_mbps": used, "largest_kb": float64(made.largest()) / 1000}
				if c.still > 0 {
					row["ssim_still"] = each[c.still+p.fps-1]
				}
				printRow(b, row)
				return used
			}
			p := params{width: qualityWidth, height: qualityHeight, fps: 30, bps: mbps * 1_000_000}
			e := x264()
			e.launch = asItComes
			used := measure("x264 veryfast as it comes", e, p, false)
			same := p
			same.bps = int(float64(p.bps) * float64(mbps) / used)
			measure("x264 veryfast at the bitrate", e, same, false)
			for p.preset = range presets {
				measure(p.preset.String(), x264(), p, true)
			}
		}
	}
}

// BenchmarkPresetSwitch measures how long a picture takes that needs another encoder, and
// one that does not.
func BenchmarkPresetSwitch(b *testing.B) {
	display, _ := xvfb(b)
	frames, onFrame := collect()
	least := ultrafast
	cfg := config(display, onFrame)
	cfg.preset = &least
	p := start(b, cfg)
	shows := openPane(b, display)
	var same, other []float64
	for n := range 40 {
		scene.Road(shows.picture, qualityWidth, qualityHeight, n)
		p.working.pinned.Store(int32(n / 4 % int(presets)))
		flush(frames)
		begin := time.Now()
		shows.show()
		f := next(b, frames, "frame", func(f Frame) bool { return f.Captured.After(begin) })
		took := float64(time.Since(begin).Microseconds()) / 1000
		if f.Keyframe {
			other = append(other, took)
		} else {
			same = append(same, took)
		}
	}
	slices.Sort(same)
	slices.Sort(other)
	printRow(b, map[string]any{"measure": "change_to_frame", "unit": "ms", "switch": false, "n": len(same), "p50": same[len(same)/2], "max": same[len(same)-1]})
	printRow(b, map[string]any{"measure": "change_to_frame", "unit": "ms", "switch": true, "n": len(other), "p50": other[len(other)/2], "max": other[len(other)-1]})
}
