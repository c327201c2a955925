// Package evdev says what a seat's gamepad is in the words of the kernel, linux/input.h:
// for the sockets that look like a device (seat/gamepad), and for devices of uinput
// (seat/cell/uinput).
package evdev

import (
	"encoding/binary"

	"github.com/nearcast/nearcast/internal/wire"
)

// Kinds of events, and numbers of force feedback.
const (
	Syn = 0x00
	Key = 0x01
	Abs = 0x03
	FF  = 0x15

	Rumble     = 0x50
	MaxEffects = 16
	EffectSize = 48 // of a struct ff_effect on 64-bit machines
)

// Name and ID are those of an Xbox 360 pad, as the kernel's driver xpad has them: bus USB,
// Microsoft, the pad, its version.
const Name = "Microsoft X-Box 360 pad"

// ID is described with Name.
var ID = [4]uint16{0x03, 0x045e, 0x028e, 0x0114}

// Button is one of wire.Pad that is a button here too.
type Button struct {
	Bit  int
	Code uint16
}

// Buttons are all of them.
var Buttons = []Button{
	{wire.PadSouth, 0x130}, {wire.PadEast, 0x131}, {wire.PadWest, 0x133}, {wire.PadNorth, 0x134},
	{wire.PadLeftShoulder, 0x136}, {wire.PadRightShoulder, 0x137},
	{wire.PadSelect, 0x13a}, {wire.PadStart, 0x13b}, {wire.PadGuide, 0x13c},
	{wire.PadLeftStick, 0x13d}, {wire.PadRightStick, 0x13e},
}

// Held is 1 while a button is held, else 0.
func Held(p wire.Pad, button int) int {
	if p.Buttons&button != 0 {
		return 1
	}
	return 0
}

// Axis is one of the pad's, with its range. The cross of direction buttons is two axes.
type Axis struct {
	Code       uint16
	Min, Max   int32
	Fuzz, Flat int32
	Value      func(wire.Pad) int
}

// Axes are all of them.
var Axes = []Axis{
	{0x00, -32768, 32767, 16, 128, func(p wire.Pad) int { return p.LeftX }},
	{0x01, -32768, 32767, 16, 128, func(p wire.Pad) int { return p.LeftY }},
	{0x02, 0, 255, 0, 0, func(p wire.Pad) int { return p.LeftTrigger }},
	{0x03, -32768, 32767, 16, 128, func(p wire.Pad) int { return p.RightX }},
	{0x04, -32768, 32767, 16, 128, func(p wire.Pad) int { return p.RightY }},
	{0x05, 0, 255, 0, 0, func(p wire.Pad) int { return p.RightTrigger }},
	{0x10, -1, 1, 0, 0, func(p wire.Pad) int { return Held(p, wire.PadRight) - Held(p, wire.PadLeft) }},
	{0x11, -1, 1, 0, 0, func(p wire.Pad) int { return Held(p, wire.PadDown) - Held(p, wire.PadUp) }},
}

// Info is the axis with this value, as the kernel's struct input_absinfo.
func (a Axis) Info(value int) (b []byte) {
	for _, v := range []int32{int32(value), a.Min, a.Max, a.Fuzz, a.Flat, 0} {
		b = binary.NativeEndian.AppendUint32(b, uint32(v))
	}
	return b
}

// Event is the kernel's struct input_event on 64-bit machines.
type Event struct {
	Sec, Usec  int64
	Kind, Code uint16
	Value      int32
}

// Size is the length of an Event in bytes.
const Size = 24

// Append appends the event as the kernel has it.
func (e Event) Append(b []byte) []byte {
	b = binary.NativeEndian.AppendUint64(b, uint64(e.Sec))
	b = binary.NativeEndian.AppendUint64(b, uint64(e.Usec))
	b = binary.NativeEndian.AppendUint16(b, e.Kind)
	b = binary.NativeEndian.AppendUint16(b, e.Code)
	return binary.NativeEndian.AppendUint32(b, uint32(e.Value))
}

// Read reads an event from at least Size bytes.
func Read(b []byte) Event {
	order := binary.NativeEndian
	return Event{
		Sec: int64(order.Uint64(b)), Usec: int64(order.Uint64(b[8:])),
		Kind: order.Uint16(b[16:]), Code: order.Uint16(b[18:]), Value: int32(order.Uint32(b[20:])),
	}
}

// A request on a gamepad's socket is an event of a kind that does not exist, with the
// number of an ioctl as its time and the length of the data that follow as its code. A
// socket for the answer comes with it; without one there is none.
const (
	Request = 0xffff
	MaxData = 1024 // of a request and of an answer

	// SetEffect and DropEffect are EVIOCSFF and EVIOCRMFF.
	SetEffect  = 0x40304580
	DropEffect = 0x40044581
)

// AppendRequest appends a request.
func AppendRequest(b []byte, ioctl uint32, data []byte) []byte {
	b = Event{Sec: int64(ioctl), Kind: Request, Code: uint16(len(data))}.Append(b)
	return append(b, data...)
}
