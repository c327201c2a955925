package peer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/interceptor/pkg/flexfec"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/testkit/netline"
	"github.com/nearcast/nearcast/internal/wire"
)

const fecSSRC, mediaSSRC = 7, 0xfeedbeef

// wires is the way out of a track, which keeps what is sent.
type wires struct {
	webrtc.TrackLocalWriter
	media, added []rtp.Packet
}

func (w *wires) WriteRTP(header *rtp.Header, payload []byte) (int, error) {
	p := rtp.Packet{Header: header.Clone(), Payload: bytes.Clone(payload)}
	if header.SSRC == fecSSRC {
		w.added = append(w.added, p)
	} else {
		w.media = append(w.media, p)
	}
	return len(payload), nil
}

// sendingTrack is a track of video whose first packet has a number, and of whose packets this
// part is added.
func sendingTrack(t *testing.T, number uint16, part float64) (*track, *wires) {
	t.Helper()
	w := &wires{}
	v, err := newTrack("h264", 1_000_000, nil)
	if err != nil {
		t.Fatal(err)
	}
	v.stream, v.header = w, rtp.Header{Version: 2, PayloadType: 102, SSRC: mediaSSRC, SequenceNumber: number}
	v.delayID, v.countID = 3, 5
	v.fec = protection{encoder: flexfec.NewFlexEncoder03(49, fecSSRC), part: part}
	return v, w
}

