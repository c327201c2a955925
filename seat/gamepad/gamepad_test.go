package gamepad

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell/evdev"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig has gamepads, and reads them as the library does.
type rig struct {
	*Pads
	dir string

	mu     sync.Mutex
	shown  [wire.MaxPads]bool
	rumble []wire.Rumble
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{dir: testkit.ShortDir(t)}
	var err error
	r.Pads, err = Open(Config{
		Listen: func(socket string) (*net.UnixListener, error) {
			return net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(r.dir, socket), Net: "unix"})
		},
		Show: func(i int, there bool) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.shown[i] = there
			return nil
		},
		Rumble: func(m wire.Rumble) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.rumble = append(r.rumble, m)
		},
	})
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, r.Close()) })
	return r
}

func (r *rig) lastRumble() wire.Rumble {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rumble) == 0 {
		return wire.Rumble{}
	}
	return r.rumble[len(r.rumble)-1]
}

// reader is a program that has a gamepad open.
type reader struct {
	t testing.TB
	*net.UnixConn
}

func (r *rig) open(t testing.TB, i int) reader {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(r.dir, Socket(i)), Net: "unix"})
	testkit.Must(t, err)
	t.Cleanup(func() { conn.Close() })
	return reader{t, conn}
}

// ioctl makes a request of this direction, size and number, as the library does.
func (r reader) ioctl(number, size int, data []byte) (result int32, out []byte) {
	r.t.Helper()
	return r.ask(eventIoctl, number, size, data)
}

func (r reader) ask(family byte, number, size int, data []byte) (result int32, out []byte) {
	r.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	testkit.Must(r.t, err)
	defer unix.Close(pair[0])
	request := append(evdev.Event{Sec: int64(size<<16 | int(family)<<8 | number), Kind: evdev.Request, Code: uint16(len(data))}.Append(nil), data...)
	_, _, err = r.WriteMsgUnix(request, unix.UnixRights(pair[1]), nil)
	unix.Close(pair[1])
	testkit.Must(r.t, err)
	testkit.Must(r.t, unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}))
	answer := make([]byte, 2*evdev.MaxData)
	n, _, err := unix.Recvfrom(pair[0], answer, 0)
	if err != nil || n < 4 {
		r.t.Fatalf("ioctl %#x: %d bytes, %v", number, n, err)
	}
	return int32(binary.NativeEndian.Uint32(answer)), answer[4:n]
}

// events reads up to the next report.
func (r reader) events() (all []evdev.Event) {
	r.t.Helper()
	testkit.Must(r.t, r.SetReadDeadline(time.Now().Add(20*time.Second)))
	b := make([]byte, evdev.Size)
	for {
		if _, err := io.ReadFull(r, b); err != nil {
			r.t.Fatalf("read events: %v", err)
		}
		e := evdev.Read(b)
		if e.Kind == evdev.Syn {
			return all
		}
		all = append(all, e)
	}
}

