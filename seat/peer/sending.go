package peer

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/pion/rtp"
)

// stream is what was sent of one RTP stream, by its own sequence numbers.
type stream struct {
	ssrc   uint32
	fec    uint32 // what protects it (protection); 0 is nothing
	begun  bool
	newest uint16
	keyed  bool
	key    uint16 // the first packet of the latest keyframe
	sound  bool   // and not video
	// repeats: packets are sent again.
	repeats bool
	packets []ownPacket // by their own numbers modulo how many there are
}

// ownPacket is what is known of a packet of a stream. A moment of zero never was.
type ownPacket struct {
	at    time.Duration // when it was sent first
	again time.Duration // when it was sent again last
	asked time.Duration // when the browser asked for it for the first time
	here  bool          // the browser has got it
}

// newStream is a stream of a connection with a bitrate of at most max.
func newStream(ssrc uint32, max int) *stream {
	return &stream{ssrc: ssrc, packets: make([]ownPacket, historySize(max))}
}

// of is what is known of a packet that the stream knows.
func (s *stream) of(own uint16) *ownPacket { return &s.packets[int(own)%len(s.packets)] }

// knows says that a packet is one of the last.
func (s *stream) knows(own uint16) bool { return int(s.newest-own) < len(s.packets) }

// staleAfter is the age at which a lost packet is not sent again: the browser has
// requested a keyframe by then. If a queue delayed the reports of the loss, to send
// all of it again would fill the queue again.
const staleAfter = time.Second

// send records a packet, and returns how often to send it: a retransmission not at
// all where it comes too late or is needless, and twice where that is worth it.
func (e *estimator) send(s *stream, number uint16, header *rtp.Header, payload []byte) (times int) {
	return e.sendAt(time.Since(e.start), s, number, header, payload)
}

func (e *estimator) sendAt(now time.Duration, s *stream, number uint16, header *rtp.Header, payload []byte) (times int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	size := header.MarshalSize() + len(payload)
	own := header.SequenceNumber
	again := s.begun && int16(own-s.newest) <= 0
	if header.SSRC == s.fec && s.fec != 0 {
		e.control.protected = true
		e.protecting.add(now, size)
		*e.packet(number) = sentPacket{number: number, open: true, again: true, at: now, size: size}
		e.newest = number
		return 1
	}
	if header.SSRC != s.ssrc { // a retransmission stream (RFC 4588) names the original number
		if len(payload) < 2 {
			return 1
		}
		own, again = binary.BigEndian.Uint16(payload), true
	}
	times = 1
	if own == s.newest && s.begun && header.SSRC == s.ssrc { // a probe
		again = true
	} else if again {
		// What was sent before a keyframe is not needed any more.
		if !s.knows(own) || now-s.of(own).at > staleAfter || s.keyed && int16(own-s.key) < 0 {
			return 0
		}
		if s.needless(own, now, e.trip.least()) {
			return 0
		}
		if header.SSRC != s.ssrc && e.waits(s, own, now) {
			return 0
		}
		// A browser that asks for all gets no more than this.
		if e.repeats.add(now, 0); e.repeats.bps > e.repeatBudget(now) {
			return 0
		}
		times = e.copies(s, own, now)
		s.of(own).again = now
		e.repeats.add(now, times*size)
	} else {
		if e.keyframe {
			e.keyframe, s.keyed, s.key = false, true, own
		} else if own-s.key > 1<<14 {
			s.keyed = false // so that the numbers may wrap around
		}
		s.begun, s.newest = true, own
		*s.of(own) = ownPacket{at: now}
	}
	e.silence.sent(now)
	if s.sound {
		e.beside.add(now, size)
	}
	p := sentPacket{number: number, open: true, again: again, at: now, size: size, own: own}
	if s.repeats {
		p.stream = s
	}
	*e.packet(number), e.newest = p, number
	return times
}

// smoothedRate is the rate of some packets, smoothed over repeatWindow.
type smoothedRate struct {
	bps float64
	at  time.Duration
}

// add counts a packet. Size 0 only brings the rate up to date.
func (r *smoothedRate) add(now time.Duration, size int) {
	r.bps *= math.Exp(-float64(now-r.at) / float64(repeatWindow))
	r.at = now
	r.bps += repeatRate(size)
}

// repeatRate is what bytes add to a smoothedRate, in bit/s.
func repeatRate(size int) float64 { return 8 * float64(size) / repeatWindow.Seconds() }

const repeatWindow = 500 * time.Millisecond
