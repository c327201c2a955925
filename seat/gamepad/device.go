package gamepad

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// What a gamepad is, in the words of linux/input.h.
const (
	evSyn = 0x00
	evKey = 0x01
	evAbs = 0x03
	evFF  = 0x15

	ffRumble   = 0x50
	maxEffects = 16

	name = "Microsoft X-Box 360 pad"
)

// id is bus USB, and Microsoft's numbers of the pad, as the kernel's driver xpad has them.
var id = [4]uint16{0x03, 0x045e, 0x028e, 0x0114}

// buttons are the codes of those of wire.Pad that are buttons here too.
var buttons = []struct {
	bit  int
	code uint16
}{
	{wire.PadSouth, 0x130}, {wire.PadEast, 0x131}, {wire.PadWest, 0x133}, {wire.PadNorth, 0x134},
	{wire.PadLeftShoulder, 0x136}, {wire.PadRightShoulder, 0x137},
	{wire.PadSelect, 0x13a}, {wire.PadStart, 0x13b}, {wire.PadGuide, 0x13c},
	{wire.PadLeftStick, 0x13d}, {wire.PadRightStick, 0x13e},
}

// axis is one of the pad's, with its range. The cross of direction buttons is two axes.
type axis struct {
	code       uint16
	min, max   int32
	fuzz, flat int32
	value      func(wire.Pad) int
}

var axes = []axis{
	{0x00, -32768, 32767, 16, 128, func(p wire.Pad) int { return p.LeftX }},
	{0x01, -32768, 32767, 16, 128, func(p wire.Pad) int { return p.LeftY }},
	{0x02, 0, 255, 0, 0, func(p wire.Pad) int { return p.LeftTrigger }},
	{0x03, -32768, 32767, 16, 128, func(p wire.Pad) int { return p.RightX }},
	{0x04, -32768, 32767, 16, 128, func(p wire.Pad) int { return p.RightY }},
	{0x05, 0, 255, 0, 0, func(p wire.Pad) int { return p.RightTrigger }},
	{0x10, -1, 1, 0, 0, func(p wire.Pad) int { return held(p, wire.PadRight) - held(p, wire.PadLeft) }},
	{0x11, -1, 1, 0, 0, func(p wire.Pad) int { return held(p, wire.PadDown) - held(p, wire.PadUp) }},
}

func held(p wire.Pad, button int) int {
	if p.Buttons&button != 0 {
		return 1
	}
	return 0
}

// bitmap has these bits set, in words of 8 bytes, as the kernel gives it.
func bitmap(most int, set ...uint16) []byte {
	b := make([]byte, (most/64+1)*8)
	for _, bit := range set {
		b[bit/8] |= 1 << (bit % 8)
	}
	return b
}

// The highest numbers of each kind.
const (
	maxEvent = 0x1f
	maxKey   = 0x2ff
	maxAbs   = 0x3f
	maxFF    = 0x7f
	maxOther = 0x1f
)

// Numbers of ioctls, and of ranges of them, without direction and size.
const (
	getVersion = 0x01
	getID      = 0x02
	getName    = 0x06
	getPlace   = 0x07
	getUnique  = 0x08
	getProps   = 0x09
	getKeys    = 0x18
	getSwitch  = 0x1b
	getBits    = 0x20 // and the kind of events
	getAxis    = 0x40 // and the axis
	setEffect  = 0x80
	dropEffect = 0x81
	getEffects = 0x84
	grab       = 0x90
	setClock   = 0xa0
	version    = 0x010001
)

// describe answers the ioctls that only read what the pad is, and its state. ok is false
// for all others.
func describe(number int, s wire.Pad) (answer []byte, result int, ok bool) {
	told := func(b []byte) ([]byte, int, bool) { return b, len(b), true }
	switch {
	case number == getVersion:
		return binary.NativeEndian.AppendUint32(nil, version), 0, true
	case number == getID:
		for _, v := range id {
			answer = binary.NativeEndian.AppendUint16(answer, v)
		}
		return answer, 0, true
	case number == getName:
		return told([]byte(name + "\x00"))
	case number == getPlace:
		return told([]byte(Socket(s.Index) + "\x00"))
	case number == getUnique:
		return nil, -int(unix.ENOENT), true
	case number == getProps:
		return told(bitmap(maxOther))
	case number == getKeys:
		return told(bitmap(maxKey, keys(s)...))
	case number > getKeys && number <= getSwitch:
		return told(bitmap(maxOther))
	case number >= getBits && number <= getBits+maxEvent:
		return told(codes(number - getBits))
	case number >= getAxis && number <= getAxis+maxAbs:
		for _, a := range axes {
			if int(a.code) == number-getAxis {
				for _, v := range []int32{int32(a.value(s)), a.min, a.max, a.fuzz, a.flat, 0} {
					answer = binary.NativeEndian.AppendUint32(answer, uint32(v))
				}
				return answer, 0, true
			}
		}
		return make([]byte, 24), 0, true // no such axis: all zero, as the kernel has it
	}
	return nil, 0, false
}

// codes are those that events of a kind can have; of kind 0, the kinds.
func codes(kind int) []byte {
	switch kind {
	case 0:
		return bitmap(maxEvent, evSyn, evKey, evAbs, evFF)
	case evKey:
		all := make([]uint16, len(buttons))
		for i, b := range buttons {
			all[i] = b.code
		}
		return bitmap(maxKey, all...)
	case evAbs:
		all := make([]uint16, len(axes))
		for i, a := range axes {
			all[i] = a.code
		}
		return bitmap(maxAbs, all...)
	case evFF:
		return bitmap(maxFF, ffRumble)
	}
	return bitmap(maxOther)
}

// keys are the codes of the buttons that are held.
func keys(s wire.Pad) (codes []uint16) {
	for _, b := range buttons {
		if s.Buttons&b.bit != 0 {
			codes = append(codes, b.code)
		}
	}
	return codes
}

// event is the kernel's struct input_event on 64-bit machines.
type event struct {
	sec, usec  int64
	kind, code uint16
	value      int32
}

const eventSize = 24

func (e event) append(b []byte) []byte {
	b = binary.NativeEndian.AppendUint64(b, uint64(e.sec))
	b = binary.NativeEndian.AppendUint64(b, uint64(e.usec))
	b = binary.NativeEndian.AppendUint16(b, e.kind)
	b = binary.NativeEndian.AppendUint16(b, e.code)
	return binary.NativeEndian.AppendUint32(b, uint32(e.value))
}

func readEvent(b []byte) event {
	order := binary.NativeEndian
	return event{
		sec: int64(order.Uint64(b)), usec: int64(order.Uint64(b[8:])),
		kind: order.Uint16(b[16:]), code: order.Uint16(b[18:]), value: int32(order.Uint32(b[20:])),
	}
}

// changes are the events that make one state of the other, with the time of a clock.
func changes(from, to wire.Pad, clock int32) (b []byte) {
	var now unix.Timespec
	_ = unix.ClockGettime(clock, &now) // the clock was checked
	e := event{sec: now.Sec, usec: now.Nsec / 1000}
	add := func(kind, code uint16, value int) {
		e.kind, e.code, e.value = kind, code, int32(value)
		b = e.append(b)
	}
	for _, k := range buttons {
		if was, is := held(from, k.bit), held(to, k.bit); was != is {
			add(evKey, k.code, is)
		}
	}
	for _, a := range axes {
		if was, is := a.value(from), a.value(to); was != is {
			add(evAbs, a.code, is)
		}
	}
	if len(b) > 0 {
		add(evSyn, 0, 0)
	}
	return b
}
