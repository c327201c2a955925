package seat

import (
	"encoding/base64"
	"encoding/json"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// Cursor is what the app shows at the pointer.
type Cursor struct {
	Hidden bool
	PNG    []byte // nil if it is hidden, or too large for a browser
	X, Y   int    // its hot spot
}

const (
	// pointerEvery is how often a page is told of the pointer at most, for each so many bytes.
	// What it is told is on the way of a person's keys.
	pointerEvery, pointerBytes = 50 * time.Millisecond, 4 << 10
	// pointerCredit is for apps that change it a few times at once: more than the largest cursor
	// costs.
	pointerCredit = 24 * pointerEvery
)

// pointer is what the page is told of the app's pointer.
type pointer struct {
	told paced
	mu   sync.Mutex
	now  wire.Pointer
}

// cursorChanged takes the app's cursor from the capture.
func (s *stream) cursorChanged(c Cursor) {
	s.pointer.change(func(p *wire.Pointer) {
		p.Hidden, p.Image, p.X, p.Y = c.Hidden, base64.StdEncoding.EncodeToString(c.PNG), c.X, c.Y
	})
	s.input.CursorShown(!c.Hidden)
}

// relativeChanged is told by the input whether the app reads motion.
func (s *stream) relativeChanged(on bool) {
	s.pointer.change(func(p *wire.Pointer) { p.Relative = on })
}

// askedForPointer serves a page's wire.InputCursor.
func (s *stream) askedForPointer(p *sessionPeer, draws bool) {
	p.asks.Store(true)
	p.draws.Store(draws)
	s.video.DrawCursor(!draws)
	s.pointer.change(func(*wire.Pointer) {})
}

// change changes what is told.
func (p *pointer) change(f func(*wire.Pointer)) {
	p.mu.Lock()
	p.now.Type = "pointer"
	f(&p.now)
	p.mu.Unlock()
	p.told.changed()
}

// tell tells the page if it has asked.
func (p *pointer) tell(s *stream) (cost int) {
	peer := s.peer.Load()
	if peer == nil || !peer.asks.Load() {
		return 0
	}
	p.mu.Lock()
	told := p.now
	p.mu.Unlock()
	if !peer.draws.Load() {
		told.Image, told.X, told.Y = "", 0, 0
	}
	raw, err := json.Marshal(told)
	if err != nil {
		return 0
	}
	peer.Tell(raw)
	return 1 + len(raw)/pointerBytes
}
