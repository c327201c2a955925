// Package peer is a seat's end of one WebRTC connection with a browser: video
// and sound go out, input comes in.
//
//	p, err := peer.New(peer.Config{
//		Listen: spec.Listen, Codec: "h264", Audio: true, MaxBitrateBPS: 8_000_000,
//		OnInput: inject, OnKeyframe: pipeline.Keyframe, OnBitrate: pipeline.SetBitrate,
//		OnState: …, OnCandidate: …,
//	})
//	answer, err := p.Answer(ctx, offer)
//	err = p.AddCandidate(candidate) // as they come
//	err = p.WriteVideo(frame)       // from the pipeline
//	err = p.Close()
//
// The browser offers a recvonly video transceiver, one of sound if it likes, and
// the data channels wire.ChannelInput and wire.ChannelPointer. A peer answers
// one offer in its life; a browser that comes back gets a new peer.
//
// Latency comes before everything: frames leave as they are written, without a
// pacer, and the playout-delay extension asks the browser to show each as soon
// as it is decoded. What the network cannot carry is the encoder's to save:
// OnBitrate follows congestion control, which keeps the queue in the network
// short (see rateControl). Lost packets are sent again on NACK; what stays lost
// is made good by a keyframe, of which requests come as OnKeyframe.
//
// Candidates are UDP over IPv4, or IPv6 where Listen.Media is such an address.
// There is no ICE over TCP and no TURN on this side; a browser may use its own
// TURN server.
package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/wire"
)

var (
	// ErrOffer says that the browser's offer cannot be answered.
	ErrOffer = errors.New("offer cannot be answered")
	// ErrCodec is an ErrOffer: the browser does not take this peer's video codec.
	ErrCodec = fmt.Errorf("%w: the browser does not take this video codec", ErrOffer)
	// ErrClosed is returned by a peer that was closed.
	ErrClosed = errors.New("peer is closed")
)

// State is the connection as the seat sees it.
type State int

const (
	Connecting   State = iota
	Connected          // media and input flow
	Disconnected       // nothing was heard for some seconds; it may come back by itself
	Closed             // for good: the browser closed it, or ICE or DTLS failed
)

func (s State) String() string {
	return [...]string{"connecting", "connected", "disconnected", "closed"}[s]
}

// How soon a lost browser is noticed, and for how long it may come back without
// a new connection.
const (
	disconnectedAfter = 4 * time.Second
	failedAfter       = 20 * time.Second
	keepalive         = time.Second
)

// gatherFor bounds how long an answer waits for host candidates, which are
// there in milliseconds. Whatever comes later is trickled.
const gatherFor = 200 * time.Millisecond

// Config says how to reach the browser and what to do with what it sends.
//
// Callbacks may be nil. They run on the connection's goroutines and must not
// block for long; OnInput runs on one at a time. None is called after Close has
// returned, and none may call Close, which waits for them.
type Config struct {
	Listen wire.Listen
	Codec  string // of the pipeline: "h264" or "vp8"
	Audio  bool

	OnInput     func(wire.Input) // all but pings, which are answered here
	OnState     func(State)
	OnKeyframe  func()        // the browser needs a keyframe: it connected, or lost its reference
	OnBitrate   func(bps int) // what congestion control allows the video
	OnCandidate func(json.RawMessage)

	MaxBitrateBPS int          // where congestion control starts, and its ceiling
	Log           *slog.Logger // nil is slog.Default()
}

// Frame is one encoded picture, or an Opus packet.
type Frame struct {
	Data     []byte
	Keyframe bool
	PTS      time.Duration // since any moment that stays the same
}

// Peer is one connection.
type Peer struct {
	cfg   Config
	log   *slog.Logger
	pc    *webrtc.PeerConnection
	dtls  *webrtc.DTLSTransport
	video *track
	audio *track // nil without sound
	input *inbox
	rate  *estimator
	keys  keyframes

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	calls  sync.RWMutex // held for reading during callbacks
	closed bool

	turn     sync.Mutex // of telling the state
	state    atomic.Int32
	told     atomic.Int32 // state of which OnState was told
	answered atomic.Bool
	joined   atomic.Bool
}

