package capture

import (
	"encoding/binary"
	"time"
)

const (
	soundRate   = 48000
	soundFrame  = 4 // bytes of one sample: two channels of 16 bits
	packetTime  = packetMS * time.Millisecond
	packetBytes = soundRate / 1000 * packetMS * soundFrame
	// originLeak is how fast the shortest way of a sample into this process is
	// forgotten.
	originLeak = 1000
	// Where even the quickest samples of lateWindow came lateSound late, samples were
	// left out before they came here, without a word. Samples that only waited for a
	// processor catch up.
	lateWindow = 2 * time.Second
	lateSound  = 3 * packetTime
)

// soundCutter cuts the samples of a source into packets, and says where each lies
// on the stream's time. That time counts samples: from one packet to the next it
// grows by exactly the length of a packet, no matter when the packets come out of the
// sound server. A receiver takes a step of another size as lost sound, which it
// conceals. Where sound really is missing (a pause, or samples that nobody read in
// time), the time grows by whole packets.
//
//	c.restart()                  // at the start, and after each pause
//	packets := c.take(pcm, position, now)
//
// It is a pure computation: the caller passes the time, since the start.
type soundCutter struct {
	known  bool          // position and origin mean something
	rest   []byte        // samples after the last packet
	next   time.Duration // where rest begins: whole packets since the start
	at     int64         // position in the source of the sample after rest
	origin time.Duration // our clock at the stream's time 0, by the quickest sample of late
	last   time.Duration // our clock, of the last call
	begun  time.Duration // our clock, when quick was begun
	quick  time.Duration // how late the quickest samples since begun came
	fade   bool          // the next packet follows something else
	counts SoundStats
}

// SoundStats counts packets since the start.
type SoundStats struct {
	Packets int // that were made
	Lost    int // that this process did not read in time
	LeftOut int // that the sound server did not deliver
}

// soundPacket is one packet before it is encoded.
type soundPacket struct {
	pcm      []byte
	pts      time.Duration // since the start
	captured time.Duration // our clock since the start, when its first sample was played
}

// restart says that what comes next does not continue what came before.
func (c *soundCutter) restart() { c.known, c.rest = false, nil }

// take adds samples. position is the number of the first of them in the source.
func (c *soundCutter) take(pcm []byte, position int64, now time.Duration) (packets []soundPacket) {
	pcm = pcm[:len(pcm)-len(pcm)%soundFrame]
	if !c.known || position < c.at {
		begin := max(now-soundTime(len(pcm)), c.next)
		c.next = (begin + packetTime - 1) / packetTime * packetTime
		c.known, c.rest, c.fade = true, nil, true
		c.origin = now - c.next - soundTime(len(pcm))
		c.last, c.begun, c.quick = now, now, c.origin
	} else if lost := position - c.at; lost > 0 {
		// The packet that was begun is given up, and the next one begins on the
		// grid of packets, so that the stream's time stays true.
		gone := len(c.rest) + int(lost)*soundFrame
		whole := (gone + packetBytes - 1) / packetBytes
		skip := min(whole*packetBytes-gone, len(pcm))
		pcm, position = pcm[skip:], position+int64(skip/soundFrame)
		c.next += time.Duration(whole) * packetTime
		c.counts.Lost += whole
		c.rest, c.fade = nil, true
	}
	c.at = position + int64(len(pcm)/soundFrame)
	c.rest = append(c.rest, pcm...)
	c.settle(now)
	for len(c.rest) >= packetBytes {
		p := soundPacket{pcm: c.rest[:packetBytes:packetBytes], pts: c.next, captured: c.origin + c.next}
		c.rest = c.rest[packetBytes:]
		c.next += packetTime
		if c.fade {
			fadeIn(p.pcm)
			c.fade = false
		}
		c.counts.Packets++
		packets = append(packets, p)
	}
	return packets
}

// settle compares the stream's time with the clock.
func (c *soundCutter) settle(now time.Duration) {
	late := now - c.next - soundTime(len(c.rest))
	c.origin = min(c.origin+(now-c.last)/originLeak, late)
	c.last = now
	c.quick = min(c.quick, late)
	if now-c.begun < lateWindow {
		return
	}
	if missing := c.quick - c.origin; missing > lateSound {
		c.next += missing / packetTime * packetTime
		c.counts.LeftOut += int(missing / packetTime)
		c.fade = true
	}
	c.begun, c.quick = now, now-c.next-soundTime(len(c.rest))
}

// soundTime is the length of so many bytes.
func soundTime(bytes int) time.Duration {
	return time.Duration(bytes/soundFrame) * time.Second / soundRate
}

// fadeIn lets a packet begin in silence: sound that begins in the middle of a wave
// is heard as a click.
func fadeIn(pcm []byte) {
	total := len(pcm) / 2
	for i := range total {
		sample := int(int16(binary.LittleEndian.Uint16(pcm[2*i:])))
		binary.LittleEndian.PutUint16(pcm[2*i:], uint16(int16(sample*(i/2*2)/total)))
	}
}
