package peer

import (
	"encoding/binary"
	"math"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
)

// The encoder is told of a bitrate that fell by a twentieth, or that rose by a
// twelfth. It is told of a rise at most once in this time.
const riseEvery = 500 * time.Millisecond

// estimator makes rateControl a bandwidth estimator of the stack: it remembers
// what is sent, and reads the browser's reports (transport-wide congestion
// control). It does not pace: a pacer would hold back the end of each large frame.
// Each peer has its own.
type estimator struct {
	onChange func(bps int)
	onCut    func() // the line was cut, and works again
	start    time.Time

	mu      sync.Mutex
	control *rateControl
	sent    [historySize]sentPacket // by transport-wide number
	acks    []ack                   // of the current report; kept to reuse its memory
	missing []missingPacket         // reported as not there, oldest first
	silence silence
	healed  time.Duration // when the line worked again after the last cut
	// keyframe: the next packet is the first of a keyframe.
	keyframe bool
	// repeats is the smoothed rate of retransmissions, in bits a second.
	repeats  float64
	repeatAt time.Duration
	bps      int // what the encoder was told
	changed  time.Duration
}

type sentPacket struct {
	number uint16
	open   bool // no report was about it yet
	again  bool // a retransmission
	// missing: a report said that it was not there.
	missing bool
	at      time.Duration
	size    int
}

// missingPacket was not there when a report was made. It may have been overtaken only.
type missingPacket struct {
	number uint16
	at     time.Duration // our clock, of the first such report
}

// overtakenFor is how long a packet may be overtaken by others before it counts as
// lost.
const overtakenFor = 120 * time.Millisecond

func newEstimator(max int, onChange func(bps int)) *estimator {
	return &estimator{onChange: onChange, start: time.Now(), control: newRateControl(max), bps: max}
}

// AddStream sees every packet of a stream before it is sent.
func (e *estimator) AddStream(info *interceptor.StreamInfo, next interceptor.RTPWriter) interceptor.RTPWriter {
	var id uint8
	for _, extension := range info.RTPHeaderExtensions {
		if extension.URI == sdp.TransportCCURI {
			id = uint8(extension.ID)
		}
	}
	if id == 0 {
		return next
	}
	s := &stream{ssrc: info.SSRC}
	return interceptor.RTPWriterFunc(func(header *rtp.Header, payload []byte, attributes interceptor.Attributes) (int, error) {
		var number rtp.TransportCCExtension
		if number.Unmarshal(header.GetExtension(id)) != nil {
			return next.Write(header, payload, attributes)
		}
		times := e.send(s, number.TransportSequence, header, payload)
		if times == 0 {
			return len(payload), nil
		}
		n, err := next.Write(header, payload, attributes)
		if err == nil && times > 1 {
			// Of two that are the same, the browser takes the first that comes.
			n, err = next.Write(header, payload, attributes)
		}
		return n, err
	})
}

// stream is what was sent of one RTP stream, by its own sequence numbers.
type stream struct {
	ssrc   uint32
	begun  bool
	newest uint16
	keyed  bool
	key    uint16 // the first packet of the latest keyframe
	at     [historySize]time.Duration
}

// staleAfter is the age at which a lost packet is not sent again: the browser has
// requested a keyframe by then. If a queue delayed the reports of the loss, to send
// all of it again would fill the queue again.
const staleAfter = time.Second

// send records a packet, and returns how often to send it: a retransmission not at
// all where it comes too late, and twice where much is lost. A packet that is lost
// twice is missing for so long that the picture stands still.
func (e *estimator) send(s *stream, number uint16, header *rtp.Header, payload []byte) (times int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Since(e.start)
	size := header.MarshalSize() + len(payload)
	own := header.SequenceNumber
	again := s.begun && int16(own-s.newest) <= 0
	if header.SSRC != s.ssrc { // a retransmission stream (RFC 4588) names the original number
		if len(payload) < 2 {
			return 1
		}
		own, again = binary.BigEndian.Uint16(payload), true
	}
	times = 1
	if own == s.newest && s.begun { // a probe
		again = true
	} else if again {
		// What was sent before a keyframe is not needed any more.
		if s.newest-own >= historySize || now-s.at[own%historySize] > staleAfter || s.keyed && int16(own-s.key) < 0 {
			return 0
		}
		if e.control.loss >= littleLoss {
			times = 2
		}
		e.repeat(now, times*size)
	} else {
		if e.keyframe {
			e.keyframe, s.keyed, s.key = false, true, own
		} else if own-s.key > 1<<14 {
			s.keyed = false // so that the numbers may wrap around
		}
		s.begun, s.newest = true, own
		s.at[own%historySize] = now
	}
	e.silence.sent(now)
	e.sent[number%historySize] = sentPacket{number: number, open: true, again: again, at: now, size: size}
	return times
}

// repeat counts a retransmission. Size 0 only brings the rate up to date.
func (e *estimator) repeat(now time.Duration, size int) {
	e.repeats *= math.Exp(-float64(now-e.repeatAt) / float64(repeatWindow))
	e.repeatAt = now
	e.repeats += 8 * float64(size) / repeatWindow.Seconds()
}

