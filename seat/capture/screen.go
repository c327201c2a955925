package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/seat/display/x11"
)

// screen reads the picture of a display and reports when it changed.
//
// The picture comes by shared memory (MIT-SHM 1.2), or by the socket if the server
// cannot use our memory. The server reports changes (DAMAGE for the picture, XFIXES
// for the cursor's shape, XINPUT for its motion). So a still picture costs nothing,
// and a change is captured at once instead of at the next tick.
type screen struct {
	x             *xclient
	unhook        func() bool // the connection from the context
	width, height int         // of pictures: even
	stride        int
	// rootWidth and rootHeight are those of the screen, at most maxWidth, maxHeight.
	rootWidth, rootHeight int
	maxWidth, maxHeight   int
	crop                  atomic.Uint64 // what can be seen: width and height; 0 is all

	shm    []byte // nil without shared memory
	shmSeg uint32
	shmExt xextension

	damageExt, fixesExt, inputExt xextension
	hasFixes                      bool
	damage                        uint32

	changed     chan struct{} // has one element after a change
	cursorStale atomic.Bool   // the cursor has got another shape
	sizeStale   atomic.Bool   // the screen may have another size
	visible     atomic.Bool   // the cursor is visible
	undrawn     atomic.Bool   // the cursor is not in the picture: the page draws it
	onCursor    func(Cursor)
	cursor      cursorImage
}

type cursorImage struct {
	width, height, hotX, hotY int
	argb                      []byte // premultiplied
}

// openScreen connects to the display, whose screen must have the given size. The
// end of ctx ends the connection.
func openScreen(ctx context.Context, cfg Config, log *slog.Logger) (*screen, error) {
	s := &screen{changed: make(chan struct{}, 1), maxWidth: max(cfg.Width, cfg.MaxWidth), maxHeight: max(cfg.Height, cfg.MaxHeight), onCursor: cfg.OnCursor}
	x, err := dialX(cfg.Dial, cfg.Cookie, s.event)
	if err != nil {
		return nil, err
	}
	s.x = x
	if cfg.patience != 0 {
		x.patience = cfg.patience
	}
	s.unhook = context.AfterFunc(ctx, x.hangUp)
	if err := checkPicture(x.setup, cfg.Width, cfg.Height); err != nil {
		s.close()
		return nil, fmt.Errorf("capture the display: %w", err)
	}
	s.resize(x.setup.Width, x.setup.Height)
	if err := s.watch(); err != nil {
		s.close()
		return nil, fmt.Errorf("watch the display: %w", err)
	}
	if err := s.share(); err != nil {
		if x.failure() != nil {
			s.close()
			return nil, err
		}
		log.Warn("no shared memory with the display, capturing costs more CPU", "error", err)
	}
	return s, nil
}

// checkPicture says what is wrong with the display's pictures: they must be BGRx,
// of the size that is configured.
func checkPicture(s x11.Setup, width, height int) error {
	switch {
	case s.Width != width || s.Height != height:
		return fmt.Errorf("it has %dx%d pixels, not %dx%d as configured", s.Width, s.Height, width, height)
	case s.BigEndian:
		return errors.New("its pictures are big-endian")
	case s.Depth != 24 && s.Depth != 32:
		return fmt.Errorf("it has depth %d: start it with depth 24", s.Depth)
	case s.BitsPerPixel != 32:
		return fmt.Errorf("it has %d bits a pixel instead of 32", s.BitsPerPixel)
	}
	return nil
}

