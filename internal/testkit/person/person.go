// Package person is a person at a seat, in tests of what is below a browser: they claim the
// seat, get its picture and sound by WebRTC, and press keys.
//
//	p := person.Attach(t, brain, seat, ticket)
//	p.Connect()                                // returns with the first picture
//	p.Press("KeyA", "a")
//	testkit.Until(t, "a picture", func() bool { return p.Frames() > before })
//	p.Send(wire.Message{Type: wire.MsgLeave})
//
// They leave without a word when the test ends. Package browser beside this one has a real
// Chromium.
package person

import (
	"context"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// patience bounds each step: a machine that runs tests may be slow.
const patience = time.Minute

// Person is a person with a claim on a seat.
type Person struct {
	// Grant is what the seat answered to the claim.
	Grant wire.Grant

	t      testing.TB
	conn   *websocket.Conn
	pc     *webrtc.PeerConnection
	input  *webrtc.DataChannel
	frames atomic.Int64
	sounds atomic.Int64
	// pointer is what the seat told last.
	pointer atomic.Pointer[wire.Pointer]
	rumble  atomic.Pointer[wire.Rumble]
	clips   clips
	pongs   chan struct{}

	messages messages
}

// Attach claims a seat as the brain with this key, with a ticket or the token of a session
// that was lost.
func Attach(t testing.TB, brain *identity.Identity, seat wire.Seat, token string) *Person {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: brain.Client(seat.Key), DisableKeepAlives: true}
	conn, _, err := websocket.Dial(testkit.Context(t, patience), "wss://"+seat.Address+wire.AttachPath, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	testkit.Must(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	p := &Person{t: t, conn: conn, pongs: make(chan struct{}, 1)}
	p.Grant = *p.Expect(wire.MsgGranted).Grant
	return p
}

// Expect waits for a message of this kind. Only candidates may come before it.
func (p *Person) Expect(kind wire.MessageType) wire.Message {
	p.t.Helper()
	ctx := testkit.Context(p.t, patience)
	for {
		var m wire.Message
		if err := wsjson.Read(ctx, p.conn, &m); err != nil {
			p.t.Fatalf("waiting for %s: %v", kind, err)
		}
		if m.Type == kind {
			return m
		}
		if m.Type != wire.MsgCandidate {
			p.t.Fatalf("got %+v, want %s", m, kind)
		}
	}
}

// Ignore reads and forgets what the seat says from now on.
func (p *Person) Ignore() {
	go func() {
		for {
			if _, _, err := p.conn.Reader(context.Background()); err != nil {
				return // the test has ended
			}
		}
	}()
}

// Send sends a message to the seat.
func (p *Person) Send(m wire.Message) {
	p.t.Helper()
	testkit.Must(p.t, wsjson.Write(p.t.Context(), p.conn, m))
}

// Connect makes the connection for picture, sound and input, and returns when pictures come.
func (p *Person) Connect() *Person {
	p.t.Helper()
	p.receive()
	offer, err := p.pc.CreateOffer(nil)
	testkit.Must(p.t, err)
	gathered := webrtc.GatheringCompletePromise(p.pc)
	testkit.Must(p.t, p.pc.SetLocalDescription(offer))
	<-gathered
	p.Send(wire.Message{Type: wire.MsgOffer, SDP: p.pc.LocalDescription().SDP})
	answer := p.Expect(wire.MsgAnswer)
	testkit.Must(p.t, p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer.SDP}))
	testkit.Within(p.t, patience, "the person sees pictures and can send input", func() bool {
		return p.Frames() > 0 && p.input.ReadyState() == webrtc.DataChannelStateOpen
	})
	return p
}

// receive prepares the person's end of the connection.
func (p *Person) receive() {
	p.t.Helper()
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	media := &webrtc.MediaEngine{}
	testkit.Must(p.t, media.RegisterDefaultCodecs())
	var err error
	p.pc, err = webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	testkit.Must(p.t, err)
	p.t.Cleanup(func() { _ = p.pc.Close() })
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		_, err = p.pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		testkit.Must(p.t, err)
	}
	p.pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			switch {
			case track.Kind() == webrtc.RTPCodecTypeAudio:
				p.sounds.Add(1)
			case packet.Marker:
				p.frames.Add(1)
			}
		}
	})
	p.input, err = p.pc.CreateDataChannel(wire.ChannelInput, nil)
	testkit.Must(p.t, err)
	p.input.OnMessage(func(m webrtc.DataChannelMessage) {
		var told wire.Pointer
		if json.Unmarshal(m.Data, &told) == nil && told.Type == "pointer" {
			p.pointer.Store(&told)
		}
		var pong wire.Pong
		if json.Unmarshal(m.Data, &pong) == nil && pong.Type == "pong" {
			select {
			case p.pongs <- struct{}{}:
			default:
			}
		}
		var rumble wire.Rumble
		if json.Unmarshal(m.Data, &rumble) == nil && rumble.Type == "rumble" {
			p.rumble.Store(&rumble)
		}
		var clip wire.Clip
		if json.Unmarshal(m.Data, &clip) == nil && clip.Type == "clip" {
			p.clips.hear(clip)
		}
	})
	p.openClips()
	p.openMessages()
	unordered, none := false, uint16(0)
	_, err = p.pc.CreateDataChannel(wire.ChannelPointer, &webrtc.DataChannelInit{Ordered: &unordered, MaxRetransmits: &none})
	testkit.Must(p.t, err)
}

// Frames is how many pictures have come, Sounds how many packets of sound.
func (p *Person) Frames() int64 { return p.frames.Load() }
func (p *Person) Sounds() int64 { return p.sounds.Load() }

// Pointer is what the seat told last of the app's pointer, after wire.InputCursor.
func (p *Person) Pointer() wire.Pointer {
	if told := p.pointer.Load(); told != nil {
		return *told
	}
	return wire.Pointer{}
}

// Rumble is what the seat told last of a gamepad.
func (p *Person) Rumble() wire.Rumble {
	if told := p.rumble.Load(); told != nil {
		return *told
	}
	return wire.Rumble{}
}

// Press presses and releases a key.
func (p *Person) Press(code, key string) {
	p.t.Helper()
	for _, pressed := range []bool{true, false} {
		p.Input(wire.Input{Type: wire.InputKey, Code: code, Key: key, Pressed: pressed})
	}
}

// Click clicks at a place of the picture, in parts of its width and height.
func (p *Person) Click(x, y float64) {
	p.t.Helper()
	for _, kind := range []wire.InputType{wire.InputMove, wire.InputDown, wire.InputUp} {
		p.Input(wire.Input{Type: kind, X: x, Y: y})
	}
}

// Input sends an input.
func (p *Person) Input(in wire.Input) {
	p.t.Helper()
	raw, err := json.Marshal(in)
	testkit.Must(p.t, err)
	testkit.Must(p.t, p.input.SendText(string(raw)))
}

// Vanish ends the connections without a word, as a browser that is lost.
func (p *Person) Vanish() {
	p.t.Helper()
	testkit.Must(p.t, p.conn.CloseNow())
	testkit.Must(p.t, p.pc.Close())
}
