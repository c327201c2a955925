package seat

import (
	"encoding/json"

	"github.com/nearcast/nearcast/internal/wire"
)

// openGamepads makes the app's gamepads, where the job has them.
func (s *stream) openGamepads() error {
	if !s.h.spec.Display.Gamepads || s.h.parts.Gamepads == nil {
		return nil
	}
	made, err := s.h.parts.Gamepads(s.rumble)
	if err != nil {
		return err
	}
	s.gamepads = made
	return nil
}

// applyGamepad plays what a page says of its gamepads. A page that loses the focus says
// itself that nothing is held, so InputBlur is not for them. It
// reports whether the message is of gamepads.
func (s *stream) applyGamepad(m wire.Input) bool {
	var err error
	switch {
	case m.Type != wire.InputPads && m.Type != wire.InputPad:
		return false
	case s.gamepads == nil:
	case m.Type == wire.InputPads:
		err = s.gamepads.Connect(m.Pads, m.Pressed)
	case m.Pad != nil:
		err = s.gamepads.Apply(*m.Pad, m.N)
	}
	if err != nil {
		s.h.log.Debug("apply gamepad", "error", err)
	}
	return true
}

// releaseGamepads follows the loss of the browser. A seat that nobody holds has no
// gamepads.
func (s *stream) releaseGamepads(now wire.SeatState) {
	if s.gamepads == nil {
		return
	}
	s.gamepads.Release()
	if now != wire.SeatIdle {
		return
	}
	if err := s.gamepads.Connect(0, true); err != nil {
		s.h.log.Warn("take gamepads away", "error", err)
	}
}

// rumble tells the page how a gamepad shakes.
func (s *stream) rumble(r wire.Rumble) {
	if p := s.peer.Load(); p != nil {
		if raw, err := json.Marshal(r); err == nil {
			p.Tell(raw)
		}
	}
}
