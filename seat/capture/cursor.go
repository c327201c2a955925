package capture

import (
	"bytes"
	"image"
	"image/png"
)

// Cursor is what the display shows at the pointer.
type Cursor struct {
	Hidden     bool // nothing is seen
	HotX, HotY int
	image      *image.RGBA
}

// maxDrawn is the largest side of a cursor that browsers draw.
const maxDrawn = 128

// PNG is the picture of the cursor; nil if it is hidden, or too large for a browser.
func (c Cursor) PNG() []byte {
	if c.Hidden || c.image == nil {
		return nil
	}
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&b, c.image); err != nil {
		return nil
	}
	return b.Bytes()
}

// cursorOf makes a Cursor of what the server sent, which the next picture replaces.
func cursorOf(c cursorImage, hidden bool) Cursor {
	out := Cursor{Hidden: hidden, HotX: c.hotX, HotY: c.hotY}
	if hidden || c.width > maxDrawn || c.height > maxDrawn || c.hotX >= c.width || c.hotY >= c.height {
		return out
	}
	out.image = image.NewRGBA(image.Rect(0, 0, c.width, c.height))
	for i := 0; i < 4*c.width*c.height; i += 4 {
		a := c.argb[i+3]
		// Premultiplied, so no colour is above its alpha; a hostile server may say so.
		out.image.Pix[i], out.image.Pix[i+1], out.image.Pix[i+2], out.image.Pix[i+3] = min(c.argb[i+2], a), min(c.argb[i+1], a), min(c.argb[i], a), a
	}
	return out
}

// DrawCursor says whether the cursor is in the picture. It is, at first.
func (p *Pipeline) DrawCursor(on bool) {
	if p.screen.undrawn.Swap(!on) == on {
		select {
		case p.screen.changed <- struct{}{}:
		default:
		}
	}
}
