package scene

import (
	"bytes"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// A scene has detail, moves, and is the same each time.
func TestScenes(t *testing.T) {
	const width, height = 320, 180
	text, err := NewText(width, height)
	testkit.Must(t, err)
	for name, draw := range map[string]func(p []byte, frame int){
		"text": func(p []byte, frame int) { text.Draw(p, 8*frame) },
		"road": func(p []byte, frame int) { Road(p, width, height, frame) },
	} {
		at := func(frame int) []byte {
			p := make([]byte, 4*width*height)
			draw(p, frame)
			return p
		}
		first, second := at(7), at(8)
		if !bytes.Equal(first, at(7)) {
			t.Errorf("%s: the same picture differs", name)
		}
		moved, edges := 0, 0
		for i := 4; i < len(first); i += 4 {
			if first[i] != second[i] {
				moved++
			}
			if d := int(first[i]) - int(first[i-4]); d > 20 || d < -20 {
				edges++
			}
		}
		if moved < width*height/20 || edges < width*height/30 {
			t.Errorf("%s: %d pixels of %d change, and %d differ from the one before", name, moved, width*height, edges)
		}
	}
}
