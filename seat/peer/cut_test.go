package peer

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/nearcast/nearcast/internal/testkit/netline"
	"github.com/nearcast/nearcast/internal/wire"
)

// After a cut, the seat makes a keyframe as soon as the browser reports packets again.
// The client here never asks for one. Of a still picture there are no frames that would
// show the browser that the line is healed.
func TestKeyframeAfterACut(t *testing.T) {
	for name, frames := range map[string]bool{"moving": true, "still": false} {
		t.Run(name, func(t *testing.T) {
			l := netline.New(t, netline.Way{Delay: 20 * time.Millisecond})
			s := newSeat(t, func(cfg *Config) { cfg.Listen = wire.Listen{Media: "127.0.0.1", Loopback: true} })
			join(t, l, s, newClient(t))
			var bitrate atomic.Int64
			bitrate.Store(2_000_000)
			s.play(t, &bitrate, time.Second)
			for len(s.keyframes) > 0 {
				<-s.keyframes
			}
			picture := func() {
				if err := s.WriteVideo(Frame{Data: accessUnit(false, 3000), PTS: time.Hour}); err != nil {
					t.Fatal(err)
				}
			}
			s.silent.Store(0) // a busy machine may be silent, too
			l.Set(netline.Way{Cut: true})
			picture() // of a still picture, the last
			tick := time.NewTicker(time.Second / 30)
			defer tick.Stop()
			for end := time.Now().Add(2 * time.Second); time.Now().Before(end); <-tick.C {
				if frames {
					picture()
				}
			}
			for len(s.keyframes) > 0 {
				<-s.keyframes
			}
			if s.silent.Load() == 0 {
				t.Error("a line that was cut for 2 s was not said to be silent")
			}
			l.Set(netline.Way{Delay: 20 * time.Millisecond})
			healed := time.Now()
			deadline := time.After(time.Minute)
			for asked := false; !asked; {
				select {
				case <-s.keyframes:
					asked = true
				case <-tick.C:
					if frames {
						picture()
					}
				case <-deadline:
					t.Fatal("no keyframe is made")
				}
			}
			took := time.Since(healed)
			t.Logf("a keyframe is made %v after the cut", took)
			if took > time.Second {
				t.Errorf("a keyframe is made %v after the cut", took)
			}
			if bps := s.Stats().TargetBPS; bps < 4_000_000 {
				t.Errorf("the cut lowered the bitrate to %d", bps)
			}
		})
	}
}

// A report that comes after a packet, and is not of it, is no reason to wait for nothing more: of a
// picture that stands still from then on, no other packet follows. TestKeyframeAfterACut hung by this.
func TestLastPacketIsOwed(t *testing.T) {
	for _, c := range []struct {
		what   string
		here   []bool // of three packets
		silent bool
	}{{"the last is not reported", []bool{true, true}, true}, {"all are reported", []bool{true, true, true}, false}} {
		e := newEstimator(1_000_000, func(int) {})
		e.start = e.start.Add(-time.Minute)
		s := newStream(1, e.control.max)
		for i := range uint16(3) {
			e.send(s, i, &rtp.Header{SSRC: 1, SequenceNumber: i}, make([]byte, 1000))
		}
		e.WriteRTCP([]rtcp.Packet{reported(c.here...)}, nil)
		e.start = e.start.Add(-time.Second) // a second passes
		if got := e.silent() >= time.Second; got != c.silent {
			t.Errorf("%s: the browser is silent for %v", c.what, e.silent())
		}
		cut := false
		e.onCut = func() { cut = true }
		e.WriteRTCP([]rtcp.Packet{reported(true, true, true)}, nil)
		if cut != c.silent {
			t.Errorf("%s: the line was cut: %v", c.what, cut)
		}
		if e.silent() > 0 {
			t.Errorf("%s: the browser is silent for %v after it reported all", c.what, e.silent())
		}
	}
}

// reported is a report about the packets from number 0, by what arrived.
func reported(here ...bool) *rtcp.TransportLayerCC {
	r := &rtcp.TransportLayerCC{PacketStatusCount: uint16(len(here)), ReferenceTime: 1}
	chunk := &rtcp.StatusVectorChunk{SymbolSize: rtcp.TypeTCCSymbolSizeTwoBit}
	for _, h := range here {
		symbol := uint16(rtcp.TypeTCCPacketNotReceived)
		if h {
			symbol = rtcp.TypeTCCPacketReceivedSmallDelta
			r.RecvDeltas = append(r.RecvDeltas, &rtcp.RecvDelta{Type: symbol, Delta: 250})
		}
		chunk.SymbolList = append(chunk.SymbolList, symbol)
	}
	r.PacketChunks = []rtcp.PacketStatusChunk{chunk}
	return r
}

// A packet that was overtaken is not lost.
func TestOvertakenIsNotLost(t *testing.T) {
	e := newEstimator(1_000_000, func(int) {})
	s := newStream(1, e.control.max)
	for i := range uint16(6) {
		e.send(s, i, &rtp.Header{SSRC: 1, SequenceNumber: i}, make([]byte, 1000))
	}
	now := time.Since(e.start)
	e.report(now, reported(true, false, true, false, true, true))
	if e.control.gone != 0 {
		t.Errorf("%d packets are lost at once", e.control.gone)
	}
	e.report(now+50*time.Millisecond, reported(true, true))
	e.send(s, 6, &rtp.Header{SSRC: 1, SequenceNumber: 6}, make([]byte, 1000))
	e.report(now+overtakenFor, reported(true, true, true, false, true, true, true))
	e.report(now+2*overtakenFor, reported(true))
	if e.control.gone != 1 || e.control.all != 7 {
		t.Errorf("%d of %d packets are lost, want 1 of 7", e.control.gone, e.control.all)
	}
}

// What the browser gets by a keyframe is not sent again.
func TestNothingFromBeforeAKeyframeIsSentAgain(t *testing.T) {
	e := newEstimator(1_000_000, func(int) {})
	s := newStream(1, e.control.max)
	for i := range uint16(10) {
		if i == 5 {
			e.beginKeyframe()
		}
		e.send(s, i, &rtp.Header{SSRC: 1, SequenceNumber: i}, nil)
	}
	for own, want := range map[uint16]int{3: 0, 4: 0, 5: 1, 7: 1} {
		if got := e.send(s, 10+own, &rtp.Header{SSRC: 1, SequenceNumber: own}, nil); got != want {
			t.Errorf("packet %d is sent %d times more, want %d", own, got, want)
		}
	}
	e.control.loss = 0.05
	if got := e.send(s, 30, &rtp.Header{SSRC: 1, SequenceNumber: 6}, nil); got != 2 {
		t.Errorf("where much is lost, a packet is sent %d times more", got)
	}
}
