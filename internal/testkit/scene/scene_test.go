package scene

import (
	"bytes"
	"errors"
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

// A number is read from the luma of what it was drawn into, also in poor light; what is
// none is refused.
func TestNumber(t *testing.T) {
	const width, height = 320, 180
	picture := make([]byte, 4*width*height)
	Road(picture, width, height, 7)
	if n, err := ReadNumber(Luma(picture), width); !errors.Is(err, ErrNoNumber) {
		t.Errorf("a picture without a number has %d, %v", n, err)
	}
	for number := range 256 {
		Number(picture, width, number)
		luma := Luma(picture)
		for i := range luma {
			luma[i] = byte(60 + int(luma[i])/2)
		}
		if n, err := ReadNumber(luma, width); n != number || err != nil {
			t.Errorf("%d: %d, %v", number, n, err)
		}
	}
	if _, err := ReadNumber(make([]byte, 100), 10); !errors.Is(err, ErrNoNumber) {
		t.Errorf("of a picture that is too small: %v", err)
	}
}