// New makes a peer that waits for an offer.
func New(cfg Config) (*Peer, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.MaxBitrateBPS <= 0 {
		return nil, errors.New("peer without MaxBitrateBPS")
	}
	p := &Peer{cfg: cfg, log: cfg.Log}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.rate = newEstimator(cfg.MaxBitrateBPS, func(bps int) {
		if cfg.OnBitrate != nil {
			p.call(func() { cfg.OnBitrate(bps) })
		}
	})
	api, err := newAPI(cfg, p.rate)
	if err != nil {
		p.cancel()
		return nil, err
	}
	if p.pc, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		p.cancel()
		return nil, fmt.Errorf("make peer connection: %w", err)
	}
	if err := p.wire(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// wire adds the tracks and connects the callbacks.
func (p *Peer) wire() error {
	var err error
	if p.video, err = newTrack(p.cfg.Codec, p.tryJoin); err != nil {
		return err
	}
	sender, err := p.pc.AddTrack(p.video)
	if err != nil {
		return fmt.Errorf("add video: %w", err)
	}
	p.dtls = sender.Transport()
	go p.readFeedback(sender, true)
	if p.cfg.Audio {
		if p.audio, err = newTrack("opus", nil); err != nil {
			return err
		}
		if sender, err = p.pc.AddTrack(p.audio); err != nil {
			return fmt.Errorf("add sound: %w", err)
		}
		go p.readFeedback(sender, false)
	}
	p.input = newInbox(p.ctx, p.log, func(in wire.Input) {
		// News of the connection may be late: its first input must not be earlier.
		if State(p.told.Load()) != Connected {
			p.changed(p.pc.ConnectionState())
		}
		if p.cfg.OnInput != nil {
			p.call(func() { p.cfg.OnInput(in) })
		}
	})
	p.pc.OnDataChannel(p.input.accept)
	p.pc.OnConnectionStateChange(p.changed)
	p.pc.OnICECandidate(func(c *webrtc.ICECandidate) {
		// Those that came before the answer are in it.
		if c == nil || !p.answered.Load() || p.cfg.OnCandidate == nil {
			return
		}
		if b, err := json.Marshal(c.ToJSON()); err == nil {
			p.call(func() { p.cfg.OnCandidate(b) })
		}
	})
	return nil
}

// call runs a callback unless the peer is closed.
func (p *Peer) call(f func()) {
	p.calls.RLock()
	defer p.calls.RUnlock()
	if !p.closed {
		f()
	}
}

// changed is told of every change on a goroutine of its own, so that news of one
// may overtake that of another. It looks for itself.
func (p *Peer) changed(webrtc.PeerConnectionState) {
	p.turn.Lock()
	defer p.turn.Unlock()
	state := p.look()
	if State(p.state.Swap(int32(state))) == state {
		return
	}
	p.log.Debug("peer connection", "state", state.String())
	if p.cfg.OnState != nil {
		p.call(func() { p.cfg.OnState(state) })
	}
	p.told.Store(int32(state))
	if state == Connected {
		p.tryJoin()
		if p.joined.Load() {
			p.askKeyframe() // after a break; together with the join it is one request
		}
	}
}

// look is how the connection is now. The stack's own sum of ICE and DTLS is not
// to be had in order either: two that change at a time may leave an old one.
func (p *Peer) look() State {
	ice, dtls := p.pc.ICEConnectionState(), p.dtls.State()
	switch {
	case p.pc.ConnectionState() == webrtc.PeerConnectionStateClosed,
		ice == webrtc.ICEConnectionStateFailed, ice == webrtc.ICEConnectionStateClosed,
		dtls == webrtc.DTLSTransportStateFailed, dtls == webrtc.DTLSTransportStateClosed:
		return Closed
	case ice == webrtc.ICEConnectionStateDisconnected:
		return Disconnected
	case (ice == webrtc.ICEConnectionStateConnected || ice == webrtc.ICEConnectionStateCompleted) &&
		dtls == webrtc.DTLSTransportStateConnected:
		return Connected
	}
	return Connecting
}

// tryJoin asks for the first keyframe, once the connection is up and the track
// can send: what would be sent earlier is lost.
func (p *Peer) tryJoin() {
	if State(p.state.Load()) == Connected && p.video.bound() && !p.joined.Swap(true) {
		p.askKeyframe()
	}
}

func (p *Peer) askKeyframe() {
	if p.keys.ask(time.Now()) && p.cfg.OnKeyframe != nil {
		p.call(p.cfg.OnKeyframe)
	}
}

// Answer takes the browser's offer. The answer holds the host candidates.
func (p *Peer) Answer(ctx context.Context, offer string) (string, error) {
	codecs, err := OfferedCodecs(offer)
	if err != nil {
		return "", err
	}
	if !codecs[strings.ToLower(p.cfg.Codec)] {
		return "", fmt.Errorf("%w (%s)", ErrCodec, p.cfg.Codec)
	}
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		if p.ctx.Err() != nil {
			return "", ErrClosed
		}
		return "", fmt.Errorf("%w: %w", ErrOffer, err)
	}
	if err := p.silence(); err != nil {
		return "", err
	}
	answer, err := p.pc.CreateAnswer(nil)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrOffer, err)
	}
	gathered := webrtc.GatheringCompletePromise(p.pc)
	if err := p.pc.SetLocalDescription(answer); err != nil {
		return "", fmt.Errorf("%w: %w", ErrOffer, err)
	}
	timeout := time.NewTimer(gatherFor)
	defer timeout.Stop()
	select {
	case <-gathered:
	case <-timeout.C:
	case <-ctx.Done():
		return "", ctx.Err()
	case <-p.ctx.Done():
		return "", ErrClosed
	}
	p.answered.Store(true)
	return p.pc.LocalDescription().SDP, nil
}

