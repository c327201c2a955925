package still

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

func noise(width, height int) *image.RGBA {
	random := rand.New(rand.NewPCG(1, 2))
	p := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range p.Pix {
		p.Pix[i] = byte(random.Uint32())
	}
	return p
}

func plain(width, height int) *image.RGBA {
	p := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			p.Set(x, y, color.RGBA{200, 30, 40, 255})
		}
	}
	return p
}

func TestEncode(t *testing.T) {
	for name, p := range map[string]*image.RGBA{"plain": plain(640, 360), "the largest noise": noise(wire.MaxStillSide, wire.MaxStillSide), "one pixel": plain(1, 1)} {
		text, err := Encode(p)
		if err != nil || len(text) > wire.MaxStill {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
			continue
		}
		width, height, clean, err := Clean(text)
		if err != nil || width != p.Rect.Dx() || height != p.Rect.Dy() || len(clean) > wire.MaxStill {
			t.Errorf("%s comes back as %d x %d, %d bytes, %v", name, width, height, len(clean), err)
		}
	}
	if _, err := Encode(noise(wire.MaxStillSide+1, 2)); err == nil {
		t.Error("a picture that is too wide is encoded")
	}
}

// TestClean gives it what a seat that was taken over could send.
func TestClean(t *testing.T) {
	var wide, asPNG bytes.Buffer
	if err := jpeg.Encode(&wide, plain(wire.MaxStillSide+1, 8), nil); err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(&asPNG, plain(8, 8)); err != nil {
		t.Fatal(err)
	}
	good, err := Encode(plain(320, 200))
	if err != nil {
		t.Fatal(err)
	}
	progressive := bytes.Clone(good)
	at := bytes.Index(progressive, []byte{0xff, 0xc0})
	progressive[at+1] = 0xc2
	// What stands after the picture, or in a comment, is not passed on.
	script := append(bytes.Clone(good), "<script>alert(1)</script>"...)
	if _, _, clean, err := Clean(script); err != nil || bytes.Contains(clean, []byte("script")) {
		t.Errorf("what follows a picture is passed on, or %v", err)
	}
	for name, sent := range map[string][]byte{
		"nothing": nil, "text": []byte("<!doctype html><script>alert(1)</script>"), "a PNG": asPNG.Bytes(), "too wide": wide.Bytes(), "cut off": good[:len(good)/2],
		"progressive": progressive, "too large": append(bytes.Clone(good), make([]byte, wire.MaxStill)...), "a head alone": {0xff, 0xd8, 0xff, 0xdb, 0xff, 0xff}, "a loop": {0xff, 0xd8, 0xff, 0xdb, 0, 0, 0xff, 0xdb, 0, 0},
	} {
		if _, _, clean, err := Clean(sent); err == nil {
			t.Errorf("%s is taken for a still, of %d bytes", name, len(clean))
		}
	}
	// These are refused before they are decoded: that would take much time or memory.
	if _, _, _, err := Clean(progressive); !errors.Is(err, errNotBaseline) {
		t.Errorf("progressive: %v", err)
	}
	if _, _, _, err := Clean(wide.Bytes()); err == nil || !strings.Contains(err.Error(), "at most on a side") {
		t.Errorf("too wide: %v", err)
	}
}
