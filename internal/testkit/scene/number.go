package scene

import (
	"errors"
	"fmt"
)

// A picture's number is a row of square cells at its top left, black for 0 and white for 1: its
// bits, the lowest first, and the same bits inverted, so that what is not a number is not taken for one.
const (
	NumberCell = 16 // pixels
	NumberBits = 8
)

// ErrNoNumber says that a picture has no number that can be read.
var ErrNoNumber = errors.New("the picture has no number")

// Number draws a number from 0 to 255 into a BGRx picture.
func Number(picture []byte, width, number int) {
	for cell := range 2 * NumberBits {
		v := byte(0)
		if number>>(cell%NumberBits)&1 == 1 != (cell >= NumberBits) {
			v = 255
		}
		for y := range NumberCell {
			for x := range NumberCell {
				at := 4 * (y*width + cell*NumberCell + x)
				picture[at], picture[at+1], picture[at+2] = v, v, v
			}
		}
	}
}

// ReadNumber reads it from the luma of a picture.
func ReadNumber(luma []byte, stride int) (int, error) {
	if len(luma) < stride*NumberCell || stride < 2*NumberBits*NumberCell {
		return 0, fmt.Errorf("%w: it is too small", ErrNoNumber)
	}
	value := 0
	for cell := range 2 * NumberBits {
		sum := 0
		for y := NumberCell / 4; y < NumberCell*3/4; y++ {
			for x := NumberCell / 4; x < NumberCell*3/4; x++ {
				sum += int(luma[y*stride+cell*NumberCell+x])
			}
		}
		if sum/(NumberCell*NumberCell/4) > 125 {
			value |= 1 << cell
		}
	}
	low := value & (1<<NumberBits - 1)
	if value>>NumberBits != ^low&(1<<NumberBits-1) {
		return 0, ErrNoNumber
	}
	return low, nil
}

// Luma is that of a BGRx picture without padding, as package capture gives it to encoders: of BT.709,
// from 16 to 235.
func Luma(picture []byte) []byte {
	luma := make([]byte, len(picture)/4)
	for i := range luma {
		b, g, r := int(picture[4*i]), int(picture[4*i+1]), int(picture[4*i+2])
		luma[i] = byte((16*b+157*g+47*r+128)>>8 + 16)
	}
	return luma
}
