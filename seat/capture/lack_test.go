package capture

import "testing"

func TestLack(t *testing.T) {
	const share = 8000.0
	var l lack
	for _, c := range []struct {
		what  string
		size  float64
		n     int
		lacks bool
	}{
		{"a letter", 300, 1, false},
		{"motion", 9000, 30, true},
		{"small pictures after it", 200, 4, true},
		{"larger ones", 3000, 10, true},
		{"small ones again", 200, lackingFor - 1, true},
		{"and one more", 200, 1, false},
		{"a still picture", 100, 30, false},
		{"one that is larger", 900, 1, true},
	} {
		for range c.n {
			l.picture(c.size, share)
		}
		if l.more() != c.lacks {
			t.Errorf("%s: lacks is %v", c.what, l.more())
		}
	}
}
