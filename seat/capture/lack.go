package capture

const (
	// lacking is the part of its bits from which on a picture says that more frames would make a
	// still one better.
	lacking = 0.1
	// lackingFor is how many smaller pictures in a row say that they would not. x264 remembers what
	// motion cost: the first pictures after it may be very small, and those after them not.
	lackingFor = 8
)

// lack is whether more frames would make a still picture better. It is a pure computation.
type lack struct{ left int }

// picture says how large a picture is, and how large it may be in the mean.
func (l *lack) picture(size, share float64) {
	if size > lacking*share {
		l.left = lackingFor
	} else {
		l.left = max(l.left-1, 0)
	}
}

func (l lack) more() bool { return l.left > 0 }