const repeatWindow = 500 * time.Millisecond

// WriteRTCP reads the browser's reports.
func (e *estimator) WriteRTCP(packets []rtcp.Packet, _ interceptor.Attributes) error {
	for _, packet := range packets {
		switch packet := packet.(type) {
		case *rtcp.TransportLayerNack:
			e.heard()
		case *rtcp.TransportLayerCC:
			e.heard()
			if bps, changed := e.report(time.Since(e.start), packet); changed {
				e.onChange(bps)
			}
		}
	}
	return nil
}

func (e *estimator) report(now time.Duration, report *rtcp.TransportLayerCC) (bps int, changed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.acks = e.acks[:0]
	number, left := report.BaseSequenceNumber, report.PacketStatusCount
	arrived := time.Duration(report.ReferenceTime) * 64 * time.Millisecond
	deltas := report.RecvDeltas
	take := func(symbol uint16) bool {
		if left == 0 {
			return false
		}
		left--
		here := symbol == rtcp.TypeTCCPacketReceivedSmallDelta || symbol == rtcp.TypeTCCPacketReceivedLargeDelta
		if here {
			if len(deltas) == 0 {
				return false // malformed
			}
			arrived += time.Duration(deltas[0].Delta) * time.Microsecond
			deltas = deltas[1:]
		}
		if s := &e.sent[number%historySize]; s.open && s.number == number {
			if here {
				s.open = false
				e.acks = append(e.acks, ack{sent: s.at, arrived: arrived, size: s.size, again: s.again})
			} else if !s.missing {
				s.missing = true
				e.missing = append(e.missing, missingPacket{number, now})
			}
		}
		number++
		return true
	}
	for _, chunk := range report.PacketChunks {
		switch chunk := chunk.(type) {
		case *rtcp.RunLengthChunk:
			for range chunk.RunLength {
				if !take(chunk.PacketStatusSymbol) {
					break
				}
			}
		case *rtcp.StatusVectorChunk:
			for _, symbol := range chunk.SymbolList {
				if !take(symbol) {
					break
				}
			}
		}
	}
	e.giveUp(now)
	if len(e.acks) == 0 {
		return 0, false
	}
	e.control.report(now, e.acks)
	return e.tell(now)
}

// giveUp counts as lost what was missing for too long to be overtaken only.
func (e *estimator) giveUp(now time.Duration) {
	n := 0
	for n < len(e.missing) && now-e.missing[n].at >= overtakenFor {
		if s := &e.sent[e.missing[n].number%historySize]; s.open && s.number == e.missing[n].number {
			s.open = false
			if s.at > e.healed {
				e.acks = append(e.acks, ack{sent: s.at, size: s.size, lost: true, again: s.again})
			}
		}
		n++
	}
	e.missing = append(e.missing[:0], e.missing[n:]...)
}

// heard is called when the browser says something about the packets. After a long
// silence, the line was cut: what was sent meanwhile is gone, and says nothing about how
// much the line carries.
func (e *estimator) heard() {
	e.mu.Lock()
	now := time.Since(e.start)
	cut := e.silence.heard(now)
	if cut {
		e.healed = now
	}
	e.mu.Unlock()
	if cut && e.onCut != nil {
		e.onCut()
	}
}

// moved is called when packets go another way than those before: what is unheard of is
// gone, and says nothing about how much the new way carries.
func (e *estimator) moved() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.silence.waiting, e.healed = false, time.Since(e.start)
}

// beginKeyframe says that the next packet begins a keyframe.
func (e *estimator) beginKeyframe() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keyframe = true
}

// silent reports how long the browser has said nothing about packets that were sent.
func (e *estimator) silent() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.silence.length(time.Since(e.start))
}

// tell reports whether to tell the encoder of a new bitrate.
func (e *estimator) tell(now time.Duration) (bps int, changed bool) {
	// Retransmissions use a part of a line that is full.
	e.repeat(now, 0)
	bps = int(e.control.target)
	if e.control.full(now) {
		bps = int(max(e.control.target-e.repeats, e.control.target/2))
	}
	down := bps < e.bps-e.bps/20
	up := bps > e.bps && (bps > e.bps+e.bps/12 || bps == e.control.max) && now-e.changed >= riseEvery
	if !down && !up {
		return e.bps, false
	}
	e.bps, e.changed = bps, now
	return bps, true
}

// current is what the encoder was told.
func (e *estimator) current() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bps
}

// leastRepeats is what retransmissions may always use, in bit/s.
const leastRepeats = 300_000

// GetTargetBitrate limits the stack's retransmissions to a part of the target. On
// a full line, more retransmissions would cause more loss.
func (e *estimator) GetTargetBitrate() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return int(max(e.control.target/2, leastRepeats))
}

// OnTargetBitrateChange, GetStats and Close are part of the stack's interface and
// not used here.
func (e *estimator) OnTargetBitrateChange(func(int)) {}
func (e *estimator) GetStats() map[string]any        { return nil }
func (e *estimator) Close() error                    { return nil }
