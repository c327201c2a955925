package x11

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// guard stands between xgb and the server, and passes on only what xgb can take.
// xgb trusts its server: it makes as much memory as a reply says that it has, up
// to 4 GiB, and panics in a goroutine of its own where that length overflows; its
// parsers of replies panic on short ones; and it waits for ever after a reply, or
// an error of unknown code, that answers no request.
type guard struct {
	net.Conn
	r        *bufio.Reader
	patience time.Duration
	buf      []byte // the last packet
	rest     []byte // the part of buf that xgb has still to read

	mu     sync.Mutex
	ext    *extension // nil while none is used
	sent   uint16     // number of the last request
	last   uint16     // number of the last request that was answered
	owed   []question
	timer  *time.Timer // runs while a reply is owed
	closed bool
	err    error
}

// question is a request that has a reply, of a size between two limits.
type question struct {
	number uint16
	opcode byte
	limits [2]int
}

// extension is what the guard knows of an extension with replies.
type extension struct {
	opcode, firstError, errors byte
	replySizes                 map[byte][2]int // by minor opcode
}

// learn lets requests of an extension pass.
func (g *guard) learn(e extension) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ext = &e
}

// asks is the size of the reply that a request has, if it has one. The caller holds g.mu.
func (g *guard) asks(request []byte) (limits [2]int, ok bool) {
	if g.ext != nil && request[0] == g.ext.opcode && len(request) > 1 {
		limits, ok = g.ext.replySizes[request[1]]
	} else {
		limits, ok = replySizes[request[0]]
	}
	return limits, ok
}

// errorCode is the code of an error as xgb may know it: it waits for ever after one that
// it does not know.
func (g *guard) errorCode(code byte) (byte, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.ext; e != nil && code >= e.firstError && code-e.firstError < e.errors {
		return badValue, true
	}
	return code, code != 0 && code <= maxErrorCode
}

const badValue = 2

// Opcodes of requests whose replies have no fixed length.
const (
	getProperty        = 20
	getKeyboardMapping = 101
)

const packetSize = 32 // of an event, an error, and a reply at least

// replySizes are the least and the most bytes of the replies that window manager,
// input and clipboard ask for, by opcode.
var replySizes = map[byte][2]int{
	3:                  {44, 44},                 // GetWindowAttributes
	14:                 {packetSize, packetSize}, // GetGeometry
	16:                 {packetSize, packetSize}, // InternAtom
	getProperty:        {packetSize, packetSize + 64<<10},
	23:                 {packetSize, packetSize}, // GetSelectionOwner
	26:                 {packetSize, packetSize}, // GrabPointer
	38:                 {packetSize, packetSize}, // QueryPointer
	43:                 {packetSize, packetSize}, // GetInputFocus
	98:                 {packetSize, packetSize}, // QueryExtension
	getKeyboardMapping: {packetSize, packetSize + 4*maxKeys*maxSyms},
}

const (
	maxKeys = 256
	maxSyms = 255 // of a key
)

// Kinds of packets.
const (
	kindError    = 0
	kindReply    = 1
	genericEvent = 35 // the only event that can be longer than packetSize
)

const maxErrorCode = 17 // of the core protocol; XTEST adds none

func newGuard(conn net.Conn, patience time.Duration) *guard {
	g := &guard{Conn: conn, r: bufio.NewReader(conn), patience: patience}
	g.timer = time.AfterFunc(time.Hour, func() {
		g.fail(fmt.Errorf("the display did not answer within %v", patience))
	})
	g.timer.Stop()
	return g
}

// Write sends one request: xgb writes each by a call of its own.
func (g *guard) Write(request []byte) (int, error) {
	if len(request) == 0 {
		return 0, errors.New("a request is empty")
	}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return 0, net.ErrClosed
	}
	g.sent++
	if limits, asks := g.asks(request); asks {
		g.owed = append(g.owed, question{g.sent, request[0], limits})
		if len(g.owed) == 1 {
			g.timer.Reset(g.patience)
		}
	}
	g.mu.Unlock()
	err := g.Conn.SetWriteDeadline(time.Now().Add(g.patience)) // the server may not read
	if err == nil {
		_, err = g.Conn.Write(request)
	}
	if err != nil {
		g.fail(err)
		return 0, err
	}
	return len(request), nil
}

func (g *guard) Read(b []byte) (int, error) {
	if len(g.rest) == 0 {
		if err := g.next(); err != nil {
			g.fail(err)
			return 0, err
		}
		g.rest = g.buf
	}
	n := copy(b, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

// next reads a packet.
func (g *guard) next() error {
	g.buf = slices.Grow(g.buf[:0], packetSize)[:packetSize]
	if _, err := io.ReadFull(g.r, g.buf); err != nil {
		return err
	}
	number := binary.LittleEndian.Uint16(g.buf[2:])
	switch kind := g.buf[0]; {
	case kind == kindError:
		code, known := g.errorCode(g.buf[1])
		if !known {
			return fmt.Errorf("the display sent an error of unknown code %d", code)
		}
		g.buf[1] = code
		return g.answer(number, false)
	case kind == kindReply:
		size := packetSize + 4*int64(binary.LittleEndian.Uint32(g.buf[4:]))
		q, err := g.asked(number)
		if err != nil {
			return err
		}
		if size < int64(q.limits[0]) || size > int64(q.limits[1]) {
			return fmt.Errorf("the display answered request %d with %d bytes", q.opcode, size)
		}
		g.buf = slices.Grow(g.buf, int(size)-packetSize)[:size]
		if _, err := io.ReadFull(g.r, g.buf[packetSize:]); err != nil {
			return err
		}
		if q.opcode == getProperty && !propertyFits(g.buf) {
			return errors.New("the display sent a property that is longer than its reply")
		}
		return g.answer(number, true)
	case kind&0x7f == genericEvent:
		return errors.New("the display sent an event that nobody selected")
	}
	return nil
}

// propertyFits reports whether a reply has all of the value that it says it has.
func propertyFits(reply []byte) bool {
	switch format, n := reply[1], int64(binary.LittleEndian.Uint32(reply[16:])); format {
	case 0:
		return true
	case 8, 16, 32:
		return n*int64(format/8) <= int64(len(reply)-packetSize)
	}
	return false
}

var errUnasked = errors.New("the display answered a request that nobody made")

// asked is the request to which the next reply must be.
func (g *guard) asked(number uint16) (question, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.owed) == 0 || g.owed[0].number != number {
		return question{}, errUnasked
	}
	return g.owed[0], nil
}

// answer notes a reply or an error. Servers answer in the order of the requests;
// at most a thousand of xgb's are open, so their numbers can be compared.
func (g *guard) answer(number uint16, reply bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if int16(number-g.last) <= 0 || int16(g.sent-number) < 0 {
		return errUnasked
	}
	if len(g.owed) > 0 {
		switch d := int16(number - g.owed[0].number); {
		case d > 0:
			return errors.New("the display left a request without answer")
		case d == 0:
			g.timer.Stop()
			if g.owed = g.owed[1:]; len(g.owed) > 0 && !g.closed {
				g.timer.Reset(g.patience)
			}
		}
	}
	g.last = number
	return nil
}

// fail closes the connection. The first reason counts; the server's end is none.
func (g *guard) fail(reason error) {
	g.mu.Lock()
	if !g.closed && !errors.Is(reason, io.EOF) {
		g.err = reason
	}
	g.mu.Unlock()
	g.Close()
}

func (g *guard) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

func (g *guard) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.timer.Stop()
	return g.Conn.Close()
}
