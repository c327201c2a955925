package peer

import (
	"bytes"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// soundPackets has a browser that takes sound as RTP.
func soundPackets(t *testing.T, s *seat, offer func(string) string) chan *rtp.Packet {
	t.Helper()
	c := newClient(t)
	packets := make(chan *rtp.Packet, 1000)
	c.pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			if track.Kind() == webrtc.RTPCodecTypeAudio {
				packets <- p
			}
		}
	})
	answer, err := s.Answer(t.Context(), offer(c.offer(t)))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		t.Fatal(err)
	}
	s.reaches(t, Connected)
	return packets
}

// Timestamps of sound count samples: a packet of 20 ms is 960 of them, and a pause is
// whole packets. They do not follow the clock by which packets are sent.
func TestSoundTimestampsCountSamples(t *testing.T) {
	s := newSeat(t, nil)
	packets := soundPackets(t, s, func(offer string) string { return offer })
	const packet, pause = 20 * time.Millisecond, 700 * time.Millisecond
	pts := 123 * packet
	tick := time.NewTicker(3 * time.Millisecond) // not the length of a packet
	defer tick.Stop()
	for i := range 20 {
		if i == 10 {
			pts += pause
		}
		if err := s.WriteAudio(Frame{Data: []byte{0xfc, byte(i)}, PTS: pts, Captured: time.Now()}); err != nil {
			t.Fatal(err)
		}
		pts += packet
		<-tick.C
	}
	last := wait(t, packets, "packet of sound")
	for i := 1; i < 20; i++ {
		p := wait(t, packets, "packet of sound")
		want := uint32(960)
		if i == 10 {
			want += 48 * 700
		}
		if step := p.Timestamp - last.Timestamp; step != want || p.SequenceNumber != last.SequenceNumber+1 {
			t.Errorf("packet %d: the timestamp steps by %d, want %d", i, step, want)
		}
		last = p
	}
}

func TestRedundancy(t *testing.T) {
	r := redundancy{payloadType: 63, copies: 2}
	a, b, c := bytes.Repeat([]byte{1}, 240), bytes.Repeat([]byte{2}, 3), bytes.Repeat([]byte{3}, 300)
	if got, kind := r.wrap(a, 1000, 111); kind != 63 || !bytes.Equal(got, append([]byte{111}, a...)) {
		t.Errorf("the first packet is %x as %d", got, kind)
	}
	want := append([]byte{0x80 | 111, 480 >> 6, 480 << 2 & 0xff, 240, 111}, append(bytes.Clone(a), b...)...)
	if got, _ := r.wrap(b, 1480, 111); !bytes.Equal(got, want) {
		t.Errorf("the second packet is\n%x, want\n%x", got, want)
	}
	want = append([]byte{0x80 | 111, 960 >> 6, 960 << 2 & 0xff, 240, 0x80 | 111, 480 >> 6, 480 << 2 & 0xff, 3, 111},
		append(append(bytes.Clone(a), b...), c...)...)
	if got, _ := r.wrap(c, 1960, 111); !bytes.Equal(got, want) {
		t.Errorf("the third packet is\n%x, want\n%x", got, want)
	}
	// Blocks of more than 255 bytes, and what a pause makes too old.
	got, _ := r.wrap(a, 1960+480, 111)
	if n := int(got[6]&3)<<8 | int(got[7]); n != 300 {
		t.Errorf("a block of 300 bytes is said to have %d", n)
	}
	if got, _ := r.wrap(b, 1960+480+20000, 111); !bytes.Equal(got, append([]byte{111}, b...)) {
		t.Errorf("after a pause: %x", got)
	}
	r.copies = 0
	if got, kind := r.wrap(a, 1960+480+20480, 111); kind != 63 || !bytes.Equal(got, append([]byte{111}, a...)) {
		t.Errorf("on a thin line: %x as %d", got, kind)
	}
	for bps, want := range map[int]int{300_000: 0, 1_000_000: 1, 6_000_000: 2} {
		if got := copiesAt(bps); got != want {
			t.Errorf("at %d bit/s: %d copies, want %d", bps, got, want)
		}
	}
	if got, kind := (&redundancy{}).wrap(a, 1, 111); kind != 111 || !bytes.Equal(got, a) {
		t.Errorf("without redundancy: %x as %d", got, kind)
	}
}
