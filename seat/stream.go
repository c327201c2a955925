package seat

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// firstFrameTimeout is how long an encoder has for its first frame. GPU drivers
// may take seconds to load.
const firstFrameTimeout = 15 * time.Second

// stream is what flows between the app and the person: capture and input of the
// seat, and the peer of the session, if there is one.
type stream struct {
	h     *streamHost
	input Input
	// clipboard is nil where the job has none.
	clipboard Clipboard
	// gamepads is nil where the job or the node has none.
	gamepads Gamepads
	// messages is nil in a seat without.
	messages Messages
	video    Capture
	audio    Source
	// releaseInput asks follow to release the keys and buttons that are held.
	releaseInput   atomic.Bool
	firstFrame     chan struct{} // closed at the first frame
	firstFrameOnce sync.Once
	framed         chan struct{} // has an element after a frame
	viewed         chan struct{} // closed at the first view of a person's window
	viewedOnce     sync.Once

	copy     appCopy
	pointer  pointer
	peer     atomic.Pointer[sessionPeer] // gets the frames
	prepared atomic.Pointer[sessionPeer] // of a person who has not pressed Play: gets nothing
	changing sync.Mutex                  // held while one of them changes
	line     *sessionLine                // of the latest session; held by changing

	mu        sync.Mutex // of app and capture
	frozen    bool       // the app
	wasFrozen bool       // the app, when the seat was prepared
	paused    bool       // the capture
	watch     int        // generation of freezeWhenQuiet; an earlier one has no effect

	measuring bool  // measure runs
	meter     meter // of measure alone, while it runs
}

func newStream(h *streamHost) *stream {
	s := &stream{h: h, firstFrame: make(chan struct{}), framed: make(chan struct{}, 1), viewed: make(chan struct{})}
	s.pointer.told = paced{every: pointerEvery, credit: pointerCredit, tell: func() int { return s.pointer.tell(s) }}
	return s
}

// open starts capture and input on the seat's display.
func (s *stream) open(ctx context.Context) error {
	input, err := s.h.parts.Input(s.h.display, s.relativeChanged)
	if err != nil {
		return fault(wire.CodeDisplay, "connect input to the display: %v", err)
	}
	s.input = input
	if c := s.h.spec.Display.Clipboard; wire.ClipboardTakes(c) || wire.ClipboardGives(c) {
		if s.clipboard, err = s.h.parts.Clipboard(s.h.display, s.copied); err != nil {
			return fault(wire.CodeDisplay, "connect the clipboard to the display: %v", err)
		}
	}
	if err := s.openGamepads(); err != nil {
		return fault(wire.CodeDisplay, "make gamepads: %v", err)
	}
	if err := s.openMessages(); err != nil {
		return fault(wire.CodeConfig, "open the app's messages: %v", err)
	}
	// With the context of the stream host: the pipelines outlive ctx.
	video, err := s.h.parts.Video(s.h.ctx, s.h.display, func(f Frame) {
		s.firstFrameOnce.Do(func() { close(s.firstFrame) })
		select {
		case s.framed <- struct{}{}:
		default:
		}
		if p := s.peer.Load(); p != nil {
			_ = p.WriteVideo(f) // a broken peer reports its state
			if f.Keyframe && p.connected.Load() && !p.pictured.Swap(true) {
				s.h.launch.reach(p.session, stepDone)
				s.h.log.Info("first picture", "session", p.session, "captured", f.Captured, "bytes", len(f.Data))
			}
		}
	}, s.cursorChanged)
	if err != nil {
		return asEnd(err, wire.CodeEncoder)
	}
	s.video = video
	s.h.tasks.start(s.watchVideo)
	s.h.tasks.start(s.followDisplay)
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
	s.h.tasks.start(s.watchAudio)
	return nil
}

// restUntil pauses the capture, once it has shown that it works, until there is an app to see.
func (s *stream) restUntil(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-s.firstFrame:
	case <-ctx.Done():
		return ctx.Err()
	}
	if closedWithin(ready, 0) {
		return nil
	}
	rest := func(paused bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.setPaused(paused)
	}
	rest(true)
	select {
	case <-ready:
		rest(false)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waitFirstFrame returns when the encoder has produced a frame.
func (s *stream) waitFirstFrame(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, firstFrameTimeout)
	defer cancel()
	select {
	case <-s.firstFrame:
		return nil
	case <-limited.Done():
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fault(wire.CodeEncoder, "the encoder produced no frame within %v", firstFrameTimeout)
	}
}

// follow brings app, capture and peer into the condition that the state of now
// asks for.
//
// The seat may have changed since now: a claim and its browser do not wait for
// follow. What can be undone is corrected by the next call, which that change
// has asked for. A closed peer cannot be undone, so the state machine is asked
// for it: a session that no longer holds the seat never holds it again.
func (s *stream) follow(now wire.Seat) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	active := now.State == wire.SeatClaimed || now.State == wire.SeatStreaming
	if now.Prepared && s.frozen {
		s.wasFrozen = true
	}
	if active || now.Prepared {
		if err := s.thaw(); err != nil {
			return err
		}
	}
	if active {
		s.wasFrozen = false
		s.setPaused(false)
	}
	if now.State == wire.SeatStreaming {
		s.startMeasuring()
	}
	s.dropPrepared()
	// Before the app is frozen: it should see its keys released.
	if s.releaseInput.Swap(false) {
		if err := s.input.ReleaseAll(); err != nil {
			s.h.log.Warn("release input", "error", err)
		}
		s.releaseGamepads(now.State)
	}
	if p := s.peer.Load(); p != nil {
		former := errors.Is(s.h.state.checkHolder(p.session), errNotHolder)
		if former || p.closed.Load() && now.State == wire.SeatDetached {
			s.closePeer(p)
		}
	}
	if now.State == wire.SeatDetached {
		s.setPaused(true)
	}
	if now.State == wire.SeatIdle {
		s.forgetCopy()
		s.setPaused(true)
		switch {
		case now.Prepared:
			s.watch++ // what was to freeze the app
		case s.wasFrozen: // it has loaded, and Play was not pressed
			s.wasFrozen = false
			s.freeze()
		default:
			s.freezeLater()
		}
	}
	return nil
}

// setPaused pauses or resumes the capture. The caller holds s.mu.
func (s *stream) setPaused(paused bool) {
	if s.paused == paused {
		return
	}
	s.paused = paused
	set := func(c Source) {
		if paused {
			c.Pause()
		} else {
			c.Resume()
		}
	}
	set(s.video)
	if s.audio != nil {
		set(s.audio)
	}
}

// close closes peer, capture and input.
func (s *stream) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pointer.told.stop()
	if p := s.peer.Load(); p != nil {
		s.closePeer(p)
	}
	s.dropPrepared()
	var errs []error
	if s.audio != nil {
		errs = append(errs, s.audio.Close())
	}
	if s.video != nil {
		errs = append(errs, s.video.Close())
	}
	if s.clipboard != nil {
		errs = append(errs, s.clipboard.Close())
	}
	if s.gamepads != nil {
		errs = append(errs, s.gamepads.Close())
	}
	if s.messages != nil {
		errs = append(errs, s.messages.Close())
	}
	if s.input != nil {
		errs = append(errs, s.input.Close())
	}
	return errors.Join(errs...)
}