func marshal(t *testing.T, p rtp.Packet) []byte {
	t.Helper()
	data, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// repair is a packet of FlexFEC (draft-ietf-payload-flexible-fec-scheme-03, section 4.2), read by the draft's text.
type repair struct {
	sum     []byte // of the first two bytes, the length and the timestamp: eight bytes
	payload []byte
	numbers []uint16 // what it protects
}

func readRepair(p []byte) (r repair, err error) {
	if len(p) < 20 || p[0]>>6 != 0 || p[8] != 1 {
		return r, fmt.Errorf("the header is % x", p[:min(len(p), 20)])
	}
	if ssrc := binary.BigEndian.Uint32(p[12:]); ssrc != mediaSSRC {
		return r, fmt.Errorf("it protects the stream %x", ssrc)
	}
	base, at, first := binary.BigEndian.Uint16(p[16:]), 18, 0
	for _, bits := range []int{16, 32, 64} { // each mask begins with a bit that says whether it is the last
		if len(p) < at+bits/8 {
			return r, errors.New("a mask is cut off")
		}
		mask := p[at:][:bits/8]
		at += bits / 8
		for bit := 1; bit < bits; bit++ {
			if mask[bit/8]>>(7-bit%8)&1 == 1 {
				r.numbers = append(r.numbers, base+uint16(first+bit-1))
			}
		}
		first += bits - 1
		if mask[0]>>7 == 1 {
			break
		}
	}
	r.sum, r.payload = p[:8], p[at:]
	return r, nil
}

// restore computes the packet that is missing among those that r protects: nil if it is not one.
func (r repair) restore(got map[uint16][]byte) []byte {
	sum, body := bytes.Clone(r.sum), bytes.Clone(r.payload)
	var missing []uint16
	for _, number := range r.numbers {
		data, ok := got[number]
		if !ok {
			missing = append(missing, number)
			continue
		}
		if len(data) < 12 || len(data)-12 > len(body) {
			return nil // it was not summed up
		}
		head := slices.Concat(data[:2], binary.BigEndian.AppendUint16(nil, uint16(len(data)-12)), data[4:8])
		for i := range head {
			sum[i] ^= head[i]
		}
		for i, b := range data[12:] {
			body[i] ^= b
		}
	}
	length := int(binary.BigEndian.Uint16(sum[2:]))
	if len(missing) != 1 || length > len(body) {
		return nil
	}
	packet := []byte{0x80 | sum[0]&0x3f, sum[1]}
	packet = binary.BigEndian.AppendUint16(packet, missing[0])
	packet = append(packet, sum[4:8]...)
	packet = binary.BigEndian.AppendUint32(packet, mediaSSRC)
	return append(packet, body[:length]...)
}

// restoreAll computes as long as something new comes.
func restoreAll(t *testing.T, added []rtp.Packet, got map[uint16][]byte) {
	t.Helper()
	for again := true; again; {
		again = false
		for _, a := range added {
			r, err := readRepair(a.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if packet := r.restore(got); packet != nil {
				got[binary.BigEndian.Uint16(packet[2:])] = packet
				again = true
			}
		}
	}
}

// Whichever packet of a picture is lost, what was added gives it back whole: header, extensions and payload, also
// where numbers begin anew, and also one of each group.
func TestLostPacketsAreRestored(t *testing.T) {
	for _, size := range []int{50, 3_000, 40_000, 53_000, 55_000, 130_000} {
		track, w := sendingTrack(t, 65500, 0.2)
		if err := track.write(Frame{Data: accessUnit(true, size), Keyframe: true, PTS: time.Second}); err != nil {
			t.Fatal(err)
		}
		sent := map[uint16][]byte{}
		for _, p := range w.media {
			sent[p.SequenceNumber] = marshal(t, p)
		}
		if len(w.added) == 0 {
			t.Fatalf("%d packets: nothing is added", len(w.media))
		}
		for number, want := range sent {
			got := map[uint16][]byte{}
			for n, data := range sent {
				if n != number {
					got[n] = data
				}
			}
			restoreAll(t, w.added, got)
			if !bytes.Equal(got[number], want) {
				t.Fatalf("packet %d of %d came back as\n%.60x, want\n%.60x", number-65500, len(sent), got[number], want)
			}
		}
		// One of each packet's group.
		got := map[uint16][]byte{}
		for n, data := range sent {
			got[n] = data
		}
		lost := map[uint16]bool{}
		for _, a := range w.added {
			r, err := readRepair(a.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(r.numbers, func(n uint16) bool { return lost[n] }) {
				n := r.numbers[rand.IntN(len(r.numbers))]
				lost[n] = true
				delete(got, n)
			}
		}
		restoreAll(t, w.added, got)
		for n := range lost {
			if !bytes.Equal(got[n], sent[n]) {
				t.Errorf("of %d packets that are lost of %d, %d is not restored", len(lost), len(sent), n-65500)
			}
		}
		t.Logf("%d packets and %d more: %d lost at once", len(sent), len(w.added), len(lost))
	}
}

// Where nothing is lost, a track sends the same packets as one without protection.
func TestNothingIsAddedWithoutLoss(t *testing.T) {
	protected, p := sendingTrack(t, 100, 0)
	plain, q := sendingTrack(t, 100, 0)
	plain.fec = protection{}
	e := newEstimator(1_000_000, func(int) {})
	protected.setProtection(e.fecPart())
	for i := range 30 {
		f := Frame{Data: accessUnit(i == 0, 3000), Keyframe: i == 0, PTS: time.Duration(i) * time.Second / 30}
		if err := errors.Join(protected.write(f), plain.write(f)); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.added) > 0 || len(p.media) != len(q.media) {
		t.Fatalf("%d packets and %d more, without protection %d", len(p.media), len(p.added), len(q.media))
	}
	for i := range p.media {
		p.media[i].Timestamp -= protected.base
		q.media[i].Timestamp -= plain.base
		if !bytes.Equal(marshal(t, p.media[i]), marshal(t, q.media[i])) {
			t.Fatalf("packet %d differs", i)
		}
	}
}

// counting counts the packets of each payload type on their way out.
type counting struct {
	webrtc.TrackLocalWriter
	media, added atomic.Int64
}

func (c *counting) WriteRTP(header *rtp.Header, payload []byte) (int, error) {
	if header.PayloadType == 49 {
		c.added.Add(1)
	} else {
		c.media.Add(1)
	}
	return c.TrackLocalWriter.WriteRTP(header, payload)
}

// A whole connection with a browser that takes FlexFEC: nothing is added on a line that loses nothing, and
// something as soon as it loses.
func TestProtectionOfAConnection(t *testing.T) {
	l := netline.New(t, netline.Way{Delay: 10 * time.Millisecond})
	s := newSeat(t, func(cfg *Config) { cfg.Listen = wire.Listen{Media: "127.0.0.1", Loopback: true} })
	c := newClient(t)
	var lines []string
	for text := range strings.SplitSeq(netline.WithoutCandidates(c.offer(t)), "\r\n") {
		if strings.HasPrefix(text, "m=video") {
			text += " 49\r\na=rtpmap:49 flexfec-03/90000\r\na=fmtp:49 repair-window=10000000"
		}
		lines = append(lines, text)
	}
	answer, err := s.Answer(t.Context(), strings.Join(lines, "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: l.Through(t, answer)}); err != nil {
		t.Fatal(err)
	}
	s.reaches(t, Connected)
	wait(t, s.keyframes, "request of the first keyframe")
	s.video.mu.Lock()
	sent := &counting{TrackLocalWriter: s.video.stream}
	s.video.stream = sent
	takes := s.video.fec.encoder != nil
	s.video.mu.Unlock()
	if !takes {
		t.Fatal("the browser's FlexFEC was not seen")
	}
	var bitrate atomic.Int64
	bitrate.Store(2_000_000)
	s.play(t, &bitrate, 3*time.Second)
	if sent.added.Load() != 0 || sent.media.Load() < 100 {
		t.Errorf("without loss, %d packets have %d more", sent.media.Load(), sent.added.Load())
	}
	l.Set(netline.Way{Delay: 10 * time.Millisecond, Loss: 0.05})
	for deadline := time.Now().Add(time.Minute); sent.added.Load() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("at 5 % of loss nothing is added")
		}
		s.play(t, &bitrate, 100*time.Millisecond)
	}
}
