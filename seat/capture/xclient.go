package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/seat/display/x11"
)

// xclient is the small part of the X protocol that capturing needs: one
// goroutine makes the requests, one reads. The client library xgb is not used
// here: it keeps its extensions' events in global maps, which connections of one
// process then write and read at once.
//
// The server may be hostile. It gets memory only for replies that were asked for,
// and not more than the request allows.
type xclient struct {
	conn     *net.UnixConn
	setup    x11.Setup
	patience time.Duration
	seq      uint16 // of the last request
	ids      uint32 // how many were made

	replies chan xreply
	onEvent func(packet []byte) // on the reader's goroutine; it may not keep the packet

	mu   sync.Mutex
	err  error
	owed []xowed // replies, in the order of their requests
}

type xowed struct {
	seq  uint16
	most int
}

type xreply struct {
	seq    uint16
	packet []byte
	err    error
}

// xrefusal is the server's error for a request.
type xrefusal struct {
	code, major byte
	minor       uint16
}

func (r xrefusal) Error() string {
	return fmt.Sprintf("the display refused request %d.%d: X error %d", r.major, r.minor, r.code)
}

// xmessage is a request.
type xmessage struct {
	bytes []byte
	asks  bool // it has a reply
	most  int  // bytes that the reply may have after the 32 that every reply has
}

var (
	// errXClosed is the error of a connection that was closed on purpose.
	errXClosed  = errors.New("connection to the display is closed")
	errUnasked  = errors.New("the display sent a reply to a request that nobody made")
	errTooLarge = errors.New("the display sent a packet that is too large")
)

// dialX connects to a display.
func dialX(dial x11.Dialer, cookie x11.Cookie, onEvent func([]byte)) (*xclient, error) {
	conn, setup, err := x11.Connect(dial, cookie)
	if err != nil {
		return nil, err
	}
	c := &xclient{conn: conn, setup: setup, patience: x11.Patience, replies: make(chan xreply, 16), onEvent: onEvent}
	go c.read(bufio.NewReaderSize(conn, 64<<10))
	return c, nil
}

func (c *xclient) read(r *bufio.Reader) {
	err := c.readAll(r)
	c.fail(fmt.Errorf("connection to the display lost: %w", err))
	close(c.replies)
	c.onEvent(nil)
}

// maxEvent is the most that an event may have after its first 32 bytes; those that
// are selected here have less than 100.
const maxEvent = 64 << 10

func (c *xclient) readAll(r *bufio.Reader) error {
	event := make([]byte, 32)
	for {
		packet := event
		if _, err := io.ReadFull(r, packet); err != nil {
			return err
		}
		seq := binary.LittleEndian.Uint16(packet[2:])
		more := 4 * int64(binary.LittleEndian.Uint32(packet[4:]))
		switch kind := packet[0] & 0x7f; kind {
		case 0:
			c.answered(seq)
			c.replies <- xreply{seq: seq, err: xrefusal{packet[1], packet[10], binary.LittleEndian.Uint16(packet[8:])}}
		case 1:
			most, ok := c.answered(seq)
			if !ok {
				return errUnasked
			}
			if more > int64(most) {
				return errTooLarge
			}
			packet = make([]byte, 32+more)
			copy(packet, event)
			if _, err := io.ReadFull(r, packet[32:]); err != nil {
				return err
			}
			c.replies <- xreply{seq: seq, packet: packet}
		case xGenericEvent:
			if more > maxEvent {
				return errTooLarge
			}
			if _, err := r.Discard(int(more)); err != nil {
				return err
			}
			c.onEvent(packet)
		default:
			c.onEvent(packet)
		}
	}
}

const xGenericEvent = 35

// answered takes the request that a reply or an error is about from those that are
// owed a reply, and returns the limit of that reply.
func (c *xclient) answered(seq uint16) (most int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.owed) == 0 || c.owed[0].seq != seq {
		return 0, false
	}
	most = c.owed[0].most
	c.owed = c.owed[1:]
	return most, true
}

// failure says why the connection ended; nil while it is open.
func (c *xclient) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// fail ends the connection; the first reason counts.
func (c *xclient) fail(reason error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = reason
	}
	c.mu.Unlock()
	c.conn.Close()
}

