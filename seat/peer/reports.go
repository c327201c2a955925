package peer

import (
	"time"

	"github.com/pion/rtcp"
)

const (
	reportEvery = time.Second
	// At first, a browser does not know which sound belongs to which picture.
	firstReports     = 5
	firstReportEvery = 200 * time.Millisecond
)

// sendReports sends sender reports (RFC 3550) until the peer closes. By them a
// browser knows which sound belongs to which picture. They are our own because
// pion's take a frame as captured when it was sent: then the picture would seem late
// by the time that it took to encode, and the sound early by the time that it waited
// in the sound server.
func (p *Peer) sendReports() {
	tick := time.NewTicker(firstReportEvery)
	defer tick.Stop()
	for sent := 0; ; {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		}
		if State(p.state.Load()) != Connected {
			continue
		}
		now := time.Now()
		var packets []rtcp.Packet
		for _, t := range []*track{p.video, p.audio} {
			if t != nil {
				if r := t.report(now); r != nil {
					packets = append(packets, r)
				}
			}
		}
		if len(packets) == 0 {
			continue
		}
		if err := p.pc.WriteRTCP(packets); err != nil {
			p.log.Debug("send reports", "error", err)
		}
		if sent++; sent == firstReports {
			tick.Reset(reportEvery)
		}
	}
}

// report says which moment the track's timestamps mean. It is nil before the first
// frame.
func (t *track) report(now time.Time) *rtcp.SenderReport {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stream == nil || t.latest.IsZero() {
		return nil
	}
	rate := int64(capabilities[t.codec].ClockRate)
	return &rtcp.SenderReport{
		SSRC: t.header.SSRC, NTPTime: ntpTime(now),
		RTPTime:     t.timestamp + uint32(int64(now.Sub(t.latest)/time.Microsecond)*rate/1_000_000),
		PacketCount: t.packets.Load(), OctetCount: uint32(t.bytes.Load()),
	}
}

// ntpTime is a moment as RTCP writes it: seconds since 1900, and 2³² parts of one.
func ntpTime(t time.Time) uint64 {
	const from1900 = 2_208_988_800
	return uint64(t.Unix()+from1900)<<32 | uint64(t.Nanosecond())<<32/1_000_000_000
}
