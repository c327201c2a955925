package peer

import (
	"testing"
	"time"

	"github.com/pion/rtp"
)

// The sound uses a part of a line that is full. If the video had all of it, the queue would
// stay, however often the rate is cut.
func TestVideoLeavesRoomForTheSound(t *testing.T) {
	e := newEstimator(6_000_000, func(int) {})
	sound := newStream(7, e.control.max)
	sound.sound = true
	now := time.Second
	for i := range uint16(500) { // 300 kbit/s
		now += 10 * time.Millisecond
		e.sendAt(now, sound, i, &rtp.Header{SSRC: 7, SequenceNumber: i}, make([]byte, 363))
	}
	e.control.target = 1_500_000
	if bps, _ := e.tell(now); bps != 1_500_000 {
		t.Errorf("on a line that is not known to be full the video gets %d bit/s, want the target of 1,500,000", bps)
	}
	e.control.filled, e.control.filledAt = 2_000_000, now
	if bps, _ := e.tell(now); bps < 1_150_000 || bps > 1_250_000 {
		t.Errorf("on a full line the video gets %d bit/s beside 300,000 of sound, want 1,200,000", bps)
	}
	e.control.target = 400_000
	if bps, _ := e.tell(now); bps != 200_000 {
		t.Errorf("on a very thin line the video gets %d bit/s, want half of the target", bps)
	}
	e.control.target = 6_000_000
	if bps, _ := e.tell(now + riseEvery); bps != 6_000_000 {
		t.Errorf("where the line carries the most, the video gets %d bit/s", bps)
	}
	// A while after the last packet of sound, it has no share.
	e.control.target = 1_500_000
	if bps, _ := e.tell(now + 10*time.Second); bps < 1_499_000 {
		t.Errorf("without sound the video gets %d bit/s, want the target", bps)
	}
}
