// Package scene draws what people stream, always the same, so that encoders can be
// compared: a page of text that scrolls, and the road of a racing game.
//
//	page := scene.NewText(1280, 720)
//	page.Draw(picture, 40) // at 40 pixels from its top
//	scene.Road(picture, 1280, 720, 12) // the picture after 12/30 s
//
// Pictures are BGRx, as an X display has them, with lines of 4·width bytes.
package scene

import (
	"fmt"
	"image"
	"image/color"
	"math"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// Text is a page of dark text on white, three screens high.
type Text struct {
	width, height, total int
	page                 []byte // BGRx
}

const (
	lineHeight = 19
	screens    = 3
)

var words = []string{
	"the", "pressure", "of", "each", "cylinder", "is", "read", "twice", "before", "a", "valve", "opens", "and", "written",
	"to", "column", "7", "with", "its", "time;", "see", "table", "4.2,", "where", "limits", "stand", "(0.35", "bar)", "for", "all", "engines",
}

// NewText lays the page out.
func NewText(width, height int) (*Text, error) {
	parsed, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, fmt.Errorf("read the font: %w", err)
	}
	face, err := opentype.NewFace(parsed, &opentype.FaceOptions{Size: 14, DPI: 72, Hinting: font.HintingFull})
	if err != nil {
		return nil, fmt.Errorf("open the font: %w", err)
	}
	defer face.Close()
	t := &Text{width: width, height: height, total: screens * height}
	page := image.NewGray(image.Rect(0, 0, width, t.total))
	for i := range page.Pix {
		page.Pix[i] = 255
	}
	d := font.Drawer{Dst: page, Src: image.NewUniform(color.Gray{Y: 20}), Face: face}
	n := 0
	for y := lineHeight; y < t.total; y += lineHeight {
		if y/lineHeight%14 == 0 { // between paragraphs
			continue
		}
		d.Dot = fixed.P(24, y)
		for d.Dot.X.Ceil() < width-100 {
			d.DrawString(words[(n*n+n/7)%len(words)] + " ")
			n++
		}
	}
	t.page = make([]byte, 4*len(page.Pix))
	for i, v := range page.Pix {
		copy(t.page[4*i:], []byte{v, v, v, 0})
	}
	return t, nil
}

// Draw draws what is below a line of the page, which repeats.
func (t *Text) Draw(picture []byte, top int) {
	for y := range t.height {
		copy(picture[4*y*t.width:], t.page[4*((top+y)%t.total)*t.width:][:4*t.width])
	}
}

// Road draws a picture of a racing game: at 27 m/s and 30 pictures a second.
func Road(picture []byte, width, height, frame int) {
	r := road{picture, width, height, height * 2 / 5, 0.9 * float64(width), 0.9 * float64(frame)}
	r.sky()
	r.ground()
	for d := 120.0; d > 3; d-- { // far trees first
		if z := math.Floor(r.at + d); math.Mod(z, 7) == 0 {
			side := 8 + 5*noise(int(z), 1)
			r.tree(z-r.at, side)
			r.tree(z-r.at, -side-2)
		}
	}
	r.car(frame)
}

type road struct {
	picture       []byte
	width, height int
	horizon       int
	focal         float64
	at            float64 // metres
}

func (r road) set(x, y int, red, green, blue float64) {
	copy(r.picture[4*(y*r.width+x):], []byte{level(blue), level(green), level(red), 0})
}

func level(v float64) byte { return byte(min(max(v, 0), 255)) }

// bend is how far to the right the road is, some metres ahead.
func (r road) bend(ahead float64) float64 { return 0.0022 * ahead * ahead * math.Sin(r.at/55) }

func (r road) sky() {
	heading := 260 * math.Sin(r.at/55)
	for x := range r.width {
		ridge := 0.0
		for octave, size := range []float64{160, 60, 17, 5} {
			ridge += smooth((float64(x)+heading)/size, octave) * size * 0.45
		}
		for y := range r.horizon {
			if float64(r.horizon-y) < ridge {
				shade := 60 + 0.5*ridge + 30*noise(int(float64(x)+heading)/2, y/2)
				r.set(x, y, shade, shade+8, shade+20)
				continue
			}
			up := float64(y) / float64(r.horizon)
			r.set(x, y, 90+120*up, 150+70*up, 225)
		}
	}
}

func (r road) ground() {
	for y := r.horizon; y < r.height; y++ {
		ahead := 1.2 * r.focal / float64(y-r.horizon+1)
		wide := ahead / r.focal // metres of a pixel
		cell := max(0.06, 2*wide)
		z := r.at + ahead
		for x := range r.width {
			side := float64(x-r.width/2)*wide - r.bend(ahead)
			grain := noise(int(math.Floor(side/cell)), int(math.Floor(z/cell)))
			switch off := math.Abs(side); {
			case off < 0.12 && math.Mod(z, 6) < 3:
				r.set(x, y, 235, 235, 220)
			case off < 5:
				v := 80 + 34*grain
				r.set(x, y, v, v, v+4)
			case off < 5.6 && math.Mod(z, 4) < 2:
				r.set(x, y, 200, 30, 30)
			case off < 5.6:
				r.set(x, y, 230, 230, 230)
			default:
				v := 70 * grain
				r.set(x, y, 50+v, 100+v, 40+v/2)
			}
		}
	}
}

// tree draws a tree beside the road.
func (r road) tree(ahead, side float64) {
	size := r.focal / ahead // pixels of a metre
	cx := r.width/2 + int((side+r.bend(ahead))*size)
	foot := r.horizon + int(1.2*size)
	wide, high := 1.6*size, 5*size
	for dy := 0; dy < int(high); dy++ {
		y := foot - dy
		if y < 0 || y >= r.height {
			continue
		}
		up := float64(dy) / high
		half := wide * (1.1 - up)
		if up < 0.15 {
			half = 0.2 * size
		}
		for x := max(0, cx-int(half)); x <= min(r.width-1, cx+int(half)); x++ {
			v := 70 * noise(int(16*float64(x-cx)/size)+int(side*50), int(16*up*5))
			r.set(x, y, 20+v/2, 55+v, 25+v/3)
		}
	}
}

// car draws the hood of the car, which stays, and how fast it goes.
func (r road) car(frame int) {
	for y := r.height * 6 / 7; y < r.height; y++ {
		for x := r.width / 3; x < r.width*2/3; x++ {
			v := 120 + 90*math.Cos(float64(x-r.width/2)/110)
			r.set(x, y, v, v/5, v/6)
		}
	}
	for x := 40; x < 40+120+40*(frame/15%2); x++ {
		for y := r.height - 60; y < r.height-40; y++ {
			r.set(x, y, 250, 220, 40)
		}
	}
}

// noise is a number from 0 to 1 for a place.
func noise(x, y int) float64 {
	h := uint32(x)*374761393 + uint32(y)*668265263
	h = (h ^ h>>13) * 1274126177
	return float64((h^h>>16)&0xffff) / 0xffff
}

func smooth(x float64, seed int) float64 {
	whole := math.Floor(x)
	t := x - whole
	a, b := noise(int(whole), seed), noise(int(whole)+1, seed)
	return a + (b-a)*t*t*(3-2*t)
}
