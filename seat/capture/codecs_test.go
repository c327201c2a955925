package capture

import (
	"fmt"
	"slices"
	"testing"
)

// rival is a way to encode that is measured beside the node's own.
type rival struct {
	name    string
	decoder string // for decodeLuma
	encoder encoder
	ours    bool // its bitrate is corrected as ours is
	preset  preset
	main    bool
}

// asNodes is x264 as nodes use it.
func asNodes(p preset, main bool) rival {
	name := p.String()
	if main {
		name += " main"
	}
	return rival{name: name, decoder: decodeH264, encoder: x264(), ours: true, preset: p, main: main}
}

// vp9 is libvpx in its realtime mode.
func vp9(speed int) rival {
	return rival{name: fmt.Sprint("vp9 cpu-used ", speed), decoder: "caps=video/x-vp9 ! vp9dec", encoder: encoder{
		element: "vp9enc", launch: func(p params) string {
			return fmt.Sprintf("vp9enc name=enc deadline=1 cpu-used=%d threads=%d tile-columns=1 row-mt=true end-usage=cbr lag-in-frames=0 "+
				"keyframe-mode=disabled keyframe-max-dist=%d auto-alt-ref=false aq-mode=cyclic-refresh error-resilient=default static-threshold=100 "+
				"max-quantizer=56 buffer-size=%d buffer-initial-size=%d buffer-optimal-size=%d undershoot=95 max-intra-bitrate=450 target-bitrate=%d ! video/x-vp9",
				speed, threads(), never, 20*p.frameMS(), 10*p.frameMS(), 15*p.frameMS(), p.bps)
		}}}
}

// av1 is libaom in its realtime mode.
func av1(speed int) rival {
	return rival{name: fmt.Sprint("av1 cpu-used ", speed), decoder: "caps=video/x-av1,stream-format=obu-stream,alignment=tu ! av1dec", encoder: encoder{
		element: "av1enc", launch: func(p params) string {
			return fmt.Sprintf("av1enc name=enc usage-profile=realtime cpu-used=%d threads=%d tile-columns=1 row-mt=true end-usage=cbr lag-in-frames=0 "+
				"keyframe-mode=disabled keyframe-max-dist=%d max-quantizer=56 buf-sz=%d buf-initial-sz=%d buf-optimal-sz=%d undershoot-pct=50 overshoot-pct=50 "+
				"target-bitrate=%d ! video/x-av1,stream-format=obu-stream,alignment=tu",
				speed, threads(), never, 20*p.frameMS(), 10*p.frameMS(), 15*p.frameMS(), p.bps/1000)
		}}}
}

// varied is superfast with our settings, in another profile and with other settings after them.
func varied(profile, more string) rival {
	return rival{name: "superfast " + profile + " " + more, decoder: decodeH264, ours: true, preset: superfast, encoder: encoder{
		element: "x264enc", codec: H264, bitrate: "bitrate", bitrateUnit: 1000, launch: func(p params) string {
			return fmt.Sprintf("x264enc name=enc tune=zerolatency speed-preset=%v threads=%d sliced-threads=true bframes=0 key-int-max=%d "+
				"byte-stream=true vbv-buf-capacity=%d bitrate=%d option-string=scenecut=0%s ! video/x-h264,profile=%s,stream-format=byte-stream,alignment=au",
				p.preset, threads(), never, p.frameMS(), p.bps/1000, more, profile)
		}}}
}

// BenchmarkCodecs measures other codecs, profiles and settings of x264 beside the presets that
// nodes use, with the same contents: each gets the bitrate in the mean.
func BenchmarkCodecs(b *testing.B) {
	const baseline = "constrained-baseline"
	rivals := []rival{asNodes(ultrafast, false), asNodes(superfast, false), asNodes(veryfast, false),
		asNodes(ultrafast, true), asNodes(superfast, true), asNodes(veryfast, true), vp9(9), av1(10), varied("high", "")}
	for _, more := range []string{"aq-mode=0", "aq-mode=2", "aq-mode=3", "no-psy=1", "ref=2", "subme=2", "me=hex", "weightp=1", "deblock=-1,-1",
		"partitions=all", "partitions=p8x8,i8x8,i4x4:deblock=-1,-1"} {
		rivals = append(rivals, varied(baseline, ":"+more))
	}
	for _, c := range contents(b) {
		drawn := make([][]byte, qualityFrames)
		for n := range drawn {
			drawn[n] = make([]byte, 4*qualityWidth*qualityHeight)
			c.draw(drawn[n], n)
		}
		c.draw = func(p []byte, n int) { copy(p, drawn[n]) }
		for _, mbps := range []int{2, 6, 12} {
			for _, r := range rivals {
				b.Run(fmt.Sprintf("%s/%d/%s", c.name, mbps, r.name), func(b *testing.B) { r.measure(b, c, mbps) })
			}
		}
	}
}

func (r rival) measure(b *testing.B, c content, mbps int) {
	p := params{width: qualityWidth, height: qualityHeight, fps: 30, bps: mbps * 1_000_000, preset: r.preset, main: r.main}
	end := qualityFrames
	if c.still > 0 {
		end = c.still
	}
	made := encodeAll(b, r.encoder, p, c, qualityFrames, r.ours)
	if used := made.mbps(p.fps, end, p.fps); !r.ours && used > 0.5*float64(mbps) { // again, at the same mean
		p.bps = int(float64(p.bps) * min(float64(mbps)/used, 1.5))
		made = encodeAll(b, r.encoder, p, c, qualityFrames, false)
	}
	each := made.similar(b, r.decoder, p.width, p.height)
	if len(each) < qualityFrames-1 { // openh264 keeps the last one, if the profile could have B-frames
		b.Fatalf("%d of %d pictures came", len(each), qualityFrames)
	}
	end = min(end, len(each))
	took, cpu := milliseconds(made.took[p.fps:end]), milliseconds(made.cpu[p.fps:end])
	row := map[string]any{"content": c.name, "mbps": mbps, "encoder": r.name, "ssim": mean(each[p.fps:end]), "ssim_worst": slices.Min(each[p.fps:end]),
		"encode_p50_ms": took[len(took)/2], "encode_p90_ms": took[len(took)*9/10], "cpu_mean_ms": mean(cpu),
		"used_mbps": made.mbps(p.fps, end, p.fps), "largest_kb": float64(made.largest()) / 1000}
	if c.still > 0 {
		row["ssim_still"] = each[min(c.still+p.fps, len(each))-1]
	}
	printRow(b, row)
}
