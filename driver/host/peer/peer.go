// Package peer is a seat's end of one WebRTC connection with a browser.
package peer

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// ErrOffer says that the browser's offer cannot be answered.
var ErrOffer = errors.New("offer cannot be answered")

// State is the connection as the seat sees it.
type State int

const (
	Connecting   State = iota
	Connected          // media and input flow
	Disconnected       // the browser was lost; it may come back by itself
	Closed             // for good
)

func (s State) String() string {
	return [...]string{"connecting", "connected", "disconnected", "closed"}[s]
}

// Config says how to reach the browser and what to do with what it sends.
// Callbacks may be nil; none is called after Close returned, and none may call Close.
type Config struct {
	Listen wire.Listen
	Codec  string // of the pipeline: "h264" or "vp8"
	Audio  bool

	OnInput     func(wire.Input)
	OnState     func(State)
	OnKeyframe  func()        // the browser needs a keyframe
	OnBitrate   func(bps int) // what congestion control allows the video
	OnCandidate func(json.RawMessage)

	MaxBitrateBPS int
	Log           *slog.Logger
}

// Peer is one connection.
type Peer struct{}

// Frame is one encoded picture or sound packet.
type Frame struct {
	Data     []byte
	Keyframe bool
	PTS      time.Duration
}

// Stats are totals since the start.
type Stats struct {
	State           State         `json:"state"`
	VideoFrames     uint64        `json:"video_frames"`
	VideoBytes      uint64        `json:"video_bytes"`
	AudioPackets    uint64        `json:"audio_packets"`
	KeyframeAsks    uint64        `json:"keyframe_asks"`
	Inputs          uint64        `json:"inputs"`
	InputsDropped   uint64        `json:"inputs_dropped"`
	InputsMalformed uint64        `json:"inputs_malformed"`
	TargetBPS       int           `json:"target_bps"`
	RTT             time.Duration `json:"rtt_ns"`
	Loss            float64       `json:"loss"` // 0..1, of late
}

// New makes a peer that waits for an offer.
func New(cfg Config) (*Peer, error) { return nil, errors.ErrUnsupported }

// Answer takes the browser's offer. The answer holds the host candidates.
func (p *Peer) Answer(ctx context.Context, offer string) (string, error) {
	return "", errors.ErrUnsupported
}

// AddCandidate takes a trickled RTCIceCandidateInit; an empty one ends them.
func (p *Peer) AddCandidate(candidate json.RawMessage) error { return nil }

// WriteVideo sends a frame. Frames before the connection is up are dropped.
func (p *Peer) WriteVideo(f Frame) error { return nil }

// WriteAudio sends an Opus packet.
func (p *Peer) WriteAudio(f Frame) error { return nil }

func (p *Peer) Stats() Stats { return Stats{} }
func (p *Peer) Close() error { return nil }
