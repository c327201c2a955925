package peer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestMediaInputAndEnd(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	s, c := newSeat(t, nil), newClient(t)

	// Before the connection, nothing is sent and nothing is an error.
	if err := s.WriteVideo(Frame{Data: accessUnit(true, 100), Keyframe: true}); err != nil {
		t.Fatal(err)
	}
	connect(t, s, c)
	if err := s.WriteVideo(Frame{Data: accessUnit(false, 100)}); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().VideoFrames; n != 0 {
		t.Errorf("%d frames were sent before the first keyframe", n)
	}
	key := accessUnit(true, 20_000)
	for i := range 10 {
		f := Frame{Data: accessUnit(false, 3000), PTS: time.Duration(i) * time.Second / 30}
		if i == 0 {
			f.Data, f.Keyframe = key, true
		}
		if err := s.WriteVideo(f); err != nil {
			t.Fatal(err)
		}
		if err := s.WriteAudio(Frame{Data: []byte{0xfc, 0xff, 0xfe}, PTS: f.PTS}); err != nil {
			t.Fatal(err)
		}
	}
	if got := wait(t, c.frames, "video frame"); !bytes.Equal(got, key) {
		t.Errorf("the keyframe of %d bytes arrived as %d others", len(key), len(got))
	}
	wait(t, c.audio, "sound packet")

	c.input.SendText(`{"t":"down","b":2,"x":0.1,"y":0.2}`)
	if in := wait(t, s.inputs, "input"); in.Type != wire.InputDown || in.Button != 2 || in.X != 0.1 {
		t.Errorf("input came as %+v", in)
	}
	c.pointer.SendText(`{"t":"ping","seq":42}`)
	if pong := wait(t, c.pongs, "pong"); pong != `{"t":"pong","seq":42}` {
		t.Errorf("pong is %s", pong)
	}

	c.pc.Close()
	s.reaches(t, Closed)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.WriteVideo(Frame{Data: key, Keyframe: true}); err != nil {
		t.Errorf("write after Close: %v", err)
	}
	if _, err := s.Answer(t.Context(), ""); err == nil {
		t.Error("a closed peer answers")
	}
}

// The stack reports each change on a new goroutine. On a busy machine, connecting
// can be reported after connected.
func TestStatesOutOfOrder(t *testing.T) {
	s, c := newSeat(t, nil), newClient(t)
	connect(t, s, c)
	s.changed(webrtc.PeerConnectionStateConnecting)
	if state := s.Stats().State; state != Connected {
		t.Errorf("a late report made the peer %s", state)
	}
	s.changed(webrtc.PeerConnectionStateFailed)
	s.changed(webrtc.PeerConnectionStateConnected)
	select {
	case state := <-s.states:
		t.Errorf("a late report was passed on: %s", state)
	default:
	}
}

