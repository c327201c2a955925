package peer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
)

// payloadSize leaves space for RTP with its extensions, and for SRTP's tag, in
// 1200 bytes, which pass on every network.
const payloadSize = 1150

// track packetizes frames of one codec and writes them to the one connection that
// it is bound to. pion's own tracks do not let the caller set timestamps (here:
// the capture's) and the playout-delay extension.
type track struct {
	codec     string
	id        string
	payloader rtp.Payloader
	onBound   func()

	mu      sync.Mutex
	stream  webrtc.TrackLocalWriter
	header  rtp.Header
	delayID uint8  // of the playout-delay extension; 0 is none
	base    uint32 // timestamp of PTS 0
	red     redundancy

	// What the sender reports say. latest is zero before the first frame.
	latest    time.Time // the capture of the latest frame
	timestamp uint32    // of the same frame

	last sentLast

	frames, bytes atomic.Uint64
	packets       atomic.Uint32
	lost          atomic.Uint32 // of 256, as the browser reported last
}

// sentLast is the packet that was sent last.
type sentLast struct {
	header  rtp.Header
	payload []byte
}

func newTrack(codec string, onBound func()) (*track, error) {
	t := &track{codec: codec, id: "video", onBound: onBound}
	switch codec {
	case "h264":
		t.payloader = &codecs.H264Payloader{}
	case "vp8":
		t.payloader = &codecs.VP8Payloader{EnablePictureID: true}
	case "opus":
		t.payloader, t.id = &codecs.OpusPayloader{}, "audio"
	default:
		return nil, fmt.Errorf("unknown codec %q", codec)
	}
	return t, nil
}

func (t *track) ID() string  { return t.id }
func (t *track) RID() string { return "" }

// StreamID differs between tracks. Within one stream, a browser would hold the
// picture back until the sound of the same moment has passed its jitter buffer.
func (t *track) StreamID() string { return "seat-" + t.id }

func (t *track) Kind() webrtc.RTPCodecType {
	if t.codec == "opus" {
		return webrtc.RTPCodecTypeAudio
	}
	return webrtc.RTPCodecTypeVideo
}

// Bind is called by the stack when the connection can send.
func (t *track) Bind(ctx webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	params := ctx.CodecParameters()
	i := slices.IndexFunc(params, func(c webrtc.RTPCodecParameters) bool {
		return strings.EqualFold(c.MimeType, capabilities[t.codec].MimeType)
	})
	if i < 0 {
		return webrtc.RTPCodecParameters{}, webrtc.ErrUnsupportedCodec
	}
	t.mu.Lock()
	t.stream = ctx.WriteStream()
	t.header = rtp.Header{
		Version: 2, PayloadType: uint8(params[i].PayloadType), SSRC: uint32(ctx.SSRC()),
		SequenceNumber: uint16(rand.Uint32()),
	}
	t.base = rand.Uint32()
	if t.codec == "opus" {
		t.red = negotiatedRedundancy(params, params[i].PayloadType)
	}
	for _, e := range ctx.HeaderExtensions() {
		if e.URI == playoutDelayURI {
			t.delayID = uint8(e.ID)
		}
	}
	t.mu.Unlock()
	if t.onBound != nil {
		t.onBound()
	}
	return params[i], nil
}

func (t *track) Unbind(webrtc.TrackLocalContext) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stream = nil
	return nil
}

func (t *track) bound() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stream != nil
}

// noDelay is the value of the playout-delay extension for "show it at once".
var noDelay = []byte{0, 0, 0}

func (t *track) write(f Frame) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stream == nil {
		return nil
	}
	rate := int64(capabilities[t.codec].ClockRate)
	header := t.header
	header.Timestamp = t.base + uint32(int64(f.PTS/time.Microsecond)*rate/1_000_000)
	if !f.Captured.IsZero() {
		t.latest, t.timestamp = f.Captured, header.Timestamp
	}
	payloads := t.payloader.Payload(payloadSize, f.Data)
	if t.codec == "opus" && len(payloads) > 0 {
		payloads[0], header.PayloadType = t.red.wrap(payloads[0], header.Timestamp, header.PayloadType)
	}
	for i, payload := range payloads {
		header.SequenceNumber = t.header.SequenceNumber
		t.header.SequenceNumber++
		header.Marker = i == len(payloads)-1 && t.codec != "opus"
		// Interceptors add their own extensions to the header that they get.
		h := header
		if t.delayID != 0 {
			if err := h.SetExtension(t.delayID, noDelay); err != nil {
				return fmt.Errorf("set playout delay: %w", err)
			}
		}
		if _, err := t.stream.WriteRTP(&h, payload); err != nil {
			return fmt.Errorf("send %s: %w", t.id, err)
		}
		t.last = sentLast{header, payload}
		t.bytes.Add(uint64(len(payload)))
		t.packets.Add(1)
	}
	t.frames.Add(1)
	return nil
}

// setCopies says how many earlier packets of sound each packet repeats.
func (t *track) setCopies(copies int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.red.copies = copies
}

// repeatLast sends the last packet again.
func (t *track) repeatLast() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stream == nil || t.last.payload == nil {
		return nil
	}
	h := t.last.header
	if t.delayID != 0 {
		if err := h.SetExtension(t.delayID, noDelay); err != nil {
			return fmt.Errorf("set playout delay: %w", err)
		}
	}
	if _, err := t.stream.WriteRTP(&h, t.last.payload); err != nil {
		return fmt.Errorf("send %s again: %w", t.id, err)
	}
	return nil
}

func (t *track) ssrc() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.header.SSRC
}
