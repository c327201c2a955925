package gamepad

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell/evdev"
)

// jsEvent is a struct js_event but for its time.
type jsEvent struct {
	Value        int16
	Kind, Number uint8
}

func (r *rig) openJoystick(t testing.TB, i int) reader {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(r.dir, JoystickSocket(i)), Net: "unix"})
	testkit.Must(t, err)
	t.Cleanup(func() { conn.Close() })
	return reader{t, conn}
}

// joystick reads so many events.
func (r reader) joystick(n int) (all []jsEvent) {
	r.t.Helper()
	testkit.Must(r.t, r.SetReadDeadline(time.Now().Add(20*time.Second)))
	var now unix.Timespec
	b := make([]byte, 8)
	for range n {
		if _, err := io.ReadFull(r, b); err != nil {
			r.t.Fatalf("read a joystick: %v after %+v", err, all)
		}
		testkit.Must(r.t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
		if age := uint32(now.Nano()/1e6) - binary.NativeEndian.Uint32(b); age > 60_000 {
			r.t.Errorf("an event is %d ms old", age)
		}
		all = append(all, jsEvent{int16(binary.NativeEndian.Uint16(b[4:])), b[6], b[7]})
	}
	return all
}

func TestJoystick(t *testing.T) {
	r := newRig(t)
	testkit.Must(t, r.Connect(1<<1, true))
	testkit.Must(t, r.Apply(wire.Pad{Index: 1, Buttons: wire.PadWest | wire.PadUp, LeftX: 32767, RightY: 100, LeftTrigger: 255}, 1))
	p := r.openJoystick(t, 1)
	// All that is so, buttons first: 11 of them, and 8 axes. A trigger that is not pulled is at the low end.
	all := p.joystick(19)
	for i, want := range map[int]jsEvent{
		0: {0, 0x81, 0}, 2: {1, 0x81, 2}, 10: {0, 0x81, 10},
		11: {32767, 0x82, 0}, 12: {0, 0x82, 1}, 13: {32767, 0x82, 2}, 15: {0, 0x82, 4}, 16: {-32767, 0x82, 5}, 18: {-32767, 0x82, 7},
	} {
		if all[i] != want {
			t.Errorf("event %d is %+v, want %+v; all are %+v", i, all[i], want, all)
		}
	}
	testkit.Must(t, r.Apply(wire.Pad{Index: 1, Buttons: wire.PadRightStick | wire.PadUp, LeftX: -32768, RightY: 120, LeftTrigger: 255}, 2))
	// What stays within the middle of an axis is no change.
	if got, want := p.joystick(3), []jsEvent{{0, 1, 2}, {1, 1, 10}, {-32767, 2, 0}}; got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("then came %+v, want %+v", got, want)
	}

	ask := func(number, size int) (int32, []byte) {
		t.Helper()
		return p.ask(joystickIoctl, number, size, nil)
	}
	if _, v := ask(jsVersion, 4); binary.NativeEndian.Uint32(v) != 0x020100 {
		t.Errorf("version %x", v)
	}
	if _, n := ask(jsAxes, 1); n[0] != 8 {
		t.Errorf("%d axes", n)
	}
	if _, n := ask(jsButtons, 1); n[0] != 11 {
		t.Errorf("%d buttons", n)
	}
	if n, name := ask(jsName, 128); string(name) != evdev.Name+"\x00" || int(n) != len(name) {
		t.Errorf("name %q, %d", name, n)
	}
	if n, name := ask(jsName, 9); string(name) != "Microsoft" || n != 9 {
		t.Errorf("name %q in 9 bytes, %d", name, n)
	}
	if _, axes := ask(jsAxisMap, 64); len(axes) != 64 || !bytes.Equal(axes[:8], []byte{0, 1, 2, 3, 4, 5, 0x10, 0x11}) {
		t.Errorf("axes %x", axes)
	}
	if _, buttons := ask(jsButtonMap, 1024); len(buttons) != 1024 || binary.NativeEndian.Uint16(buttons[4:]) != 0x133 {
		t.Errorf("buttons %x", buttons)
	}
	// Programs ask with the size of one, and get all.
	if _, corrections := ask(jsCorrections, correctionSize); len(corrections) != 36*8 || int32(binary.NativeEndian.Uint32(corrections)) != -128 {
		t.Errorf("corrections %x", corrections)
	}
	for what, result := range map[string]int32{
		"to change the axes": first(p.ask(joystickIoctl, 0x31, 64, make([]byte, 64))),
		"an event's ioctl":   first(p.ask(eventIoctl, getID, 8, nil)),
		"a joystick's ioctl": first(r.open(t, 1).ask(joystickIoctl, jsAxes, 1, nil)),
	} {
		if result != -int32(unix.EINVAL) {
			t.Errorf("%s: %d", what, result)
		}
	}
	r.Release()
	if got := p.joystick(4); got[0] != (jsEvent{0, 1, 10}) || got[1] != (jsEvent{0, 2, 0}) || got[2] != (jsEvent{-32767, 2, 2}) || got[3] != (jsEvent{0, 2, 7}) {
		t.Errorf("at the release came %+v", got)
	}
	testkit.Must(t, r.Connect(0, false))
	if n, err := p.Read(make([]byte, 8)); n != 0 || err != io.EOF {
		t.Errorf("%d bytes of a gamepad that is gone, %v", n, err)
	}
}
