package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
)

// xconn is the little of the X protocol that capturing needs, spoken directly:
// one goroutine makes the requests, one reads. A general client library would
// bring more than is used, and xgb in particular keeps its extensions' events
// in global maps, which connections of one process then write and read at once.
type xconn struct {
	conn *net.UnixConn
	seq  uint16

	root          uint32
	width, height int
	idBase        uint32
	ids           uint32

	replies chan xreply
	onEvent func(packet []byte) // on the reader's goroutine

	mu  sync.Mutex
	err error
}

type xreply struct {
	seq    uint16
	packet []byte
	err    error
}

// errXClosed is the error of a connection that was closed on purpose.
var errXClosed = errors.New("connection to the display is closed")

// dialX connects to a local display. The cookie, if any, is in the file authority.
func dialX(display, authority string, onEvent func([]byte)) (*xconn, error) {
	number, ok := strings.CutPrefix(display, ":")
	number, _, _ = strings.Cut(number, ".")
	if !ok || number == "" {
		return nil, fmt.Errorf("display %q is not a local one: use the form \":7\"", display)
	}
	var cookie []byte
	if authority != "" {
		data, err := os.ReadFile(authority)
		if err != nil {
			return nil, fmt.Errorf("read X authority: %w", err)
		}
		if cookie = findCookie(data, number); cookie == nil {
			return nil, fmt.Errorf("no cookie for display %s in %s", display, authority)
		}
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: "/tmp/.X11-unix/X" + number, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("connect to display %s: %w", display, err)
	}
	c := &xconn{conn: conn, replies: make(chan xreply, 16), onEvent: onEvent}
	r := bufio.NewReaderSize(conn, 64<<10)
	if err := c.setup(r, cookie); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to display %s: %w", display, err)
	}
	go c.read(r)
	return c, nil
}

const cookieName = "MIT-MAGIC-COOKIE-1"

// findCookie returns the cookie for a local display's number in an Xauthority file.
func findCookie(data []byte, number string) []byte {
	next := func(n int) []byte {
		if len(data) < n {
			data = nil
			return nil
		}
		b := data[:n]
		data = data[n:]
		return b
	}
	field := func() []byte {
		if b := next(2); b != nil {
			return next(int(binary.BigEndian.Uint16(b)))
		}
		return nil
	}
	for len(data) > 0 {
		next(2) // the address family: a seat's file has its own display only
		field()
		display, name, value := string(field()), string(field()), field()
		if (display == "" || display == number) && name == cookieName && len(value) > 0 {
			return value
		}
	}
	return nil
}

func pad4(n int) int { return (n + 3) &^ 3 }

func (c *xconn) setup(r io.Reader, cookie []byte) error {
	name := ""
	if cookie != nil {
		name = cookieName
	}
	b := make([]byte, 12+pad4(len(name))+pad4(len(cookie)))
	b[0] = 'l'
	binary.LittleEndian.PutUint16(b[2:], 11)
	binary.LittleEndian.PutUint16(b[6:], uint16(len(name)))
	binary.LittleEndian.PutUint16(b[8:], uint16(len(cookie)))
	copy(b[12:], name)
	copy(b[12+pad4(len(name)):], cookie)
	if _, err := c.conn.Write(b); err != nil {
		return err
	}
	head := make([]byte, 8)
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	body := make([]byte, 4*int(binary.LittleEndian.Uint16(head[6:])))
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	if head[0] != 1 {
		reason := body[:min(int(head[1]), len(body))]
		return fmt.Errorf("refused: %s", strings.TrimSpace(string(reason)))
	}
	if len(body) < 32 {
		return errors.New("malformed setup")
	}
	c.idBase = binary.LittleEndian.Uint32(body[4:])
	vendor := int(binary.LittleEndian.Uint16(body[16:]))
	formats := int(body[21])
	screen := 32 + pad4(vendor) + 8*formats
	if len(body) < screen+40 {
		return errors.New("malformed setup")
	}
	if body[22] != 0 {
		return errors.New("the display's pictures are not little-endian")
	}
	s := body[screen:]
	c.root = binary.LittleEndian.Uint32(s)
	c.width = int(binary.LittleEndian.Uint16(s[20:]))
	c.height = int(binary.LittleEndian.Uint16(s[22:]))
	if depth := s[38]; depth != 24 && depth != 32 {
		return fmt.Errorf("the display has depth %d: start it with depth 24", depth)
	}
	for i := range formats {
		f := body[32+pad4(vendor)+8*i:]
		if f[0] == s[38] && f[1] != 32 {
			return fmt.Errorf("the display has %d bits a pixel instead of 32", f[1])
		}
	}
	return nil
}

