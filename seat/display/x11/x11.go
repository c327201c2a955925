// Package x11 introduces a client to an X display. Everything in a stream host
// that talks to the display comes through here: window manager, input and capture.
//
//	dial := x11.Local(":7") // or what opens a connection in another namespace
//	client, err := x11.Dial(dial, cookie)         // for the library xgb
//	conn, setup, err := x11.Connect(dial, cookie) // a bare socket
//
// X client libraries find socket and cookie by paths in the environment of their
// process. The stream host must open no path that the application could have
// changed, so it has a Dialer and the cookie itself.
//
// The server is in the application's reach, which may have taken it over. What it
// sends is checked: a malformed or too large answer is an error, and so is none
// for Patience. It cannot make a client panic, wait without end or use more than
// a little memory.
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
	"time"

	"github.com/jezek/xgb"
)

// Patience is how long a client waits until the server has answered a request, or
// has read it. A server that takes longer counts as lost.
const Patience = 10 * time.Second

// Dialer opens a new connection to a display. It returns in bounded time.
type Dialer func() (*net.UnixConn, error)

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

// Local connects to a display in this mount namespace by its name: ":7".
func Local(display string) Dialer {
	return func() (*net.UnixConn, error) {
		number, err := Number(display)
		if err != nil {
			return nil, err
		}
		return net.DialUnix("unix", nil, &net.UnixAddr{Name: Socket(number), Net: "unix"})
	}
}

// Connect opens a connection and introduces a client that speaks the protocol
// itself. That client must not trust what comes after the set-up.
func Connect(dial Dialer, cookie Cookie) (*net.UnixConn, Setup, error) {
	conn, _, setup, err := connect(dial, cookie)
	return conn, setup, err
}

// Client is a client of the library xgb, whose server the guard checks.
type Client struct {
	*xgb.Conn
	guard *guard
}

// Dial is Connect for the library xgb. Requests whose replies the guard does not
// know fail; it has a table of them.
func Dial(dial Dialer, cookie Cookie) (*Client, error) {
	conn, reply, _, err := connect(dial, cookie)
	if err != nil {
		return nil, err
	}
	g := newGuard(conn, Patience)
	x, err := xgb.NewConnNet(&setUpConn{Conn: g, reply: reply})
	if err != nil {
		g.Close()
		return nil, fmt.Errorf("connect to the display: %w", err)
	}
	return &Client{Conn: x, guard: g}, nil
}

// HangUp closes the connection at once, for the reason that Err then returns.
// Calls that wait for the server return.
func (c *Client) HangUp(reason error) { c.guard.fail(reason) }

// Err says why the connection was lost; nil while it is open, and where Close or
// the end of the server ended it.
func (c *Client) Err() error { return c.guard.failure() }

// connect also returns the server's reply to the set-up request.
func connect(dial Dialer, cookie Cookie) (*net.UnixConn, []byte, Setup, error) {
	conn, err := dial()
	if err != nil {
		return nil, nil, Setup{}, fmt.Errorf("connect to the display: %w", err)
	}
	var reply []byte
	var setup Setup
	if err = conn.SetDeadline(time.Now().Add(Patience)); err == nil {
		reply, setup, err = setUp(conn, cookie)
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		return nil, nil, Setup{}, fmt.Errorf("connect to the display: %w", err)
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
