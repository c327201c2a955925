package peer

import (
	"fmt"
	"math"
	"strings"

	"github.com/pion/interceptor/pkg/flexfec"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// protection adds packets to each picture from which a browser computes those that were
// lost (FlexFEC, draft-ietf-payload-flexible-fec-scheme-03): a picture need not wait for a
// round trip. The stack's own interceptor makes groups across pictures, so that the end of a
// picture would wait for the next, and always adds the same part. The zero value adds nothing.
type protection struct {
	encoder *flexfec.FlexEncoder03 // nil: the browser does not take it
	part    float64                // of the packets
}

const (
	// fecOfLoss packets are added for each that is lost. Each is the sum of some packets of
	// the picture, and makes up for one of them.
	fecOfLoss = 4
	// fecFrom is the loss from which on, mostFEC the most that is added, but for small
	// pictures: each has at least one.
	fecFrom = 0.01
	mostFEC = 0.3
	// fecGroup is the most packets in a group: the header that names more is longer.
	fecGroup = 46
)

// negotiatedProtection is what the browser takes.
func negotiatedProtection(codecs []webrtc.RTPCodecParameters, ssrc webrtc.SSRC) protection {
	for _, c := range codecs {
		if strings.EqualFold(c.MimeType, webrtc.MimeTypeFlexFEC03) && ssrc != 0 {
			return protection{encoder: flexfec.NewFlexEncoder03(uint8(c.PayloadType), uint32(ssrc))}
		}
	}
	return protection{}
}

// protect returns the packets to add to a picture.
func (p *protection) protect(picture []rtp.Packet) (added []rtp.Packet) {
	if p.encoder == nil || p.part == 0 {
		return nil
	}
	for len(picture) > 0 {
		// Groups of the same size: the last may not be alone.
		groups := (len(picture) + fecGroup - 1) / fecGroup
		n := (len(picture) + groups - 1) / groups
		group := picture[:n]
		picture = picture[n:]
		for _, packet := range p.encoder.EncodeFec(group, uint32(math.Ceil(p.part*float64(n)))) {
			packet.Timestamp = group[0].Timestamp
			added = append(added, packet)
		}
	}
	return added
}

// fecPart is which part of the packets to add. On a line that is full, loss comes from that,
// and more packets would cause more; only what the line loses anyway counts there.
func (e *estimator) fecPart() float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	loss := e.control.loss
	if e.control.full(e.control.reported) {
		loss = min(loss, e.control.usual())
	}
	e.protects = loss >= fecFrom && e.control.protected
	return protectionAt(loss)
}

// protectionAt is the part of the packets to add at a loss.
func protectionAt(loss float64) float64 {
	if loss < fecFrom {
		return 0
	}
	return min(fecOfLoss*loss, mostFEC)
}

// setProtection says which part of the packets to add.
func (t *track) setProtection(part float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fec.part = part
}

// addProtection sends what protects a picture. The caller holds the lock.
func (t *track) addProtection(picture []rtp.Packet) error {
	for _, packet := range t.fec.protect(picture) {
		if _, err := t.stream.WriteRTP(&packet.Header, packet.Payload); err != nil {
			return fmt.Errorf("protect %s: %w", t.id, err)
		}
	}
	return nil
}
