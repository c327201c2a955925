package gamepad

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell/evdev"
)

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
	setEffect  = evdev.SetEffect & 0xff
	dropEffect = evdev.DropEffect & 0xff
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
		for _, v := range evdev.ID {
			answer = binary.NativeEndian.AppendUint16(answer, v)
		}
		return answer, 0, true
	case number == getName:
		return told([]byte(evdev.Name + "\x00"))
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
		for _, a := range evdev.Axes {
			if int(a.Code) == number-getAxis {
				return a.Info(a.Value(s)), 0, true
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
		return bitmap(maxEvent, evdev.Syn, evdev.Key, evdev.Abs, evdev.FF)
	case evdev.Key:
		all := make([]uint16, len(evdev.Buttons))
		for i, b := range evdev.Buttons {
			all[i] = b.Code
		}
		return bitmap(maxKey, all...)
	case evdev.Abs:
		all := make([]uint16, len(evdev.Axes))
		for i, a := range evdev.Axes {
			all[i] = a.Code
		}
		return bitmap(maxAbs, all...)
	case evdev.FF:
		return bitmap(maxFF, evdev.Rumble)
	}
	return bitmap(maxOther)
}

// keys are the codes of the buttons that are held.
func keys(s wire.Pad) (codes []uint16) {
	for _, b := range evdev.Buttons {
		if evdev.Held(s, b.Bit) != 0 {
			codes = append(codes, b.Code)
		}
	}
	return codes
}

// changes are the events that make one state of the other, with the time of a clock.
func changes(from, to wire.Pad, clock int32) (b []byte) {
	var now unix.Timespec
	_ = unix.ClockGettime(clock, &now) // the clock was checked
	e := evdev.Event{Sec: now.Sec, Usec: now.Nsec / 1000}
	add := func(kind, code uint16, value int) {
		e.Kind, e.Code, e.Value = kind, code, int32(value)
		b = e.Append(b)
	}
	for _, k := range evdev.Buttons {
		if was, is := evdev.Held(from, k.Bit), evdev.Held(to, k.Bit); was != is {
			add(evdev.Key, k.Code, is)
		}
	}
	for _, a := range evdev.Axes {
		if was, is := a.Value(from), a.Value(to); was != is {
			add(evdev.Abs, a.Code, is)
		}
	}
	if len(b) > 0 {
		add(evdev.Syn, 0, 0)
	}
	return b
}
