package peer

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// sent is an estimator that sent packets 10 ms apart, on a line that loses some.
func sent(n uint16) (*estimator, *stream) {
	e := newEstimator(1_000_000, func(int) {})
	e.start = e.start.Add(-time.Minute)
	e.control.loss = 0.05
	s := newStream(1, e.control.max)
	s.repeats = true
	for i := range n {
		e.send(s, i, &rtp.Header{SSRC: 1, SequenceNumber: 100 + i}, make([]byte, 1000))
		e.sent[i].at += time.Duration(i) * 10 * time.Millisecond
	}
	return e, s
}

// A request may be lost with the packet: reports of it do as well.
func TestMissingIsSentAgainUnasked(t *testing.T) {
	e, _ := sent(6)
	now := e.sent[5].at + 40*time.Millisecond
	if _, _, missing := e.report(now, reported(true, false, true, true, false, true)); !slices.Equal(missing, []uint16{101}) {
		t.Errorf("%v are sent again, want 101 alone: 104 may be overtaken only", missing)
	}
	if _, _, missing := e.report(now+50*time.Millisecond, reported(true, false, true, true, false, true)); len(missing) != 0 {
		t.Errorf("%v are sent again once more", missing)
	}
	e, _ = sent(6)
	e.control.loss = 0
	if _, _, missing := e.report(now, reported(true, false, true, true, true, true)); len(missing) != 0 {
		t.Errorf("%v are sent again on a line that loses nothing", missing)
	}
}

// What the browser reports as here, or what is on its way, is not sent again.
func TestNeedlessIsNotSentAgain(t *testing.T) {
	e, s := sent(6)
	now := e.sent[5].at + 40*time.Millisecond
	e.report(now, reported(true, false, true, true, true, true))
	e.control.loss = 0.05
	again := func(number, own uint16) int {
		return e.sendAt(now, s, number, &rtp.Header{SSRC: 1, SequenceNumber: own}, make([]byte, 1000))
	}
	if n := again(10, 102); n != 0 {
		t.Errorf("a packet that is here is sent %d times", n)
	}
	if n := again(11, 101); n != 2 {
		t.Errorf("a packet that is lost is sent %d times, want 2", n)
	}
	if n := again(12, 101); n != 0 {
		t.Errorf("a packet that is on its way is sent %d times", n)
	}
}

// A browser that asks for everything, again and again, gets twice the bitrate and no more.
func TestGreedyBrowser(t *testing.T) {
	e, s := sent(6)
	e.control.loss = 0.05
	const size, seconds = 1000, 5
	start, number, bytes := e.sent[5].at+time.Second, uint16(200), 0
	own := uint16(106)
	for now := start; now < start+seconds*time.Second; now += time.Millisecond {
		e.sendAt(now, s, number, &rtp.Header{SSRC: 1, SequenceNumber: own}, make([]byte, size))
		number++
		for back := range uint16(50) {
			payload := make([]byte, size) // as the stack sends again what is asked for (RFC 4588)
			binary.BigEndian.PutUint16(payload, own-back)
			bytes += size * e.sendAt(now, s, number, &rtp.Header{SSRC: 2, SequenceNumber: number}, payload)
			number++
		}
		own++
	}
	// A window of half a second comes on top, since the rate rises from nothing.
	if most := 2 * e.control.target * (seconds + 1) / 8; float64(bytes) > most {
		t.Errorf("it got %d bytes, and %.0f are the most", bytes, most)
	}
	if bytes == 0 {
		t.Error("it got nothing")
	}
}

// Reports of loss bring as much at once as the limit has room for.
func TestGreedyReport(t *testing.T) {
	e, _ := sent(6)
	e.control.loss = 0.05
	now := e.sent[5].at + 40*time.Millisecond
	e.repeats.add(now, int(e.repeatBudget(now)*repeatWindow.Seconds()/8)-2500)
	if _, _, missing := e.report(now, reported(true, false, false, false, false, true)); len(missing) != 1 {
		t.Errorf("%d packets are sent again, and there is room for one, twice", len(missing))
	}
}

// As long as loss may come from the rate, what is sent again comes out of the rate.
func TestRepeatsWhereTheLineMayBeFull(t *testing.T) {
	e, _ := sent(6)
	now := e.sent[5].at + time.Second
	c := e.control
	c.max, c.starting = 6_000_000, false
	c.set(2_000_000)
	for _, at := range []struct {
		loss, own float64
		out       bool
	}{
		{0.01, 0, false}, // a radio's
		{0.1, 0, true},
		{0.1, 0.1, false}, // by a trial it is the line's own
		{0.3, 0.1, true},
	} {
		c.loss, c.trial.own = at.loss, at.own
		e.repeats = smoothedRate{bps: 500_000, at: now}
		e.bps, e.changed = 6_000_000, 0
		bps, _ := e.tell(now)
		budget := e.repeatBudget(now)
		if out := bps < 2_000_000; out != at.out || out != (budget <= 1_000_000) {
			t.Errorf("loss %.2f, %.2f of its own: the encoder is told %d, and repeats may use %.0f", at.loss, at.own, bps, budget)
		}
	}
}

// What a lost report may have said to have come does not count as lost.
func TestLostReports(t *testing.T) {
	for name, lost := range map[string]uint8{"all reports came": 0, "one is lost": 1} {
		t.Run(name, func(t *testing.T) {
			e, _ := sent(6)
			now := e.sent[5].at + 40*time.Millisecond
			e.control.lossAt = now // so that it goes on counting
			first, second := reported(true, false, true, false, true, true), reported(true, false, true, false, true, true)
			first.FbPktCount, second.FbPktCount = 255, lost // after 255 comes 0
			e.report(now, first)
			e.report(now+overtakenFor, second)
			if want := 2 - 2*int(lost); e.control.gone != want {
				t.Errorf("%d packets are lost, want %d", e.control.gone, want)
			}
		})
	}
}
