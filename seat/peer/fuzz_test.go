package peer

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/ice/v4"

	"github.com/nearcast/nearcast/internal/wire"
)

const smallOffer = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\nc=IN IP4 0.0.0.0\r\n" +
	"a=mid:0\r\na=recvonly\r\na=rtcp-mux\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\na=ice-pwd:pppppppppppppppppppppp\r\n" +
	"a=fingerprint:sha-256 AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA\r\n" +
	"a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\n"

// FuzzOffer gives a seat an offer. It must answer or refuse, soon, and check no
// address that is out of reach.
func FuzzOffer(f *testing.F) {
	for _, seed := range []string{"", "v=0", smallOffer, smallOffer + "a=candidate:1 1 udp 1 10.0.0.1 50000 typ host\r\n",
		smallOffer + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\na=sctp-port:5000\r\n",
		strings.Replace(smallOffer, "mid:0", "mid:\x00", 1), strings.Repeat("a=candidate:1 1 udp 1 1.1.1.1 5000 typ host\r\n", 40)} {
		f.Add(seed)
	}
	log := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, offer string) {
		r, err := newReach(wire.Listen{})
		if err != nil {
			t.Fatal(err)
		}
		filtered, kept := r.filter(offer)
		if kept > maxCandidates {
			t.Errorf("%d candidates are kept", kept)
		}
		for line := range strings.Lines(filtered) {
			if value, ok := strings.CutPrefix(line, "a=candidate:"); ok && r.check(strings.TrimRight(value, "\r\n")) != nil {
				t.Errorf("%q is kept", line)
			}
		}
		p, err := New(Config{Codec: "h264", MaxBitrateBPS: 1_000_000, Log: log, Listen: wire.Listen{Media: "127.0.0.1", Loopback: true}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := p.Answer(ctx, offer); ctx.Err() != nil {
			t.Errorf("no answer within 10 s: %v", err)
		}
	})
}

// FuzzCandidate gives a seat a candidate. One that is used names an address within
// reach.
func FuzzCandidate(f *testing.F) {
	for _, line := range []string{"", "candidate:1 1 udp 2122260223 93.184.215.14 50000 typ host", "candidate:1 1 udp 1 10.0.0.1 50000 typ host",
		"candidate:1 1 udp 1 ::ffff:169.254.169.254 50000 typ host", "candidate:1 1 udp 1 x.local 50000 typ host generation 0 ufrag abcd",
		"candidate:1 1 tcp 1 8.8.8.8 9 typ host tcptype active", "candidate:1 1 udp 1 8.8.8.8 50000 typ srflx raddr 127.0.0.1 rport 1"} {
		f.Add(line)
	}
	r, err := newReach(wire.Listen{})
	if err != nil {
		f.Fatal(err)
	}
	p, err := New(Config{Codec: "h264", MaxBitrateBPS: 1_000_000, Log: slog.New(slog.DiscardHandler), Listen: wire.Listen{Media: "127.0.0.1", Loopback: true}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { p.Close() })
	f.Fuzz(func(t *testing.T, line string) {
		if r.check(line) == nil {
			c, err := ice.UnmarshalCandidate(strings.TrimPrefix(line, "candidate:"))
			if err != nil {
				t.Fatal(err)
			}
			a, err := netip.ParseAddr(c.Address())
			if err != nil || in(never, a.Unmap()) || in(loopback, a.Unmap()) || in(private, a.Unmap()) {
				t.Errorf("%q passes", line)
			}
		}
		p.AddCandidate(json.RawMessage(line))
		data, _ := json.Marshal(map[string]string{"candidate": line})
		p.AddCandidate(data)
	})
}

// FuzzInput reads an input message.
func FuzzInput(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"t":"move","x":0.5,"y":0.5,"n":1}`, `{"t":"key","code":"KeyA","key":"a","p":true}`,
		`{"t":"ping","seq":9}`, `{"t":"wheel","dx":1e308}`, `[`, `{"t":"down","b":-1}`,
		`{"t":"touch","touches":[{"i":1,"x":0.5,"y":0.5}],"n":1}`, `{"t":"touch","touches":[{"i":-1}]}`,
		`{"t":"pads","pads":15,"p":true}`, `{"t":"pad","n":3,"pad":{"i":3,"b":65599,"lx":-32768,"ly":32767,"rx":0,"ry":0,"lt":255,"rt":0}}`,
		`{"t":"pad","pad":{"i":1e99}}`, `{"t":"clip","text":"a","more":true}`, `{"t":"clip","offer":{"id":1,"text":300000,"html":12,"png":8388608}}`,
		`{"t":"clip","offer":{"id":4294967295,"png":-1}}`, `{"t":"clip","offer":{"id":1,"html":8388609}}`} {
		f.Add([]byte(seed))
	}
	known := []wire.InputType{wire.InputMove, wire.InputRel, wire.InputDown, wire.InputUp, wire.InputWheel, wire.InputKey, wire.InputText, wire.InputClip,
		wire.InputCursor, wire.InputBlur, wire.InputView, wire.InputPads, wire.InputPad, wire.InputTouch, wire.InputClose, wire.InputPing}
	f.Fuzz(func(t *testing.T, data []byte) {
		in, ok := parse(data)
		if ok && (len(data) > maxInput && in.Type != wire.InputClip || !slices.Contains(known, in.Type)) {
			t.Errorf("%q passes as %+v", data, in)
		}
		if ok && in.Type == wire.InputClip && in.Offer != nil && !in.Offer.Valid() {
			t.Errorf("%q passes with the offer %+v", data, in.Offer)
		}
	})
}
