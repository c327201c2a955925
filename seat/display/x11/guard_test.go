package x11

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jezek/xgb/xproto"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
)

// packet is what a server sends: a kind, a second byte, a request's number, a
// length in words, then data up to 32 bytes.
func packet(kind, second byte, number uint16, words uint32, data ...byte) []byte {
	b := make([]byte, packetSize)
	b[0], b[1] = kind, second
	binary.LittleEndian.PutUint16(b[2:], number)
	binary.LittleEndian.PutUint32(b[4:], words)
	copy(b[8:], data)
	return b
}

// hostile is a client whose server sends what answer returns for each request,
// which it gets with its number.
func hostile(t testing.TB, answer func(number uint16, request []byte) []byte) *Client {
	t.Helper()
	dial := testkit.FakeX(t, 640, 360, func(q testkit.XRequest) []byte { return answer(q.Number, q.Bytes) })
	x, err := Dial(dial, Cookie{})
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for {
			if ev, err := x.WaitForEvent(); ev == nil && err == nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		x.Close()
		<-drained
	})
	return x
}

// What a client asks of the server, by name.
var calls = map[string]func(x *Client) error{
	"GetWindowAttributes": func(x *Client) error { _, err := xproto.GetWindowAttributes(x.Conn, 1).Reply(); return err },
	"GetGeometry":         func(x *Client) error { _, err := xproto.GetGeometry(x.Conn, 1).Reply(); return err },
	"InternAtom":          func(x *Client) error { _, err := xproto.InternAtom(x.Conn, false, 1, "x").Reply(); return err },
	"GetProperty":         func(x *Client) error { _, err := xproto.GetProperty(x.Conn, false, 1, 2, 0, 0, 64).Reply(); return err },
	"QueryPointer":        func(x *Client) error { _, err := xproto.QueryPointer(x.Conn, 1).Reply(); return err },
	"GetSelectionOwner":   func(x *Client) error { _, err := xproto.GetSelectionOwner(x.Conn, 1).Reply(); return err },
	"GetInputFocus":       func(x *Client) error { _, err := xproto.GetInputFocus(x.Conn).Reply(); return err },
	"QueryExtension":      func(x *Client) error { _, err := xproto.QueryExtension(x.Conn, 5, "XTEST").Reply(); return err },
	"GetKeyboardMapping":  func(x *Client) error { _, err := xproto.GetKeyboardMapping(x.Conn, 8, 248).Reply(); return err },
	"a checked request":   func(x *Client) error { return xproto.MapWindowChecked(x.Conn, 1).Check() },
}

// allocated is how many bytes this process has ever allocated.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func TestHostileReplies(t *testing.T) {
	after := func(number uint16, more int) []byte { return packet(kindReply, 0, number, uint32(more)) }
	endless := bytes.Repeat([]byte("x"), 1<<20)
	for name, answer := range map[string]func(number uint16, request []byte) []byte{
		"16 GiB": func(number uint16, _ []byte) []byte { return append(after(number, 1<<32-1), endless...) },
		"a length that overflows": func(number uint16, _ []byte) []byte {
			return append(after(number, 1<<30), endless...)
		},
		"a length that overflows to nothing": func(number uint16, _ []byte) []byte {
			return append(after(number, 1<<30-8), endless...)
		},
		"a request of the future": func(number uint16, _ []byte) []byte { return after(number+5, 0) },
		"a request of the past":   func(number uint16, _ []byte) []byte { return after(number-1, 0) },
		"an error of the future":  func(number uint16, _ []byte) []byte { return packet(kindError, 3, number+5, 0) },
		"an error of the past":    func(number uint16, _ []byte) []byte { return packet(kindError, 3, number-1, 0) },
		"an unknown error":        func(number uint16, _ []byte) []byte { return packet(kindError, 200, number, 0) },
		"an endless event":        func(number uint16, _ []byte) []byte { return packet(genericEvent, 0, number, 1<<32-1) },
		"a property of 4 GiB": func(number uint16, request []byte) []byte {
			if request[0] == getProperty {
				return packet(kindReply, 32, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff)
			}
			return after(number, 1<<20)
		},
		"a property of odd format": func(number uint16, request []byte) []byte {
			if request[0] == getProperty {
				return packet(kindReply, 255, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
			}
			return after(number, 1<<20)
		},
		"nothing": func(number uint16, _ []byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			for call, do := range calls {
				t.Run(call, func(t *testing.T) {
					t.Cleanup(func() { goleak.VerifyNone(t) })
					before := allocated()
					x := hostile(t, answer)
					x.guard.patience = 100 * time.Millisecond
					if err := do(x); err == nil {
						t.Error("the client took it")
					}
					testkit.Until(t, "the client knows why", func() bool { return x.Err() != nil })
					if _, err := xproto.QueryPointer(x.Conn, 1).Reply(); err == nil {
						t.Error("the connection goes on")
					}
					if grown := allocated() - before; grown > 32<<20 {
						t.Errorf("it cost %d MiB", grown>>20)
					}
				})
			}
		})
	}
}

