package input

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"time"
)

// device is an input device of the display: a connection to Xorg's driver "inputtest", as
// xf86-input-inputtest-protocol.h has it. Structures are those of the server's machine,
// which is this one.
//
// An application can have taken the server over, so what it answers is not trusted, and
// nothing waits for it longer than deviceTimeout. A device that failed once is lost.
type device struct {
	conn net.Conn
	lost bool
}

const deviceTimeout = 5 * time.Second

// Messages of the protocol, version 1.1.
const (
	itClientVersion = 0
	itWaitForSync   = 1
	itMotion        = 2
	itTouch         = 6

	itServerVersion = 0
	itSyncFinished  = 1

	itHeader = 8 // length, type
	// Motions and touches have two words, and then valuators: whether there are
	// unaccelerated ones, a mask of 64 axes, and both kinds as 64 doubles.
	itMask      = itHeader + 8 + 4
	itValuators = itHeader + 8 + 16
	itEvent     = itValuators + 2*64*8
)

// Axes of the devices.
const (
	axisX       = 0
	axisY       = 1
	axisScrollX = 2
	axisScrollY = 3
	// touchRange is the range of the touch screen's axes, which is the whole screen.
	touchRange = 1 << 16
)

// Types of a touch event.
const (
	touchBegin  = 18
	touchUpdate = 19
	touchEnd    = 20
)

// openDevice begins to use a connection. The caller still closes it.
func openDevice(conn net.Conn) (*device, error) {
	d := &device{conn: conn}
	hello := itMessage(itClientVersion, 12)
	binary.NativeEndian.PutUint16(hello[itHeader:], 1)
	binary.NativeEndian.PutUint16(hello[itHeader+2:], 1)
	if err := d.send(hello); err != nil {
		return nil, err
	}
	answer, err := d.receive(itServerVersion, 12)
	if err != nil {
		return nil, err
	}
	if major, minor := binary.NativeEndian.Uint16(answer[itHeader:]), binary.NativeEndian.Uint16(answer[itHeader+2:]); major != 1 || minor < 1 {
		return nil, fmt.Errorf("the driver inputtest speaks version %d.%d, and 1.1 is needed", major, minor)
	}
	return d, nil
}

func itMessage(kind uint32, size int) []byte {
	b := make([]byte, size)
	binary.NativeEndian.PutUint32(b, uint32(size))
	binary.NativeEndian.PutUint32(b[4:], kind)
	return b
}

var errDeviceLost = errors.New("the display's input device is lost")

func (d *device) send(b []byte) error {
	if d.lost {
		return errDeviceLost
	}
	d.conn.SetWriteDeadline(time.Now().Add(deviceTimeout))
	if _, err := d.conn.Write(b); err != nil {
		d.lost = true
		return fmt.Errorf("%w: %w", errDeviceLost, err)
	}
	return nil
}

func (d *device) receive(kind uint32, size int) ([]byte, error) {
	b := make([]byte, size)
	d.conn.SetReadDeadline(time.Now().Add(deviceTimeout))
	_, err := io.ReadFull(d.conn, b)
	if err == nil && (binary.NativeEndian.Uint32(b) != uint32(size) || binary.NativeEndian.Uint32(b[4:]) != kind) {
		err = errors.New("the driver inputtest gave an answer that its protocol does not have")
	}
	if err != nil {
		d.lost = true
		return nil, fmt.Errorf("%w: %w", errDeviceLost, err)
	}
	return b, nil
}

// sync returns when the server has taken all that was sent.
func (d *device) sync() error {
	if err := d.send(itMessage(itWaitForSync, itHeader)); err != nil {
		return err
	}
	_, err := d.receive(itSyncFinished, itHeader)
	return err
}

// valuator is the value of an axis.
type valuator struct {
	axis  int
	value float64
}

func setValuators(b []byte, values []valuator) {
	for _, v := range values {
		b[itMask+v.axis/8] |= 1 << (v.axis % 8)
		binary.NativeEndian.PutUint64(b[itValuators+8*v.axis:], math.Float64bits(v.value))
	}
}

// move moves axes by differences.
func (d *device) move(values ...valuator) error {
	b := itMessage(itMotion, itEvent) // the first word says whether values are positions
	setValuators(b, values)
	return d.send(b)
}

// touch tells what a finger does.
func (d *device) touch(finger, what uint32, values ...valuator) error {
	b := itMessage(itTouch, itEvent)
	binary.NativeEndian.PutUint32(b[itHeader:], finger)
	binary.NativeEndian.PutUint32(b[itHeader+4:], what)
	setValuators(b, values)
	return d.send(b)
}
