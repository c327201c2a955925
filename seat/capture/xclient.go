package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/nearcast/nearcast/seat/display/x11"
)

// xclient is the small part of the X protocol that capturing needs: one
// goroutine makes the requests, one reads. The client library xgb is not used
// here: it keeps its extensions' events in global maps, which connections of one
// process then write and read at once.
type xclient struct {
	conn  *net.UnixConn
	setup x11.Setup
	seq   uint16 // of the last request
	ids   uint32 // how many were made

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
func dialX(display, authority string, onEvent func([]byte)) (*xclient, error) {
	conn, setup, err := x11.Connect(display, authority)
	if err != nil {
		return nil, err
	}
	c := &xclient{conn: conn, setup: setup, replies: make(chan xreply, 16), onEvent: onEvent}
	go c.read(bufio.NewReaderSize(conn, 64<<10))
	return c, nil
}

func (c *xclient) read(r *bufio.Reader) {
	err := c.readAll(r)
	c.mu.Lock()
	if c.err == nil {
		c.err = fmt.Errorf("connection to the display lost: %w", err)
	}
	c.mu.Unlock()
	close(c.replies)
	c.onEvent(nil)
}

func (c *xclient) readAll(r *bufio.Reader) error {
	for {
		packet := make([]byte, 32)
		if _, err := io.ReadFull(r, packet); err != nil {
			return err
		}
		seq := binary.LittleEndian.Uint16(packet[2:])
		switch kind := packet[0] & 0x7f; kind {
		case 0:
			c.replies <- xreply{seq: seq, err: fmt.Errorf("the display refused request %d.%d: X error %d",
				packet[10], binary.LittleEndian.Uint16(packet[8:]), packet[1])}
		case 1, xGenericEvent:
			if more := 4 * int64(binary.LittleEndian.Uint32(packet[4:])); more > 0 {
				if more > 256<<20 {
					return errors.New("packet is too large")
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

// failure says why the connection ended; nil while it is open.
func (c *xclient) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *xclient) close() {
	c.mu.Lock()
	if c.err == nil {
		c.err = errXClosed
	}
	c.mu.Unlock()
	c.conn.Close()
	for range c.replies { // the reader may wait to deliver one; then it ends
	}
}

func (c *xclient) newID() uint32 {
	c.ids++
	return c.setup.ResourceBase | c.ids
}

// xrequest builds a request: opcode, minor opcode, then 4-byte words.
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
func (c *xclient) send(requests ...[]byte) (uint16, error) {
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

// wait returns the reply to request seq. It also returns the error of an earlier
// request that has no reply: none of the requests used here may fail.
func (c *xclient) wait(seq uint16) ([]byte, error) {
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

// call sends a request and returns its reply.
func (c *xclient) call(request []byte) ([]byte, error) {
	seq, err := c.send(request)
	if err != nil {
		return nil, err
	}
	return c.wait(seq)
}

// xextension is where this server's numbers for an extension start.
type xextension struct{ opcode, event byte }

func (c *xclient) extension(name string) (xextension, bool, error) {
	b := xrequest(98, 0, uint32(len(name))) // QueryExtension
	b = append(b, make([]byte, (len(name)+3)&^3)...)
	copy(b[8:], name)
	binary.LittleEndian.PutUint16(b[2:], uint16(len(b)/4))
	reply, err := c.call(b)
	if err != nil {
		return xextension{}, false, err
	}
	return xextension{opcode: reply[9], event: reply[10]}, reply[8] == 1, nil
}