// A short reply makes xgb's own parser panic.
func TestShortReply(t *testing.T) {
	x := hostile(t, func(number uint16, _ []byte) []byte { return packet(kindReply, 0, number, 0) })
	if _, err := xproto.GetWindowAttributes(x.Conn, 1).Reply(); err == nil {
		t.Error("a reply of 32 bytes was taken for one of 44")
	}
	if err := x.Err(); err == nil || !strings.Contains(err.Error(), "32 bytes") {
		t.Errorf("the client says %v", err)
	}
}

// Every kind of event, and every error, is taken or refused without a panic.
func TestEveryKindOfPacket(t *testing.T) {
	for kind := range 256 {
		if kind == kindReply {
			continue
		}
		for _, second := range []byte{0, 1, 17, 18, 128, 255} {
			x := hostile(t, func(number uint16, request []byte) []byte {
				focus := packet(kindReply, 0, number, 0)
				if number == 1 {
					return append(packet(byte(kind), second, 0, 0xffffffff, bytes.Repeat([]byte{0xff}, 24)...), focus...)
				}
				return focus
			})
			_, err := xproto.GetInputFocus(x.Conn).Reply()
			if bad := kind == kindError || kind&0x7f == genericEvent; (err != nil) != bad {
				t.Errorf("packet %d, %d: %v", kind, second, err)
			}
			x.Close()
		}
	}
}

// A server that reads nothing does not keep a client waiting.
func TestServerDoesNotRead(t *testing.T) {
	server, dial := pair(t)
	conn, err := dial()
	testkit.Must(t, err)
	_ = server
	g := newGuard(conn, 100*time.Millisecond)
	defer g.Close()
	request := make([]byte, 64<<10)
	request[0] = 25 // SendEvent, which has no reply
	testkit.Until(t, "writing fails", func() bool { _, err := g.Write(request); return err != nil })
	if g.failure() == nil {
		t.Error("no reason")
	}
	if _, err := g.Write(request); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed connection says %v", err)
	}
}

func TestHangUp(t *testing.T) {
	x := hostile(t, func(uint16, []byte) []byte { return nil })
	reason := errors.New("enough")
	waits := make(chan error, 1)
	go func() { _, err := xproto.GetInputFocus(x.Conn).Reply(); waits <- err }()
	x.HangUp(reason)
	if err := <-waits; err == nil {
		t.Error("a reply came")
	}
	if !errors.Is(x.Err(), reason) {
		t.Errorf("Err is %v", x.Err())
	}
}

// FuzzGuard answers one request of a client with any bytes: it answers or fails,
// without a panic or a wait without end. The first byte of the input chooses the
// request: an execution must do the same each time, or the fuzzer learns nothing.
func FuzzGuard(f *testing.F) {
	names := slices.Sorted(maps.Keys(calls))
	for i := range names {
		f.Add(byte(i), packet(kindReply, 0, 1, 0))
	}
	f.Add(byte(0), packet(kindError, 3, 1, 0))
	f.Add(byte(slices.Index(names, "GetProperty")), append(packet(22, 0, 0, 1), packet(kindReply, 32, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 3)...))
	f.Add(byte(slices.Index(names, "GetWindowAttributes")), append(packet(kindReply, 0, 1, 3), make([]byte, 12)...))
	f.Add(byte(slices.Index(names, "GetKeyboardMapping")), append(packet(kindReply, 1, 1, 248), make([]byte, 4*248)...))
	f.Fuzz(func(t *testing.T, call byte, b []byte) {
		x := hostile(t, func(number uint16, request []byte) []byte {
			if number == 1 {
				return b
			}
			return packet(kindReply, 0, number, 0)
		})
		x.guard.patience = time.Millisecond // most inputs answer nothing, and wait it out
		_ = calls[names[int(call)%len(names)]](x)
		_ = calls["QueryPointer"](x)
	})
}
