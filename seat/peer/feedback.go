package peer

import (
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// readFeedback reads the browser's RTCP about a track until the track ends. The
// interceptors for NACK and congestion feedback also depend on it: they see only
// what is read.
func (p *Peer) readFeedback(sender *webrtc.RTPSender, video bool) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		if !video {
			continue
		}
		for _, packet := range packets {
			switch packet := packet.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				p.keys.asks.Add(1)
				p.askKeyframe()
			case *rtcp.ReceiverReport:
				for _, r := range packet.Reports {
					if r.SSRC == uint32(p.video.ssrc()) {
						p.video.lost.Store(uint32(r.FractionLost))
					}
				}
			}
		}
	}
}
