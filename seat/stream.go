package seat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	answerLimit = 10 * time.Second
	// firstFrame is how long an encoder has for its first frame. GPU drivers
	// may take seconds to load.
	firstFrame = 15 * time.Second
)

// stream is what flows between app and person: capture, input, and the peer of
// the session, if any.
type stream struct {
	h       *host
	hands   Hands
	video   Capture
	audio   Source
	release atomic.Bool // what is held must be released
	frame   chan struct{}
	first   sync.Once

	peer atomic.Pointer[peer] // who gets the frames

	changing sync.Mutex // of peers, one at a time

	mu      sync.Mutex // of app and capture
	frozen  bool
	resting bool
	watch   int // generation of who waits for the app's rest
}

// peer is a Peer and whose it is.
type peer struct {
	Peer
	session string
	dead    atomic.Bool
}

func newStream(h *host) *stream { return &stream{h: h, frame: make(chan struct{})} }

// open starts capture and input on the seat's display.
func (s *stream) open(ctx context.Context) error {
	hands, err := s.h.parts.Hands(s.h.display)
	if err != nil {
		return fault(wire.CodeDisplay, "connect input to the display: %v", err)
	}
	s.hands = hands
	// The pipelines must outlive the bring-up.
	video, err := s.h.parts.Video(s.h.ctx, s.h.display, func(f Frame) {
		s.first.Do(func() { close(s.frame) })
		if p := s.peer.Load(); p != nil {
			_ = p.WriteVideo(f) // a broken peer says so by its state
		}
	})
	if err != nil {
		return asEnd(err, wire.CodeEncoder)
	}
	s.video = video
	s.h.run(s.watchVideo)
	if s.h.sound == nil {
		return nil
	}
	audio, err := s.h.parts.Audio(s.h.ctx, s.h.sound, func(f Frame) {
		if p := s.peer.Load(); p != nil {
			_ = p.WriteAudio(f)
		}
	})
	if err != nil {
		return asEnd(err, wire.CodeEncoder)
	}
	s.audio = audio
	s.h.run(s.watchAudio)
	return nil
}

func (s *stream) watchVideo() {
	select {
	case <-s.h.seat.ended:
	case <-s.video.Done():
		if closedWithin(s.h.display.Done(), simultaneous) {
			s.h.seat.endWith(s.h.displayDied())
			return
		}
		err := s.video.Err()
		if err == nil {
			err = errors.New("the pipeline stopped")
		}
		s.h.seat.endWith(asEnd(err, wire.CodeEncoder))
	}
}

func (s *stream) watchAudio() {
	select {
	case <-s.h.seat.ended:
	case <-s.audio.Done():
		if !closedWithin(s.h.seat.ended, 0) {
			s.h.log.Error("sound capture ended; the seat goes on without sound", "error", s.audio.Err())
		}
	}
}

// proven returns when the encoder gave a frame.
func (s *stream) proven(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, firstFrame)
	defer cancel()
	select {
	case <-s.frame:
		return nil
	case <-limited.Done():
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fault(wire.CodeEncoder, "the encoder gave no frame within %v", firstFrame)
	}
}

// settle is follow for a seat that is about to be idle.
func (s *stream) settle() error { return s.follow(wire.Seat{State: wire.SeatIdle}) }

// follow brings app, capture and peer into the shape that now asks for.
//
// By then the seat may be further: a claim, and the browser that comes with it,
// wait for nobody here. What can be undone is put right by the next call, which
// that change has asked for. A peer cannot come back: whether it may go is for
// the seat to say, since who holds it no more never will again.
func (s *stream) follow(now wire.Seat) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	active := now.State == wire.SeatClaimed || now.State == wire.SeatStreaming
	if active {
		if err := s.thaw(); err != nil {
			return err
		}
		s.rest(false)
	}
	// Before anything is frozen: the app should see its keys come up.
	if s.release.Swap(false) {
		if err := s.hands.ReleaseAll(); err != nil {
			s.h.log.Warn("release input", "error", err)
		}
	}
	if p := s.peer.Load(); p != nil {
		stranger := errors.Is(s.h.seat.holder(p.session), errNotHolder)
		if stranger || p.dead.Load() && now.State == wire.SeatDetached {
			s.drop(p)
		}
	}
	if now.State == wire.SeatDetached {
		s.rest(true)
	}
	if now.State == wire.SeatIdle {
		s.rest(true)
		s.freezeLater()
	}
	return nil
}

