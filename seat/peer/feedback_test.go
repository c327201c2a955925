package peer

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/nearcast/nearcast/internal/testkit"
)

// A browser addresses its reports to the stream of the last packet that came: all of them are read.
func TestReportsOfAllStreamsAreRead(t *testing.T) {
	s, c := newSeat(t, nil), newClient(t)
	connect(t, s, c)
	encoding := s.pc.GetSenders()[0].GetParameters().Encodings[0]
	if encoding.RTX.SSRC == 0 {
		t.Fatal("nothing is sent again on a stream of its own")
	}
	for i, ssrc := range []uint32{uint32(encoding.SSRC), uint32(encoding.RTX.SSRC)} {
		number := uint8(100 + i)
		report := reported(true)
		report.MediaSSRC, report.FbPktCount, report.BaseSequenceNumber = ssrc, number, 60_000
		report.Header = rtcp.Header{Count: rtcp.FormatTCC, Type: rtcp.TypeTransportSpecificFeedback, Length: 5, Padding: true}
		testkit.Until(t, "the report arrives", func() bool {
			testkit.Must(t, c.pc.WriteRTCP([]rtcp.Packet{report}))
			s.rate.mu.Lock()
			defer s.rate.mu.Unlock()
			return s.rate.reports.known && s.rate.reports.last == number
		})
	}
}

// A trial on a line that loses a part of everything does not take it for one that polices. What is lost is
// known later than what comes, and what was sent last must not seem to lose nothing.
func TestTrialOfRandomLoss(t *testing.T) {
	const loss = 0.06
	trials := 0
	for seed := range uint64(40) {
		e := newEstimator(6_000_000, func(int) {})
		e.start = e.start.Add(-time.Hour)
		rng := rand.New(rand.NewPCG(seed, 2))
		s := newStream(1, e.control.max)
		var here []bool
		number, base, reports := uint16(0), uint16(0), uint8(0)
		running := false
		for now := time.Second; now < 15*time.Second; now += 2 * time.Millisecond {
			e.sendAt(now, s, number, &rtp.Header{SSRC: 1, SequenceNumber: number}, make([]byte, 1100))
			number++
			here = append(here, rng.Float64() >= loss)
			if len(here) < 30 || !here[len(here)-1] {
				continue
			}
			report := reportedAt(now, here...)
			report.BaseSequenceNumber, report.FbPktCount = base, reports
			base, here = number, nil
			reports++
			if rng.Float64() < loss {
				continue
			}
			e.report(now+40*time.Millisecond, report)
			if e.control.trial.running && !running {
				trials++
			}
			if running = e.control.trial.running; e.control.trial.policed {
				t.Errorf("seed %d: after %v the line is taken for one that polices", seed, now)
				break
			}
		}
	}
	t.Logf("%d trials", trials)
	if trials < 40 {
		t.Errorf("there were %d trials", trials)
	}
}

// reportedAt is a report of packets that came 2 ms apart, until a moment.
func reportedAt(at time.Duration, here ...bool) *rtcp.TransportLayerCC {
	r := reported(here...)
	begin := at - time.Duration(2*len(here))*time.Millisecond
	r.ReferenceTime = uint32(begin / (64 * time.Millisecond))
	last, n := time.Duration(r.ReferenceTime)*64*time.Millisecond, 0
	for i, h := range here {
		if h {
			came := begin + time.Duration(2*i)*time.Millisecond
			r.RecvDeltas[n].Delta = (came - last).Microseconds()
			last = came
			n++
		}
	}
	return r
}

// Where packets overtake each other and little may be repeated, a first request waits: most packets that
// it asks for come after all. The second is answered, as is a first one on another line.
func TestFirstRequestsOfOvertakenPacketsWait(t *testing.T) {
	for _, c := range []struct {
		overtaken float64
		low       bool
		want      int
	}{{1, true, 0}, {0, true, 1}, {1, false, 1}} {
		e, s := sent(6)
		e.control.loss = 0.01
		now := e.sent[5].at + 40*time.Millisecond
		e.overtaken, e.control.trial.running = c.overtaken, c.low
		ask := func(own uint16) int {
			payload := make([]byte, 1000)
			binary.BigEndian.PutUint16(payload, own)
			return e.sendAt(now, s, 50+own, &rtp.Header{SSRC: 2, SequenceNumber: own}, payload)
		}
		if n := ask(102); n != c.want {
			t.Errorf("%+v: at the first request it is sent %d times", c, n)
		}
		now += 100 * time.Millisecond
		if n := ask(102); n != 1 {
			t.Errorf("%+v: at the second request it is sent %d times", c, n)
		}
	}
}

// Whether packets are overtaken is learnt from what the browser asks for.
func TestRequestsTellWhetherPacketsAreOvertaken(t *testing.T) {
	for _, overtaken := range []bool{true, false} {
		e := newEstimator(6_000_000, func(int) {})
		s := newStream(1, e.control.max)
		s.repeats = true
		now := time.Second
		for i := range uint16(200) {
			e.sendAt(now, s, 2*i, &rtp.Header{SSRC: 1, SequenceNumber: i}, make([]byte, 1000))
			payload := make([]byte, 1000)
			binary.BigEndian.PutUint16(payload, i)
			e.sendAt(now+time.Millisecond, s, 2*i+1, &rtp.Header{SSRC: 2, SequenceNumber: i}, payload)
			for _, later := range []time.Duration{10 * time.Millisecond, 10*time.Millisecond + overtakenFor} {
				report := reported(overtaken, true)
				report.BaseSequenceNumber = 2 * i
				e.report(now+later, report)
			}
			now += 200 * time.Millisecond
		}
		if got := e.overtaken > mostlyOvertaken; got != overtaken {
			t.Errorf("overtaken: %v, learnt: %.2f", overtaken, e.overtaken)
		}
	}
}

// What was repeated before a trial does not use up the little that the trial leaves.
func TestTrialBeginsWithRoom(t *testing.T) {
	e, s := sent(6)
	now := e.sent[5].at + 40*time.Millisecond
	e.report(now, reported(true, true, true, true, true, true))
	e.repeats.add(now, 1_000_000)
	c := e.control
	c.target, c.lossAt, c.loss = 500_000, now-time.Second, 0.3
	c.all, c.gone = 100, 30
	for i := range uint16(20) { // what came makes up half of the target
		number := 10 + i
		e.sendAt(now+time.Duration(i)*5*time.Millisecond, s, number, &rtp.Header{SSRC: 1, SequenceNumber: 200 + number}, make([]byte, 1000))
	}
	report := reportedAt(now+140*time.Millisecond, slices.Repeat([]bool{true}, 20)...)
	report.BaseSequenceNumber = 10
	e.report(now+200*time.Millisecond, report)
	e.report(now+200*time.Millisecond+overtakenFor, reported(true))
	if !c.trial.running {
		t.Fatal("there is no trial")
	}
	if e.repeats.bps > e.repeatBudget(now+200*time.Millisecond+overtakenFor) {
		t.Errorf("%.0f bit/s of %.0f are used up", e.repeats.bps, e.repeatBudget(now))
	}
}
