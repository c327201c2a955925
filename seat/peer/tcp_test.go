package peer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// tcpAddress is where an answer says that the seat listens.
func tcpAddress(t *testing.T, answer string) string {
	t.Helper()
	for _, c := range values(answer, "a=candidate:") {
		f := strings.Fields(c)
		if f[2] == "tcp" {
			if !strings.HasSuffix(c, "tcptype passive") && !strings.Contains(c, "tcptype passive ") {
				t.Errorf("candidate %s is not passive", c)
			}
			return net.JoinHostPort(f[4], f[5])
		}
	}
	t.Fatalf("no candidate by TCP in %s", answer)
	return ""
}

// withoutUDP is an SDP of a network that lets no UDP through.
func withoutUDP(sdp string) string {
	lines := strings.SplitAfter(sdp, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(s string) bool {
		return strings.HasPrefix(s, "a=candidate:") && strings.Contains(s, " udp ")
	}), "")
}

// binding is a first message, framed as on TCP.
func binding(t *testing.T, name, password string) []byte {
	t.Helper()
	m, err := stun.Build(stun.BindingRequest, stun.TransactionID, stun.NewUsername(name), stun.NewShortTermIntegrity(password), stun.Fingerprint)
	testkit.Must(t, err)
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(m.Raw))), m.Raw...)
}

func TestTCPAlone(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	ports := testkit.Ports(t, 8)
	low, high := uint16(slices.Min(ports)), uint16(slices.Max(ports))
	s, c := newSeat(t, func(cfg *Config) {
		cfg.Listen = wire.Listen{Media: "127.0.0.1", Loopback: true, PortMin: low, PortMax: high}
	}), newClient(t, webrtc.NetworkTypeTCP4)
	answer, err := s.Answer(t.Context(), withoutUDP(c.offer(t)))
	testkit.Must(t, err)
	at := netip.MustParseAddrPort(tcpAddress(t, answer))
	if at.Port() < low || at.Port() > high {
		t.Errorf("the seat listens at %v, not in %d to %d", at, low, high)
	}

	// Strangers take all places that there are for them, and some say something.
	ufrag, pwd := values(answer, "a=ice-ufrag:")[0], values(answer, "a=ice-pwd:")[0]
	dial := func() net.Conn {
		conn, err := net.Dial("tcp4", at.String())
		testkit.Must(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for range 3 * tcpLimits.Unproven {
		dial()
	}
	for name, first := range map[string][]byte{
		"another name":      binding(t, "x"+ufrag+":y", pwd),
		"another password":  binding(t, ufrag+":y", "x"+pwd),
		"no message":        []byte("GET / HTTP/1.1\r\n\r\n"),
		"a message of 64 k": {0xff, 0xff},
	} {
		conn := dial()
		conn.Write(first)
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := conn.Read(make([]byte, 100)); n != 0 || err == nil || errors.Is(err, net.ErrClosed) || isTimeout(err) {
			t.Errorf("to %s the seat says %d bytes, %v; want the end", name, n, err)
		}
	}

	testkit.Must(t, c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: withoutUDP(answer)}))
	s.reaches(t, Connected)
	wait(t, s.keyframes, "request of the first keyframe")
	wait(t, c.open, "open data channel")
	key := accessUnit(true, 50_000)
	testkit.Must(t, s.WriteVideo(Frame{Data: key, Keyframe: true}))
	for i := range 2 {
		testkit.Must(t, s.WriteVideo(Frame{Data: accessUnit(false, 300), PTS: time.Duration(i+1) * time.Second / 30}))
	}
	if got := wait(t, c.frames, "video frame by TCP"); !bytes.Equal(got, key) {
		t.Errorf("the keyframe of %d bytes arrived as %d others", len(key), len(got))
	}
	testkit.Must(t, c.input.SendText(`{"t":"down","b":2,"x":0.1,"y":0.2}`))
	wait(t, s.inputs, "input by TCP")

	// Who knows the password, as the browser does, gets no more than so many connections.
	var proven []net.Conn
	for i := range 3 * tcpLimits.Proven {
		conn := dial()
		conn.Write(binding(t, fmt.Sprintf("%s:y%d", ufrag, i), pwd))
		proven = append(proven, conn)
	}
	testkit.Until(t, "those above the limit are closed", func() bool {
		open := 0
		for _, conn := range proven {
			conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			if _, err := conn.Read(make([]byte, 1000)); err == nil || isTimeout(err) {
				open++
			}
		}
		return open < tcpLimits.Proven
	})
	if _, n, _ := s.gate.guard.Counts(); n > tcpLimits.Proven {
		t.Errorf("%d connections are proven", n)
	}

	// It ends at once, with all of them still there.
	began := time.Now()
	testkit.Must(t, s.Close())
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it closed after %v", took)
	}
	if conn, err := net.Dial("tcp4", at.String()); err == nil {
		conn.Close()
		t.Error("the port is still open")
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// Reach holds for those who connect, too.
func TestTCPOutOfReach(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	s, c := newSeat(t, func(cfg *Config) {
		cfg.Listen = wire.Listen{Media: "127.0.0.1", Loopback: true, Deny: []string{"127.0.0.7/32"}}
	}), newClient(t)
	answer, err := s.Answer(t.Context(), c.offer(t))
	testkit.Must(t, err)
	from := func(address string) error {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
		conn, err := d.Dial("tcp4", tcpAddress(t, answer))
		testkit.Must(t, err)
		defer conn.Close()
		conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	if err := from("127.0.0.6"); !isTimeout(err) {
		t.Errorf("one within reach is not waited for: %v", err)
	}
	if err := from("127.0.0.7"); err != io.EOF && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("one out of reach: %v", err)
	}
}

// A browser that sends too much is read no faster than the rate.
func TestTCPRate(t *testing.T) {
	s := newSeat(t, nil)
	near, far := net.Pipe()
	defer far.Close()
	c := newTCPConn(near, s.gate)
	defer c.Close()
	go func() {
		for {
			if _, err := far.Write(make([]byte, 16<<10)); err != nil {
				return
			}
		}
	}()
	read, began := 0, time.Now()
	for buf := make([]byte, 16<<10); time.Since(began) < time.Second; {
		n, err := c.Read(buf)
		testkit.Must(t, err)
		read += n
	}
	if most := tcpBurst + 2*tcpRate; read > most {
		t.Errorf("%d bytes were read in about a second, want at most %d", read, most)
	}
}
