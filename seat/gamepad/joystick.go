package gamepad

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell/evdev"
)

// The older interface of the kernel, linux/joystick.h: a device of 8-byte events in which
// buttons and axes have numbers in place of codes, and all axes one range. Older programs
// and old versions of Wine read it. It has no rumble.

// JoystickSocket is the name of the socket of a gamepad's joystick device. The library
// knows it.
func JoystickSocket(index int) string { return fmt.Sprintf("nearcast-joystick%d", index) }

// Joystick is where older programs look for a gamepad. They try no numbers but the first.
func Joystick(index int) string { return fmt.Sprintf("/dev/input/js%d", index) }

// Kinds of a joystick's events. Those with jsInit say what is so when it is opened.
const (
	jsButton = 0x01
	jsAxis   = 0x02
	jsInit   = 0x80
)

// Numbers of a joystick's ioctls.
const (
	jsVersion     = 0x01
	jsAxes        = 0x11
	jsButtons     = 0x12
	jsName        = 0x13
	jsCorrections = 0x22
	jsAxisMap     = 0x32
	jsButtonMap   = 0x34

	jsVersionIs = 0x020100
	btnMisc     = 0x100 // the code of the first button in a map
)

// correction makes an axis one of a joystick: its middle, as wide as the axis is flat, is 0.
type correction struct {
	precision  int16
	low, high  int32 // of the middle
	multiplier int32 // by 2^14
}

func correctionOf(a evdev.Axis) correction {
	middle := (a.Max + a.Min) / 2
	c := correction{precision: int16(a.Fuzz), low: middle - a.Flat, high: middle + a.Flat}
	if half := (a.Max-a.Min)/2 - 2*a.Flat; half > 0 {
		c.multiplier = 1 << 29 / half
	}
	return c
}

func (c correction) apply(value int) int16 {
	v, out := int64(value), int64(0)
	switch {
	case v > int64(c.high):
		out = int64(c.multiplier) * (v - int64(c.high)) >> 14
	case v < int64(c.low):
		out = int64(c.multiplier) * (v - int64(c.low)) >> 14
	}
	return int16(max(-32767, min(32767, out)))
}

// correctionSize is that of the kernel's struct js_corr.
const correctionSize = 36

// append appends it as the kernel's struct js_corr.
func (c correction) append(b []byte) []byte {
	order := binary.NativeEndian
	b = order.AppendUint32(b, uint32(c.low))
	b = order.AppendUint32(b, uint32(c.high))
	b = order.AppendUint32(b, uint32(c.multiplier))
	b = order.AppendUint32(b, uint32(c.multiplier))
	b = append(b, make([]byte, 16)...)
	b = order.AppendUint16(b, uint16(c.precision))
	return order.AppendUint16(b, 1) // its type: "broken line", the only one that corrects
}

// describeJoystick answers the ioctls of a joystick. What would change it for all who read it, such as jscal does, is
// refused.
func describeJoystick(number int) (answer []byte, result int) {
	order := binary.NativeEndian
	switch number {
	case jsVersion:
		return order.AppendUint32(nil, jsVersionIs), 0
	case jsAxes:
		return []byte{byte(len(evdev.Axes))}, 0
	case jsButtons:
		return []byte{byte(len(evdev.Buttons))}, 0
	case jsName:
		name := []byte(evdev.Name + "\x00")
		return name, len(name)
	case jsCorrections:
		for _, a := range evdev.Axes {
			answer = correctionOf(a).append(answer)
		}
		return answer, 0
	case jsAxisMap:
		answer = make([]byte, maxAbs+1)
		for i, a := range evdev.Axes {
			answer[i] = byte(a.Code)
		}
		return answer, len(answer)
	case jsButtonMap:
		answer = make([]byte, 2*(maxKey-btnMisc+1))
		for i, b := range evdev.Buttons {
			order.PutUint16(answer[2*i:], b.Code)
		}
		return answer, len(answer)
	}
	return nil, -int(unix.EINVAL)
}

// joystickState are the events that say all of a state, to a program that has just opened the joystick.
func joystickState(s wire.Pad) (b []byte) {
	for i, k := range evdev.Buttons {
		b = appendJoystick(b, evdev.Held(s, k.Bit), jsButton|jsInit, i)
	}
	for i, a := range evdev.Axes {
		b = appendJoystick(b, int(correctionOf(a).apply(a.Value(s))), jsAxis|jsInit, i)
	}
	return b
}

// joystickChanges are the events that make one state of the other.
func joystickChanges(from, to wire.Pad) (b []byte) {
	for i, k := range evdev.Buttons {
		if was, is := evdev.Held(from, k.Bit), evdev.Held(to, k.Bit); was != is {
			b = appendJoystick(b, is, jsButton, i)
		}
	}
	for i, a := range evdev.Axes {
		c := correctionOf(a)
		if was, is := c.apply(a.Value(from)), c.apply(a.Value(to)); was != is {
			b = appendJoystick(b, int(is), jsAxis, i)
		}
	}
	return b
}

// appendJoystick appends the kernel's struct js_event of now.
func appendJoystick(b []byte, value int, kind byte, number int) []byte {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // there is such a clock
	b = binary.NativeEndian.AppendUint32(b, uint32(now.Nano()/1e6))
	b = binary.NativeEndian.AppendUint16(b, uint16(int16(value)))
	return append(b, kind, byte(number))
}