// silence answers no to sound where there is none: else the browser would start
// its audio for a track on which nothing ever comes.
func (p *Peer) silence() error {
	if p.cfg.Audio {
		return nil
	}
	for _, t := range p.pc.GetTransceivers() {
		if t.Kind() == webrtc.RTPCodecTypeAudio {
			if err := t.Stop(); err != nil {
				return fmt.Errorf("stop sound: %w", err)
			}
		}
	}
	return nil
}

// AddCandidate takes a trickled RTCIceCandidateInit; an empty one ends them.
func (p *Peer) AddCandidate(candidate json.RawMessage) error {
	if len(candidate) == 0 || string(candidate) == "null" {
		return nil
	}
	var init webrtc.ICECandidateInit
	if err := json.Unmarshal(candidate, &init); err != nil {
		return fmt.Errorf("parse candidate: %w", err)
	}
	// A browser hides its address behind an mDNS name that this side would have
	// to ask the local network for. It is not needed: the browser's own checks
	// tell the address.
	if init.Candidate == "" || strings.Contains(init.Candidate, ".local ") {
		return nil
	}
	if err := p.pc.AddICECandidate(init); err != nil {
		return fmt.Errorf("add candidate: %w", err)
	}
	return nil
}

// WriteVideo sends a frame. It drops what the browser could not decode: frames
// before the connection is up, and those before its first keyframe.
func (p *Peer) WriteVideo(f Frame) error {
	if !p.joined.Load() || State(p.state.Load()) == Closed {
		return nil
	}
	if f.Keyframe {
		p.keys.sent(time.Now())
	} else if !p.keys.started() {
		p.askKeyframe() // again: a browser that got nothing yet does not ask
		return nil
	}
	return p.video.write(f)
}

// WriteAudio sends an Opus packet; before the connection is up it is dropped.
func (p *Peer) WriteAudio(f Frame) error {
	if p.audio == nil || State(p.state.Load()) != Connected {
		return nil
	}
	return p.audio.write(f)
}

// Stats are totals since the start, and how the network is of late.
type Stats struct {
	State           State         `json:"state"`
	VideoFrames     uint64        `json:"video_frames"`
	VideoBytes      uint64        `json:"video_bytes"`
	AudioPackets    uint64        `json:"audio_packets"`
	KeyframeAsks    uint64        `json:"keyframe_asks"` // of the browser, before they are made one
	Inputs          uint64        `json:"inputs"`
	InputsDropped   uint64        `json:"inputs_dropped"` // moves beyond the rate allowed
	InputsMalformed uint64        `json:"inputs_malformed"`
	TargetBPS       int           `json:"target_bps"`
	RTT             time.Duration `json:"rtt_ns"`
	Loss            float64       `json:"loss"` // 0..1, as the browser reported last
}

// Stats tells how the connection is doing.
func (p *Peer) Stats() Stats {
	s := Stats{
		State:        State(p.state.Load()),
		VideoFrames:  p.video.frames.Load(),
		VideoBytes:   p.video.bytes.Load(),
		KeyframeAsks: p.keys.asks.Load(),
		Inputs:       p.input.taken.Load(), InputsDropped: p.input.dropped.Load(), InputsMalformed: p.input.malformed.Load(),
		TargetBPS: p.rate.current(),
		Loss:      float64(p.video.lost.Load()) / 256,
	}
	if p.audio != nil {
		s.AudioPackets = p.audio.frames.Load()
	}
	if sctp := p.pc.SCTP(); sctp != nil && sctp.Transport() != nil {
		if pair, ok := sctp.Transport().ICETransport().GetSelectedCandidatePairStats(); ok {
			s.RTT = time.Duration(pair.CurrentRoundTripTime * float64(time.Second))
		}
	}
	return s
}

// Close ends the connection and waits for its goroutines. OnState is not called.
func (p *Peer) Close() error {
	p.calls.Lock()
	closed := p.closed
	p.closed = true
	p.calls.Unlock()
	p.cancel()
	p.state.Store(int32(Closed))
	if closed {
		return nil
	}
	if err := p.pc.GracefulClose(); err != nil {
		return fmt.Errorf("close peer connection: %w", err)
	}
	return nil
}
