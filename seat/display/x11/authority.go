package x11

import (
	"crypto/rand"
	"encoding/binary"
)

const (
	cookieName = "MIT-MAGIC-COOKIE-1"
	cookieSize = 16
)

// familyWild is the address family of a cookie file's entry for any display.
const familyWild = 0xffff

// Cookie is the secret that a client must know. The zero value is none: a client
// connects without.
type Cookie [cookieSize]byte

// NewCookie makes a secret.
func NewCookie() Cookie {
	var c Cookie
	rand.Read(c[:]) // never fails
	return c
}

// Authority is the content of a cookie file, for the option -auth of a server and
// for XAUTHORITY of its clients. It is good for any display: the number is not
// known before the server has chosen it.
func Authority(c Cookie) []byte {
	// One entry: a family, then address, display number, name and data, each after
	// its length. Numbers are big-endian.
	b := binary.BigEndian.AppendUint16(nil, familyWild)
	for _, field := range [][]byte{nil, nil, []byte(cookieName), c[:]} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(field)))
		b = append(b, field...)
	}
	return b
}