// event runs on the connection's reader. A nil packet is the end of the connection.
func (s *screen) event(packet []byte) {
	if packet != nil {
		switch kind := packet[0] & 0x7f; {
		case kind == xGenericEvent: // only raw motion is selected
			if !s.drawsCursor() {
				return
			}
		case s.hasFixes && kind == s.fixesExt.event+1: // CursorNotify
			s.cursorStale.Store(true)
		case kind == configureNotify: // of the root window, which alone is selected
			s.sizeStale.Store(true)
		case kind == s.damageExt.event:
		default:
			return
		}
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

const configureNotify = 22

func (s *screen) watch() error {
	var ok bool
	var err error
	if err = s.selectSize(); err != nil {
		return err
	}
	if s.fixesExt, ok, err = s.x.extension("XFIXES"); err != nil {
		return err
	} else if ok {
		if _, err = s.x.call(xquestion(0, s.fixesExt.opcode, 0, 4, 0)); err != nil { // QueryVersion
			return err
		}
		if _, err = s.x.send(xrequest(s.fixesExt.opcode, 3, s.x.setup.Root, 1)); err != nil { // SelectCursorInput
			return err
		}
		s.hasFixes = true
		s.cursorStale.Store(true)
	}
	if s.damageExt, ok, err = s.x.extension("DAMAGE"); err != nil {
		return err
	} else if !ok {
		return errors.New("the server has no DAMAGE extension")
	}
	if _, err = s.x.call(xquestion(0, s.damageExt.opcode, 0, 1, 1)); err != nil { // QueryVersion
		return err
	}
	// Without XInput 2, a motion of the cursor is seen with the next change only.
	if s.inputExt, ok, err = s.x.extension("XInputExtension"); err != nil {
		return err
	} else if ok && s.hasFixes {
		if _, err = s.x.call(xquestion(0, s.inputExt.opcode, 47, 2|1<<16)); err != nil { // XIQueryVersion 2.1
			return err
		}
		const rawMotion, allMasters = 1 << 17, 1
		if _, err = s.x.send(xrequest(s.inputExt.opcode, 46, s.x.setup.Root, 1, allMasters|1<<16, rawMotion)); err != nil { // XISelectEvents
			return err
		}
	}
	s.damage = s.x.newID()
	const nonEmpty = 3
	_, err = s.x.send(xrequest(s.damageExt.opcode, 1, s.damage, s.x.setup.Root, nonEmpty)) // Create
	return err
}

// listen makes the server report the next change. It reports one only, until the
// picture is read or listen is called again.
func (s *screen) listen() error {
	_, err := s.x.send(xrequest(s.damageExt.opcode, 3, s.damage, 0, 0)) // Subtract
	return err
}

// grab returns the current picture, BGRx with the cursor in it. It is valid until
// the next grab.
func (s *screen) grab() ([]byte, error) {
	if s.cursorStale.Swap(false) {
		if err := s.fetchCursor(); err != nil {
			return nil, err
		}
	}
	// Damage is cleared before the picture is read, so a change in between is
	// reported again. All requests are one round trip.
	const zPixmap = 2
	requests := []xmessage{xrequest(s.damageExt.opcode, 3, s.damage, 0, 0)} // Subtract
	pointer := s.drawsCursor()
	if pointer {
		requests = append(requests, xquestion(0, 38, 0, s.x.setup.Root)) // QueryPointer
	}
	size := uint32(s.rootWidth) | uint32(s.rootHeight)<<16
	if s.shm != nil {
		requests = append(requests, xquestion(0, s.shmExt.opcode, shmGetImage, s.x.setup.Root, 0, size, ^uint32(0), zPixmap, s.shmSeg, 0))
	} else {
		requests = append(requests, xquestion(s.stride*s.rootHeight, 73, zPixmap, s.x.setup.Root, 0, size, ^uint32(0)))
	}
	seq, err := s.x.send(requests...)
	if err != nil {
		return nil, err
	}
	var where []byte
	if pointer {
		if where, err = s.x.wait(seq - 1); err != nil {
			return nil, err
		}
	}
	reply, err := s.x.wait(seq)
	if err != nil {
		return nil, err
	}
	picture := s.shm
	if picture == nil {
		if picture = reply[32:]; len(picture) < s.stride*s.rootHeight {
			return nil, errors.New("the server sent an incomplete picture")
		}
	}
	if pointer {
		x := int(int16(binary.LittleEndian.Uint16(where[16:])))
		y := int(int16(binary.LittleEndian.Uint16(where[18:])))
		s.cursor.blend(picture, s.stride, s.rootWidth, s.rootHeight, x, y)
	}
	return picture, nil
}

// maxCursor is the most bytes of a cursor's picture. On a larger screen, a cursor
// may be as large as the screen.
const maxCursor = 1 << 20

func (s *screen) fetchCursor() error {
	reply, err := s.x.call(xquestion(max(maxCursor, 4*s.maxWidth*s.maxHeight), s.fixesExt.opcode, 4)) // GetCursorImage
	if err != nil {
		return err
	}
	c := cursorImage{
		width:  int(binary.LittleEndian.Uint16(reply[12:])),
		height: int(binary.LittleEndian.Uint16(reply[14:])),
		hotX:   int(binary.LittleEndian.Uint16(reply[16:])),
		hotY:   int(binary.LittleEndian.Uint16(reply[18:])),
		argb:   reply[32:],
	}
	if len(c.argb) < 4*c.width*c.height {
		return errors.New("the server sent an incomplete cursor")
	}
	seen := false
	for i := 3; i < 4*c.width*c.height && !seen; i += 4 {
		seen = c.argb[i] != 0
	}
	s.cursor = c
	s.visible.Store(seen)
	if s.onCursor != nil {
		s.onCursor(cursorOf(c, !seen))
	}
	return nil
}

// drawsCursor reports whether the cursor is in the picture, so that its motion is a change.
func (s *screen) drawsCursor() bool { return s.visible.Load() && !s.undrawn.Load() }

// blend draws the cursor at x, y into a picture.
func (c *cursorImage) blend(picture []byte, stride, width, height, x, y int) {
	x, y = x-c.hotX, y-c.hotY
	for row := max(0, -y); row < c.height && y+row < height; row++ {
		for col := max(0, -x); col < c.width && x+col < width; col++ {
			src := c.argb[4*(row*c.width+col):][:4]
			dst := picture[(y+row)*stride+4*(x+col):][:3]
			switch a := uint(src[3]); a {
			case 0:
			case 255:
				copy(dst, src[:3])
			default:
				for i := range dst {
					dst[i] = byte(min(255, uint(src[i])+uint(dst[i])*(255-a)/255))
				}
			}
		}
	}
}

func (s *screen) close() {
	s.unhook()
	s.x.close()
	if s.shm != nil {
		unix.Munmap(s.shm)
		s.shm = nil
	}
}

// pixels is the address of a picture, for C.
func pixels(picture []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(picture)) }
