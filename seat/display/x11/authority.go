package x11

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

const (
	cookieName = "MIT-MAGIC-COOKIE-1"
	cookieSize = 16
)

// Address families of a cookie file's entries. The others are of displays that
// are reached over a network.
const (
	familyLocal = 256    // a display of the computer that the entry names
	familyWild  = 0xffff // any display
)

// maxAuthority is far more than a cookie file needs.
const maxAuthority = 1 << 20

// Cookie is the secret that a client must know.
type Cookie [cookieSize]byte

// NewCookie makes a secret.
func NewCookie() Cookie {
	var c Cookie
	rand.Read(c[:]) // never fails
	return c
}

// WriteAuthority writes a cookie file, readable by its owner only. It is good
// for any display: the number is not known before the server has chosen it.
func WriteAuthority(path string, c Cookie, uid, gid int) error {
	// A temporary file, then a rename: nobody reads half a cookie, and a file or
	// link that is at path already is replaced, not written through.
	f, err := os.CreateTemp(filepath.Dir(path), ".Xauthority-*")
	if err != nil {
		return fmt.Errorf("create cookie file: %w", err)
	}
	_, err = f.Write(appendEntry(nil, familyWild, "", "", cookieName, c[:]))
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

// appendEntry appends one entry of a cookie file: a family, then four byte
// strings, each after its length. Numbers are big-endian of 16 bits.
func appendEntry(b []byte, family uint16, address, number, name string, data []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, family)
	for _, field := range [][]byte{[]byte(address), []byte(number), []byte(name), data} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(field)))
		b = append(b, field...)
	}
	return b
}

// ReadAuthority finds the cookie for a display number in a cookie file.
func ReadAuthority(path string, number int) (Cookie, error) {
	file, err := readRegular(path)
	if err != nil {
		return Cookie{}, fmt.Errorf("read cookie file: %w", err)
	}
	c, err := findCookie(file, number)
	if err != nil {
		return Cookie{}, fmt.Errorf("read cookie file %s: %w", path, err)
	}
	return c, nil
}

// readRegular reads a small file. The path may be an application's, which could
// put a named pipe there: opening it must not wait for a writer.
func readRegular(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxAuthority+1))
	if err == nil && len(b) > maxAuthority {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxAuthority)
	}
	return b, err
}

var errCutShort = errors.New("it is cut short")

// findCookie finds the cookie for a local display's number in the content of a
// cookie file. The first match counts. The computer that an entry names does not
// matter: a seat's file has one entry, for its own display.
func findCookie(file []byte, number int) (Cookie, error) {
	want := []byte(strconv.Itoa(number))
	next := func(n int) (b []byte, ok bool) {
		if len(file) < n {
			return nil, false
		}
		b, file = file[:n], file[n:]
		return b, true
	}
	for len(file) > 0 {
		b, ok := next(2)
		if !ok {
			return Cookie{}, errCutShort
		}
		family := binary.BigEndian.Uint16(b)
		var field [4][]byte // address, number, name, data
		for i := range field {
			if b, ok = next(2); ok {
				field[i], ok = next(int(binary.BigEndian.Uint16(b)))
			}
			if !ok {
				return Cookie{}, errCutShort
			}
		}
		display, name, data := field[1], field[2], field[3]
		switch {
		case family != familyLocal && family != familyWild:
		case len(display) > 0 && !bytes.Equal(display, want):
		case string(name) == cookieName && len(data) == cookieSize:
			return Cookie(data), nil
		}
	}
	return Cookie{}, fmt.Errorf("it has no cookie for display :%d", number)
}
