package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
)

const hostileWidth, hostileHeight = 64, 48

// hostile is the Config to capture a server that answers like this.
func hostile(t *testing.T, answer func(testkit.XRequest) []byte) Config {
	t.Helper()
	return Config{Dial: testkit.FakeX(t, hostileWidth, hostileHeight, answer), Width: hostileWidth, Height: hostileHeight,
		FPS: 30, Codec: VP8, Encoder: "auto", BitrateBPS: 1_000_000, OnFrame: func(Frame) {},
		Log: slog.New(slog.DiscardHandler), patience: 10 * time.Second}
}

// capturing opens the screen and reads some pictures.
func capturing(t *testing.T, cfg Config) error {
	t.Helper()
	s, err := openScreen(t.Context(), cfg, cfg.Log)
	if err != nil {
		return err
	}
	defer s.close()
	for range 3 {
		s.cursorStale.Store(true)
		if _, err := s.grab(); err != nil {
			return err
		}
	}
	return nil
}

// allocated is how many bytes this process has ever allocated.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// pretend is a packet that says that so many words follow its first 32 bytes,
// and a part of them.
func pretend(q testkit.XRequest, kind byte, words uint32) []byte {
	b := q.Reply(0)
	b[0] = kind
	binary.LittleEndian.PutUint32(b[4:], words)
	return append(b, make([]byte, 1<<20)...)
}

func TestHostileServer(t *testing.T) {
	without := func(q testkit.XRequest) []byte { // shared memory
		if q.Is(testkit.XShm, 0) {
			return q.Reply(0, 1, 0, 1, 0)
		}
		return q.Honest()
	}
	cursor := func(width, height uint16, data int) func(q testkit.XRequest) []byte {
		return func(q testkit.XRequest) []byte {
			b := make([]byte, 24+data)
			binary.LittleEndian.PutUint16(b[4:], width)
			binary.LittleEndian.PutUint16(b[6:], height)
			return q.Reply(0, b...)
		}
	}
	// instead answers one request in another way.
	instead := func(opcode, minor byte, answer func(q testkit.XRequest) []byte) func(q testkit.XRequest) []byte {
		return func(q testkit.XRequest) []byte {
			if q.Is(opcode, minor) {
				return answer(q)
			}
			return without(q)
		}
	}
	const getImage, queryPointer = 73, 38
	for name, c := range map[string]struct {
		answer func(testkit.XRequest) []byte
		say    string
	}{
		"an honest one":                        {testkit.XRequest.Honest, ""},
		"an honest one without shared memory":  {without, ""},
		"a picture of 16 GiB":                  {instead(getImage, 0, func(q testkit.XRequest) []byte { return pretend(q, 1, 1<<32-1) }), "too large"},
		"a picture that is a little too large": {instead(getImage, 0, func(q testkit.XRequest) []byte { return pretend(q, 1, hostileWidth*hostileHeight+1) }), "too large"},
		"a picture that is too small":          {instead(getImage, 0, func(q testkit.XRequest) []byte { return q.Reply(24, make([]byte, 1000)...) }), "incomplete picture"},
		"half a reply":                         {instead(getImage, 0, func(q testkit.XRequest) []byte { return q.Reply(0)[:20] }), "did not answer"},
		"a picture without end of its bytes":   {instead(getImage, 0, func(q testkit.XRequest) []byte { return q.Honest()[:5000] }), "did not answer"},
		"a cursor of 16 GiB":                   {instead(testkit.XFixes, 4, func(q testkit.XRequest) []byte { return pretend(q, 1, 1<<32-1) }), "too large"},
		"a cursor that lies":                   {instead(testkit.XFixes, 4, cursor(0xffff, 0xffff, 64)), "incomplete cursor"},
		"a cursor without pixels":              {instead(testkit.XFixes, 4, cursor(0, 0xffff, 0)), ""},
		"a far hot spot":                       {instead(queryPointer, 0, func(q testkit.XRequest) []byte { return q.Reply(1, bytes.Repeat([]byte{0x80}, 24)...) }), ""},
		"an event of 16 GiB": {instead(getImage, 0, func(q testkit.XRequest) []byte {
			return append(pretend(q, xGenericEvent, 1<<32-1), q.Honest()...)
		}), "too large"},
		"a large event": {instead(getImage, 0, func(q testkit.XRequest) []byte {
			event := append(q.Reply(0), make([]byte, maxEvent)...)
			event[0] = xGenericEvent
			binary.LittleEndian.PutUint32(event[4:], maxEvent/4)
			return append(event, q.Honest()...)
		}), ""},
		"a reply twice": {instead(getImage, 0, func(q testkit.XRequest) []byte { return append(q.Honest(), q.Honest()...) }), "nobody made"},
		"replies without end": {instead(98, 0, func(q testkit.XRequest) []byte {
			return bytes.Repeat(pretend(q, 1, 1<<18), 64)
		}), "too large"},
		"errors without end": {instead(getImage, 0, func(q testkit.XRequest) []byte { return bytes.Repeat(q.Error(3), 1<<16) }), "X error 3"},
		"silence":            {func(testkit.XRequest) []byte { return nil }, "did not answer"},
		"silence at the end": {instead(getImage, 0, func(testkit.XRequest) []byte { return nil }), "did not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t) })
			cfg := hostile(t, c.answer)
			if c.say == "did not answer" {
				cfg.patience = 100 * time.Millisecond
			}
			before := allocated()
			err := capturing(t, cfg)
			if c.say == "" && err != nil || c.say != "" && (err == nil || !strings.Contains(err.Error(), c.say)) {
				t.Errorf("capturing says %v, not %q", err, c.say)
			}
			// The server's own answers are in it.
			if grown := allocated() - before; grown > 256<<20 {
				t.Errorf("it cost %d MiB", grown>>20)
			}
		})
	}
}

