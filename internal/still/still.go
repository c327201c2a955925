// Package still makes a JPEG of a picture, and makes sure that what a seat sent is one. Seats may be
// taken over by their app: what they send is decoded, and encoded again, before an operator's browser
// sees it.
//
//	jpeg, err := still.Encode(picture)       // at the seat
//	width, height, jpeg, err := still.Clean(sent) // at the brain
package still

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"

	"github.com/nearcast/nearcast/internal/wire"
)

// qualities are tried until the picture is small enough: noise needs the last ones.
var qualities = []int{80, 60, 40, 20, 5}

// Encode makes a baseline JPEG of wire.MaxStill bytes at most.
func Encode(picture image.Image) ([]byte, error) {
	size := picture.Bounds().Size()
	if size.X < 1 || size.Y < 1 || size.X > wire.MaxStillSide || size.Y > wire.MaxStillSide {
		return nil, fmt.Errorf("encode a still: %d x %d is no size of one", size.X, size.Y)
	}
	var b bytes.Buffer
	for _, q := range qualities {
		b.Reset()
		if err := jpeg.Encode(&b, picture, &jpeg.Options{Quality: q}); err != nil {
			return nil, fmt.Errorf("encode a still: %w", err)
		}
		if b.Len() <= wire.MaxStill {
			return b.Bytes(), nil
		}
	}
	return nil, fmt.Errorf("encode a still: it has %d bytes", b.Len())
}

// Clean decodes what should be a still, and encodes it again.
func Clean(sent []byte) (width, height int, clean []byte, err error) {
	if len(sent) > wire.MaxStill {
		return 0, 0, nil, fmt.Errorf("a still has %d bytes, %d at most", len(sent), wire.MaxStill)
	}
	if err := baseline(sent); err != nil {
		return 0, 0, nil, err
	}
	conf, err := jpeg.DecodeConfig(bytes.NewReader(sent))
	if err != nil {
		return 0, 0, nil, fmt.Errorf("read the head of a still: %w", err)
	}
	if conf.Width < 1 || conf.Height < 1 || conf.Width > wire.MaxStillSide || conf.Height > wire.MaxStillSide {
		return 0, 0, nil, fmt.Errorf("a still has %d x %d pixels, %d at most on a side", conf.Width, conf.Height, wire.MaxStillSide)
	}
	picture, err := jpeg.Decode(bytes.NewReader(sent))
	if err != nil {
		return 0, 0, nil, fmt.Errorf("decode a still: %w", err)
	}
	clean, err = Encode(picture)
	return conf.Width, conf.Height, clean, err
}

var errNotBaseline = errors.New("a still is no baseline JPEG")

// baseline refuses all other JPEGs: a progressive one of 200 KB can have thousands of scans, each of
// which takes the time of a whole picture.
func baseline(jpeg []byte) error {
	const soi, sof0, dqt, dht, dri, app0, app15, comment = 0xd8, 0xc0, 0xdb, 0xc4, 0xdd, 0xe0, 0xef, 0xfe
	if len(jpeg) < 4 || jpeg[0] != 0xff || jpeg[1] != soi {
		return errNotBaseline
	}
	for rest := jpeg[2:]; len(rest) >= 4 && rest[0] == 0xff; {
		kind, size := rest[1], int(rest[2])<<8|int(rest[3])
		switch {
		case kind == sof0:
			return nil
		case kind != dqt && kind != dht && kind != dri && kind != comment && (kind < app0 || kind > app15), size+2 > len(rest):
			return errNotBaseline
		}
		rest = rest[size+2:]
	}
	return errNotBaseline
}
