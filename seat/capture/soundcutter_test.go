package capture

import (
	"encoding/binary"
	"math"
	"testing"
	"time"
)

// soundSource gives a sine in pieces.
type soundSource struct {
	cutter   soundCutter
	position int64
	packets  []soundPacket
}

// give gives so many samples at a time.
func (s *soundSource) give(samples int, now time.Duration) {
	pcm := make([]byte, samples*soundFrame)
	for i := range samples {
		v := uint16(int16(20000 * math.Sin(2*math.Pi*440*float64(s.position+int64(i))/soundRate)))
		binary.LittleEndian.PutUint16(pcm[soundFrame*i:], v)
		binary.LittleEndian.PutUint16(pcm[soundFrame*i+2:], v)
	}
	s.packets = append(s.packets, s.cutter.take(pcm, s.position, now)...)
	s.position += int64(samples)
}

const soundTick = 10 * time.Millisecond

// A packet lies exactly one packet after the one before it, however unevenly the
// sound server gives its samples.
func TestSoundTimeCountsSamples(t *testing.T) {
	s := &soundSource{}
	now := 123456 * time.Microsecond
	for i := range 300 {
		// As measured: 0.2, 20, 22 and 1 ms between pieces, and pieces of other sizes
		// than a packet.
		now += []time.Duration{200 * time.Microsecond, 20 * time.Millisecond, 18800 * time.Microsecond, time.Millisecond}[i%4]
		s.give([]int{480, 700, 260, 480}[i%4], now)
	}
	if len(s.packets) < 299 {
		t.Fatalf("%d packets", len(s.packets))
	}
	for i, p := range s.packets {
		if i > 0 && p.pts-s.packets[i-1].pts != packetTime {
			t.Fatalf("packet %d lies %v after the one before it", i, p.pts-s.packets[i-1].pts)
		}
		if len(p.pcm) != packetBytes {
			t.Fatalf("packet %d has %d bytes", i, len(p.pcm))
		}
	}
	last := s.packets[len(s.packets)-1]
	if off := now - last.captured; off < packetTime || off > 60*time.Millisecond {
		t.Errorf("the last packet was captured %v ago", off)
	}
}

func TestSoundTimeOverAPause(t *testing.T) {
	s := &soundSource{}
	now := time.Second
	for range 10 {
		now += soundTick
		s.give(480, now)
	}
	before := s.packets[len(s.packets)-1]
	s.give(100, now) // a part of a packet, that the pause cuts off
	s.cutter.restart()
	const pause = 1237 * time.Millisecond
	now += pause
	s.packets, s.position = nil, 0
	for range 5 {
		now += soundTick
		s.give(480, now)
	}
	first := s.packets[0]
	step := first.pts - before.pts
	if step%packetTime != 0 {
		t.Errorf("the pause is %v of the stream's time: not whole packets", step)
	}
	if off := step - pause - packetTime; off < -packetTime || off > packetTime {
		t.Errorf("a pause of %v is %v of the stream's time", pause, step)
	}
	if step := s.packets[1].pts - first.pts; step != packetTime {
		t.Errorf("after the pause, a packet is %v long", step)
	}
	if v := int16(binary.LittleEndian.Uint16(first.pcm)); v != 0 {
		t.Errorf("the sound begins at %d, not in silence", v)
	}
	loudest := 0
	for i := 0; i < packetBytes; i += 2 {
		loudest = max(loudest, int(int16(binary.LittleEndian.Uint16(s.packets[1].pcm[i:]))))
	}
	if loudest < 19000 {
		t.Errorf("the second packet has a peak of %d", loudest)
	}
}

// Samples that nobody read in time are missing in the stream's time too, and the
// rest stays where it was.
func TestSoundTimeOverLostSamples(t *testing.T) {
	s := &soundSource{}
	now := time.Second
	for range 4 {
		now += 15 * time.Millisecond
		s.give(720, now)
	}
	begin := s.packets[0].pts
	const lost = 1000
	s.position += lost
	now += lost * time.Second / soundRate
	for range 4 {
		now += 15 * time.Millisecond
		s.give(720, now)
	}
	var jump time.Duration
	for i, p := range s.packets {
		if (p.pts-begin)%packetTime != 0 {
			t.Errorf("packet %d lies at %v: not on whole packets", i, p.pts-begin)
		}
		if i > 0 {
			jump = max(jump, p.pts-s.packets[i-1].pts)
		}
	}
	if jump < 20*time.Millisecond || jump > 40*time.Millisecond {
		t.Errorf("1000 lost samples (20.8 ms) are a step of %v", jump)
	}
	last := s.packets[len(s.packets)-1]
	want := now - last.captured
	if want < packetTime || want > 3*packetTime {
		t.Errorf("the last packet was captured %v ago", want)
	}
}

// A sound server that waited for a processor leaves samples out without a word. The
// stream's time must not stay behind for ever.
func TestSoundTimeFollowsAServerThatLeavesSoundOut(t *testing.T) {
	s := &soundSource{}
	now := time.Second
	for range 100 {
		now += soundTick
		s.give(480, now)
	}
	now += 270 * time.Millisecond
	for range 300 {
		now += soundTick
		s.give(480, now)
	}
	last := s.packets[len(s.packets)-1]
	if late := now - last.pts - packetTime; late < -packetTime || late > 2*packetTime {
		t.Errorf("the stream's time is %v behind", late)
	}
	if n := len(s.packets); n < 360 {
		t.Errorf("%d packets", n)
	}
	for i := 1; i < len(s.packets); i++ {
		if step := s.packets[i].pts - s.packets[i-1].pts; step%packetTime != 0 {
			t.Errorf("a step of %v", step)
		}
	}
}

// What only waited for a processor is all there, and nothing seems to be missing.
func TestSoundThatWaitedCatchesUp(t *testing.T) {
	s := &soundSource{}
	now := time.Second
	for range 20 {
		for range 10 {
			now += soundTick
			s.give(480, now)
		}
		now += 300 * time.Millisecond
		for range 30 { // all at once
			s.give(480, now)
		}
	}
	if n := len(s.packets); n != 20*40 {
		t.Errorf("%d of 800 packets are sent", n)
	}
	if took := s.packets[len(s.packets)-1].pts - s.packets[0].pts; took != 799*packetTime {
		t.Errorf("800 packets span %v", took)
	}
}
