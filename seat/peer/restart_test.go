package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// restart is what a page does when its address has changed.
func restart(t *testing.T, s *seat, c *client) (answer string) {
	t.Helper()
	offer := c.makeOffer(t, &webrtc.OfferOptions{ICERestart: true})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	answer, err := s.Restart(ctx, offer)
	testkit.Must(t, err)
	testkit.Must(t, c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}))
	return answer
}

// values are those of all lines of an SDP that begin so.
func values(sdp, prefix string) (out []string) {
	for line := range strings.Lines(sdp) {
		if value, ok := strings.CutPrefix(line, prefix); ok {
			out = append(out, strings.TrimSpace(value))
		}
	}
	return out
}

func TestRestartKeepsAllButTheWay(t *testing.T) {
	for name, audio := range map[string]bool{"with sound": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t) })
			s, c := newSeat(t, func(cfg *Config) {
				cfg.Audio = audio
				cfg.Listen = wire.Listen{Media: "127.0.0.1", Loopback: true}
			}), newClient(t)
			if _, err := s.Restart(t.Context(), "v=0"); !errors.Is(err, errUnanswered) {
				t.Errorf("a restart before the first answer: %v", err)
			}
			connect(t, s, c)
			picture := func(pts time.Duration) {
				t.Helper()
				key := accessUnit(true, 20_000)
				testkit.Must(t, s.WriteVideo(Frame{Data: key, Keyframe: true, PTS: pts}))
				for _, pts := range []time.Duration{pts + time.Second/30, pts + time.Second/15} { // ends the one before it
					testkit.Must(t, s.WriteVideo(Frame{Data: accessUnit(false, 300), PTS: pts}))
				}
				for !bytes.Equal(wait(t, c.frames, "keyframe"), key) {
				}
			}
			picture(0)
			ssrc, transceivers := c.ssrc.Load(), len(s.pc.GetTransceivers())
			before := s.pc.LocalDescription().SDP
			for len(s.keyframes) > 0 {
				<-s.keyframes
			}

			for round := range 3 {
				after := restart(t, s, c)
				wait(t, s.keyframes, "request of a keyframe on the new way")
				picture(time.Duration(round+1) * time.Second)
				testkit.Must(t, c.input.SendText(`{"t":"down","b":2,"x":0.1,"y":0.2}`))
				if in := wait(t, s.inputs, "input"); in.Type != wire.InputDown {
					t.Errorf("input came as %+v", in)
				}
				for _, same := range []string{"m=", "a=ssrc:", "a=fingerprint:", "a=setup:", "a=mid:", "a=sctp-port:"} {
					if a, b := values(before, same), values(after, same); same != "a=ssrc:" && len(a) == 0 || !slices.Equal(a, b) {
						t.Errorf("%s changed from %q to %q", same, a, b)
					}
				}
				if a, b := values(before, "a=ice-ufrag:"), values(after, "a=ice-ufrag:"); len(b) == 0 || a[0] == b[0] {
					t.Errorf("ICE's name was %q and is %q", a, b)
				}
				if c.ssrc.Load() != ssrc || len(s.pc.GetTransceivers()) != transceivers || len(c.open) > 0 {
					t.Errorf("there are new tracks or channels")
				}
				old := values(before, "a=candidate:")
				if len(old) == 0 {
					t.Fatalf("no candidates in %s", before)
				}
				for _, text := range old {
					f := strings.Fields(text)
					// The seat's old socket is closed.
					if f[2] != "udp" {
						continue // its port belongs to the peer
					}
					if slices.Contains(values(after, "a=candidate:"), text) {
						t.Errorf("%s is still offered", text)
					}
					l, err := net.ListenPacket("udp4", net.JoinHostPort(f[4], f[5]))
					if err != nil {
						t.Errorf("the old address is in use: %v", err)
						continue
					}
					l.Close()
				}
				before = after
			}
		})
	}
}

