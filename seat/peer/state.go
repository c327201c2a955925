package peer

import (
	"time"

	"github.com/pion/webrtc/v4"
)

// State is the state of the connection as the seat sees it.
type State int

const (
	Connecting   State = iota
	Connected          // media and input flow
	Disconnected       // nothing arrived for some seconds; the connection may recover
	Closed             // final: the browser closed it, or ICE or DTLS failed
)

func (s State) String() string {
	return [...]string{"connecting", "connected", "disconnected", "closed"}[s]
}

// How soon a lost browser is noticed, and how long it may take to come back to
// the same connection.
const (
	disconnectedAfter = 4 * time.Second
	failedAfter       = 20 * time.Second
	keepalive         = time.Second
)

// changed is called after every change of the state. The stack calls it on a new
// goroutine each time, so the calls may come in another order than the changes.
// It ignores what it is told and reads the state itself.
func (p *Peer) changed(webrtc.PeerConnectionState) {
	p.telling.Lock()
	defer p.telling.Unlock()
	state := p.currentState()
	moved := state == Connected && p.moved.Swap(false)
	if moved {
		p.rate.moved()
		p.keys.forget()
	}
	if State(p.state.Swap(int32(state))) == state {
		if moved { // so soon that nobody saw it away
			p.askKeyframe()
		}
		return
	}
	p.log.Debug("peer connection changed", "state", state.String())
	if state == Connected && !p.begun.Swap(true) && p.cfg.OnBitrate != nil { // before the first picture
		p.call(func() { p.cfg.OnBitrate(p.rate.current()) })
	}
	if p.cfg.OnState != nil {
		p.call(func() { p.cfg.OnState(state) })
	}
	p.told.Store(int32(state))
	if state == Connected {
		p.tryJoin()
		if p.joined.Load() {
			p.askKeyframe() // after an interruption; with tryJoin's it is one request
		}
	}
}

// currentState is computed from ICE and DTLS. The stack's own sum of both can be
// out of date: when both change at a time, the older sum may be stored last.
func (p *Peer) currentState() State {
	ice, dtls := p.pc.ICEConnectionState(), p.dtls.State()
	switch {
	case p.pc.ConnectionState() == webrtc.PeerConnectionStateClosed,
		ice == webrtc.ICEConnectionStateFailed, ice == webrtc.ICEConnectionStateClosed,
		dtls == webrtc.DTLSTransportStateFailed, dtls == webrtc.DTLSTransportStateClosed:
		return Closed
	case ice == webrtc.ICEConnectionStateDisconnected:
		return Disconnected
	case (ice == webrtc.ICEConnectionStateConnected || ice == webrtc.ICEConnectionStateCompleted) &&
		dtls == webrtc.DTLSTransportStateConnected:
		return Connected
	}
	return Connecting
}

// tryJoin requests the first keyframe when the connection is up and the track can
// send. Earlier frames would be lost.
func (p *Peer) tryJoin() {
	if State(p.state.Load()) == Connected && p.video.bound() && !p.joined.Swap(true) {
		p.askKeyframe()
	}
}
