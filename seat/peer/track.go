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
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

// payloadSize leaves space for RTP with its extensions, and for SRTP's tag, in
// 1200 bytes, which pass on every network. What protects a packet has 32 bytes more, and
// passes with IPv6's least MTU of 1280.
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
	countID uint8  // of the transport-wide numbers, which the stack sets; 0 is none
	base    uint32 // timestamp of PTS 0
	red     redundancy
	fec     protection

	// What the sender reports say. latest is zero before the first frame.
	latest    time.Time // the capture of the latest frame
	timestamp uint32    // of the same frame

	last keptPacket
	kept []keptPacket // of video, by their numbers modulo how many there are; nil for sound

	frames, bytes atomic.Uint64
	packets       atomic.Uint32
	lost          atomic.Uint32 // of 256, as the browser reported last
}

// keptPacket is a packet that was sent.
type keptPacket struct {
	header  rtp.Header
	payload []byte
}

func newTrack(codec string, max int, onBound func()) (*track, error) {
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
	if t.Kind() == webrtc.RTPCodecTypeVideo {
		t.kept = make([]keptPacket, historySize(max)/2) // they can be sent again unasked: those of a second
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
	if main := slices.IndexFunc(params, isMain); main >= 0 {
		i = main
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
	} else {
		t.fec = negotiatedProtection(params, ctx.SSRCForwardErrorCorrection())
	}
	for _, e := range ctx.HeaderExtensions() {
		if e.URI == playoutDelayURI {
			t.delayID = uint8(e.ID)
		}
		if e.URI == sdp.TransportCCURI {
			t.countID = uint8(e.ID)
		}
	}
	t.mu.Unlock()
	if t.onBound != nil {
		t.onBound()
	}
	return params[i], nil
}

// isMain says that a browser takes H.264's Main profile: see Peer.TakesMain.
func isMain(c webrtc.RTPCodecParameters) bool {
	return strings.EqualFold(c.MimeType, webrtc.MimeTypeH264) && mainIn(c.SDPFmtpLine)
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
	var picture []rtp.Packet // as the browser protects it
	for i, payload := range payloads {
		header.SequenceNumber = t.header.SequenceNumber
		t.header.SequenceNumber++
		header.Marker = i == len(payloads)-1 && t.codec != "opus"
		// Interceptors add their own extensions to the header that they get.
		h, err := t.extended(header)
		if err != nil {
			return err
		}
		if t.fec.encoder != nil && t.fec.part > 0 {
			picture = append(picture, rtp.Packet{Header: h.Clone(), Payload: payload})
		}
		if _, err := t.stream.WriteRTP(&h, payload); err != nil {
			return fmt.Errorf("send %s: %w", t.id, err)
		}
		t.last = keptPacket{header, payload}
		if t.kept != nil {
			t.kept[int(header.SequenceNumber)%len(t.kept)] = t.last
		}
		t.bytes.Add(uint64(len(payload)))
		t.packets.Add(1)
	}
	t.frames.Add(1)
	return t.addProtection(picture)
}

// extended is a packet's header with its extensions. The transport-wide number is zero, as
// in what protects the packet.
func (t *track) extended(h rtp.Header) (rtp.Header, error) {
	if t.delayID != 0 {
		if err := h.SetExtension(t.delayID, noDelay); err != nil {
			return h, fmt.Errorf("set playout delay: %w", err)
		}
	}
	if t.countID != 0 && t.codec != "opus" {
		if err := h.SetExtension(t.countID, noNumber); err != nil {
			return h, fmt.Errorf("set transport-wide number: %w", err)
		}
	}
	return h, nil
}

var noNumber = []byte{0, 0}

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
	if t.last.payload == nil {
		return nil
	}
	return t.repeat(t.last)
}

// repeat sends a packet again. The caller holds the lock.
func (t *track) repeat(p keptPacket) error {
	if t.stream == nil {
		return nil
	}
	h, err := t.extended(p.header)
	if err != nil {
		return err
	}
	if _, err := t.stream.WriteRTP(&h, p.payload); err != nil {
		return fmt.Errorf("send %s again: %w", t.id, err)
	}
	return nil
}

func (t *track) ssrc() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.header.SSRC
}
