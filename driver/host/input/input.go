// Package input puts a person's hands on a display.
package input

import (
	"errors"

	"github.com/nearcast/nearcast/internal/wire"
)

// ErrInput is wrapped by errors about a message that makes no sense; the
// display is well.
var ErrInput = errors.New("bad input")

// Injector plays wire.Input on a display.
type Injector struct{}

// Open connects to a display of the given size. The authority is the path of its cookie file.
func Open(display, xauthority string, width, height int) (*Injector, error) {
	return nil, errors.New("not built yet")
}

// Apply plays one message. It is safe for concurrent use.
func (in *Injector) Apply(m wire.Input) error { return nil }

// ReleaseAll releases every key and button that is held, once.
func (in *Injector) ReleaseAll() error { return nil }

// Close releases what is held and disconnects.
func (in *Injector) Close() error { return nil }
