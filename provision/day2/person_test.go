package day2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/wire"
)

// person is a person who has pressed Play, with their connection.
type person struct {
	s      *site
	ws     *websocket.Conn
	pc     *webrtc.PeerConnection
	seat   string
	frames atomic.Int64
}

// play presses Play until a router answers; then the person must get a stream.
func (s *site) play() *person {
	s.t.Helper()
	var p *person
	var err error
	s.until("a router answers", func() error {
		launched, launchErr := s.launch()
		if launchErr == nil {
			p, err = s.claim(launched)
		}
		return launchErr
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return p.connect()
}

// playSoon is play at a site that has just recovered: the person presses Play again until
// they get a seat.
func (s *site) playSoon() (p *person) {
	s.t.Helper()
	s.until("the person gets a seat", func() error {
		launched, err := s.launch()
		if err == nil {
			p, err = s.claim(launched)
		}
		return err
	})
	return p.connect()
}

func (s *site) launch() (launched wire.LaunchResponse, err error) {
	body, _ := json.Marshal(wire.LaunchRequest{App: s.env["app"]})
	res, err := http.Post(s.env["url"]+"/v1/sessions", "application/json", bytes.NewReader(body))
	if err != nil {
		return launched, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%s: %s", res.Status, text)
	}
	if err != nil {
		return launched, err
	}
	return launched, json.Unmarshal(text, &launched)
}

func (s *site) claim(launched wire.LaunchResponse) (*person, error) {
	ws, _, err := websocket.Dial(s.ctx, launched.BrainURL, nil)
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { ws.CloseNow() })
	p := &person{s: s, ws: ws}
	if err := wsjson.Write(s.ctx, ws, wire.Message{Type: wire.MsgHello, Ticket: launched.Ticket}); err != nil {
		return nil, err
	}
	granted, err := p.expect(wire.MsgGranted)
	if err != nil {
		return nil, err
	}
	p.seat = granted.Grant.Seat
	return p, nil
}

func (p *person) expect(kind wire.MessageType) (m wire.Message, err error) {
	for m.Type != kind {
		m = wire.Message{}
		if err := wsjson.Read(p.s.ctx, p.ws, &m); err != nil {
			return m, fmt.Errorf("waiting for %s: %w", kind, err)
		}
		if m.Type == wire.MsgRefused || m.Type == wire.MsgEnded {
			return m, fmt.Errorf("%s: %+v %+v", m.Type, m.Problem, m.End)
		}
	}
	return m, nil
}

// connect waits for the first picture.
func (p *person) connect() *person {
	p.s.t.Helper()
	if err := p.negotiate(); err != nil {
		p.s.t.Fatal(err)
	}
	p.s.until("a first picture", func() error {
		if p.frames.Load() == 0 {
			return fmt.Errorf("the connection is %s", p.pc.ConnectionState())
		}
		return nil
	})
	return p
}

func (p *person) negotiate() error {
	settings, media := webrtc.SettingEngine{}, &webrtc.MediaEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	err := media.RegisterDefaultCodecs()
	if err != nil {
		return err
	}
	if p.pc, err = webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{}); err != nil {
		return err
	}
	p.s.t.Cleanup(func() { p.pc.GracefulClose() })
	p.pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			if packet.Marker {
				p.frames.Add(1)
			}
		}
	})
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if _, err := p.pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			return err
		}
	}
	unordered, none := false, uint16(0)
	_, err = p.pc.CreateDataChannel(wire.ChannelInput, nil)
	_, err2 := p.pc.CreateDataChannel(wire.ChannelPointer, &webrtc.DataChannelInit{Ordered: &unordered, MaxRetransmits: &none})
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	offer, err := p.pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(p.pc)
	if err := p.pc.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	if err := wsjson.Write(p.s.ctx, p.ws, wire.Message{Type: wire.MsgOffer, SDP: p.pc.LocalDescription().SDP}); err != nil {
		return err
	}
	answer, err := p.expect(wire.MsgAnswer)
	if err != nil {
		return err
	}
	return p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer.SDP})
}

// streams checks that the person's stream continues.
func (p *person) streams(after string) {
	p.s.t.Helper()
	if state := p.pc.ConnectionState(); state != webrtc.PeerConnectionStateConnected {
		p.s.t.Errorf("after %s the person's connection is %s", after, state)
	}
	p.s.until("the person's seat, after "+after, func() error {
		seats, err := p.s.seats()
		for _, seat := range seats {
			if seat.ID == p.seat && seat.State == wire.SeatStreaming {
				return nil
			}
		}
		return fmt.Errorf("seats: %+v, %v", seats, err)
	})
}

// leave gives the seat back.
func (p *person) leave() {
	p.s.t.Helper()
	if err := wsjson.Write(p.s.ctx, p.ws, wire.Message{Type: wire.MsgLeave}); err != nil {
		p.s.t.Fatal(err)
	}
	p.ws.Close(websocket.StatusNormalClosure, "")
	p.pc.GracefulClose()
}