func (c *xconn) read(r *bufio.Reader) {
	err := c.readAll(r)
	c.mu.Lock()
	if c.err == nil {
		c.err = fmt.Errorf("display connection lost: %w", err)
	}
	c.mu.Unlock()
	close(c.replies)
	c.onEvent(nil)
}

func (c *xconn) readAll(r *bufio.Reader) error {
	for {
		packet := make([]byte, 32)
		if _, err := io.ReadFull(r, packet); err != nil {
			return err
		}
		seq := binary.LittleEndian.Uint16(packet[2:])
		switch kind := packet[0] & 0x7f; kind {
		case 0:
			c.replies <- xreply{seq: seq, err: fmt.Errorf("display refused request %d.%d: error %d",
				packet[10], binary.LittleEndian.Uint16(packet[8:]), packet[1])}
		case 1, xGenericEvent:
			if more := 4 * int64(binary.LittleEndian.Uint32(packet[4:])); more > 0 {
				if more > 256<<20 {
					return errors.New("malformed packet")
				}
				packet = append(packet, make([]byte, more)...)
				if _, err := io.ReadFull(r, packet[32:]); err != nil {
					return err
				}
			}
			if kind == 1 {
				c.replies <- xreply{seq: seq, packet: packet}
			} else {
				c.onEvent(packet)
			}
		default:
			c.onEvent(packet)
		}
	}
}

const xGenericEvent = 35

// failure says why the connection ended; nil while it lives.
func (c *xconn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *xconn) close() {
	c.mu.Lock()
	if c.err == nil {
		c.err = errXClosed
	}
	c.mu.Unlock()
	c.conn.Close()
	for range c.replies { // the reader may be handing one over; then it ends
	}
}

func (c *xconn) newID() uint32 {
	c.ids++
	return c.idBase | c.ids
}

// xrequest builds a request: opcode, minor, then 4-byte words.
func xrequest(opcode, minor byte, words ...uint32) []byte {
	b := make([]byte, 4+4*len(words))
	b[0], b[1] = opcode, minor
	binary.LittleEndian.PutUint16(b[2:], uint16(len(b)/4))
	for i, w := range words {
		binary.LittleEndian.PutUint32(b[4+4*i:], w)
	}
	return b
}

// send sends requests in one write and returns the last one's sequence number.
func (c *xconn) send(requests ...[]byte) (uint16, error) {
	all := requests[0]
	for _, r := range requests[1:] {
		all = append(all, r...)
	}
	if _, err := c.conn.Write(all); err != nil {
		if failed := c.failure(); failed != nil {
			return 0, failed
		}
		return 0, fmt.Errorf("write to the display: %w", err)
	}
	c.seq += uint16(len(requests))
	return c.seq, nil
}

// wait returns the reply to request seq. An error of an earlier request that
// has no reply of its own is returned too: none of those used here may fail.
func (c *xconn) wait(seq uint16) ([]byte, error) {
	for reply := range c.replies {
		switch {
		case reply.err != nil:
			return nil, reply.err
		case reply.seq == seq:
			return reply.packet, nil
		}
	}
	return nil, c.failure()
}

func (c *xconn) call(request []byte) ([]byte, error) {
	seq, err := c.send(request)
	if err != nil {
		return nil, err
	}
	return c.wait(seq)
}

// xextension is an extension's place in this server's numbering.
type xextension struct{ opcode, event byte }

func (c *xconn) extension(name string) (xextension, bool, error) {
	b := xrequest(98, 0, uint32(len(name))) // QueryExtension
	b = append(b, make([]byte, pad4(len(name)))...)
	copy(b[8:], name)
	binary.LittleEndian.PutUint16(b[2:], uint16(len(b)/4))
	reply, err := c.call(b)
	if err != nil {
		return xextension{}, false, err
	}
	return xextension{opcode: reply[9], event: reply[10]}, reply[8] == 1, nil
}
