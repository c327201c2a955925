package cell

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
)

// pair is both ends of a connection.
func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	a, f, err := Pair()
	testkit.Must(t, err)
	b, err = NewConn(f)
	testkit.Must(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// hostile is a connection, and the other end as a bare socket.
func hostile(t *testing.T) (ours *Conn, theirs int) {
	t.Helper()
	ours, f, err := Pair()
	testkit.Must(t, err)
	t.Cleanup(func() { ours.Close(); f.Close() })
	return ours, int(f.Fd())
}

func tempFile(t *testing.T, text string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	testkit.Must(t, os.WriteFile(path, []byte(text), 0o600))
	f, err := os.Open(path)
	testkit.Must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// descriptors counts those of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	testkit.Must(t, err)
	return len(entries)
}

func TestConn(t *testing.T) {
	a, b := pair(t)
	for _, size := range []int{0, 10, maxPacket, 3 << 20} {
		for _, count := range []int{0, 1, maxFiles} {
			t.Run(fmt.Sprintf("%d bytes, %d files", size, count), func(t *testing.T) {
				before := descriptors(t)
				want := Order{ID: size, Op: OpWrite, Data: []byte(strings.Repeat("é", size/2))}
				var files []*os.File
				for i := range count {
					files = append(files, tempFile(t, fmt.Sprint(i)))
				}
				testkit.Must(t, a.Send(want, files...))
				var got Order
				received, err := b.Receive(&got)
				testkit.Must(t, err)
				if len(want.Data) == 0 {
					want.Data = nil
				}
				if !reflect.DeepEqual(got, want) || len(received) != count {
					t.Errorf("got %d with %d bytes and %d files", got.ID, len(got.Data), len(received))
				}
				for i, f := range received {
					if text, err := io.ReadAll(f); err != nil || string(text) != fmt.Sprint(i) {
						t.Errorf("file %d: %q, %v", i, text, err)
					}
					if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
						t.Error("a program would inherit the file")
					}
					f.Close()
				}
				if after := descriptors(t); after != before+count {
					t.Errorf("%d descriptors, there were %d", after, before)
				}
			})
		}
	}
}

func TestConnLimits(t *testing.T) {
	a, b := pair(t)
	if err := a.Send(Order{Data: make([]byte, maxMessage)}); err == nil {
		t.Error("a message that is too large was sent")
	}
	if err := a.Send(Order{}, make([]*os.File, maxFiles+1)...); err == nil {
		t.Error("too many files were sent")
	}
	if err := a.Send(func() {}); err == nil {
		t.Error("a function was sent")
	}
	a.Close()
	if err := b.Send(Order{}); !errors.Is(err, unix.EPIPE) {
		t.Errorf("send to nobody: %v", err)
	}
	if _, err := b.Receive(&Order{}); err != io.EOF {
		t.Errorf("receive from nobody: %v", err)
	}
	b.Close()
	if _, err := b.Receive(&Order{}); err != io.EOF {
		t.Errorf("receive on a closed connection: %v", err)
	}
	if _, err := NewConn(tempFile(t, "")); err == nil {
		t.Error("a file is a connection")
	}
}

// TestReceiveHostile: each message is an error, at once, and leaves no descriptor.
func TestReceiveHostile(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	testkit.Must(t, unix.Mkfifo(fifo, 0o600))
	open := func(path string, flags int) int {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		testkit.Must(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	null, pipe, path, dir := open("/dev/null", unix.O_RDWR), open(fifo, unix.O_RDWR), open(fifo, unix.O_PATH), open("/", unix.O_RDONLY)
	short := int(tempFile(t, `{"id":1`).Fd())
	garbage := int(tempFile(t, `{"id":"text"}`).Fd())
	many := func(n int) (fds []int) {
		for range n {
			fds = append(fds, null)
		}
		return fds
	}
	for name, m := range map[string]struct {
		text  string
		files []int
		end   bool // like the end of the connection
	}{
		"empty":                  {"", nil, true},
		"no JSON":                {"hello", many(1), false},
		"wrong type":             {`{"id":"text"}`, nil, false},
		"list":                   {`[1]`, nil, false},
		"truncated":              {`{"id":` + strings.Repeat(" ", 2*maxPacket) + `1}`, many(2), false},
		"one file too many":      {`{"id":1}`, many(maxFiles + 1), false},
		"files truncated":        {`{"id":1}`, many(200), false},
		"long without file":      {`{"long":10}`, nil, false},
		"long, too long":         {fmt.Sprintf(`{"long":%d}`, maxMessage+1), []int{short}, false},
		"long, more than it has": {`{"long":1000}`, []int{short}, false},
		"long, half":             {`{"long":7}`, []int{short, null}, false},
		"long, wrong type":       {`{"long":13}`, []int{garbage}, false},
		"long from a FIFO":       {`{"long":10}`, []int{pipe, null}, false},
		"long from a path":       {`{"long":10}`, []int{path}, false},
		"long from a directory":  {`{"long":10}`, []int{dir}, false},
		"long from /dev/null":    {`{"long":10}`, []int{null}, false},
		"deep":                   {strings.Repeat("[", maxPacket), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, theirs := hostile(t)
			before := descriptors(t)
			var rights []byte
			if len(m.files) > 0 {
				rights = unix.UnixRights(m.files...)
			}
			testkit.Must(t, unix.Sendmsg(theirs, []byte(m.text), rights, nil, 0))
			files, err := c.Receive(&Order{})
			if err == nil || len(files) > 0 || (err == io.EOF) != m.end {
				t.Errorf("%d files, %v", len(files), err)
			}
			if after := descriptors(t); after != before {
				t.Errorf("%d descriptors, there were %d", after, before)
			}
		})
	}
}

func TestMemoryFile(t *testing.T) {
	f, err := MemoryFile("x", []byte("content"))
	testkit.Must(t, err)
	defer f.Close()
	if _, err := f.WriteAt([]byte("C"), 0); err == nil {
		t.Error("it can be written")
	}
	if err := f.Truncate(0); err == nil {
		t.Error("it can be made shorter")
	}
	if text, err := io.ReadAll(f); err != nil || string(text) != "content" {
		t.Errorf("%q, %v", text, err)
	}
}
