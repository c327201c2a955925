// Package x11 connects to the display of a seat, and keeps the cookie that
// opens it.
//
// The X client library at hand finds its cookie through the environment of the
// process. A stream host serves its seat without touching its environment, so
// the cookie is given here by path:
//
//	conn, err := x11.Dial(":7", "/alloc/7f/auth/Xauthority")
package x11

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jezek/xgb"
)

// SocketDir is where X servers listen, by convention of every X client.
const SocketDir = "/tmp/.X11-unix"

const (
	cookieName = "MIT-MAGIC-COOKIE-1"
	cookieSize = 16
	familyWild = 0xffff // of an entry that is good for any host
)

// Cookie is the secret that a client must know.
type Cookie [cookieSize]byte

// NewCookie makes a secret.
func NewCookie() Cookie {
	var c Cookie
	rand.Read(c[:]) // never fails
	return c
}

// The library reports on a process-wide logger, to standard error, what it also
// returns; a server that ended is no news there.
func init() { xgb.Logger = log.New(io.Discard, "", 0) }

// WriteAuthority writes a cookie file, readable by its owner only, which is
// good for any display: its number is not known before the server has chosen it.
func WriteAuthority(path string, c Cookie, uid, gid int) error {
	var b bytes.Buffer
	put := func(s string) {
		binary.Write(&b, binary.BigEndian, uint16(len(s)))
		b.WriteString(s)
	}
	binary.Write(&b, binary.BigEndian, uint16(familyWild))
	put("") // address
	put("") // display number
	put(cookieName)
	put(string(c[:]))

	// A name of its own, then a rename: nobody reads half a cookie, and a file
	// or link that lies at path already is replaced and not written through.
	f, err := os.CreateTemp(filepath.Dir(path), ".Xauthority-*")
	if err != nil {
		return fmt.Errorf("create cookie file: %w", err)
	}
	_, err = f.Write(b.Bytes())
	if err == nil && (uid != os.Getuid() || gid != os.Getgid()) {
		err = f.Chown(uid, gid)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write cookie file: %w", err)
	}
	return nil
}

// ReadAuthority finds the cookie for a display number in a cookie file.
func ReadAuthority(path string, number int) (Cookie, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return Cookie{}, fmt.Errorf("read cookie file: %w", err)
	}
	r := bytes.NewReader(raw)
	get := func() (string, error) {
		var n uint16
		if err := binary.Read(r, binary.BigEndian, &n); err != nil {
			return "", err
		}
		s := make([]byte, n)
		_, err := io.ReadFull(r, s)
		return string(s), err
	}
	for {
		var family uint16
		if err := binary.Read(r, binary.BigEndian, &family); err != nil {
			return Cookie{}, fmt.Errorf("no cookie for display :%d in %s", number, path)
		}
		var field [4]string // address, number, name, data
		for i := range field {
			if field[i], err = get(); err != nil {
				return Cookie{}, fmt.Errorf("cookie file %s is cut short", path)
			}
		}
		if field[1] != "" && field[1] != strconv.Itoa(number) {
			continue
		}
		if field[2] == cookieName && len(field[3]) == cookieSize {
			return Cookie([]byte(field[3])), nil
		}
	}
}

// Dial connects to a local display by name (":7") with the cookie from the
// file at authority; without authority it asks for entry without a cookie.
func Dial(display, authority string) (*xgb.Conn, error) {
	number, err := Number(display)
	if err != nil {
		return nil, err
	}
	setup := setupRequest("", nil)
	if authority != "" {
		cookie, err := ReadAuthority(authority, number)
		if err != nil {
			return nil, err
		}
		setup = setupRequest(cookieName, cookie[:])
	}
	nc, err := net.Dial("unix", Socket(number))
	if err != nil {
		return nil, fmt.Errorf("connect to display %s: %w", display, err)
	}
	conn, err := xgb.NewConnNet(&setupConn{Conn: nc, setup: setup})
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to display %s: %w", display, err)
	}
	return conn, nil
}

// Socket is the path on which the display of this number listens.
func Socket(number int) string { return filepath.Join(SocketDir, "X"+strconv.Itoa(number)) }

// Number reads ":7" or ":7.0".
func Number(display string) (int, error) {
	s, ok := strings.CutPrefix(display, ":")
	s, _, _ = strings.Cut(s, ".")
	n, err := strconv.Atoi(s)
	if !ok || err != nil || n < 0 {
		return 0, fmt.Errorf("display %q is not of the form :7", display)
	}
	return n, nil
}

// setupRequest is the first message of a client: byte order, protocol 11.0,
// and what opens the door.
func setupRequest(name string, data []byte) []byte {
	b := []byte{'l', 0}
	for _, v := range []int{11, 0, len(name), len(data), 0} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	for _, s := range [][]byte{[]byte(name), data} {
		b = append(b, s...)
		b = append(b, make([]byte, xgb.Pad(len(s))-len(s))...)
	}
	return b
}

// setupConn sends its own setup request in place of the library's, whose
// cookie comes from the process environment.
type setupConn struct {
	net.Conn
	setup []byte
}

func (c *setupConn) Write(b []byte) (int, error) {
	if c.setup == nil {
		return c.Conn.Write(b)
	}
	if len(b) < 12 || b[0] != 'l' {
		return 0, errors.New("setup request expected")
	}
	setup := c.setup
	c.setup = nil
	if _, err := c.Conn.Write(setup); err != nil {
		return 0, err
	}
	return len(b), nil
}
