package x11

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Setup is what a server says of itself, and of its first screen, when a client
// connects.
type Setup struct {
	ResourceBase  uint32 // the ids of what this client makes have these bits set
	Root          uint32 // root window of the screen
	Width, Height int    // of the screen, in pixels
	Depth         int    // bits of a pixel that count
	BitsPerPixel  int    // bits that a pixel takes in a picture; 0 is unknown
	BigEndian     bool   // byte order of pictures
}

const (
	littleEndian = 'l' // a client's byte order
	requestHead  = 12  // bytes of a set-up request before name and data
)

// Lengths in the reply to a set-up request.
const (
	replyHead  = 8
	fixedSize  = 32 // of the body, before the vendor's name
	formatSize = 8
	screenSize = 40 // without its depths
	depthSize  = 8  // without its visuals
	visualSize = 24
)

// Results in the first byte of the reply.
const (
	setupFailed  = 0
	setupSuccess = 1
)

var errMalformed = errors.New("the server's set-up reply is malformed")

// setUp introduces a client to the server and returns the reply, which is
// checked as a whole.
func setUp(conn io.ReadWriter, cookie Cookie) ([]byte, Setup, error) {
	if _, err := conn.Write(setupRequest(cookie)); err != nil {
		return nil, Setup{}, fmt.Errorf("send set-up request: %w", err)
	}
	reply := make([]byte, replyHead)
	if _, err := io.ReadFull(conn, reply); err != nil {
		return nil, Setup{}, fmt.Errorf("read set-up reply: %w", err)
	}
	reply = append(reply, make([]byte, 4*int(binary.LittleEndian.Uint16(reply[6:])))...)
	if _, err := io.ReadFull(conn, reply[replyHead:]); err != nil {
		return nil, Setup{}, fmt.Errorf("read set-up reply: %w", err)
	}
	setup, err := parseSetup(reply)
	return reply, setup, err
}

// setupRequest is the first message of a client: byte order, protocol 11.0 and
// the cookie.
func setupRequest(cookie Cookie) []byte {
	var name string
	var data []byte
	if cookie != (Cookie{}) {
		name, data = cookieName, cookie[:]
	}
	b := []byte{littleEndian, 0}
	for _, v := range []int{11, 0, len(name), len(data), 0} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	b = append(b, name...)
	b = append(b, make([]byte, pad(len(b))-len(b))...)
	b = append(b, data...)
	return append(b, make([]byte, pad(len(b))-len(b))...)
}

// pad is n rounded up to whole words.
func pad(n int) int { return (n + 3) &^ 3 }

// parseSetup reads a whole reply. A reply that it accepts is safe to give to
// xgb, whose own parser does not check lengths.
func parseSetup(reply []byte) (Setup, error) {
	if len(reply) < replyHead {
		return Setup{}, errMalformed
	}
	body := reply[replyHead:]
	if len(body) != 4*int(binary.LittleEndian.Uint16(reply[6:])) {
		return Setup{}, errMalformed
	}
	switch reply[0] {
	case setupSuccess:
	case setupFailed:
		return Setup{}, fmt.Errorf("the server refused: %s", text(body[:min(int(reply[1]), len(body))]))
	default: // it wants to go on by a scheme that nobody uses
		return Setup{}, fmt.Errorf("the server wants more than a cookie: %s", text(body))
	}
	if major, minor := binary.LittleEndian.Uint16(reply[2:]), binary.LittleEndian.Uint16(reply[4:]); major != 11 || minor != 0 {
		return Setup{}, fmt.Errorf("the server speaks version %d.%d of the protocol, not 11.0", major, minor)
	}
	if len(body) < fixedSize {
		return Setup{}, errMalformed
	}
	s := Setup{ResourceBase: binary.LittleEndian.Uint32(body[4:]), BigEndian: body[22] != 0}
	formats, screens := int(body[21]), int(body[20])
	rest := body[fixedSize:]
	vendor := pad(int(binary.LittleEndian.Uint16(body[16:])))
	if len(rest) < vendor+formatSize*formats || screens == 0 {
		return Setup{}, errMalformed
	}
	rest = rest[vendor:]
	table := rest[:formatSize*formats]
	rest = rest[formatSize*formats:]
	for i := range screens {
		if len(rest) < screenSize {
			return Setup{}, errMalformed
		}
		if i == 0 {
			s.Root = binary.LittleEndian.Uint32(rest)
			s.Width = int(binary.LittleEndian.Uint16(rest[20:]))
			s.Height = int(binary.LittleEndian.Uint16(rest[22:]))
			s.Depth = int(rest[38])
		}
		depths := int(rest[39])
		rest = rest[screenSize:]
		for range depths {
			if len(rest) < depthSize {
				return Setup{}, errMalformed
			}
			visuals := visualSize * int(binary.LittleEndian.Uint16(rest[2:]))
			if rest = rest[depthSize:]; len(rest) < visuals {
				return Setup{}, errMalformed
			}
			rest = rest[visuals:]
		}
	}
	for ; len(table) > 0; table = table[formatSize:] {
		if int(table[0]) == s.Depth {
			s.BitsPerPixel = int(table[1])
		}
	}
	return s, nil
}

// text makes a server's reason fit for a message: a short line.
func text(reason []byte) string {
	const most = 200
	printable := func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}
	return strings.TrimSpace(strings.Map(printable, string(reason[:min(len(reason), most)])))
}
