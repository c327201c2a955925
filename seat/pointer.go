package seat

import (
	"encoding/base64"
	"encoding/json"
	"sync"

	"github.com/nearcast/nearcast/internal/wire"
)

// Cursor is what the app shows at the pointer.
type Cursor struct {
	Hidden bool
	PNG    []byte // nil if it is hidden, or too large for a browser
	X, Y   int    // its hot spot
}

// pointer is what the page is told of the app's pointer.
type pointer struct {
	mu  sync.Mutex
	now wire.Pointer
}

// cursorChanged takes the app's cursor from the capture.
func (s *stream) cursorChanged(c Cursor) {
	s.pointer.change(s, func(p *wire.Pointer) {
		p.Hidden, p.Image, p.X, p.Y = c.Hidden, base64.StdEncoding.EncodeToString(c.PNG), c.X, c.Y
	})
	s.input.CursorShown(!c.Hidden)
}

// relativeChanged is told by the input whether the app reads motion.
func (s *stream) relativeChanged(on bool) {
	s.pointer.change(s, func(p *wire.Pointer) { p.Relative = on })
}

// askedForPointer serves a page's wire.InputCursor.
func (s *stream) askedForPointer(p *sessionPeer, draws bool) {
	p.asks.Store(true)
	p.draws.Store(draws)
	s.video.DrawCursor(!draws)
	s.pointer.change(s, func(*wire.Pointer) {})
}

// change changes what is told, and tells the page if it has asked.
func (p *pointer) change(s *stream, f func(*wire.Pointer)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Type = "pointer"
	f(&p.now)
	peer := s.peer.Load()
	if peer == nil || !peer.asks.Load() {
		return
	}
	told := p.now
	if !peer.draws.Load() {
		told.Image, told.X, told.Y = "", 0, 0
	}
	if raw, err := json.Marshal(told); err == nil {
		peer.Tell(raw)
	}
}
