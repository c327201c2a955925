package seat

import (
	"errors"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// simultaneous is how close together two deaths count as one. When the display
// dies, app and capture die with it. Whichever of them is noticed first, the
// display is the cause.
const simultaneous = 300 * time.Millisecond

func (h *streamHost) watchDisplay() {
	var sound <-chan struct{}
	if h.sound != nil {
		sound = h.sound.Done()
	}
	for {
		select {
		case <-h.state.ended:
			return
		case <-h.display.Done():
			h.state.endWith(h.displayEnd())
			return
		case <-sound:
			sound = nil
			if closedWithin(h.state.ended, 0) {
				return
			}
			h.log.Error("sound server died; the seat goes on without sound", "error", h.sound.Err())
			h.events.add("sound server died; the seat goes on without sound", nil)
		}
	}
}

// watchContent ends the seat where its files may have wrong bytes. Its person gets another: a
// model or a game with wrong bytes may look right for hours.
func (h *streamHost) watchContent() {
	select {
	case <-h.state.ended:
	case end := <-h.parts.Spoilt:
		h.state.endWith(end)
	}
}

func (h *streamHost) watchApp() {
	select {
	case <-h.state.ended:
	case <-h.app.Done():
		h.stream.flushMessages()
		h.state.endWith(h.appEnd())
	}
}

func (s *stream) watchVideo() {
	select {
	case <-s.h.state.ended:
	case <-s.video.Done():
		if closedWithin(s.h.display.Done(), simultaneous) {
			s.h.state.endWith(s.h.displayEnd())
			return
		}
		err := s.video.Err()
		if err == nil {
			err = errors.New("the encoder pipeline stopped")
		}
		s.h.state.endWith(asEnd(err, wire.CodeEncoder))
	}
}

func (s *stream) watchAudio() {
	select {
	case <-s.h.state.ended:
	case <-s.audio.Done():
		if !closedWithin(s.h.state.ended, 0) {
			s.h.log.Error("sound capture ended; the seat goes on without sound", "error", s.audio.Err())
		}
	}
}

// appEnd is the end of a seat whose app is gone.
func (h *streamHost) appEnd() wire.End {
	if closedWithin(h.display.Done(), simultaneous) {
		return h.displayEnd()
	}
	code, signal := h.app.Exit()
	return wire.End{Reason: wire.ReasonAppExited, ExitCode: code, Signal: signal}
}

// displayEnd is the end of a seat whose display is gone.
func (h *streamHost) displayEnd() wire.End {
	if err := h.display.Err(); err != nil {
		return asEnd(err, wire.CodeDisplay)
	}
	return fault(wire.CodeDisplay, "the display server ended")
}

func closedWithin(done <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	default:
	}
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
