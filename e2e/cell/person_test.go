package cell

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

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

const testMinute = time.Minute

// person plays at a seat, as a browser does.
type person struct {
	t      *testing.T
	input  *webrtc.DataChannel
	frames atomic.Int64
}

// play claims a seat, connects, and returns when pictures come.
func play(t *testing.T, signer *ticket.Signer, app, address string) *person {
	t.Helper()
	ctx := testkit.Context(t, testMinute)
	token, _, err := signer.Sign(ticket.Claims{Session: ticket.NewSession(), App: app, Sites: []string{"here"}})
	testkit.Must(t, err)
	conn, _, err := websocket.Dial(ctx, "ws://"+address+wire.AttachPath, &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	testkit.Must(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })

	p := &person{t: t}
	pc := p.connection()
	t.Cleanup(func() { _ = pc.Close() })
	expect(ctx, t, conn, wire.MsgGranted)
	offer, err := pc.CreateOffer(nil)
	testkit.Must(t, err)
	gathered := webrtc.GatheringCompletePromise(pc)
	testkit.Must(t, pc.SetLocalDescription(offer))
	<-gathered
	testkit.Must(t, wsjson.Write(ctx, conn, wire.Message{Type: wire.MsgOffer, SDP: pc.LocalDescription().SDP}))
	answer := expect(ctx, t, conn, wire.MsgAnswer)
	testkit.Must(t, pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer.SDP}))
	testkit.Until(t, "the person sees pictures and can send input", func() bool {
		return p.frames.Load() > 0 && p.input.ReadyState() == webrtc.DataChannelStateOpen
	})
	// What the seat says later is of no interest, but must be read.
	go func() {
		for {
			var m wire.Message
			if wsjson.Read(context.Background(), conn, &m) != nil {
				return
			}
		}
	}()
	return p
}

// connection receives picture and sound, and has the channels for input.
func (p *person) connection() *webrtc.PeerConnection {
	p.t.Helper()
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	media := &webrtc.MediaEngine{}
	testkit.Must(p.t, media.RegisterDefaultCodecs())
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	testkit.Must(p.t, err)
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		_, err = pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		testkit.Must(p.t, err)
	}
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			if track.Kind() == webrtc.RTPCodecTypeVideo && packet.Marker {
				p.frames.Add(1)
			}
		}
	})
	p.input, err = pc.CreateDataChannel(wire.ChannelInput, nil)
	testkit.Must(p.t, err)
	unordered, none := false, uint16(0)
	_, err = pc.CreateDataChannel(wire.ChannelPointer, &webrtc.DataChannelInit{Ordered: &unordered, MaxRetransmits: &none})
	testkit.Must(p.t, err)
	return pc
}

func expect(ctx context.Context, t *testing.T, conn *websocket.Conn, kind wire.MessageType) wire.Message {
	t.Helper()
	for {
		var m wire.Message
		if err := wsjson.Read(ctx, conn, &m); err != nil {
			t.Fatalf("waiting for %s: %v", kind, err)
		}
		if m.Type == kind {
			return m
		}
		if m.Type != wire.MsgCandidate {
			t.Fatalf("got %+v, want %s", m, kind)
		}
	}
}

func (p *person) press(code, key string) {
	p.t.Helper()
	for _, pressed := range []bool{true, false} {
		raw, err := json.Marshal(wire.Input{Type: wire.InputKey, Code: code, Key: key, Pressed: pressed})
		testkit.Must(p.t, err)
		testkit.Must(p.t, p.input.SendText(string(raw)))
	}
}
