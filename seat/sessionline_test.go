package seat

import (
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// A session whose connection is made anew begins at what its line was found to carry, unless
// that was long ago. Other sessions know nothing of it.
func TestNewConnectionKnowsTheLine(t *testing.T) {
	r := newRig(t).idle()
	conn, peer, _ := r.play()
	if peer.StartBPS != 0 {
		t.Errorf("the first connection begins at %d", peer.StartBPS)
	}
	peer.OnBitrate(500_000)
	peer.OnState(PeerDisconnected)
	r.send(conn, wire.Message{Type: wire.MsgOffer, SDP: "another"})
	r.expect(conn, wire.MsgAnswer)
	if another := <-r.peers; another.StartBPS != 500_000 {
		t.Errorf("the next connection begins at %d, want 500000", another.StartBPS)
	}

	now := time.Now()
	l := &sessionLine{session: "a"}
	if bps := l.carries(now); bps != 0 {
		t.Errorf("a line that is not known carries %d", bps)
	}
	l.bps.Store(500_000)
	l.changed(false, now)
	l.changed(false, now.Add(20*time.Second)) // first disconnected, then closed
	for after, want := range map[time.Duration]int{lineKnown: 500_000, lineKnown + time.Second: 0} {
		if bps := l.carries(now.Add(after)); bps != want {
			t.Errorf("after %v it carries %d, want %d", after, bps, want)
		}
	}
	l.changed(true, now)
	if bps := l.carries(now.Add(time.Hour)); bps != 500_000 {
		t.Errorf("a line that is in use carries %d", bps)
	}
}
