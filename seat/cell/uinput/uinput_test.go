package uinput

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/cell/evdev"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeKernel stands in for /dev/uinput: it says what the test writes to tells, and notes
// what it gets.
type fakeKernel struct {
	says  *io.PipeReader
	tells *io.PipeWriter

	mu    sync.Mutex
	got   []evdev.Event
	asked []uint
	codes map[uint][]int
	data  map[uint][]byte
}

func newFakeKernel() *fakeKernel {
	k := &fakeKernel{codes: map[uint][]int{}, data: map[uint][]byte{}}
	k.says, k.tells = io.Pipe()
	return k
}

func (k *fakeKernel) Read(b []byte) (int, error) { return k.says.Read(b) }
func (k *fakeKernel) Close() error               { return k.says.Close() }
func (k *fakeKernel) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.got = append(k.got, evdev.Read(b))
	return len(b), nil
}

func (k *fakeKernel) Ioctl(request uint, value int, data []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, request)
	k.codes[request] = append(k.codes[request], value)
	switch request {
	case getName:
		copy(data, "input-of-no-machine")
	case beginUpload:
		if n := binary.NativeEndian.Uint32(data); n != 77 {
			return unix.EINVAL
		}
		copy(data[effectAt:], bytes.Repeat([]byte{0xee}, evdev.EffectSize))
	case beginErase:
		binary.NativeEndian.PutUint32(data[eraseAt:], 5)
	}
	k.data[request] = slices.Clone(data)
	return nil
}

func (k *fakeKernel) events() []evdev.Event {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.got)
}

// What the kernel is asked to make has the sizes and codes of its header files.
func TestMakeAsksFor(t *testing.T) {
	k := newFakeKernel()
	d := &Device{Kernel: k}
	if err := d.make(0); err == nil { // no such device in sysfs
		t.Error("a device was made")
	}
	if got := k.codes[setKey]; len(got) != 11 || got[0] != 0x130 {
		t.Errorf("buttons %#x", got)
	}
	if got := k.codes[setAxis]; len(got) != 8 || len(k.codes[setupAxis]) != 8 {
		t.Errorf("axes %#x", got)
	}
	for request, data := range k.data {
		if size := int(request >> 16 & 0x3fff); data != nil && len(data) != size {
			t.Errorf("request %#x has %d bytes, want %d", request, len(data), size)
		}
	}
	if last := k.asked[len(k.asked)-2:]; !slices.Equal(last, []uint{create, getName}) {
		t.Errorf("the last requests are %#x", last)
	}
}

func TestNumber(t *testing.T) {
	dir := t.TempDir()
	if _, err := number(dir); err == nil {
		t.Error("no device has a number")
	}
	testkit.Must(t, os.MkdirAll(filepath.Join(dir, "event7"), 0o755))
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "event7", "dev"), []byte("13:71\n"), 0o644))
	if n, err := number(dir); err != nil || n != unix.Mkdev(13, 71) {
		t.Errorf("number %d, %v", n, err)
	}
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "event7", "dev"), []byte("nonsense"), 0o644))
	if _, err := number(dir); err == nil {
		t.Error("nonsense has a number")
	}
}

// TestServe passes on events both ways, and none that are not a gamepad's.
func TestServe(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	testkit.Must(t, err)
	conns := make([]*net.UnixConn, 2)
	for i, fd := range pair {
		f := os.NewFile(uintptr(fd), "pad")
		c, err := net.FileConn(f)
		testkit.Must(t, err)
		f.Close()
		conns[i] = c.(*net.UnixConn)
	}
	host, k := conns[0], newFakeKernel()
	d := &Device{Kernel: k}
	served := make(chan struct{})
	go func() { d.Serve(conns[1]); close(served) }()

	press, still := evdev.Event{Kind: evdev.Key, Code: 0x130, Value: 1}, evdev.Event{Kind: evdev.Syn}
	for _, e := range []evdev.Event{press, {Kind: kindUinput, Code: codeUpload}, {Kind: evdev.FF, Code: 1}, {Kind: 0x02, Code: 0}, still} {
		if _, err := host.Write(e.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	testkit.UntilSeen(t, "the kernel gets what a gamepad does", func() (any, bool) {
		got := k.events()
		return got, slices.Equal(got, []evdev.Event{press, still})
	})

	said := func(want []byte) {
		t.Helper()
		got := make([]byte, len(want))
		testkit.Must(t, host.SetReadDeadline(time.Now().Add(20*time.Second)))
		if _, err := io.ReadFull(host, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the stream host got %x, %v, want %x", got, err, want)
		}
	}
	play := evdev.Event{Kind: evdev.FF, Code: 5, Value: 1}
	for _, e := range []evdev.Event{{Kind: kindUinput, Code: codeUpload, Value: 77}, play, {Kind: kindUinput, Code: codeErase, Value: 9}} {
		if _, err := k.tells.Write(e.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	said(evdev.AppendRequest(nil, evdev.SetEffect, bytes.Repeat([]byte{0xee}, evdev.EffectSize)))
	said(play.Append(nil))
	said(evdev.AppendRequest(nil, evdev.DropEffect, binary.NativeEndian.AppendUint32(nil, 5)))
	k.mu.Lock()
	if done := k.data[endUpload]; len(done) != uploadSize || binary.NativeEndian.Uint32(done) != 77 || binary.NativeEndian.Uint32(done[4:]) != 0 {
		t.Errorf("the kernel was answered %x", done)
	}
	k.mu.Unlock()

	host.Close()
	<-served
	if _, err := k.tells.Write(play.Append(nil)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the device is left: %v", err)
	}
}
