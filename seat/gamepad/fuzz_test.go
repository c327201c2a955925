package gamepad

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell/evdev"
)

// FuzzReader gives the gamepad what a program may write.
func FuzzReader(f *testing.F) {
	f.Add(evdev.Event{Kind: evdev.FF, Code: 1, Value: 1}.Append(nil))
	for _, number := range []int{getName, getBits + evdev.Key, getAxis, setEffect, setClock} {
		f.Add(append(evdev.Event{Sec: int64(evdev.EffectSize<<16 | eventIoctl<<8 | number), Kind: evdev.Request, Code: evdev.EffectSize}.Append(nil), rumble(-1, 1, 2, 3)...))
	}
	for number, size := range map[int]int{jsButtonMap: 1024, jsCorrections: correctionSize} {
		f.Add(append(evdev.Event{Sec: int64(size<<16 | joystickIoctl<<8 | number), Kind: evdev.Request}.Append(nil), 0))
	}
	r := newRig(f)
	testkit.Must(f, r.Connect(1, true))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := newClient(r.Pads, 0, nil, wire.Pad{})
		c.joystick = len(data)%2 == 1
		defer r.rumbler.forget(c)
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		testkit.Must(t, err)
		defer unix.Close(pair[0])
		defer unix.Close(pair[1])
		for len(data) >= evdev.Size {
			e := evdev.Read(data)
			data = data[evdev.Size:]
			if e.Kind == evdev.FF {
				r.rumbler.play(c, e.Code, e.Value)
				continue
			}
			n := min(len(data), int(e.Code), evdev.MaxData)
			c.answer(pair[1], uint32(e.Sec), data[:n])
			data = data[n:]
			answer := make([]byte, 2*evdev.MaxData)
			n, _, err := unix.Recvfrom(pair[0], answer, unix.MSG_DONTWAIT)
			most := min(int(e.Sec>>16&0x3fff), evdev.MaxData)
			if e.Sec&0xffff == joystickIoctl<<8|jsCorrections {
				most = correctionSize * len(evdev.Axes) // whatever the request says, as from the kernel
			}
			if err != nil || n < 4 || n-4 > most {
				t.Fatalf("%+v got %d bytes, %v", e, n, err)
			}
		}
	})
}
