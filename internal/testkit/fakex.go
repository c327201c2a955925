package testkit

import (
	"encoding/binary"
	"net"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// FakeX is an X server for tests about hostile ones: it lets any client in, says
// that its screen has this size, and sends what answer returns for each request.
// The function connects to it.
func FakeX(t testing.TB, width, height int, answer func(XRequest) []byte) (dial func() (*net.UnixConn, error)) {
	t.Helper()
	var serving sync.WaitGroup
	var mu sync.Mutex
	var ends []net.Conn
	t.Cleanup(func() {
		mu.Lock()
		for _, end := range ends {
			end.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return func() (*net.UnixConn, error) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		var pair [2]*net.UnixConn
		for i, fd := range fds {
			file := os.NewFile(uintptr(fd), "socket")
			conn, err := net.FileConn(file)
			file.Close()
			if err != nil {
				return nil, err
			}
			pair[i] = conn.(*net.UnixConn)
		}
		mu.Lock()
		ends = append(ends, pair[0], pair[1])
		mu.Unlock()
		serving.Go(func() {
			defer pair[0].Close()
			serveX(&xReader{conn: pair[0]}, width, height, answer)
		})
		return pair[1], nil
	}
}

func serveX(r *xReader, width, height int, answer func(XRequest) []byte) {
	head, _, err := r.read(12)
	if err != nil {
		return
	}
	name, data := binary.LittleEndian.Uint16(head[6:]), binary.LittleEndian.Uint16(head[8:])
	if _, _, err := r.read((int(name)+3)&^3 + (int(data)+3)&^3); err != nil {
		return
	}
	send := xSetup(width, height)
	for number := uint16(1); ; number++ {
		if _, err := r.conn.Write(send); err != nil {
			return
		}
		q := XRequest{Number: number}
		if q.Bytes, q.Files, err = r.read(4); err != nil {
			return
		}
		more, files, err := r.read(4*int(binary.LittleEndian.Uint16(q.Bytes[2:])) - 4)
		if err != nil {
			return
		}
		q.Bytes, q.Files = append(q.Bytes, more...), append(q.Files, files...)
		send = answer(q)
		for _, file := range q.Files {
			file.Close()
		}
	}
}

// xSetup lets a client in.
func xSetup(width, height int) []byte {
	b := make([]byte, 8+32+8+40)
	b[0], b[2] = 1, 11 // success, version 11.0
	binary.LittleEndian.PutUint16(b[6:], uint16(len(b)-8)/4)
	fixed, format, screen := b[8:], b[40:], b[48:]
	binary.LittleEndian.PutUint32(fixed[4:], 0x400000) // base and mask of ids
	binary.LittleEndian.PutUint32(fixed[8:], 0x1fffff)
	fixed[20], fixed[21] = 1, 1    // one screen, one format
	fixed[26], fixed[27] = 8, 0xff // key codes
	format[0], format[1], format[2] = 24, 32, 32
	binary.LittleEndian.PutUint32(screen, 0x52d) // root window
	binary.LittleEndian.PutUint16(screen[20:], uint16(width))
	binary.LittleEndian.PutUint16(screen[22:], uint16(height))
	screen[38] = 24 // depth
	return b
}

// xReader reads a connection and what descriptors come with it.
type xReader struct{ conn *net.UnixConn }

func (r *xReader) read(n int) (b []byte, files []*os.File, err error) {
	b = make([]byte, n)
	for got := 0; got < n; {
		oob := make([]byte, unix.CmsgSpace(4*16))
		k, kOOB, _, _, err := r.conn.ReadMsgUnix(b[got:], oob)
		if err != nil {
			return nil, files, err
		}
		got += k
		messages, err := unix.ParseSocketControlMessage(oob[:kOOB])
		if err != nil {
			return nil, files, err
		}
		for _, m := range messages {
			fds, err := unix.ParseUnixRights(&m)
			if err != nil {
				return nil, files, err
			}
			for _, fd := range fds {
				files = append(files, os.NewFile(uintptr(fd), "received"))
			}
		}
	}
	return b, files, nil
}

// XRequest is what a client sent to FakeX. Its files are closed after the answer.
type XRequest struct {
	Number uint16 // counts from 1
	Bytes  []byte
	Files  []*os.File
}

// Opcodes of the extensions that FakeX has.
const (
	XFixes = 128 + iota
	XDamage
	XInput
	XShm
	XTest
)

// Is reports whether it is this request; for the core protocol, minor does not count.
func (q XRequest) Is(opcode, minor byte) bool {
	return q.Bytes[0] == opcode && (opcode < 128 || q.Bytes[1] == minor)
}

// Reply is a reply to the request: its second byte, then what follows its length.
func (q XRequest) Reply(second byte, data ...byte) []byte {
	b := make([]byte, max(32, (8+len(data)+3)&^3))
	b[0], b[1] = 1, second
	binary.LittleEndian.PutUint16(b[2:], q.Number)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-32)/4)
	copy(b[8:], data)
	return b
}

// Error is an error about the request.
func (q XRequest) Error(code byte) []byte {
	b := make([]byte, 32)
	b[1], b[8], b[10] = code, q.Bytes[1], q.Bytes[0]
	binary.LittleEndian.PutUint16(b[2:], q.Number)
	return b
}

// Honest is what a server answers that has nothing to show.
func (q XRequest) Honest() []byte {
	extensions := map[string]byte{"XFIXES": XFixes, "DAMAGE": XDamage, "XInputExtension": XInput, "MIT-SHM": XShm, "XTEST": XTest}
	switch {
	case q.Is(98, 0): // QueryExtension
		opcode, ok := extensions[string(q.Bytes[8:][:binary.LittleEndian.Uint16(q.Bytes[4:])])]
		if !ok {
			return q.Reply(0)
		}
		return q.Reply(0, 1, opcode, 64+8*(opcode-128), 0)
	case q.Is(3, 0): // GetWindowAttributes
		return q.Reply(0, make([]byte, 36)...)
	case q.Is(XShm, 0): // QueryVersion
		return q.Reply(1, 1, 0, 2, 0)
	case q.Is(XFixes, 4): // GetCursorImage: one transparent pixel
		return q.Reply(0, append([]byte{0, 0, 0, 0, 1, 0, 1, 0}, make([]byte, 20)...)...)
	case q.Is(73, 0): // GetImage
		width, height := binary.LittleEndian.Uint16(q.Bytes[12:]), binary.LittleEndian.Uint16(q.Bytes[14:])
		return q.Reply(24, make([]byte, 24+4*int(width)*int(height))...)
	case q.Is(101, 0): // GetKeyboardMapping, of one symbol a key
		return q.Reply(1, make([]byte, 24+4*int(q.Bytes[5]))...)
	case q.Is(14, 0), q.Is(16, 0), q.Is(20, 0), q.Is(38, 0), q.Is(43, 0),
		q.Is(XFixes, 0), q.Is(XDamage, 0), q.Is(XInput, 47), q.Is(XShm, 4):
		return q.Reply(0)
	}
	return nil
}
