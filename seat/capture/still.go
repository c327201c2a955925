package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"image"
	"time"
)

// A still is a picture that the encoder gets anyway: it is made smaller while the encoder works, so the
// stream waits for nothing.

// taken is a still.
type taken struct {
	picture *image.RGBA
	at      time.Time
}

// Still gives the next picture that is captured, made smaller so that no side is longer than most. A
// picture that stands still is captured once a second; a paused pipeline captures none. One is made at
// a time.
func (p *Pipeline) Still(ctx context.Context, most int) (*image.RGBA, time.Time, error) {
	want := make(chan taken, 1)
	p.mu.Lock()
	if p.still != nil {
		p.mu.Unlock()
		return nil, time.Time{}, errors.New("another still is being made")
	}
	p.still, p.stillMost = want, most
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.still = nil
		p.mu.Unlock()
	}()
	select {
	case s := <-want:
		return s.picture, s.at, nil
	case <-p.done:
		return nil, time.Time{}, errors.New("the capture has ended")
	case <-ctx.Done():
		return nil, time.Time{}, ctx.Err()
	}
}

// giveStill makes a still, where one is wanted, of a picture that the encoder has. The next picture is
// captured by the same goroutine.
func (p *Pipeline) giveStill(picture []byte, at time.Time) {
	p.mu.Lock()
	want, most := p.still, p.stillMost
	p.mu.Unlock()
	if want == nil {
		return
	}
	select {
	case want <- taken{shrink(picture, p.screen.stride, p.screen.width, p.screen.height, most), at}:
	default: // it has one, and did not say so yet
	}
}

// samples is how many pixels are read for one at least, in a row and in a column, where there are so many.
const samples = 3

// shrink makes a picture of BGRx smaller by a whole number: each pixel is the mean of those it stands for.
// Of a very large picture not all of them are read.
func shrink(picture []byte, stride, width, height, most int) *image.RGBA {
	by := max(1, (max(width, height)+most-1)/most)
	step := max(1, by/samples)
	out := image.NewRGBA(image.Rect(0, 0, max(1, width/by), max(1, height/by)))
	across, down := min(by, width), min(by, height)
	for y := range out.Rect.Dy() {
		row := out.Pix[y*out.Stride:]
		for x := range out.Rect.Dx() {
			var rb, g, n uint32 // red and blue have 16 bits each: enough for 257 pixels, and there are 25 at most
			for dy := 0; dy < down; dy += step {
				from := (y*by+dy)*stride + 4*x*by
				line := picture[from : from+4*across]
				for ; len(line) >= 4; line = line[min(4*step, len(line)):] {
					bgrx := binary.LittleEndian.Uint32(line)
					rb += bgrx & 0xff00ff
					g += bgrx >> 8 & 0xff
					n++
				}
			}
			to := row[4*x : 4*x+4]
			to[0], to[1], to[2], to[3] = byte(rb>>16/n), byte(g/n), byte(rb&0xffff/n), 255
		}
	}
	return out
}