func (s *stream) rest(rest bool) {
	if s.resting == rest {
		return
	}
	s.resting = rest
	change := func(c Source) {
		if rest {
			c.Pause()
		} else {
			c.Resume()
		}
	}
	change(s.video)
	if s.audio != nil {
		change(s.audio)
	}
}

func (s *stream) thaw() error {
	if !s.frozen {
		return nil
	}
	if err := s.h.app.Thaw(); err != nil {
		return fmt.Errorf("thaw the app: %w", err)
	}
	s.frozen = false
	return nil
}

// freeze is for thrift only: where it fails the seat is as good, and dearer.
func (s *stream) freeze() {
	if s.frozen || !s.h.spec.FreezeIdle {
		return
	}
	if err := s.h.app.Freeze(); err != nil {
		s.h.log.Warn("freeze the idle app", "error", err)
		_ = s.h.app.Thaw() // rather all of it than half
		return
	}
	s.frozen = true
}

// offer answers a browser's offer by a new peer, which replaces the one before.
// A bad offer leaves the one before as it is.
func (s *stream) offer(ctx context.Context, session, sdp string) (string, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if err := s.h.seat.holder(session); err != nil {
		return "", errNotHolder
	}
	p := &peer{session: session}
	made, err := s.h.parts.Peer(s.callbacks(p))
	if err != nil {
		return "", fmt.Errorf("make peer: %w", err)
	}
	p.Peer = made
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	answer, err := p.Answer(ctx, sdp)
	if err != nil {
		return "", errors.Join(err, p.Close())
	}
	old := s.peer.Swap(p)
	if old != nil {
		s.h.seat.lost(old.session)
		if err := old.Close(); err != nil {
			s.h.log.Debug("close replaced peer", "error", err)
		}
	}
	if s.h.seat.holder(session) != nil { // it ended meanwhile
		s.dropLocked(p)
		return "", errNotHolder
	}
	return answer, nil
}

// callbacks route what p says, as long as it is the session's peer.
func (s *stream) callbacks(p *peer) PeerConfig {
	mine := func() bool { return s.peer.Load() == p }
	return PeerConfig{
		Input: func(m wire.Input) {
			if mine() {
				s.input(p.session, m)
			}
		},
		Link: func(state LinkState) {
			if !mine() {
				return
			}
			switch state {
			case LinkConnected:
				s.h.seat.connected(p.session)
				s.video.Keyframe()
			case LinkClosed:
				p.dead.Store(true)
				fallthrough
			case LinkLost:
				s.h.seat.lost(p.session)
			}
		},
		Keyframe: func() { s.video.Keyframe() },
		Bitrate: func(bps int) {
			if mine() {
				s.video.SetBitrate(bps)
			}
		},
		// Also before it is the session's: candidates are found while it answers.
		Candidate: func(c json.RawMessage) {
			if l := s.h.current(p.session); l != nil {
				l.send(wire.Message{Type: wire.MsgCandidate, Candidate: c})
			}
		},
	}
}

func (s *stream) input(session string, m wire.Input) {
	if m.Type == wire.InputPing {
		return
	}
	// A page that loses focus is not a person who does something.
	if m.Type == wire.InputBlur {
		if s.h.seat.holder(session) != nil {
			return
		}
	} else if !s.h.seat.touch(session) {
		return
	}
	if err := s.hands.Apply(m); err != nil {
		s.h.log.Debug("input", "error", err)
	}
}

func (s *stream) candidate(session string, c json.RawMessage) error {
	p := s.peer.Load()
	if p == nil || p.session != session {
		return nil // of an offer that is not answered yet, or no more
	}
	return p.AddCandidate(c)
}

// drop closes p if it is the peer.
func (s *stream) drop(p *peer) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.dropLocked(p)
}

func (s *stream) dropLocked(p *peer) {
	if !s.peer.CompareAndSwap(p, nil) {
		return
	}
	if err := p.Close(); err != nil {
		s.h.log.Debug("close peer", "error", err)
	}
}

// close ends all of it.
func (s *stream) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.peer.Load(); p != nil {
		s.drop(p)
	}
	var errs []error
	if s.audio != nil {
		errs = append(errs, s.audio.Close())
	}
	if s.video != nil {
		errs = append(errs, s.video.Close())
	}
	if s.hands != nil {
		errs = append(errs, s.hands.Close())
	}
	return errors.Join(errs...)
}
