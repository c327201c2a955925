package x11

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jezek/xgb/xproto"
)

// RandR changes the size of a screen, by the extension RANDR. The library's own package
// for it is not used: its parsers trust the server, and it writes to maps that the
// connections of one process share.
//
// Its methods wait for the server and are for one goroutine.
type RandR struct {
	client *Client
	root   xproto.Window
	opcode byte
}

// Resources are what a screen has, as far as seats use it.
type Resources struct {
	Stamp   uint32 // of the configuration
	CRTCs   []uint32
	Outputs []uint32
	Modes   []Mode
}

// Mode is a size that an output can have.
type Mode struct {
	ID            uint32
	Width, Height int
}

// CRTC is what is shown on outputs.
type CRTC struct {
	X, Y, Width, Height int
	Mode                uint32 // 0: it shows nothing
	Outputs             []uint32
}

// ErrNoRandR says that the server cannot change its screen.
var ErrNoRandR = errors.New("the server has no RANDR extension")

// Minor opcodes of RANDR.
const (
	rrQueryVersion  = 0
	rrSetScreenSize = 7
	rrCreateMode    = 16
	rrDestroyMode   = 17
	rrAddOutputMode = 18
	rrDelOutputMode = 19
	rrGetCRTC       = 20
	rrSetCRTC       = 21
	rrGetResources  = 25
)

// maxModes bounds what the server may send of its modes.
const maxModes = 1 << 9

// RandR starts to use the extension on the screen of root.
func (c *Client) RandR(root xproto.Window) (*RandR, error) {
	const name = "RANDR"
	q, err := xproto.QueryExtension(c.Conn, uint16(len(name)), name).Reply()
	if err != nil {
		return nil, fmt.Errorf("ask for RANDR: %w", err)
	}
	if !q.Present {
		return nil, ErrNoRandR
	}
	c.guard.learn(extension{opcode: q.MajorOpcode, firstError: q.FirstError, errors: 8, replySizes: map[byte][2]int{
		rrQueryVersion: {packetSize, packetSize},
		rrCreateMode:   {packetSize, packetSize},
		rrGetCRTC:      {packetSize, packetSize + 8*maxModes},
		rrSetCRTC:      {packetSize, packetSize},
		rrGetResources: {packetSize, packetSize + 128*maxModes},
	}})
	r := &RandR{client: c, root: root, opcode: q.MajorOpcode}
	_, err = r.ask(rrQueryVersion, 1, 3)
	return r, err
}

