// Package peer is a seat's end of one WebRTC connection with a browser: video
// and sound go out, input comes in.
//
//	p, err := peer.New(peer.Config{
//		Listen: spec.Listen, Codec: "h264", Audio: true, MaxBitrateBPS: 8_000_000,
//		OnInput: inject, OnKeyframe: pipeline.Keyframe, OnBitrate: pipeline.SetBitrate,
//		OnState: …, OnCandidate: …,
//	})
//	answer, err := p.Answer(ctx, offer)
//	err = p.AddCandidate(candidate) // as they arrive
//	err = p.WriteVideo(frame)       // from the pipeline
//	answer, err = p.Restart(ctx, offer) // the browser has got another address
//	err = p.Close()
//
// The browser offers a recvonly video transceiver, optionally one for sound, and
// the data channels wire.ChannelInput and wire.ChannelPointer, and optionally
// wire.ChannelClip and wire.ChannelMessages. A peer answers one offer, and those that restart its ICE; a browser that comes back with nothing gets a
// new peer. Peers share nothing.
//
// Low latency has priority. Frames leave as they are written, without a pacer, and
// the playout-delay extension asks the browser to show each frame as soon as it is
// decoded. Congestion control keeps the queue in the network short (see
// rateControl) and tells the encoder by OnBitrate how much it may send. It begins low, so that the
// first picture takes a thin line for less long. Lost
// packets are sent again on NACK, and where the browser's reports say that they are missing.
// Where much is lost, each picture has packets more from which a browser computes what is
// missing (FlexFEC; Chromium takes it). What stays lost is repaired by a keyframe, which
// OnKeyframe requests. Sound cannot wait for that: each packet has the two before it,
// where the line carries it and the browser takes it. After a cut, a keyframe is
// requested as soon as the browser reports packets again.
//
// Candidates are UDP and TCP over IPv4, or over IPv6 where Listen.Media is an IPv6
// address. By TCP the seat only listens (see tcpGate). The browser's addresses are checked
// only within reach; the others are dropped, as are more than sixteen of one offer. This
// side has no TURN; a browser may use a TURN server of its own.
package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
	"golang.org/x/time/rate"

	"github.com/nearcast/nearcast/internal/wire"
)

var (
	errOffer = errors.New("invalid offer")
	// errCodec is an errOffer.
	errCodec  = fmt.Errorf("%w: the browser does not support the video codec", errOffer)
	errClosed = errors.New("the peer is closed")
)

// Config says how to reach the browser, and who gets what it sends.
//
// Callbacks may be nil. They run on the connection's goroutines and must not block
// for long. OnInput is called by one goroutine at a time. No callback runs after
// Close has returned, and none may call Close, which waits for them.
type Config struct {
	Listen wire.Listen
	Codec  string // of the pipeline: "h264" or "vp8"
	Audio  bool

	OnInput   func(wire.Input)                // all but pings, which the peer answers
	OnClip    func(message []byte, text bool) // of wire.ChannelClip; nil has none
	OnMessage func(message []byte, text bool) // of wire.ChannelMessages; nil has none
	// OnMessagesEnd comes when wire.ChannelMessages is closed; with OnMessage it must be there.
	OnMessagesEnd func()
	OnState       func(State)
	OnKeyframe    func() // the browser needs a keyframe: it connected, or lost a frame
	OnSilent      func() // the line may be cut: the browser reports nothing of what was sent; again and again until it does
	// OnBitrate gets what congestion control allows for video; first before OnState says that
	// the browser is connected.
	OnBitrate   func(bps int)
	OnCandidate func(json.RawMessage)

	MaxBitrateBPS int          // congestion control never goes above; it begins at startBPS at most
	StartBPS      int          // what the browser's line is known to carry: it begins no higher; 0 is unknown
	Log           *slog.Logger // nil is slog.Default()
}

// Frame is one encoded picture, or an Opus packet.
type Frame struct {
	Data     []byte
	Keyframe bool
	PTS      time.Duration // since a moment that stays the same
	Captured time.Time     // when the picture was on the display, or the sound was played
}

// Peer is one connection.
type Peer struct {
	cfg   Config
	log   *slog.Logger
	pc    *webrtc.PeerConnection
	dtls  *webrtc.DTLSTransport
	video *track
	audio *track // nil without sound
	input *inputChannels
	clip  atomic.Pointer[webrtc.DataChannel] // wire.ChannelClip
	// messages is wire.ChannelMessages.
	messages atomic.Pointer[webrtc.DataChannel]
	rate     *estimator
	queues   feedbackQueues
	keys     keyframes
	reach    reach
	gate     *tcpGate // nil where there is no port for TCP
	mux      *ice.TCPMuxDefault
	// candidates is how many addresses of the browser were taken from its last offer.
	candidates atomic.Int32
	takesMain  atomic.Bool

	offer    string        // the first, as it was answered
	restarts *rate.Limiter // how often the browser may restart ICE
	moved    atomic.Bool   // ICE was restarted, and is not connected yet

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	calls  sync.RWMutex // held for reading during callbacks
	closed bool

	telling  sync.Mutex // held while the state is read and OnState told
	state    atomic.Int32
	told     atomic.Int32 // the state that OnState was told last
	answered atomic.Bool
	begun    atomic.Bool // OnBitrate was told where it begins
	joined   atomic.Bool // the first keyframe was requested
}

