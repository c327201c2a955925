package peer

import (
	"bytes"
	"testing"
	"time"

	"github.com/pion/interceptor/pkg/flexfec"
	"github.com/pion/rtp"
)

// Each packet of a picture is in the sum of one added packet, also of a large picture.
func TestProtection(t *testing.T) {
	for packets, want := range map[int]int{1: 1, 2: 1, 20: 4, 46: 10, 47: 10, 110: 24} {
		p := protection{encoder: flexfec.NewFlexEncoder03(49, 7), part: 0.2}
		var picture []rtp.Packet
		for i := range packets {
			payload := bytes.Repeat([]byte{byte(i)}, 10+i)
			picture = append(picture, rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 1, SequenceNumber: uint16(65500 + i), Timestamp: 9}, Payload: payload})
		}
		added := p.protect(picture)
		if len(added) != want {
			t.Errorf("%d packets have %d more, want %d", packets, len(added), want)
		}
		for _, a := range added {
			if a.SSRC != 7 || a.PayloadType != 49 || a.Timestamp != 9 {
				t.Errorf("packet %v", a.Header)
			}
			if size := a.MarshalSize(); size > packets+100 {
				t.Errorf("%d packets: one more has %d bytes", packets, size)
			}
		}
		p.part = 0
		if added := p.protect(picture); len(added) != 0 {
			t.Error("packets are added where nothing is lost")
		}
	}
	if added := (&protection{part: 0.2}).protect(make([]rtp.Packet, 3)); added != nil {
		t.Error("packets are added for a browser that does not take them")
	}
}

// On a line that is full, only what it loses anyway counts.
func TestProtectionFollowsLoss(t *testing.T) {
	e := newEstimator(1_000_000, func(int) {})
	for _, c := range []struct {
		loss, usual float64
		full        bool
		want        float64
	}{{0, 0, false, 0}, {0.005, 0, false, 0}, {0.05, 0, false, 0.2}, {0.5, 0, false, mostFEC}, {0.05, 0, true, 0}, {0.05, 0.02, true, 0.08}} {
		e.control.loss, e.control.floor = c.loss, lowest{now: c.usual, before: c.usual}
		e.control.filled, e.control.filledAt, e.control.reported = 0, 0, time.Second
		if c.full {
			e.control.filled = 500_000
		}
		if got := e.fecPart(); got != c.want {
			t.Errorf("%+v: %g", c, got)
		}
	}
	// A trial goes on with it, or the picture would wait for each packet that a line of its own loss loses.
	e.control.loss, e.control.filled, e.control.trial.running = 0.05, 0, true
	if got := e.fecPart(); got != 0.2 {
		t.Errorf("in a trial: %g", got)
	}
}

// A trial has room for what protects the pictures: both together are less than what came through.
func TestTrialHasRoomForProtection(t *testing.T) {
	target := func(protected bool) float64 {
		c := newRateControl(6_000_000)
		c.target, c.loss, c.protected = 6_000_000, 0.5, protected
		for i := range 100 {
			at := time.Duration(i) * 4 * time.Millisecond // 2 Mbit/s
			c.history = append(c.history, ack{sent: at / 3, arrived: at, size: 1000})
			c.latest = at
		}
		c.mayTry(time.Minute, 0.5)
		if !c.trial.running {
			t.Fatal("there is no trial")
		}
		return c.target
	}
	without, with := target(false), target(true)
	t.Logf("a trial has %.2f Mbit/s, and %.2f beside protection", without/1e6, with/1e6)
	if with*(1+mostFEC+0.8) > 2_000_000 || with >= without {
		t.Errorf("a trial has %.2f Mbit/s, and %.2f beside protection", without/1e6, with/1e6)
	}
}

// What is added counts as a retransmission, which the encoder makes room for on a full line.
func TestProtectionIsNoLoss(t *testing.T) {
	e := newEstimator(1_000_000, func(int) {})
	s := newStream(1, e.control.max)
	s.fec, s.repeats = 2, true
	e.send(s, 0, &rtp.Header{SSRC: 1, SequenceNumber: 5}, make([]byte, 1000))
	if n := e.send(s, 1, &rtp.Header{SSRC: 2, SequenceNumber: 1000}, []byte{0, 5, 0}); n != 1 {
		t.Errorf("it is sent %d times", n)
	}
	if p := e.sent[1]; !p.again || p.stream != nil {
		t.Errorf("it counts as %+v", p)
	}
	if e.protecting.bps == 0 {
		t.Error("it takes no room")
	}
}