// A browser is hostile: it restarts as often as it may, and names as many addresses and
// tracks as it likes.
func TestRestartIsBounded(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	s, c := newSeat(t, nil), newClient(t)
	connect(t, s, c)
	transceivers := len(s.pc.GetTransceivers())
	offer := c.pc.LocalDescription().SDP
	ufrag, pwd := regexp.MustCompile(`(?m)^a=ice-ufrag:.*?\r$`), regexp.MustCompile(`(?m)^a=ice-pwd:.*?\r$`)
	hostile := func(i int) string {
		text := ufrag.ReplaceAllString(offer, fmt.Sprintf("a=ice-ufrag:hostile%d\r", i))
		text = pwd.ReplaceAllString(text, fmt.Sprintf("a=ice-pwd:%032d\r", i))
		for n := range 60 {
			text += fmt.Sprintf("m=video 9 UDP/TLS/RTP/SAVPF 102\r\nc=IN IP4 0.0.0.0\r\na=mid:more%d\r\na=recvonly\r\na=rtpmap:102 H264/90000\r\n"+
				"a=candidate:%d 1 udp 2130706431 127.0.0.1 %d typ host\r\n", n, n, 20_000+n)
		}
		return text
	}
	for i := range restartBurst {
		if _, err := s.Restart(t.Context(), hostile(i)); err != nil {
			t.Fatalf("restart %d: %v", i, err)
		}
		if n := len(s.pc.GetTransceivers()); n != transceivers {
			t.Fatalf("a restart made %d transceivers of %d", n, transceivers)
		}
		testkit.Must(t, s.AddCandidate([]byte(`{"candidate":"candidate:1 1 udp 2130706431 127.0.0.1 30000 typ host"}`)))
		known := 0
		for _, stat := range s.pc.GetStats() {
			if remote, ok := stat.(webrtc.ICECandidateStats); ok && remote.Type == webrtc.StatsTypeRemoteCandidate {
				known++
			}
		}
		if known == 0 || known > maxCandidates {
			t.Errorf("after restart %d the seat checks %d addresses", i, known)
		}
	}
	if _, err := s.Restart(t.Context(), hostile(99)); !errors.Is(err, errRestarts) {
		t.Errorf("one more: %v", err)
	}
}

func TestRenewed(t *testing.T) {
	first := "v=0\r\na=group:BUNDLE 0 1\r\nm=video 9 x 102\r\na=ice-ufrag:old1\r\na=ice-pwd:oldoldoldoldoldoldoldold\r\na=mid:0\r\n" +
		"a=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\na=end-of-candidates\r\nm=application 9 y z\r\na=ice-ufrag:old1\r\na=mid:1\r\n"
	later := "v=0\r\nm=audio 9 x 111\r\na=mid:0\r\na=ice-ufrag:new1\r\na=ice-pwd:newnewnewnewnewnewnewnew\r\n" +
		"a=candidate:2 1 udp 1 192.0.2.2 5001 typ host\r\na=candidate:3 1 udp 1 192.0.2.3 5001 typ host\ra=mid:2\r\n"
	want := "v=0\r\na=group:BUNDLE 0 1\r\nm=video 9 x 102\r\na=ice-ufrag:new1\r\na=ice-pwd:newnewnewnewnewnewnewnew\r\na=mid:0\r\n" +
		"a=candidate:2 1 udp 1 192.0.2.2 5001 typ host\r\nm=application 9 y z\r\na=ice-ufrag:new1\r\na=mid:1\r\n"
	got, err := renewed(first, later)
	if err != nil || got != want {
		t.Errorf("%v: got\n%s\nwant\n%s", err, got, want)
	}
	for _, bad := range []string{"", "v=0\r\na=ice-ufrag:new1\r\n", "a=ice-ufrag:ne\rw1\r\na=ice-pwd:newnewnewnewnewnewnewnew\r\n", "a=ice-ufrag:new1\r\na=ice-pwd:short\r\n"} {
		if _, err := renewed(first, bad); !errors.Is(err, errOffer) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