// A seat drops input while it does not know that the person is connected. So the
// state must come before the first input, or the first key is lost.
func TestConnectedBeforeFirstInput(t *testing.T) {
	told := make(chan string, 100)
	s := newSeat(t, func(cfg *Config) {
		cfg.OnState = func(state State) { told <- state.String() }
		cfg.OnInput = func(in wire.Input) { told <- in.Code }
	})
	c := newClient(t)
	s.telling.Lock() // the report of the state is slow
	unlock := sync.OnceFunc(s.telling.Unlock)
	defer unlock()
	answer, err := s.Answer(t.Context(), c.offer(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		t.Fatal(err)
	}
	for wait(t, c.open, "open data channel") != wire.ChannelInput {
	}
	c.input.SendText(`{"t":"key","code":"KeyA","key":"a","p":true}`)
	testkit.Until(t, "input comes", func() bool { return s.Stats().Inputs > 0 })
	unlock()
	for _, want := range []string{Connected.String(), "KeyA"} {
		if got := wait(t, told, want); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A browser requests keyframes only after it got something. Until then the peer
// must repeat the request: if the first had no effect, there would be no picture.
func TestFirstKeyframeIsRequestedAgain(t *testing.T) {
	s, c := newSeat(t, nil), newClient(t)
	connect(t, s, c) // takes the first request
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(keyframeOnItsWay / 4)
	defer tick.Stop()
	for asked := false; !asked; {
		if err := s.WriteVideo(Frame{Data: accessUnit(false, 100)}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.keyframes:
			asked = true
		case <-tick.C:
		case <-deadline:
			t.Fatal("no keyframe is requested again")
		}
	}
	if n := s.Stats().VideoFrames; n != 0 {
		t.Errorf("%d frames were sent before the first keyframe", n)
	}
}

// annexB encodes real H.264, split into access units.
func annexB(t *testing.T, dir string) [][]byte {
	t.Helper()
	if _, err := exec.LookPath("gst-launch-1.0"); err != nil {
		t.Skip("gst-launch-1.0 is not installed")
	}
	out, err := exec.Command("gst-launch-1.0", "-q", "videotestsrc", "num-buffers=30", "pattern=ball", "!", "video/x-raw,width=640,height=360,framerate=30/1",
		"!", "x264enc", "tune=zerolatency", "speed-preset=ultrafast", "key-int-max=1000", "!",
		"video/x-h264,profile=constrained-baseline,stream-format=byte-stream,alignment=au", "!", "multifilesink", "location="+dir+"/%03d.au").CombinedOutput()
	if err != nil {
		t.Skipf("cannot make H.264 here: %v %s", err, out)
	}
	names, _ := filepath.Glob(dir + "/*.au")
	var units [][]byte
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		units = append(units, b)
	}
	return units
}

func TestReceivedVideoDecodes(t *testing.T) {
	dir := t.TempDir()
	units := annexB(t, dir)
	s, c := newSeat(t, nil), newClient(t)
	connect(t, s, c)
	for i, unit := range units {
		if err := s.WriteVideo(Frame{Data: unit, Keyframe: i == 0, PTS: time.Duration(i) * time.Second / 30}); err != nil {
			t.Fatal(err)
		}
	}
	var received []byte
	for range len(units) - 1 { // the last one waits for what follows it
		received = append(received, wait(t, c.frames, "frame")...)
	}
	file := filepath.Join(dir, "received.h264")
	if err := os.WriteFile(file, received, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("gst-launch-1.0", "filesrc", "location="+file, "!", "h264parse", "!", "openh264dec", "!",
		"multifilesink", "location="+dir+"/%03d.raw").CombinedOutput()
	if err != nil {
		t.Skipf("cannot decode H.264 here: %v %s", err, out)
	}
	if raw, _ := filepath.Glob(dir + "/*.raw"); len(raw) < len(units)-2 {
		t.Errorf("%d of %d frames decode", len(raw), len(units)-1)
	}
}

func TestPLIsBecomeOneRequest(t *testing.T) {
	s, c := newSeat(t, nil), newClient(t)
	connect(t, s, c)
	for i := range 5 {
		s.WriteVideo(Frame{Data: accessUnit(i == 0, 2000), Keyframe: i == 0, PTS: time.Duration(i) * time.Second / 30})
	}
	wait(t, c.frames, "frame")
	// A request made while the keyframe is on its way is not passed on. So repeat it.
	asked := false
	deadline := time.Now().Add(60 * time.Second)
	for !asked && time.Now().Before(deadline) {
		c.pli(t)
		select {
		case <-s.keyframes:
			asked = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	if !asked {
		t.Fatal("a PLI does not request a keyframe")
	}
	before := s.Stats().KeyframeAsks
	for range 20 {
		c.pli(t)
	}
	deadline = time.Now().Add(60 * time.Second)
	for s.Stats().KeyframeAsks < before+20 && time.Now().Before(deadline) {
		<-time.After(5 * time.Millisecond)
	}
	if n := len(s.keyframes); n > 1 {
		t.Errorf("20 PLIs at once became %d requests", n)
	}
}

func TestLossLowersTheBitrate(t *testing.T) {
	s, c := newSeat(t, nil), newClient(t)
	connect(t, s, c)
	stop := time.After(60 * time.Second)
	full := false // has reached what it may have, so that it can fall
	tick := time.NewTicker(time.Second / 30)
	defer tick.Stop()
	for i := 0; ; i++ {
		if err := s.WriteVideo(Frame{Data: accessUnit(i == 0, 30_000), Keyframe: i == 0, PTS: time.Duration(i) * time.Second / 30}); err != nil {
			t.Fatal(err)
		}
		select {
		case bps := <-s.bitrates:
			switch {
			case full && bps < 6_000_000:
				return
			case !full && bps == 8_000_000:
				full = true
				c.loss.Store(250)
			}
		case <-tick.C:
		case <-stop:
			t.Fatalf("a quarter of the packets is lost, but the bitrate stays: %+v", s.Stats())
		}
	}
}

func TestFlood(t *testing.T) {
	s, c := newSeat(t, nil), newClient(t)
	connect(t, s, c)
	var sent atomic.Int64
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if c.pointer.BufferedAmount() > 1<<20 {
				<-time.After(time.Millisecond)
				continue
			}
			if c.pointer.SendText(fmt.Sprintf(`{"t":"move","x":0.5,"n":%d}`, i)) == nil {
				sent.Add(1)
			}
		}
	}()
	deadline := time.Now().Add(60 * time.Second)
	start := time.Now()
	for s.Stats().InputsDropped < 2000 && time.Now().Before(deadline) {
		<-time.After(10 * time.Millisecond)
	}
	st := s.Stats()
	if st.InputsDropped == 0 {
		t.Errorf("nothing of %d messages was dropped: %+v", sent.Load(), st)
	}
	if most := uint64(inputsBurst + 1 + 1.1*inputsPerSecond*time.Since(start).Seconds() + inputsPerSecond); st.Inputs > most {
		t.Errorf("%d moves reached the app, more than %d", st.Inputs, most)
	}
	// The other channel still works.
	c.input.SendText(`{"t":"key","code":"KeyQ","p":true}`)
	for in := wait(t, s.inputs, "key"); in.Type != wire.InputKey; in = wait(t, s.inputs, "key") {
	}
	close(stop)
	<-done
}

func TestReliableFloodIsSlowedNotDropped(t *testing.T) {
	var n atomic.Int64
	s, c := newSeat(t, func(cfg *Config) { cfg.OnInput = func(wire.Input) { n.Add(1) } }), newClient(t)
	connect(t, s, c)
	const count = 2000
	start := time.Now()
	for range count {
		if err := c.input.SendText(`{"t":"key","code":"KeyQ","p":true}`); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(60 * time.Second)
	for n.Load() < count && time.Now().Before(deadline) {
		<-time.After(5 * time.Millisecond)
	}
	if n.Load() != count {
		t.Errorf("%d of %d keys arrived", n.Load(), count)
	}
	if took := time.Since(start); took < (count-inputsBurst)*time.Second/inputsPerSecond/2 {
		t.Errorf("%d arrived in %v, faster than allowed", count, took)
	}
}

func TestMalformedInputIsIgnored(t *testing.T) {
	s, c := newSeat(t, nil), newClient(t)
	connect(t, s, c)
	for _, bad := range []string{"", "null", "[]", "{", `{"t":"nonsense"}`, `{"t":"move","x":"a"}`, strings.Repeat("x", 5000)} {
		c.input.SendText(bad)
	}
	c.input.SendText(`{"t":"blur"}`)
	if in := wait(t, s.inputs, "input"); in.Type != wire.InputBlur {
		t.Errorf("got %+v", in)
	}
	if st := s.Stats(); st.InputsMalformed != 7 || st.Inputs != 1 {
		t.Errorf("counted %+v", st)
	}
}

func TestBadOffers(t *testing.T) {
	good := newClient(t).offer(t)
	for name, offer := range map[string]string{
		"empty":     "",
		"nonsense":  "hello",
		"no video":  "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
		"truncated": good[:len(good)/3],
		"no ice":    strings.ReplaceAll(good, "a=ice-ufrag", "a=x-ufrag"),
		"no dtls":   strings.ReplaceAll(good, "a=fingerprint", "a=x-fingerprint"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSeat(t, nil)
			if answer, err := s.Answer(t.Context(), offer); !errors.Is(err, errOffer) {
				t.Errorf("got %v, %q", err, answer)
			}
		})
	}
	t.Run("no codec", func(t *testing.T) {
		s := newSeat(t, nil)
		_, err := s.Answer(t.Context(), strings.ReplaceAll(good, "H264/90000", "H263/90000"))
		var lacking interface{ MissingCodec() string }
		if !errors.Is(err, errCodec) || !errors.As(err, &lacking) || lacking.MissingCodec() != "h264" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("codecs", func(t *testing.T) {
		codecs, err := offeredCodecs(good)
		if err != nil || !codecs["h264"] || !codecs["vp8"] || !codecs["opus"] {
			t.Errorf("got %v, %v", codecs, err)
		}
	})
}

// What the answer says about the connection costs or saves round trips.
func TestAnswer(t *testing.T) {
	for _, sound := range []bool{true, false} {
		s := newSeat(t, func(cfg *Config) { cfg.Audio = sound })
		answer, err := s.Answer(t.Context(), newClient(t).offer(t))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(answer, "a=setup:active") || !strings.Contains(answer, "a=setup:passive") {
			t.Errorf("the browser does not start the handshake:\n%s", answer)
		}
		_, audio, found := strings.Cut(answer, "m=audio")
		if !found {
			t.Fatalf("no audio section:\n%s", answer)
		}
		audio, _, _ = strings.Cut(audio, "m=")
		if got := strings.Contains(audio, "a=sendonly"); got != sound {
			t.Errorf("sound %v is answered by:\n%s", sound, audio)
		}
	}
}

func TestCandidates(t *testing.T) {
	s, c := newSeat(t, func(cfg *Config) {
		cfg.Listen = wire.Listen{Media: "127.0.0.1", Loopback: true, PublicIP: "203.0.113.7", PortMin: 40000, PortMax: 40100}
	}), newClient(t)
	if _, err := s.Answer(t.Context(), c.offer(t)); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, line := range strings.Split(s.pc.LocalDescription().SDP, "\r\n") {
		fields := strings.Fields(line)
		if !strings.HasPrefix(line, "a=candidate:") || len(fields) < 6 {
			continue
		}
		n++
		if fields[4] != "203.0.113.7" || len(fields[5]) != 5 || fields[5][:2] != "40" {
			t.Errorf("candidate %s", line)
		}
	}
	if n == 0 {
		t.Error("the answer has no candidate")
	}
	for _, ok := range []string{"", "null", `{"candidate":""}`, `{"candidate":"candidate:1 1 udp 2113937151 0b3c.local 50000 typ host","sdpMid":"0"}`} {
		if err := s.AddCandidate([]byte(ok)); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	if err := s.AddCandidate([]byte("{")); err == nil {
		t.Error("a malformed candidate was accepted")
	}
}

func TestBadConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"codec":   {Codec: "av2", MaxBitrateBPS: 1_000_000},
		"bitrate": {Codec: "h264"},
		"media":   {Codec: "h264", MaxBitrateBPS: 1_000_000, Listen: wire.Listen{Media: "example.org"}},
		"public":  {Codec: "h264", MaxBitrateBPS: 1_000_000, Listen: wire.Listen{PublicIP: "1.2.3"}},
		"ports":   {Codec: "h264", MaxBitrateBPS: 1_000_000, Listen: wire.Listen{PortMin: 2000, PortMax: 1000}},
	} {
		if p, err := New(cfg); err == nil {
			p.Close()
			t.Errorf("%s: no error", name)
		}
	}
}
