// Package stun answers STUN binding requests (RFC 8489): it tells whoever asks
// by UDP from which address the question came.
//
// It is a beacon by UDP. A browser's RTCPeerConnection that has it for an ICE
// server gathers a server-reflexive candidate after one round trip, without TCP
// and TLS before it, and so learns two things at once: how far the site is, and
// that UDP gets through. No more than that is answered: no authentication, no
// TURN, nothing but binding requests, and an answer is at most 24 bytes longer
// than its question, which makes it no amplifier.
//
//	conn, err := net.ListenPacket("udp", ":3478")
//	err = stun.Serve(ctx, conn) // until ctx ends
package stun

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

const (
	header          = 20
	cookie          = 0x2112A442
	bindingRequest  = 0x0001
	bindingResponse = 0x0101
	xorMapped       = 0x0020
	// largest is more than any question that is answered.
	largest = 1500
)

// Serve answers on conn until ctx ends, and closes it.
func Serve(ctx context.Context, conn *net.UDPConn) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		if stop() {
			conn.Close()
		}
	}()
	in, out := make([]byte, largest), make([]byte, 0, header+24)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(in)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("read a STUN request: %w", err)
		case err != nil:
			continue // of a packet before: an answer that nobody waited for
		}
		if transaction, ok := request(in[:n]); ok {
			// Who asked may be gone, or out of reach; UDP promises nothing.
			_, _ = conn.WriteToUDPAddrPort(answer(out[:0], transaction, from), from)
		}
	}
}

// request reports whether a packet is a binding request, and gives its
// transaction. What attributes it has are of no interest.
func request(p []byte) (transaction []byte, ok bool) {
	if len(p) < header || binary.BigEndian.Uint16(p) != bindingRequest || binary.BigEndian.Uint32(p[4:]) != cookie {
		return nil, false
	}
	length := int(binary.BigEndian.Uint16(p[2:]))
	return p[8:header], length%4 == 0 && length == len(p)-header
}

// answer appends a binding response: the address the request came from, XORed
// so that no middlebox mends it.
func answer(b, transaction []byte, from netip.AddrPort) []byte {
	address := from.Addr().Unmap()
	ip := address.AsSlice()
	family := byte(1)
	if address.Is6() {
		family = 2
	}
	b = binary.BigEndian.AppendUint16(b, bindingResponse)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(ip)))
	b = binary.BigEndian.AppendUint32(b, cookie)
	b = append(b, transaction...)
	mask := b[4:header] // cookie and transaction
	b = binary.BigEndian.AppendUint16(b, xorMapped)
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(ip)))
	b = append(b, 0, family)
	b = binary.BigEndian.AppendUint16(b, from.Port()^cookie>>16)
	for i := range ip {
		b = append(b, ip[i]^mask[i])
	}
	return b
}
