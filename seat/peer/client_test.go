package peer

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media/samplebuilder"

	"github.com/nearcast/nearcast/internal/wire"
)

// client is a browser's end of the connection.
type client struct {
	pc             *webrtc.PeerConnection
	input, pointer *webrtc.DataChannel
	open           chan string // labels
	frames         chan []byte // reassembled access units
	audio          chan []byte
	pongs          chan string
	loss           atomic.Int64 // per mille of the video packets
	ssrc           atomic.Uint32
}

// lossy drops packets before the client's congestion feedback sees them.
type lossy struct {
	interceptor.NoOp
	c *client
}

func (l *lossy) NewInterceptor(string) (interceptor.Interceptor, error) { return l, nil }

func (l *lossy) BindRemoteStream(_ *interceptor.StreamInfo, r interceptor.RTPReader) interceptor.RTPReader {
	return interceptor.RTPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		for {
			n, attr, err := r.Read(b, a)
			if err != nil || rand.Int64N(1000) >= l.c.loss.Load() {
				return n, attr, err
			}
		}
	})
}

func newClient(t *testing.T, networks ...webrtc.NetworkType) *client {
	t.Helper()
	c := &client{open: make(chan string, 4), frames: make(chan []byte, 1000), audio: make(chan []byte, 1000), pongs: make(chan string, 1000)}
	m, r, s := &webrtc.MediaEngine{}, &interceptor.Registry{}, webrtc.SettingEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	r.Add(&lossy{c: c})
	if err := webrtc.RegisterDefaultInterceptors(m, r); err != nil {
		t.Fatal(err)
	}
	s.SetIncludeLoopbackCandidate(true)
	if len(networks) > 0 {
		s.SetNetworkTypes(networks)
	}
	s.SetSRTPReplayProtectionWindow(1024) // as in browsers: retransmissions come late
	s.SetICETimeouts(2*time.Second, 5*time.Second, 500*time.Millisecond)
	var err error
	c.pc, err = webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithInterceptorRegistry(r), webrtc.WithSettingEngine(s)).
		NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.pc.GracefulClose() })
	recvonly := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if _, err := c.pc.AddTransceiverFromKind(kind, recvonly); err != nil {
			t.Fatal(err)
		}
	}
	c.pc.OnTrack(c.receive)
	no, zero := false, uint16(0)
	c.input = c.channel(t, wire.ChannelInput, nil)
	c.pointer = c.channel(t, wire.ChannelPointer, &webrtc.DataChannelInit{Ordered: &no, MaxRetransmits: &zero})
	return c
}

func (c *client) channel(t *testing.T, label string, init *webrtc.DataChannelInit) *webrtc.DataChannel {
	t.Helper()
	ch, err := c.pc.CreateDataChannel(label, init)
	if err != nil {
		t.Fatal(err)
	}
	ch.OnOpen(func() { c.open <- label })
	ch.OnMessage(func(m webrtc.DataChannelMessage) { c.pongs <- string(m.Data) })
	return ch
}

func (c *client) receive(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
	out := c.audio
	builder := samplebuilder.New(64, &codecs.OpusPacket{}, 48000)
	if track.Kind() == webrtc.RTPCodecTypeVideo {
		out = c.frames
		c.ssrc.Store(uint32(track.SSRC()))
		builder = samplebuilder.New(512, &codecs.H264Packet{}, clockRate)
	}
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		builder.Push(packet)
		for sample := builder.Pop(); sample != nil; sample = builder.Pop() {
			select {
			case out <- sample.Data:
			default:
			}
		}
	}
}

func (c *client) offer(t *testing.T) string {
	t.Helper()
	return c.makeOffer(t, nil)
}

func (c *client) makeOffer(t *testing.T, options *webrtc.OfferOptions) string {
	t.Helper()
	offer, err := c.pc.CreateOffer(options)
	if err != nil {
		t.Fatal(err)
	}
	done := webrtc.GatheringCompletePromise(c.pc)
	if err := c.pc.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	wait(t, done, "gathering")
	return c.pc.LocalDescription().SDP
}

func (c *client) pli(t *testing.T) {
	t.Helper()
	if err := c.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: c.ssrc.Load()}}); err != nil {
		t.Fatal(err)
	}
}

// seat is a peer with what its callbacks got.
type seat struct {
	*Peer
	inputs    chan wire.Input
	states    chan State
	keyframes chan struct{}
	silent    atomic.Int32
	bitrates  chan int
}

func newSeat(t *testing.T, change func(*Config)) *seat {
	t.Helper()
	s := &seat{inputs: make(chan wire.Input, 1000), states: make(chan State, 100), keyframes: make(chan struct{}, 1000), bitrates: make(chan int, 1000)}
	cfg := Config{Listen: wire.Listen{Loopback: true}, Codec: "h264", Audio: true, MaxBitrateBPS: 8_000_000,
		OnInput: func(in wire.Input) {
			select {
			case s.inputs <- in:
			default:
			}
		},
		OnState: func(st State) { s.states <- st }, OnKeyframe: func() { s.keyframes <- struct{}{} }, OnSilent: func() { s.silent.Add(1) },
		OnBitrate:   func(bps int) { s.bitrates <- bps },
		OnCandidate: func(c json.RawMessage) {},
	}
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	s.Peer = p
	return s
}

// connect connects both ends and waits until media can flow.
func connect(t *testing.T, s *seat, c *client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	answer, err := s.Answer(ctx, c.offer(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		t.Fatal(err)
	}
	s.reaches(t, Connected)
	wait(t, s.keyframes, "request of the first keyframe")
	for range 2 {
		wait(t, c.open, "open data channel")
	}
}

func (s *seat) reaches(t *testing.T, want State) {
	t.Helper()
	for {
		if wait(t, s.states, "state "+want.String()) == want {
			return
		}
	}
}

func wait[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(60 * time.Second):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

// accessUnit makes an Annex B access unit of about n bytes: a keyframe with its
// parameter sets, or a P slice. It cannot be decoded, but it is packetized like one.
func accessUnit(key bool, n int) []byte {
	body := make([]byte, n)
	for i := range body {
		body[i] = byte(i%250) + 1
	}
	start := []byte{0, 0, 0, 1}
	var b []byte
	if key {
		b = append(append(b, start...), 0x67, 0x42, 0xc0, 0x1f, 0x8c)
		b = append(append(b, start...), 0x68, 0xce, 0x3c, 0x80)
		b = append(append(b, start...), 0x65)
	} else {
		b = append(append(b, start...), 0x41)
	}
	return append(b, body...)
}