// request is one of an extension.
func request(opcode, minor byte, words []uint32, tail []byte) []byte {
	b := make([]byte, 4, 4+4*len(words)+len(tail)+3)
	b[0], b[1] = opcode, minor
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	b = append(b, tail...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	binary.LittleEndian.PutUint16(b[2:], uint16(len(b)/4))
	return b
}

func (r *RandR) ask(minor byte, words ...uint32) ([]byte, error) {
	return r.askWith(minor, words, nil)
}

func (r *RandR) askWith(minor byte, words []uint32, tail []byte) ([]byte, error) {
	cookie := r.client.NewCookie(true, true)
	r.client.NewRequest(request(r.opcode, minor, words, tail), cookie)
	reply, err := cookie.Reply()
	if err == nil && len(reply) < packetSize {
		err = errors.New("the display's answer is too short")
	}
	if err != nil {
		return nil, fmt.Errorf("ask RANDR (%d): %w", minor, err)
	}
	return reply, nil
}

// do makes a request without a reply, and returns its error.
func (r *RandR) do(minor byte, words ...uint32) error {
	cookie := r.client.NewCookie(true, false)
	r.client.NewRequest(request(r.opcode, minor, words, nil), cookie)
	if err := cookie.Check(); err != nil {
		return fmt.Errorf("ask RANDR (%d): %w", minor, err)
	}
	return nil
}

// list takes n numbers from b.
func list(b []byte, n int) ([]uint32, []byte, error) {
	if len(b) < 4*n {
		return nil, nil, errors.New("the display's answer is too short")
	}
	out := make([]uint32, n)
	for i := range out {
		out[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return out, b[4*n:], nil
}

// Resources asks what the screen has.
func (r *RandR) Resources() (res Resources, err error) {
	b, err := r.ask(rrGetResources, uint32(r.root))
	if err != nil {
		return res, err
	}
	res.Stamp = binary.LittleEndian.Uint32(b[12:])
	crtcs, outputs, modes := int(binary.LittleEndian.Uint16(b[16:])), int(binary.LittleEndian.Uint16(b[18:])), int(binary.LittleEndian.Uint16(b[20:]))
	rest := b[packetSize:]
	if res.CRTCs, rest, err = list(rest, crtcs); err != nil {
		return res, err
	}
	if res.Outputs, rest, err = list(rest, outputs); err != nil {
		return res, err
	}
	const modeSize = 32
	if len(rest) < modeSize*modes {
		return res, errors.New("the display's answer is too short")
	}
	for ; modes > 0; modes-- {
		res.Modes = append(res.Modes, Mode{ID: binary.LittleEndian.Uint32(rest),
			Width: int(binary.LittleEndian.Uint16(rest[4:])), Height: int(binary.LittleEndian.Uint16(rest[6:]))})
		rest = rest[modeSize:]
	}
	return res, nil
}

// CRTC asks what a CRTC shows.
func (r *RandR) CRTC(crtc, stamp uint32) (c CRTC, err error) {
	b, err := r.ask(rrGetCRTC, crtc, stamp)
	if err != nil {
		return c, err
	}
	word := func(at int) int { return int(binary.LittleEndian.Uint16(b[at:])) }
	c = CRTC{X: int(int16(word(12))), Y: int(int16(word(14))), Width: word(16), Height: word(18), Mode: binary.LittleEndian.Uint32(b[20:])}
	c.Outputs, _, err = list(b[packetSize:], word(28))
	return c, err
}

// SetCRTC shows a mode on outputs, from the screen's corner. Mode 0 shows nothing.
func (r *RandR) SetCRTC(crtc, stamp, mode uint32, outputs []uint32) error {
	const currentTime, rotation0 = 0, 1
	b, err := r.ask(rrSetCRTC, append([]uint32{crtc, currentTime, stamp, 0, mode, rotation0}, outputs...)...)
	if err == nil && b[1] != 0 {
		err = fmt.Errorf("the display refused a mode with status %d", b[1])
	}
	return err
}

// SetScreenSize changes the size of the screen. All that is shown must fit.
func (r *RandR) SetScreenSize(width, height, dpi int) error {
	mm := func(px int) uint32 { return uint32(max(px*254/(10*dpi), 1)) }
	return r.do(rrSetScreenSize, uint32(r.root), uint32(width)|uint32(height)<<16, mm(width), mm(height))
}

// AddMode makes a mode and gives it to an output.
func (r *RandR) AddMode(output uint32, width, height int) (mode uint32, err error) {
	name := fmt.Sprintf("%dx%d", width, height)
	// Times of a picture that no monitor shows: 60 pictures a second, without pauses.
	clock := uint32(60 * width * height)
	w, h := uint32(width), uint32(height)
	b, err := r.askWith(rrCreateMode, []uint32{uint32(r.root), 0, w | h<<16, clock,
		w | w<<16, w | 0<<16, h | h<<16, h | uint32(len(name))<<16, 0}, []byte(name))
	if err != nil {
		return 0, err
	}
	mode = binary.LittleEndian.Uint32(b[8:])
	return mode, r.do(rrAddOutputMode, output, mode)
}

// DropMode takes a mode from an output, and destroys it where no other has it.
func (r *RandR) DropMode(output, mode uint32) error {
	return errors.Join(r.do(rrDelOutputMode, output, mode), r.do(rrDestroyMode, mode))
}