func TestEvents(t *testing.T) {
	r := newRig(t)
	testkit.Must(t, r.Connect(1<<2, true))
	testkit.Must(t, r.Apply(wire.Pad{Index: 2, Buttons: wire.PadStart}, 1))
	p := r.open(t, 2)
	// What is held when it is opened is known by asking. The answer also says that it is open.
	if _, held := p.ioctl(getKeys, 96, nil); held[0x13b/8]&(1<<(0x13b%8)) == 0 {
		t.Errorf("of the keys %x START is not held", held)
	}
	testkit.Must(t, r.Apply(wire.Pad{Index: 2, Buttons: wire.PadUp, LeftX: -500, RightTrigger: 9}, 2))
	want := []evdev.Event{{Kind: evdev.Key, Code: 0x13b}, {Kind: evdev.Abs, Code: 0, Value: -500}, {Kind: evdev.Abs, Code: 5, Value: 9}, {Kind: evdev.Abs, Code: 0x11, Value: -1}}
	got := p.events()
	if len(got) != len(want) {
		t.Fatalf("events %+v, want %+v", got, want)
	}
	for i, e := range got {
		if off := time.Since(time.Unix(e.Sec, e.Usec*1000)); off < 0 || off > time.Minute {
			t.Errorf("an event has the time %d.%06d", e.Sec, e.Usec)
		}
		if e.Sec, e.Usec = 0, 0; e != want[i] {
			t.Errorf("event %+v, want %+v", e, want[i])
		}
	}
	if result, axis := p.ioctl(getAxis, 24, nil); result != 0 || int32(binary.NativeEndian.Uint32(axis)) != -500 {
		t.Errorf("axis 0 is %x, result %d", axis, result)
	}
	// One that comes late has no effect, nor has one that cannot be.
	testkit.Must(t, r.Apply(wire.Pad{Index: 2, Buttons: wire.PadStart}, 1))
	testkit.Must(t, r.Apply(wire.Pad{Index: 1, Buttons: wire.PadStart}, 9))
	for _, bad := range []wire.Pad{{Index: 4}, {Index: -1}, {Index: 2, LeftY: 40000}, {Index: 2, LeftTrigger: -1}, {Index: 2, RightTrigger: 256}, {Index: 2, Buttons: 1 << 17}, {Index: 2, Buttons: -1}, {Index: 2, Buttons: 1 << 6}} {
		if err := r.Apply(bad, 0); !errors.Is(err, ErrInput) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	for _, bad := range []int{-1, 1 << wire.MaxPads, 1 << 40} {
		if err := r.Connect(bad, false); !errors.Is(err, ErrInput) {
			t.Errorf("gamepads %#x: %v", bad, err)
		}
	}
	testkit.Must(t, r.Apply(wire.Pad{Index: 2, Buttons: wire.PadEast}, 3))
	if got := p.events(); len(got) != 4 || got[0].Code != 0x131 {
		t.Errorf("then came %+v", got)
	}
	// Times by another clock.
	clock := binary.NativeEndian.AppendUint32(nil, unix.CLOCK_MONOTONIC)
	if result, _ := p.ioctl(setClock, 4, clock); result != 0 {
		t.Fatalf("set the clock: %d", result)
	}
	r.Release()
	var now unix.Timespec
	testkit.Must(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	if got := p.events(); len(got) != 1 || got[0].Value != 0 || got[0].Sec > now.Sec || got[0].Sec < now.Sec-60 {
		t.Errorf("at the release came %+v", got)
	}
	// It goes: who reads it learns that, and nobody opens it.
	testkit.Must(t, r.Connect(0, false))
	if n, err := p.Read(make([]byte, 24)); n != 0 || err != io.EOF {
		t.Errorf("%d bytes of a gamepad that is gone, %v", n, err)
	}
	if n, err := r.open(t, 2).Read(make([]byte, 24)); n != 0 || err == nil {
		t.Errorf("a gamepad that is gone was opened: %d bytes, %v", n, err)
	}
	if r.shown != [wire.MaxPads]bool{} {
		t.Errorf("shown are %v", r.shown)
	}
}

// rumble is a struct ff_effect.
func rumble(id int16, strong, weak, ms uint16) []byte {
	b := make([]byte, evdev.EffectSize)
	binary.NativeEndian.PutUint16(b, evdev.Rumble)
	binary.NativeEndian.PutUint16(b[2:], uint16(id))
	binary.NativeEndian.PutUint16(b[10:], ms)
	binary.NativeEndian.PutUint16(b[16:], strong)
	binary.NativeEndian.PutUint16(b[18:], weak)
	return b
}

func TestRumble(t *testing.T) {
	r := newRig(t)
	testkit.Must(t, r.Connect(0b11, true))
	p, other := r.open(t, 1), r.open(t, 1)
	play := func(p reader, id int16, times int32) {
		t.Helper()
		if _, err := p.Write(evdev.Event{Kind: evdev.FF, Code: uint16(id), Value: times}.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	make := func(p reader, data []byte) int16 {
		t.Helper()
		result, out := p.ioctl(setEffect, evdev.EffectSize, data)
		if result != 0 {
			t.Fatalf("make an effect: %d", result)
		}
		return int16(binary.NativeEndian.Uint16(out[2:]))
	}
	told := func(what string, strong, weak int) wire.Rumble {
		t.Helper()
		testkit.UntilSeen(t, what, func() (any, bool) {
			m := r.lastRumble()
			return m, m.Type == "rumble" && m.Index == 1 && m.Strong == strong && m.Weak == weak
		})
		return r.lastRumble()
	}
	long, short := make(p, rumble(-1, 1000, 2000, 30000)), make(p, rumble(-1, 65000, 1, 100))
	if long == short {
		t.Fatalf("two effects have the id %d", long)
	}
	play(other, long, 1) // it is another program's
	play(p, long, 1)
	if m := told("it plays", 1000, 2000); m.MS < 25000 || m.MS > 30001 {
		t.Errorf("for %d ms", m.MS)
	}
	play(p, short, 1)
	told("both play", 65535, 2001)
	told("one has ended", 1000, 2000)
	make(p, rumble(long, 7, 0, 30000))
	told("it has changed", 7, 0)
	play(p, long, 0)
	if m := told("it is stopped", 0, 0); m.MS != 0 {
		t.Errorf("still for %d ms", m.MS)
	}
	play(p, long, 1)
	told("it plays again", 7, 0)
	p.Close() // the program ends without a word
	testkit.Within(t, 20*time.Second, "nobody plays", func() bool { return r.lastRumble().Strong == 0 })

	ids := 0
	for ; ids < 100; ids++ {
		if result, _ := other.ioctl(setEffect, evdev.EffectSize, rumble(-1, 1, 1, 1)); result != 0 {
			break
		}
	}
	if ids != evdev.MaxEffects {
		t.Errorf("a program could make %d effects", ids)
	}
	for what, got := range map[string]int32{
		"an unknown id":       first(other.ioctl(setEffect, evdev.EffectSize, rumble(99, 1, 1, 1))),
		"a short effect":      first(other.ioctl(setEffect, evdev.EffectSize, []byte{evdev.Rumble, 0})),
		"another kind":        first(other.ioctl(setEffect, evdev.EffectSize, append([]byte{0x51}, rumble(-1, 1, 1, 1)[1:]...))),
		"to drop a wrong one": first(other.ioctl(dropEffect, 4, binary.NativeEndian.AppendUint32(nil, 1<<16))),
		"a wrong clock":       first(other.ioctl(setClock, 4, []byte{99, 0, 0, 0})),
		"no such ioctl":       first(other.ioctl(0xb7, 4, nil)),
	} {
		if got >= 0 {
			t.Errorf("%s: %d", what, got)
		}
	}
}

func first(result int32, _ []byte) int32 { return result }

// The kernel's device of a gamepad is like a program that has it always open: it stays
// while the gamepad comes and goes, and gives ids to effects.
func TestKernelDevices(t *testing.T) {
	var ours, theirs []*net.UnixConn
	for range wire.MaxPads {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		testkit.Must(t, err)
		for i, list := range []*[]*net.UnixConn{&ours, &theirs} {
			f := os.NewFile(uintptr(pair[i]), "pad")
			c, err := net.FileConn(f)
			testkit.Must(t, err)
			f.Close()
			*list = append(*list, c.(*net.UnixConn))
		}
	}
	rumbles := make(chan wire.Rumble, 100)
	p, err := Open(Config{Kernel: ours, Show: func(int, bool) error { return nil }, Rumble: func(m wire.Rumble) { rumbles <- m }})
	testkit.Must(t, err)
	kernel := reader{t, theirs[3]}
	for range 2 {
		testkit.Must(t, p.Connect(1<<3, true))
		testkit.Must(t, p.Apply(wire.Pad{Index: 3, Buttons: wire.PadEast, LeftX: 5}, 1))
		if got := kernel.events(); len(got) != 2 || got[0].Code != 0x131 || got[0].Value != 1 {
			t.Errorf("the device gets %+v", got)
		}
		testkit.Must(t, p.Connect(0, false))
		if got := kernel.events(); len(got) != 2 || got[0].Value != 0 {
			t.Errorf("at the end it gets %+v", got)
		}
	}
	say := append(evdev.AppendRequest(nil, evdev.SetEffect, rumble(9, 100, 200, 5000)), evdev.Event{Kind: evdev.FF, Code: 9, Value: 1}.Append(nil)...)
	if _, err := kernel.Write(say); err != nil {
		t.Fatal(err)
	}
	if m := <-rumbles; m.Index != 3 || m.Strong != 100 || m.Weak != 200 {
		t.Errorf("the page is told %+v", m)
	}
	if _, err := kernel.Write(evdev.AppendRequest(nil, evdev.DropEffect, binary.NativeEndian.AppendUint32(nil, 9))); err != nil {
		t.Fatal(err)
	}
	if m := <-rumbles; m.Index != 3 || m.Strong != 0 {
		t.Errorf("then the page is told %+v", m)
	}
	testkit.Must(t, p.Close())
	if _, err := kernel.Read(make([]byte, 24)); err != io.EOF {
		t.Errorf("the connection is left: %v", err)
	}
	for _, c := range theirs {
		c.Close()
	}
}

// A program that does not read costs no memory without end, and gets the last state.
func TestSlowReader(t *testing.T) {
	r := newRig(t)
	testkit.Must(t, r.Connect(1, true))
	p := r.open(t, 0)
	p.ioctl(getID, 8, nil) // it is open
	const moves = 30_000
	for n := range moves {
		testkit.Must(t, r.Apply(wire.Pad{LeftX: n + 1}, 0))
	}
	read := 0
	for {
		e := p.events()
		if read++; e[0].Value == moves {
			break
		}
	}
	if read == moves {
		t.Errorf("all %d states waited for the program", read)
	}
}

// Readers without end, and requests that make no sense, are refused, and others are served.
func TestHostileReaders(t *testing.T) {
	r := newRig(t)
	testkit.Must(t, r.Connect(1, true))
	honest := r.open(t, 0)
	honest.ioctl(getID, 8, nil)
	for range 3 * maxClients {
		r.open(t, 0)
	}
	testkit.Until(t, "the gamepad is open as often as it can be", func() bool {
		r.Pads.mu.Lock()
		defer r.Pads.mu.Unlock()
		return len(r.pads[0].clients) == maxClients
	})
	junk := evdev.Event{Kind: evdev.Request, Code: evdev.MaxData + 1}.Append(nil)
	if _, err := honest.Write(evdev.Event{Kind: evdev.Request}.Append(nil)); err != nil { // without a socket for the answer
		t.Fatal(err)
	}
	files := openFiles(t)
	for range 100 { // files that are no answer's
		if _, _, err := honest.WriteMsgUnix(evdev.Event{Kind: evdev.FF}.Append(nil), unix.UnixRights(0, 0, 0), nil); err != nil {
			t.Fatal(err)
		}
	}
	if result, out := honest.ioctl(getName, 9, nil); result != 9 || string(out) != "Microsoft" {
		t.Errorf("the name is %q, result %d", out, result)
	}
	if more := openFiles(t) - files; more > 10 {
		t.Errorf("%d files of the program are left open", more)
	}
	if _, err := honest.Write(junk); err != nil {
		t.Fatal(err)
	}
	if _, err := honest.Read(make([]byte, 24)); err == nil {
		t.Error("who makes requests that are too long is served")
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := filepath.Glob("/proc/self/fd/*")
	testkit.Must(t, err)
	return len(list)
}