// A server that turns hostile ends the pipeline, and says why.
func TestServerTurnsHostile(t *testing.T) {
	turned := make(chan struct{})
	cfg := hostile(t, func(q testkit.XRequest) []byte {
		select {
		case <-turned:
			return pretend(q, 1, 1<<32-1)
		default:
			return q.Honest()
		}
	})
	p := start(t, cfg)
	close(turned)
	p.Keyframe()
	select {
	case <-p.Done():
	case <-testkit.Context(t, time.Minute).Done():
		t.Fatal("the pipeline did not end")
	}
	if err := p.Err(); !errors.Is(err, errTooLarge) && !errors.Is(err, errUnasked) {
		t.Errorf("the pipeline says %v", err)
	}
}

// Close and the end of the context do not wait for a server that is silent.
func TestCloseDoesNotWaitForTheServer(t *testing.T) {
	asked := make(chan struct{}, 1000)
	images := 0
	answer := func(q testkit.XRequest) []byte {
		if q.Is(testkit.XShm, shmGetImage) {
			if images++; images > 1 {
				asked <- struct{}{}
				return nil
			}
		}
		return q.Honest()
	}
	cfg := hostile(t, answer)
	cfg.patience = time.Hour
	p := start(t, cfg)
	p.Keyframe()
	<-asked
	p.Close()
	if err := p.Err(); err != nil {
		t.Errorf("Err after Close: %v", err)
	}

	cfg = hostile(t, func(testkit.XRequest) []byte { asked <- struct{}{}; return nil })
	cfg.patience = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if p, err := Start(ctx, cfg); err == nil {
		p.Close()
		t.Error("a silent server was accepted")
	}
}

// Who gets the picture's memory can write into it, and do nothing else.
func TestSharedMemoryIsSealed(t *testing.T) {
	const size = 4 * hostileWidth * hostileHeight
	var memory *os.File
	cfg := hostile(t, func(q testkit.XRequest) []byte {
		attach := q.Is(testkit.XShm, shmAttachFd)
		if n := len(q.Files); n > 1 || attach != (n == 1) {
			t.Errorf("%d files come with request %d.%d", n, q.Bytes[0], q.Bytes[1])
		}
		switch {
		case attach:
			if q.Bytes[8] != 0 {
				t.Error("the server may not write")
			}
			fd, err := unix.FcntlInt(q.Files[0].Fd(), unix.F_DUPFD_CLOEXEC, 3)
			if err != nil {
				t.Error(err)
				return nil
			}
			memory = os.NewFile(uintptr(fd), "memory")
		case q.Is(testkit.XShm, shmGetImage):
			if _, err := memory.WriteAt([]byte{1, 2, 3, 4}, size-4); err != nil {
				t.Error(err)
			}
		}
		return q.Honest()
	})
	s, err := openScreen(t.Context(), cfg, cfg.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if s.shm == nil {
		t.Fatal("no memory is shared")
	}
	defer memory.Close()
	if info, err := memory.Stat(); err != nil || info.Size() != size {
		t.Errorf("the memory is %v, %v", info, err)
	}
	for name, attack := range map[string]func() error{
		"shrink it":                    func() error { return memory.Truncate(0) },
		"shrink it by a byte":          func() error { return memory.Truncate(size - 1) },
		"let it grow":                  func() error { return memory.Truncate(1 << 40) },
		"let it grow by a write":       func() error { _, err := memory.WriteAt([]byte("x"), 1<<30); return err },
		"let it grow by an allocation": func() error { return unix.Fallocate(int(memory.Fd()), 0, 0, 1<<30) },
		"seal it against writing": func() error {
			_, err := unix.FcntlInt(memory.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE)
			return err
		},
		"open it anew to shrink it": func() error {
			again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", memory.Fd()), os.O_RDWR|os.O_TRUNC, 0)
			if err == nil {
				again.Close()
			}
			return err
		},
	} {
		if err := attack(); !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: %v", name, err)
		}
	}
	picture, err := s.grab()
	if err != nil {
		t.Fatal(err)
	}
	if got := picture[size-4:]; !bytes.Equal(got, []byte{1, 2, 3, 4}) {
		t.Errorf("the last pixel is %v", got)
	}
	// A hole is the worst that is left: it reads as black.
	if err := unix.Fallocate(int(memory.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, size); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, bytes.NewReader(s.shm)); n != size || err != nil {
		t.Errorf("after a hole, %d bytes, %v", n, err)
	}
}

// Where the server refuses the memory, pictures come by the socket.
func TestServerRefusesMemory(t *testing.T) {
	cfg := hostile(t, func(q testkit.XRequest) []byte {
		if q.Is(testkit.XShm, shmAttachFd) {
			return q.Error(8) // BadMatch
		}
		return q.Honest()
	})
	var log strings.Builder
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	if err := capturing(t, cfg); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "X error 8") {
		t.Errorf("the log does not say why: %s", log.String())
	}
}