// hangUp ends the connection without waiting: who waits for a reply gets an error.
func (c *xclient) hangUp() { c.fail(errXClosed) }

func (c *xclient) close() {
	c.hangUp()
	for range c.replies { // the reader may wait to deliver one; then it ends
	}
}

func (c *xclient) newID() uint32 {
	c.ids++
	return c.setup.ResourceBase | c.ids
}

// xrequest builds a request without a reply: opcode, minor opcode, then 4-byte words.
func xrequest(opcode, minor byte, words ...uint32) xmessage {
	b := make([]byte, 4+4*len(words))
	b[0], b[1] = opcode, minor
	binary.LittleEndian.PutUint16(b[2:], uint16(len(b)/4))
	for i, w := range words {
		binary.LittleEndian.PutUint32(b[4+4*i:], w)
	}
	return xmessage{bytes: b}
}

// xquestion builds a request with a reply, which may have this many bytes after
// its first 32.
func xquestion(most int, opcode, minor byte, words ...uint32) xmessage {
	m := xrequest(opcode, minor, words...)
	m.asks, m.most = true, most
	return m
}

// send sends requests in one write and returns the last one's sequence number.
func (c *xclient) send(requests ...xmessage) (uint16, error) {
	return c.sendWith(nil, requests...)
}

// sendFile sends a request together with a descriptor. The server takes it for the
// request that comes in the same message, so this is alone in it.
func (c *xclient) sendFile(fd int, request xmessage) (uint16, error) {
	return c.sendWith(unix.UnixRights(fd), request)
}

func (c *xclient) sendWith(control []byte, requests ...xmessage) (uint16, error) {
	var all []byte
	c.mu.Lock()
	for _, r := range requests {
		c.seq++
		if r.asks {
			c.owed = append(c.owed, xowed{c.seq, r.most})
		}
		all = append(all, r.bytes...)
	}
	c.mu.Unlock()
	err := c.conn.SetWriteDeadline(time.Now().Add(c.patience)) // the server may not read
	if err == nil && control != nil {
		var n int
		n, _, err = c.conn.WriteMsgUnix(all, control, nil)
		all = all[n:]
	}
	if err == nil && len(all) > 0 {
		_, err = c.conn.Write(all)
	}
	if err != nil {
		c.fail(fmt.Errorf("write to the display: %w", err))
		return 0, c.failure()
	}
	return c.seq, nil
}

// wait returns the reply to request seq. It also returns the error of an earlier
// request that has no reply: none of the requests used here may fail.
func (c *xclient) wait(seq uint16) ([]byte, error) {
	patience := time.NewTimer(c.patience)
	defer patience.Stop()
	for {
		select {
		case reply, ok := <-c.replies:
			switch {
			case !ok:
				return nil, c.failure()
			case reply.err != nil:
				return nil, reply.err
			case reply.seq == seq:
				return reply.packet, nil
			}
		case <-patience.C:
			c.fail(fmt.Errorf("the display did not answer within %v", c.patience))
			return nil, c.failure()
		}
	}
}

// call sends a request and returns its reply.
func (c *xclient) call(request xmessage) ([]byte, error) {
	seq, err := c.send(request)
	if err != nil {
		return nil, err
	}
	return c.wait(seq)
}

// xSync does nothing but have a reply.
func xSync() xmessage { return xquestion(0, 43, 0) } // GetInputFocus

// xextension is where this server's numbers for an extension start.
type xextension struct{ opcode, event byte }

func (c *xclient) extension(name string) (xextension, bool, error) {
	m := xquestion(0, 98, 0, uint32(len(name))) // QueryExtension
	m.bytes = append(m.bytes, make([]byte, (len(name)+3)&^3)...)
	copy(m.bytes[8:], name)
	binary.LittleEndian.PutUint16(m.bytes[2:], uint16(len(m.bytes)/4))
	reply, err := c.call(m)
	if err != nil {
		return xextension{}, false, err
	}
	return xextension{opcode: reply[9], event: reply[10]}, reply[8] == 1, nil
}
