package gamepad

import (
	"encoding/binary"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell/evdev"
)

// client is a program that has opened a gamepad, or the kernel's device of it.
type client struct {
	pads   *Pads
	index  int
	conn   *net.UnixConn
	kernel bool
	// joystick says that it has opened the older device.
	joystick bool
	clock    atomic.Int32 // of the times of events
	// states are those that the program was not told yet.
	states chan wire.Pad
	gone   chan struct{} // closed with the connection
	told   wire.Pad      // what the program knows; of write alone
}

// maxStates is how far a program may be behind: more than a second.
const maxStates = 128

func newClient(p *Pads, index int, conn *net.UnixConn, now wire.Pad) *client {
	c := &client{pads: p, index: index, conn: conn, states: make(chan wire.Pad, maxStates), gone: make(chan struct{}), told: now}
	c.clock.Store(unix.CLOCK_REALTIME)
	return c
}

// add has a program told of a state. The caller holds the mutex of the pads.
func (c *client) add(s wire.Pad) {
	for {
		select {
		case c.states <- s:
			return
		default:
		}
		select {
		case <-c.states: // the program does not read: it loses the oldest
		default:
		}
	}
}

// close ends the connection. The caller need not hold a mutex.
func (c *client) close() { c.conn.Close() }

// write tells the program what changes.
func (c *client) write() {
	if c.joystick {
		if _, err := c.conn.Write(joystickState(c.told)); err != nil {
			return
		}
	}
	for {
		select {
		case <-c.gone:
			return
		case s := <-c.states:
			if _, err := c.conn.Write(c.changes(s)); err != nil {
				return
			}
			c.told = s
		}
	}
}

// changes are the events that tell a state.
func (c *client) changes(s wire.Pad) []byte {
	if c.joystick {
		return joystickChanges(c.told, s)
	}
	return changes(c.told, s, c.clock.Load())
}

// A program makes fewer requests than this; else it waits.
const (
	paceRequests = 256
	paceTime     = 50 * time.Millisecond
)

// read serves what the program asks for. It returns when the connection has ended.
func (c *client) read() {
	defer close(c.gone)
	buf := make([]byte, 4<<10)
	oob := make([]byte, unix.CmsgSpace(4)) // what has no room is closed by the kernel
	var pending []byte
	var socket = -1 // for the answer to the next request
	defer func() { closeFile(socket) }()
	begin, count := time.Now(), 0
	for {
		n, oobn, _, _, err := c.conn.ReadMsgUnix(buf, oob)
		if err != nil || n == 0 {
			return
		}
		if fd := received(oob[:oobn]); fd >= 0 {
			closeFile(socket)
			socket = fd
		}
		pending = append(pending, buf[:n]...)
		for len(pending) >= evdev.Size {
			e := evdev.Read(pending)
			size := evdev.Size
			if e.Kind == evdev.Request {
				if size += int(e.Code); e.Code > evdev.MaxData {
					return
				}
				if len(pending) < size {
					break
				}
				c.answer(socket, uint32(e.Sec), pending[evdev.Size:size])
				closeFile(socket)
				socket = -1
			} else if e.Kind == evdev.FF && !c.joystick {
				c.pads.rumbler.play(c, e.Code, e.Value)
			}
			pending = append(pending[:0], pending[size:]...)
			count++
		}
		if count >= paceRequests {
			time.Sleep(paceTime - time.Since(begin))
			begin, count = time.Now(), 0
		}
	}
}

func closeFile(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}

// received is the file that came with a message, or -1. Others are closed.
func received(oob []byte) int {
	if len(oob) == 0 {
		return -1
	}
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1
	}
	socket := -1
	for _, m := range list {
		fds, _ := unix.ParseUnixRights(&m) // none where there is an error
		for _, fd := range fds {
			closeFile(socket)
			socket = fd
		}
	}
	return socket
}

// answer carries out an ioctl. The result is what it returns, or the negative number of
// an error, and what it writes follows. The socket is the program's, so it may be any file.
func (c *client) answer(socket int, request uint32, data []byte) {
	result, out := c.ioctl(byte(request>>8), int(request&0xff), data)
	if socket < 0 {
		return
	}
	size := int(request >> 16 & 0x3fff)
	if request&0xffff == joystickIoctl<<8|jsCorrections {
		size = correctionSize * len(evdev.Axes) // its size is that of one, and the kernel writes all
	}
	if len(out) > min(size, evdev.MaxData) {
		out = out[:min(size, evdev.MaxData)]
		result = min(result, len(out))
	}
	b := append(binary.NativeEndian.AppendUint32(nil, uint32(int32(result))), out...)
	_ = unix.Sendto(socket, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil) // a program that does not wait for it needs none
}

// The families of ioctls.
const eventIoctl, joystickIoctl = 'E', 'j'

func (c *client) ioctl(family byte, number int, data []byte) (result int, out []byte) {
	switch {
	case c.joystick && family == joystickIoctl:
		out, result = describeJoystick(number)
		return result, out
	case c.joystick || family != eventIoctl:
		return -int(unix.EINVAL), nil
	}
	if out, result, ok := describe(number, c.pads.state(c.index)); ok {
		return result, out
	}
	switch number {
	case setEffect:
		return c.pads.rumbler.set(c, data)
	case dropEffect:
		if len(data) != 4 {
			return -int(unix.EINVAL), nil
		}
		return c.pads.rumbler.drop(c, int32(binary.NativeEndian.Uint32(data))), nil
	case getEffects:
		return 0, binary.NativeEndian.AppendUint32(nil, evdev.MaxEffects)
	case grab:
		return 0, nil // nobody else reads it
	case setClock:
		if len(data) == 4 {
			switch clock := int32(binary.NativeEndian.Uint32(data)); clock {
			case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME:
				c.clock.Store(clock)
				return 0, nil
			}
		}
	}
	return -int(unix.EINVAL), nil
}
