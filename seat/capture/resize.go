package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The screen can get another size at any time: the application changes the mode
// (xrandr, a game's full screen), or the display follows the person's window. The
// stream then has that size too. A new size needs a new encoder; its first frame is a
// keyframe, so a browser needs nothing else.

const (
	// minSide is the least width or height that encoders take. Of a smaller screen
	// there is no picture.
	minSide = 16
	// sizeEvery is the least time between two new encoders. An application could
	// change the size at each picture.
	sizeEvery = 100 * time.Millisecond
	// sizeTries is how often a picture is tried whose size changes meanwhile.
	sizeTries = 5
)

// errNoPicture says that the screen has no picture that can be encoded now.
var errNoPicture = errors.New("the screen is too small for a picture")

// errBadMatch is the X error of a request for more than the screen has.
const errBadMatch = 8

// resize takes a size of the root window for the pictures that follow. What is beyond
// the configured maximum is not seen: it would need more memory than there is.
func (s *screen) resize(width, height int) {
	s.rootWidth, s.rootHeight = min(width, s.maxWidth), min(height, s.maxHeight)
	if crop := s.crop.Load(); crop != 0 {
		s.rootWidth, s.rootHeight = min(s.rootWidth, int(crop>>32)), min(s.rootHeight, int(uint32(crop)))
	}
	s.width, s.height, s.stride = s.rootWidth&^1, s.rootHeight&^1, 4*s.rootWidth
}

// selectSize makes the server tell when the screen's size or layout changes.
func (s *screen) selectSize() error {
	const eventMask, structureNotify = 1 << 11, 1 << 17
	_, err := s.x.send(xrequest(2, 0, s.x.setup.Root, eventMask, structureNotify)) // ChangeWindowAttributes
	return err
}

// measure asks for the screen's size, if it may have changed.
func (s *screen) measure() error {
	if !s.sizeStale.Swap(false) {
		return nil
	}
	reply, err := s.x.call(xquestion(0, 14, 0, s.x.setup.Root)) // GetGeometry
	if err != nil {
		return err
	}
	s.resize(int(binary.LittleEndian.Uint16(reply[16:])), int(binary.LittleEndian.Uint16(reply[18:])))
	return nil
}

// picture reads the picture, and opens another encoder where it needs one. key says that
// it is to be a keyframe, and moves that it is one of a motion.
func (p *Pipeline) picture(ctx context.Context, key, moves bool) ([]byte, error) {
	for range sizeTries {
		if err := p.screen.measure(); err != nil {
			return nil, err
		}
		if err := p.fit(ctx, key, moves); err != nil {
			return nil, err
		}
		picture, err := p.screen.grab()
		if refused := (xrefusal{}); errors.As(err, &refused) && refused.code == errBadMatch {
			p.screen.sizeStale.Store(true) // it became smaller in this moment
			continue
		}
		return picture, err
	}
	p.screen.sizeStale.Store(true)
	return nil, errNoPicture
}

// fit opens an encoder for the screen's present size, and the preset and profile of this
// moment, if the present one is for another.
func (p *Pipeline) fit(ctx context.Context, key, moves bool) error {
	s, now := p.screen, p.video.params
	want := now
	want.width, want.height = s.width, s.height
	sized := want != now
	if p.video.encoder.presets && (key || sized) {
		want.main = p.main.Load()
	}
	if sized && (s.width < minSide || s.height < minSide) {
		return errNoPicture
	}
	if p.video.encoder.presets {
		want.preset = p.working.choose(time.Now(), want, key || sized, moves)
	}
	if want == now {
		return nil
	}
	if wait := sizeEvery - time.Since(p.sized); sized && wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.usage = newUsage()
	p.asked = p.target()
	want.bps = int(p.asked)
	video, err := openVideo(p.video.encoder, want, p.encoded)
	if err != nil {
		return fmt.Errorf("open an encoder for %dx%d, preset %v: %w", s.width, s.height, want.preset, err)
	}
	p.video.close()
	select { // a frame of the old one
	case <-p.out:
	default:
	}
	p.video = video
	if sized {
		p.sized = time.Now()
		p.log.Info("the picture has another size", "width", s.width, "height", s.height)
	}
	if want.preset != now.preset {
		p.log.Info("the encoder works at another preset", "preset", want.preset.String(), "before", now.preset.String(), "because", p.working.why)
	}
	return nil
}

// SetMain says whether the browser decodes H.264's Main profile. It counts from the next
// keyframe on, for encoders that have a choice.
func (p *Pipeline) SetMain(main bool) { p.main.Store(main) }

// Crop says that only this part of the screen, from its corner, can be seen: a game may
// change the mode of the monitor alone.
func (p *Pipeline) Crop(width, height int) {
	if width < 1 || height < 1 {
		return
	}
	if crop := uint64(uint32(width))<<32 | uint64(uint32(height)); p.screen.crop.Swap(crop) != crop {
		p.screen.sizeStale.Store(true)
		p.screen.event([]byte{configureNotify}) // look now
	}
}

// Plain reports whether the last picture was of one colour.
func (p *Pipeline) Plain() bool { return p.plain.Load() }

// plain looks at some pixels of a picture.
func (s *screen) plain(picture []byte) bool {
	const across, down = 48, 27
	pixel := func(x, y int) [3]byte {
		return [3]byte(picture[y*s.stride+4*x:])
	}
	first := pixel(0, 0)
	for row := range down {
		for col := range across {
			if pixel((s.width-1)*col/(across-1), (s.height-1)*row/(down-1)) != first {
				return false
			}
		}
	}
	return true
}