// New makes a peer that waits for an offer.
func New(cfg Config) (*Peer, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.MaxBitrateBPS <= 0 {
		return nil, errors.New("MaxBitrateBPS must be positive")
	}
	p := &Peer{cfg: cfg, log: cfg.Log, restarts: rate.NewLimiter(rate.Every(restartEvery), restartBurst)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.rate = newEstimator(cfg.MaxBitrateBPS, func(bps int) {
		if cfg.OnBitrate != nil {
			p.call(func() { cfg.OnBitrate(bps) })
		}
	})
	p.rate.begins(cfg.StartBPS)
	var err error
	if p.reach, err = newReach(cfg.Listen); err != nil {
		p.cancel()
		return nil, err
	}
	mux := p.openTCP()
	api, err := newAPI(cfg, p.rate, &p.queues, p.reach, mux)
	if err == nil {
		if p.pc, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
			err = fmt.Errorf("make peer connection: %w", err)
		}
	}
	if err != nil {
		p.cancel()
		return nil, errors.Join(err, p.closeTCP())
	}
	if err := p.setUp(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// setUp adds the tracks and the callbacks.
func (p *Peer) setUp() error {
	var err error
	if p.video, err = newTrack(p.cfg.Codec, p.cfg.MaxBitrateBPS, p.tryJoin); err != nil {
		return err
	}
	sender, err := p.pc.AddTrack(p.video)
	if err != nil {
		return fmt.Errorf("add video: %w", err)
	}
	p.dtls = sender.Transport()
	p.queues.add(sender.GetParameters().Encodings)
	go p.readFeedback(sender, true)
	if p.cfg.Audio {
		if p.audio, err = newTrack("opus", p.cfg.MaxBitrateBPS, nil); err != nil {
			return err
		}
		if sender, err = p.pc.AddTrack(p.audio); err != nil {
			return fmt.Errorf("add sound: %w", err)
		}
		go p.readFeedback(sender, false)
	}
	p.rate.onCut = p.healed
	p.rate.onMissing = func(own []uint16) {
		if err := p.video.sendAgain(own); err != nil {
			p.log.Debug("send lost packets again", "error", err)
		}
	}
	go p.sendReports()
	go p.probe()
	p.input = newInputChannels(p.ctx, p.log, func(in wire.Input) {
		// The stack may report the state late. OnState comes before the first input.
		if State(p.told.Load()) != Connected {
			p.changed(p.pc.ConnectionState())
		}
		if p.cfg.OnInput != nil {
			p.call(func() { p.cfg.OnInput(in) })
		}
	})
	p.pc.OnDataChannel(func(ch *webrtc.DataChannel) {
		switch ch.Label() {
		case wire.ChannelClip:
			p.acceptClip(ch)
		case wire.ChannelMessages:
			p.acceptMessages(ch)
		default:
			p.input.accept(ch)
		}
	})
	p.pc.OnConnectionStateChange(p.changed)
	p.pc.OnICECandidate(func(c *webrtc.ICECandidate) {
		// Candidates that came before the answer are in the answer.
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

// WriteVideo sends a frame. It drops what the browser could not decode: frames
// before the connection is up, and frames before the first keyframe.
func (p *Peer) WriteVideo(f Frame) error {
	if !p.joined.Load() || State(p.state.Load()) == Closed {
		return nil
	}
	if f.Keyframe {
		p.keys.sent(time.Now())
		p.rate.beginKeyframe()
	} else if !p.keys.started() {
		p.askKeyframe() // again: a browser that has got nothing yet does not request one
		return nil
	}
	p.video.setProtection(p.rate.fecPart())
	return p.video.write(f)
}

// WriteAudio sends an Opus packet. Before the connection is up it is dropped.
func (p *Peer) WriteAudio(f Frame) error {
	if p.audio == nil || State(p.state.Load()) != Connected {
		return nil
	}
	p.audio.setCopies(copiesAt(p.rate.current()))
	return p.audio.write(f)
}

// Tell sends the page a message on wire.ChannelInput, in order. The result is 0 where the
// channel is not there or full, else for Arrived.
func (p *Peer) Tell(message []byte) (mark uint64) {
	if State(p.state.Load()) == Closed {
		return 0
	}
	return p.input.tell(message)
}

// Arrived reports whether the browser has confirmed what Tell sent, also after Close.
func (p *Peer) Arrived(mark uint64) bool { return p.input.arrived(mark) }

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
	if p.input != nil { // else New failed
		p.log.Debug("peer closes", "stats", p.Stats())
	}
	if err := errors.Join(p.pc.GracefulClose(), p.closeTCP()); err != nil {
		return fmt.Errorf("close peer connection: %w", err)
	}
	return nil
}
