package seat

import (
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

// A browser whose address changed keeps its peer, on the socket that it has or on a new
// one. Where the peer is gone, it is told so.
func TestRestartKeepsThePeer(t *testing.T) {
	r := newRig(t).idle()
	conn, peer, grant := r.play()
	keyframes := r.video.count("keyframe")
	r.send(conn, wire.Message{Type: wire.MsgOffer, SDP: "moved", Restart: true})
	if m := r.expect(conn, wire.MsgAnswer); m.SDP != "restarted by moved" || !m.Restart {
		t.Errorf("answer %+v", m)
	}
	peer.OnState(PeerConnected)
	r.wait("a keyframe for the new way", func() bool { return r.video.count("keyframe") == keyframes+1 })

	again, _, _ := r.attach(grant.Resume)
	r.expect(again, wire.MsgGranted)
	r.expectClose(conn, wire.CloseReplaced)
	for offer, want := range map[string]string{"moved": "restarted by moved", "bad": ""} {
		r.send(again, wire.Message{Type: wire.MsgOffer, SDP: offer, Restart: true})
		if m := r.expect(again, wire.MsgAnswer); m.SDP != want || m.Restart != (want != "") {
			t.Errorf("answer to %s: %+v", offer, m)
		}
	}
	if n := peer.count("close"); n > 0 || len(r.peers) > 0 || r.video.count("pause") != 1 {
		t.Errorf("the peer was closed %d times, and %d were made", n, len(r.peers))
	}
	if state := r.seats.last().State; state != wire.SeatStreaming {
		t.Errorf("the seat is %s", state)
	}

	peer.OnState(PeerClosed)
	r.waitState(wire.SeatDetached)
	r.send(again, wire.Message{Type: wire.MsgOffer, SDP: "moved", Restart: true})
	if m := r.expect(again, wire.MsgAnswer); m.SDP != "" || m.Restart {
		t.Errorf("with the peer gone, the answer is %+v", m)
	}
	if n := peer.count("restart"); n != 3 {
		t.Errorf("the peer was restarted %d times, want 3", n)
	}
}

// A page asks whether its socket still leads to the seat.
func TestPing(t *testing.T) {
	r := newRig(t).idle()
	conn, _, _ := r.play()
	r.send(conn, wire.Message{Type: wire.MsgPing})
	r.expect(conn, wire.MsgPong)
}
