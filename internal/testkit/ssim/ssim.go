// Package ssim measures how alike two pictures are to an eye: structural similarity
// (Wang, Bovik, Sheikh, Simoncelli, 2004), 1 for the same picture.
//
//	got := ssim.Luma(shown, decoded, 1280, 1280, 720) // 0.99: hardly to be told apart
//
// It compares the luma of windows of 8x8 pixels, four pixels apart, and gives the mean
// of all windows. The encoder x264 and FFmpeg measure so too, and figures compare with
// theirs.
package ssim

const (
	window = 8
	step   = 4
	// The constants of the paper, for values from 0 to 255 and sums over a window.
	pixels = window * window
	c1     = 0.01 * 0.01 * 255 * 255 * pixels * pixels
	c2     = 0.03 * 0.03 * 255 * 255 * pixels * pixels
)

// Luma compares two planes of luma with lines of stride bytes. A side that is no
// multiple of four is compared without its rest.
func Luma(a, b []byte, stride, width, height int) float64 {
	var sum float64
	var n int
	for y := 0; y+window <= height; y += step {
		for x := 0; x+window <= width; x += step {
			sum += alike(a[y*stride+x:], b[y*stride+x:], stride)
			n++
		}
	}
	if n == 0 {
		return 1
	}
	return sum / float64(n)
}

// alike compares one window.
func alike(a, b []byte, stride int) float64 {
	var sa, sb, saa, sbb, sab int
	for y := range window {
		ra, rb := a[y*stride:][:window], b[y*stride:][:window]
		for x := range window {
			p, q := int(ra[x]), int(rb[x])
			sa += p
			sb += q
			saa += p * p
			sbb += q * q
			sab += p * q
		}
	}
	// All terms are multiplied by the number of pixels, squared.
	means := float64(sa) * float64(sb)
	squares := float64(sa)*float64(sa) + float64(sb)*float64(sb)
	variances := float64(pixels*(saa+sbb)) - squares
	covariance := float64(pixels*sab) - means
	return (2*means + c1) * (2*covariance + c2) / ((squares + c1) * (variances + c2))
}
