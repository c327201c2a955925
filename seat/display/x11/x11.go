// Package x11 connects a client to a local X display, and keeps the cookie file
// that admits it. Everything in a stream host that talks to the display comes
// through here: window manager, input and capture.
//
//	conn, err := x11.Dial(":7", "/alloc/7f/auth/Xauthority") // for the library xgb
//	conn, setup, err := x11.Connect(":7", "/alloc/7f/auth/Xauthority") // a bare socket
//
// X client libraries find their cookie through the environment of the process.
// A stream host serves its seat without changing its own environment, so this
// package takes the path of the cookie file instead.
//
// Both the cookie file and the answers of the server are in the application's
// reach: it may run as the same user. Malformed ones are errors, never a panic
// or a wait for a file that does not end.
package x11

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jezek/xgb"
)

// SocketDir is where X servers listen, by convention of every X client.
const SocketDir = "/tmp/.X11-unix"

// Socket is the path on which the display of this number listens.
func Socket(number int) string { return filepath.Join(SocketDir, "X"+strconv.Itoa(number)) }

// Number reads ":7" or ":7.0".
func Number(display string) (int, error) {
	s, ok := strings.CutPrefix(display, ":")
	s, _, _ = strings.Cut(s, ".")
	n, err := strconv.Atoi(s)
	if !ok || err != nil || n < 0 {
		return 0, fmt.Errorf("display %q must be a local one, of the form \":7\"", display)
	}
	return n, nil
}

// Connect connects to a local display by name (":7") with the cookie from the
// file at authority; an empty authority connects without a cookie.
func Connect(display, authority string) (*net.UnixConn, Setup, error) {
	conn, _, setup, err := connect(display, authority)
	return conn, setup, err
}

// Dial is Connect for the client library xgb.
func Dial(display, authority string) (*xgb.Conn, error) {
	conn, reply, _, err := connect(display, authority)
	if err != nil {
		return nil, err
	}
	x, err := xgb.NewConnNet(&setUpConn{Conn: conn, reply: reply})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to display %s: %w", display, err)
	}
	return x, nil
}

// connect also returns the server's reply to the set-up request.
func connect(display, authority string) (*net.UnixConn, []byte, Setup, error) {
	number, err := Number(display)
	if err != nil {
		return nil, nil, Setup{}, err
	}
	var cookie *Cookie
	if authority != "" {
		c, err := ReadAuthority(authority, number)
		if err != nil {
			return nil, nil, Setup{}, err
		}
		cookie = &c
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: Socket(number), Net: "unix"})
	if err != nil {
		return nil, nil, Setup{}, fmt.Errorf("connect to display %s: %w", display, err)
	}
	reply, setup, err := setUp(conn, cookie)
	if err != nil {
		conn.Close()
		return nil, nil, Setup{}, fmt.Errorf("connect to display %s: %w", display, err)
	}
	return conn, reply, setup, nil
}

// xgb logs on a process-wide logger, to standard error, what it also returns. A
// server that ended is not news there.
func init() { xgb.Logger = log.New(io.Discard, "", 0) }

// setUpConn is a connection that is set up already. It answers the library's own
// set-up request, which has a cookie from the process environment, with the reply
// that the server gave to ours.
type setUpConn struct {
	net.Conn
	asked bool
	reply []byte // what is still to be read
}

func (c *setUpConn) Write(b []byte) (int, error) {
	if c.asked {
		return c.Conn.Write(b)
	}
	if len(b) < requestHead || b[0] != littleEndian {
		return 0, errors.New("the first message is not a set-up request")
	}
	c.asked = true
	return len(b), nil
}

func (c *setUpConn) Read(b []byte) (int, error) {
	if len(c.reply) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.reply)
	c.reply = c.reply[n:]
	return n, nil
}
