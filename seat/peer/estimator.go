package peer

import (
	"slices"
	"strings"
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
	// onMissing gets packets of the video that should be sent again, by their own numbers.
	onMissing func(own []uint16)
	start     time.Time

	mu      sync.Mutex
	control *rateControl
	sent    []sentPacket    // by transport-wide number modulo their number
	acks    []ack           // of the current report; kept to reuse its memory
	missing []missingPacket // reported as not there, oldest first
	reports reportCount
	came    []came   // what is not settled yet, oldest first
	fates   []fate   // settled by the current report; kept to reuse its memory
	trip    shortest // a round trip and the wait for a report
	// protects: packets that make up for lost ones are sent now.
	protects bool
	// overtaken is how many of the packets that the browser asked for came after all, from 0 to 1,
	// smoothed.
	overtaken float64
	newest    uint16 // the transport-wide number of the packet that was sent last
	// newestHere is when the packet was sent that was sent last of those that came.
	newestHere time.Duration
	silence    silence
	healed     time.Duration // when the line worked again after the last cut
	// keyframe: the next packet is the first of a keyframe.
	keyframe bool
	// repeats are the retransmissions, protecting what makes up for lost packets, beside what is sent
	// once beside the video: the sound.
	repeats, protecting, beside smoothedRate
	bps                         int // what the encoder was told
	changed                     time.Duration
}

// packet is where a packet is remembered, or another one: its number tells.
func (e *estimator) packet(number uint16) *sentPacket { return &e.sent[int(number)%len(e.sent)] }

type sentPacket struct {
	number uint16
	open   bool // no report was about it yet
	again  bool // a retransmission
	// missing: a report said that it was not there.
	missing bool
	at      time.Duration
	size    int
	own     uint16  // its stream's number of what it carries
	stream  *stream // nil where packets are not sent again
}

func newEstimator(max int, onChange func(bps int)) *estimator {
	return &estimator{onChange: onChange, start: time.Now(), control: newRateControl(max), bps: min(startBPS, max),
		sent: make([]sentPacket, historySize(max)), changed: -riseEvery} // the first rise need not wait
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
	s := newStream(info.SSRC, e.control.max)
	s.fec, s.sound = info.SSRCForwardErrorCorrection, strings.HasPrefix(info.MimeType, "audio/")
	s.repeats = slices.Contains(info.RTCPFeedback, interceptor.RTCPFeedback{Type: "nack"})
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

// WriteRTCP reads the browser's reports.
func (e *estimator) WriteRTCP(packets []rtcp.Packet, _ interceptor.Attributes) error {
	for _, packet := range packets {
		switch packet := packet.(type) {
		case *rtcp.TransportLayerNack:
			e.heard()
		case *rtcp.TransportLayerCC:
			e.heard()
			bps, changed, missing := e.report(time.Since(e.start), packet)
			if changed {
				e.onChange(bps)
			}
			if len(missing) > 0 && e.onMissing != nil {
				e.onMissing(missing)
			}
		}
	}
	return nil
}

func (e *estimator) report(now time.Duration, report *rtcp.TransportLayerCC) (bps int, changed bool, missing []uint16) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.acks = e.acks[:0]
	number, left := report.BaseSequenceNumber, report.PacketStatusCount
	arrived := time.Duration(report.ReferenceTime) * 64 * time.Millisecond
	deltas := report.RecvDeltas
	var newest time.Duration
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
		if s := e.packet(number); s.open && s.number == number {
			if here {
				s.open = false
				e.arrived(s)
				newest = max(newest, s.at)
				if !s.again {
					e.came = append(e.came, came{now, s.at})
				}
				e.acks = append(e.acks, ack{sent: s.at, arrived: arrived, size: s.size, again: s.again})
			} else if !s.missing {
				s.missing = true
				e.missing = append(e.missing, missingPacket{number: number, at: now})
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
	if newest > 0 {
		e.newestHere = max(e.newestHere, newest)
		e.trip.update(now, now-newest)
	}
	e.listen(now)
	missing = e.unasked(now)
	if e.reports.gap(report.FbPktCount) {
		e.forgive(now)
	}
	fates := e.settle(now)
	if len(e.acks) == 0 && len(fates) == 0 {
		return 0, false, missing
	}
	tried := e.control.trial.running
	e.control.report(now, e.acks, fates)
	if e.control.trial.running && !tried {
		e.repeats.bps = 0 // what was repeated before does not use up what a trial leaves
	}
	bps, changed = e.tell(now)
	return bps, changed, missing
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
	e.listen(now)
	e.mu.Unlock()
	if cut && e.onCut != nil {
		e.onCut()
	}
}

// listen goes on listening after the browser has said something, where the packet that was sent last
// was not reported. The caller holds the lock.
func (e *estimator) listen(now time.Duration) {
	p := e.packet(e.newest)
	e.silence.owed(now, p.open && p.number == e.newest)
}

// moved is called when packets go another way than those before: what is unheard of is
// gone, and says nothing about how much the new way carries.
func (e *estimator) moved() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.silence.waiting, e.healed = false, time.Since(e.start)
}

// begins makes the session begin at a rate that is known of its line, if that is less than others
// begin at. It is called before the first packet.
func (e *estimator) begins(bps int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.control.begins(bps)
	e.bps = int(e.control.target)
}

// roundTrip is the shortest of late, with the wait for a report; 0 before the first report.
func (e *estimator) roundTrip() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.trip.least()
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
	// Retransmissions and the sound use a part of a line that is full: of 2 Mbit/s the sound
	// had 0.3, and the queue stayed, since each cut was of what both sent.
	e.repeats.add(now, 0)
	e.protecting.add(now, 0)
	e.beside.add(now, 0)
	bps = int(e.control.target)
	if e.control.full(now) && bps < e.control.max || e.control.unexplained() && !e.control.trial.running {
		bps = int(max(e.control.target-e.repeats.bps-e.protecting.bps-e.beside.bps, e.control.target/2))
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

// GetTargetBitrate limits the stack's retransmissions. The stack counts those of the last second, also
// after the limit became lower, so the low limits are our own alone (repeatBudget).
func (e *estimator) GetTargetBitrate() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return int(2 * e.control.target)
}

// OnTargetBitrateChange, GetStats and Close are part of the stack's interface and
// not used here.
func (e *estimator) OnTargetBitrateChange(func(int)) {}
func (e *estimator) GetStats() map[string]any        { return nil }
func (e *estimator) Close() error                    { return nil }
