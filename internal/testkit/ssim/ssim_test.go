package ssim

import (
	"math"
	"math/rand/v2"
	"testing"
)

const side = 64

func picture(pixel func(x, y int) float64) []byte {
	p := make([]byte, side*side)
	for i := range p {
		p[i] = byte(min(max(math.Round(pixel(i%side, i/side)), 0), 255))
	}
	return p
}

func TestLuma(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]float64, side*side)
	for i := range noise {
		noise[i] = random.Float64() - 0.5
	}
	text := func(x, y int) float64 { return 255 * float64((x/3+y/5)%2) }
	flat := func(v float64) []byte { return picture(func(int, int) float64 { return v }) }
	noisy := func(by float64) []byte {
		return picture(func(x, y int) float64 { return text(x, y) + by*noise[y*side+x] })
	}
	inverse := picture(func(x, y int) float64 { return 255 - text(x, y) })
	same := picture(text)
	for _, c := range []struct {
		what        string
		a, b        []byte
		least, most float64
	}{
		{"itself", same, same, 1, 1},
		{"a little noise", same, noisy(20), 0.98, 0.9999},
		{"much noise", same, noisy(300), 0.5, 0.96},
		{"the inverse", same, inverse, -1, -0.9},
		// Of flat pictures only the means differ: (2·100·110+C1)/(100²+110²+C1).
		{"a flat picture that is lighter", flat(100), flat(110), 0.99547, 0.99549},
		{"flat, for a picture of detail", same, flat(127), 0, 0.05},
	} {
		got := Luma(c.a, c.b, side, side, side)
		if got < c.least || got > c.most {
			t.Errorf("%s: %.5f, want %.5f to %.5f", c.what, got, c.least, c.most)
		}
		if back := Luma(c.b, c.a, side, side, side); math.Abs(back-got) > 1e-12 {
			t.Errorf("%s: %.5f one way, %.5f the other", c.what, got, back)
		}
	}
}

// One window against the formula of the paper, written out.
func TestOneWindow(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	a, b := make([]byte, 64), make([]byte, 64)
	var ma, mb, va, vb, cov float64
	for i := range a {
		a[i], b[i] = byte(random.UintN(256)), byte(random.UintN(256))
		ma += float64(a[i]) / 64
		mb += float64(b[i]) / 64
	}
	for i := range a {
		va += (float64(a[i]) - ma) * (float64(a[i]) - ma) / 64
		vb += (float64(b[i]) - mb) * (float64(b[i]) - mb) / 64
		cov += (float64(a[i]) - ma) * (float64(b[i]) - mb) / 64
	}
	const k1, k2 = 6.5025, 58.5225
	want := (2*ma*mb + k1) * (2*cov + k2) / ((ma*ma + mb*mb + k1) * (va + vb + k2))
	if got := Luma(a, b, 8, 8, 8); math.Abs(got-want) > 1e-9 {
		t.Errorf("%.9f, want %.9f", got, want)
	}
}

// Lines may be longer than the picture, and what is beyond it does not count.
func TestStride(t *testing.T) {
	a, b := make([]byte, 40*16), make([]byte, 40*16)
	for i := range a {
		a[i] = byte(i * 7)
		b[i] = a[i]
		if i%40 >= 16 {
			b[i] = ^a[i]
		}
	}
	if got := Luma(a, b, 40, 16, 16); got != 1 {
		t.Errorf("%.5f beyond the picture", got)
	}
	if got := Luma(a, b, 40, 24, 16); got == 1 {
		t.Error("a difference in the picture does not count")
	}
	if got := Luma(nil, nil, 4, 4, 4); got != 1 {
		t.Errorf("a picture smaller than a window: %v", got)
	}
}
