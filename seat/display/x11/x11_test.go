package x11

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/jezek/xgb/xproto"

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
func protected(t *testing.T) (display, authority string) {
	t.Helper()
	authority = filepath.Join(t.TempDir(), "Xauthority")
	if err := WriteAuthority(authority, NewCookie(), os.Getuid(), os.Getgid()); err != nil {
		t.Fatal(err)
	}
	display, _ = testkit.Xvfb(t, nil, "-auth", authority)
	return display, authority
}

func TestConnectAndDialAgree(t *testing.T) {
	display, authority := protected(t)
	conn, setup, err := Connect(display, authority)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	x, err := Dial(display, authority)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	screen := xproto.Setup(x).DefaultScreen(x)
	if setup.Root != uint32(screen.Root) || setup.Width != int(screen.WidthInPixels) || setup.Height != int(screen.HeightInPixels) ||
		setup.Depth != int(screen.RootDepth) {
		t.Errorf("Connect says %+v, xgb %+v", setup, screen)
	}
	if setup.Width != 1280 || setup.Height != 720 || setup.Depth != 24 || setup.BitsPerPixel != 32 || setup.BigEndian {
		t.Errorf("the set-up is %+v", setup)
	}
	// The ids of clients differ, and the library's requests reach the server.
	if base := xproto.Setup(x).ResourceIdBase; base == setup.ResourceBase {
		t.Errorf("both clients got the ids from %#x", base)
	}
	if _, err := xproto.GetGeometry(x, xproto.Drawable(screen.Root)).Reply(); err != nil {
		t.Error(err)
	}
}

func TestWithoutTheCookie(t *testing.T) {
	display, authority := protected(t)
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := WriteAuthority(wrong, NewCookie(), os.Getuid(), os.Getgid()); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"none": "", "wrong": wrong, "missing": authority + "-missing"} {
		if conn, _, err := Connect(display, file); err == nil {
			conn.Close()
			t.Errorf("cookie file %s: connected", name)
		}
		if x, err := Dial(display, file); err == nil {
			x.Close()
			t.Errorf("cookie file %s: xgb connected", name)
		}
	}
}

// A server that ends, or says nonsense, in the middle of the set-up is an error.
func TestBrokenServer(t *testing.T) {
	if err := os.MkdirAll(SocketDir, 0o777); err != nil {
		t.Fatal(err)
	}
	number := 100_000 + os.Getpid() // no X server takes such a number
	display := fmt.Sprintf(":%d", number)
	listener, err := net.Listen("unix", Socket(number))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for name, reply := range map[string]string{
		"nothing":     "",
		"half a head": "\x01\x00\x0b\x00",
		"cut short":   "\x01\x00\x0b\x00\x00\x00\xff\xff0123",
		"nonsense":    "HTTP/1.1 400 Bad Request\r\n\r\n",
	} {
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 64))
			conn.Write([]byte(reply))
			conn.Close()
		}()
		if x, err := Dial(display, ""); err == nil {
			x.Close()
			t.Errorf("%s: connected", name)
		}
	}
}
