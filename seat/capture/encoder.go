package capture

import (
	"fmt"
	"runtime"
	"slices"
)

// Codecs, as in the config of a job and in SDP.
const (
	H264 = "h264"
	VP8  = "vp8"
)

// encoder is one way to encode: a GStreamer element, and its settings for low
// latency. All have in common: no B-frames and no lookahead; keyframes only on
// request (a keyframe is as large as ten frames, and a browser requests one again if
// it is lost); and a rate buffer of about two frames, so that a keyframe is small
// enough to be sent before the next frame is due.
type encoder struct {
	element string
	codec   string
	// launch is the part of the pipeline from raw I420 to the encoded stream;
	// the element's name in it is "enc".
	launch func(p params) string
	// bitrate is the property that has the target, in units of bitrateUnit bit/s.
	bitrate     string
	bitrateUnit int
	presets     bool // it has x264's
}

type params struct {
	width, height, fps, bps int
	preset                  preset // of x264
	// main is H.264's Main profile: its arithmetic coding makes pictures better at the
	// same bitrate (docs/PERFORMANCE.md, "Quality"). x264 alone has it here.
	main bool
}

// frameMS is the size of the rate buffer, in ms: about two frames. With one and a half,
// x264 used 67 % of the bitrate for a picture that needs all of it, with this 80 %, with
// three 84 %.
func (p params) frameMS() int { return max(2100/p.fps, 20) }

// threads is the number of threads for slices of one frame. If there are few cores,
// the app needs them more.
func threads() int { return min(max(runtime.NumCPU()/2, 1), 4) }

// h264Caps is what every browser decodes. The packetizer needs Annex B with whole access
// units.
const h264Caps = "video/x-h264,profile=constrained-baseline,stream-format=byte-stream,alignment=au"

// mainCaps are for H.264's Main profile. They do not name it: x264 tells the least profile that
// a stream needs, and a filter for another one would refuse it.
const mainCaps = "video/x-h264,stream-format=byte-stream,alignment=au"

const never = 1 << 30 // frames between keyframes that nobody requested

// mainOptions keep x264 within the Main profile, and have the least preset use it too.
const mainOptions = ":8x8dct=0:cabac=1"

// encoders, best first within a codec.
var encoders = []encoder{
	{
		// Not tested: it needs an NVIDIA GPU with an encoder, and its driver.
		element: "nvh264enc", codec: H264, bitrate: "bitrate", bitrateUnit: 1000,
		launch: func(p params) string {
			return fmt.Sprintf("videoconvert ! video/x-raw,format=NV12 ! nvh264enc name=enc preset=low-latency-hp rc-mode=cbr "+
				"zerolatency=true bframes=0 gop-size=-1 vbv-buffer-size=%d bitrate=%d ! h264parse config-interval=-1 ! "+
				"video/x-h264,stream-format=byte-stream,alignment=au", p.bps/1000*p.frameMS()/1000, p.bps/1000)
		},
	},
	{
		// Not tested: it needs a GPU with VA-API.
		element: "vah264enc", codec: H264, bitrate: "bitrate", bitrateUnit: 1000,
		launch: func(p params) string {
			return fmt.Sprintf("videoconvert ! video/x-raw,format=NV12 ! vah264enc name=enc rate-control=cbr b-frames=0 ref-frames=1 "+
				"key-int-max=1024 target-usage=7 cpb-size=%d bitrate=%d ! h264parse config-interval=-1 ! "+
				"video/x-h264,stream-format=byte-stream,alignment=au", max(p.bps/1000*p.frameMS()/1000, 64), p.bps/1000)
		},
	},
	{
		element: "x264enc", codec: H264, bitrate: "bitrate", bitrateUnit: 1000, presets: true,
		launch: func(p params) string {
			caps, options := h264Caps, "scenecut=0" // all presets but the first would make keyframes at cuts
			if p.main {
				caps, options = mainCaps, options+mainOptions
			}
			return fmt.Sprintf("x264enc name=enc tune=zerolatency speed-preset=%v threads=%d sliced-threads=true "+
				"bframes=0 key-int-max=%d aud=false byte-stream=true vbv-buf-capacity=%d bitrate=%d option-string=%s ! %s",
				p.preset, threads(), never, p.frameMS(), p.bps/1000, options, caps)
		},
	},
	{
		element: "openh264enc", codec: H264, bitrate: "bitrate", bitrateUnit: 1,
		launch: func(p params) string {
			return fmt.Sprintf("openh264enc name=enc usage-type=screen complexity=low rate-control=bitrate gop-size=%d "+
				"scene-change-detection=false background-detection=false adaptive-quantization=false multi-thread=%d "+
				"bitrate=%d max-bitrate=%d ! "+h264Caps,
				never, threads(), p.bps, p.bps+p.bps/4)
		},
	},
	{
		element: "vp8enc", codec: VP8, bitrate: "target-bitrate", bitrateUnit: 1,
		launch: func(p params) string {
			return fmt.Sprintf("vp8enc name=enc deadline=1 cpu-used=16 threads=%d end-usage=cbr error-resilient=default "+
				"keyframe-max-dist=%d keyframe-mode=disabled lag-in-frames=0 static-threshold=100 max-quantizer=56 "+
				"buffer-size=%d buffer-initial-size=%d buffer-optimal-size=%d undershoot=95 max-intra-bitrate=450 target-bitrate=%d",
				threads(), never, 20*p.frameMS(), 10*p.frameMS(), 15*p.frameMS(), p.bps)
		},
	},
}

// candidates are the encoders to try for a config, best first.
func candidates(codec, name string) ([]encoder, error) {
	if name == "" || name == "auto" {
		found := slices.Clone(encoders)
		found = slices.DeleteFunc(found, func(e encoder) bool { return e.codec != codec })
		if len(found) == 0 {
			return nil, fmt.Errorf("codec %q must be one of %q, %q", codec, H264, VP8)
		}
		return found, nil
	}
	for _, e := range encoders {
		if e.element == name {
			if e.codec != codec {
				return nil, fmt.Errorf("encoder %s makes %s, not %s", name, e.codec, codec)
			}
			return []encoder{e}, nil
		}
	}
	return nil, fmt.Errorf("unknown encoder %q: use \"auto\"", name)
}
