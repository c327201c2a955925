package peer

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// readFeedback reads what the browser says of a track until the track ends.
// Without a reader, NACKs and congestion feedback would not be acted on either.
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

func (t *track) ssrc() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.header.SSRC
}

const (
	// A keyframe that was asked for is on its way for this long.
	keyframeOnItsWay = 300 * time.Millisecond
	// A browser asks again until a keyframe has reached it: what comes so soon
	// after one was sent was said before it arrived.
	keyframeArriving = 100 * time.Millisecond
)

// keyframes makes one request of many.
type keyframes struct {
	asks atomic.Uint64

	mu    sync.Mutex
	asked time.Time // zero when no request is open
	last  time.Time // when a keyframe was sent; zero before the first
}

// ask reports whether the request is to be passed on.
func (k *keyframes) ask(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.asked.IsZero() && now.Sub(k.asked) < keyframeOnItsWay || now.Sub(k.last) < keyframeArriving {
		return false
	}
	k.asked = now
	return true
}

func (k *keyframes) sent(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked, k.last = time.Time{}, now
}

func (k *keyframes) started() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.last.IsZero()
}
