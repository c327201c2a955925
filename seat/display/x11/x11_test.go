package x11

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jezek/xgb/xproto"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
)

func TestNumber(t *testing.T) {
	for display, want := range map[string]int{":7": 7, ":7.0": 7, ":0": 0, ":58999.1": 58999} {
		if n, err := Number(display); err != nil || n != want {
			t.Errorf("%q: %d, %v; want %d", display, n, err, want)
		}
	}
	for _, display := range []string{"", ":", "7", ":-1", ":x", ":7:0", "example.org:1", ":99999999999999999999", ":../X7"} {
		if n, err := Number(display); err == nil {
			t.Errorf("%q is taken for %d", display, n)
		}
	}
}

// protected is a display that admits only who knows the cookie.
func protected(t *testing.T) (Dialer, Cookie) {
	t.Helper()
	file, cookie := filepath.Join(t.TempDir(), "Xauthority"), NewCookie()
	testkit.Must(t, os.WriteFile(file, Authority(cookie), 0o600))
	display, _ := testkit.Xvfb(t, nil, "-auth", file)
	return Local(display), cookie
}

func TestConnectAndDialAgree(t *testing.T) {
	dial, cookie := protected(t)
	conn, setup, err := Connect(dial, cookie)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	x, err := Dial(dial, cookie)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	screen := xproto.Setup(x.Conn).DefaultScreen(x.Conn)
	if setup.Root != uint32(screen.Root) || setup.Width != int(screen.WidthInPixels) || setup.Height != int(screen.HeightInPixels) ||
		setup.Depth != int(screen.RootDepth) {
		t.Errorf("Connect says %+v, xgb %+v", setup, screen)
	}
	if setup.Width != 1280 || setup.Height != 720 || setup.Depth != 24 || setup.BitsPerPixel != 32 || setup.BigEndian {
		t.Errorf("the set-up is %+v", setup)
	}
	// The ids of clients differ, and the library's requests reach the server.
	if base := xproto.Setup(x.Conn).ResourceIdBase; base == setup.ResourceBase {
		t.Errorf("both clients got the ids from %#x", base)
	}
	if _, err := xproto.GetGeometry(x.Conn, xproto.Drawable(screen.Root)).Reply(); err != nil {
		t.Error(err)
	}
}

// A client may get a connection that another process opened.
func TestConnectedSocketIsEnough(t *testing.T) {
	dial, cookie := protected(t)
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	file, err := conn.File() // as a descriptor that came by SCM_RIGHTS
	conn.Close()
	if err != nil {
		t.Fatal(err)
	}
	x, err := Dial(func() (*net.UnixConn, error) {
		defer file.Close()
		c, err := net.FileConn(file)
		if err != nil {
			return nil, err
		}
		return c.(*net.UnixConn), nil
	}, cookie)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if _, err := xproto.GetInputFocus(x.Conn).Reply(); err != nil {
		t.Error(err)
	}
}

func TestWithoutTheCookie(t *testing.T) {
	dial, _ := protected(t)
	for name, cookie := range map[string]Cookie{"no": {}, "a wrong": NewCookie()} {
		if conn, _, err := Connect(dial, cookie); err == nil {
			conn.Close()
			t.Errorf("%s cookie: connected", name)
		}
		if x, err := Dial(dial, cookie); err == nil {
			x.Close()
			t.Errorf("%s cookie: xgb connected", name)
		}
	}
}

func TestDialerFails(t *testing.T) {
	refused := errors.New("refused")
	for name, dial := range map[string]Dialer{
		"an error":   func() (*net.UnixConn, error) { return nil, refused },
		"no display": Local(":59999"),
		"nonsense":   Local("example.org:1"),
	} {
		_, _, err := Connect(dial, Cookie{})
		_, xerr := Dial(dial, Cookie{})
		if err == nil || xerr == nil {
			t.Errorf("%s: %v, %v", name, err, xerr)
		}
		if name == "an error" && !errors.Is(err, refused) {
			t.Errorf("the reason is lost: %v", err)
		}
	}
}

// pair is a connection, of which the test is the server.
func pair(t testing.TB) (server *net.UnixConn, dial Dialer) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		conn, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		ends[i] = conn.(*net.UnixConn)
	}
	return ends[0], func() (*net.UnixConn, error) { return ends[1], nil }
}

// A server that ends, or says nonsense, in the middle of the set-up is an error.
func TestBrokenServer(t *testing.T) {
	for name, reply := range map[string]string{
		"nothing":     "",
		"half a head": "\x01\x00\x0b\x00",
		"cut short":   "\x01\x00\x0b\x00\x00\x00\xff\xff0123",
		"nonsense":    "HTTP/1.1 400 Bad Request\r\n\r\n",
		"control":     "\x00\x08\x0b\x00\x00\x00\x02\x00\x1b[31mno\n",
	} {
		server, dial := pair(t)
		go func() {
			server.Read(make([]byte, 64))
			server.Write([]byte(reply))
			server.Close()
		}()
		x, err := Dial(dial, Cookie{})
		if err == nil {
			x.Close()
			t.Errorf("%s: connected", name)
		} else if strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("%s: the error has what controls a terminal: %q", name, err)
		}
	}
}
