package capture

// usage corrects the encoder's target, so that pictures that need all bits get all that
// they may have. With a rate buffer of two frames x264 uses about 80 % of its bitrate:
// it does not know what the next picture will need, and stays on the safe side.
//
// Content that needs few bits gets no correction, so that motion after it does not begin
// with more than the line carries; and what exceeds it is taken back at once. It is a
// pure computation.
type usage struct {
	ratio  float64 // of the bits that a picture has to those that it may have, smoothed
	factor float64 // of the target
}

const (
	usageOf     = 10  // pictures are smoothed
	needsBits   = 0.4 // a ratio above it says that the content needs its bits
	mostFactor  = 1.4
	factorRises = 0.07 // of what is missing, for each picture
	factorFalls = 0.14
)

func newUsage() usage { return usage{ratio: 1, factor: 1} }

// picture says how large a picture is, and how large it may be in the mean.
func (u *usage) picture(size, share float64) (factor float64) {
	u.ratio += (min(size/share, 2) - u.ratio) / usageOf
	switch {
	case u.ratio < needsBits:
		u.factor += (1 - u.factor) / usageOf
	case u.ratio < 1:
		u.factor *= 1 + factorRises*(1-u.ratio)
	default:
		u.factor *= 1 - factorFalls*(u.ratio-1)
	}
	u.factor = min(max(u.factor, 1), mostFactor)
	return u.factor
}
