package seat

import (
	"context"
	"errors"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// flushTimeout is how long the last messages of an app may take to its page.
const flushTimeout = 2 * time.Second

// openMessages opens what page and app say to each other.
func (s *stream) openMessages() error {
	if s.h.parts.Messages == nil {
		if s.h.spec.ReadyByApp {
			return errors.New("this seat has no messages, by which the app could say that it is ready")
		}
		return nil
	}
	opened, err := s.h.parts.Messages()
	if err != nil {
		return err
	}
	s.messages = opened
	s.h.tasks.start(s.watchQuit)
	return nil
}

// messageHeard takes what a page says on wire.ChannelMessages.
func (s *stream) messageHeard(p *sessionPeer, message []byte, text bool) {
	if p.messages == nil || s.h.state.checkHolder(p.session) != nil {
		return
	}
	if err := p.messages.Heard(message, text); err != nil {
		s.h.log.Debug("channel of messages closed", "session", p.session, "error", err)
		p.EndMessages()
	}
}

// watchQuit ends the seat when the app asks for it.
func (s *stream) watchQuit() {
	select {
	case <-s.h.state.ended:
	case <-s.messages.Quit():
		s.flushMessages()
		s.h.state.endWith(wire.End{Reason: wire.ReasonAppExited, Detail: "the app asked for the end"})
	}
}

// flushMessages lets the page have what the app sent before it ended.
func (s *stream) flushMessages() {
	if s.messages == nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.h.ctx, flushTimeout)
	defer cancel()
	s.messages.Flush(ctx)
}
