package seat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const answerTimeout = 10 * time.Second

// sessionPeer is the peer of one session.
type sessionPeer struct {
	Peer
	session string
	closed  atomic.Bool  // it reported PeerClosed
	told    atomic.Int64 // the last PeerState that it reported, and one
	bitrate atomic.Int64 // and the last bitrate
	asks    atomic.Bool  // its page wants to know of the app's pointer
	draws   atomic.Bool  // and draws its cursor
	// Of the log: the connection is up, and the first picture was told.
	connected, pictured atomic.Bool
	report              atomic.Pointer[pageReport]
	frozen              atomic.Int64 // for how long its page says that the picture stood still, since measure looked
	clips               clips
	link                *clipLink
	messages            MessagesPage // nil in a seat without
	line                *sessionLine
}

// end closes the peer, and what reads of its page.
func (p *sessionPeer) end() error {
	p.link.close()
	if p.messages != nil {
		p.messages.Gone()
	}
	return p.Close()
}

// offer answers a browser's offer with a new peer, which replaces the earlier
// one. If the offer is bad, the earlier peer stays.
func (s *stream) offer(ctx context.Context, session, sdp string) (string, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if err := s.h.state.checkReach(session); err != nil {
		return "", errNotHolder
	}
	if s.line == nil || s.line.session != session {
		s.line = &sessionLine{session: session}
	}
	p := &sessionPeer{session: session, line: s.line}
	made, err := s.h.parts.Peer(s.peerConfig(p))
	if err != nil {
		return "", fmt.Errorf("make peer: %w", err)
	}
	p.Peer = made
	p.link = newClipLink(made.TellClip)
	if s.messages != nil {
		p.messages = s.messages.Page(made.TellMessage)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, err := p.Answer(ctx, sdp)
	if err != nil {
		return "", errors.Join(err, p.end())
	}
	if s.h.state.isPrepared(session) {
		s.keepPrepared(p)
		return answer, nil
	}
	old := s.peer.Swap(p)
	s.video.SetMain(p.TakesMain())
	s.video.DrawCursor(true) // until this page says that it does
	if old != nil {
		s.h.state.lost(old.session)
		s.discard(old)
	}
	if s.h.state.checkHolder(session) != nil { // it ended meanwhile
		s.closePeerLocked(p)
		return "", errNotHolder
	}
	return answer, nil
}

var errNoPeer = errors.New("the session has no connection that could be kept")

// restart answers an offer of the browser for the peer that is there. The peer, its
// tracks and the encoder stay as they are.
func (s *stream) restart(ctx context.Context, session, sdp string) (string, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if err := s.h.state.checkHolder(session); err != nil {
		return "", errNotHolder
	}
	p := s.peer.Load()
	if p == nil || p.session != session || p.closed.Load() {
		return "", errNoPeer
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return p.Restart(ctx, sdp)
}

// peerConfig routes what p reports, as long as p is the session's peer.
func (s *stream) peerConfig(p *sessionPeer) PeerConfig {
	current := func() bool { return s.peer.Load() == p }
	return PeerConfig{
		StartBPS: p.line.carries(time.Now()),
		OnInput: func(m wire.Input) {
			if current() {
				s.applyInput(p, m)
			}
		},
		OnClip: func(message []byte, text bool) {
			if current() {
				s.clipHeard(p, message, text)
			}
		},
		OnMessage: func(message []byte, text bool) {
			if current() {
				s.messageHeard(p, message, text)
			}
		},
		OnMessagesEnd: func() {
			if p.messages != nil {
				p.messages.Gone()
			}
		},
		OnState: func(state PeerState) {
			p.told.Store(int64(state) + 1)
			p.line.changed(state == PeerConnected, time.Now())
			if state == PeerConnected {
				s.h.log.Info("browser connected", "session", p.session)
				p.connected.Store(true)
				s.h.launch.reach(p.session, stepFrame)
			}
			if !current() {
				if state == PeerClosed {
					s.h.state.unprepare(p.session)
				}
				return
			}
			switch state {
			case PeerConnected:
				s.h.state.connected(p.session)
				s.video.Keyframe()
			case PeerClosed:
				p.closed.Store(true)
				fallthrough
			case PeerDisconnected:
				s.h.state.lost(p.session)
			}
		},
		OnKeyframe: func() { s.video.Keyframe() },
		// The release of a key that is held may be lost, and comes late then.
		OnSilent: func() {
			if current() {
				s.input.StopRepeats()
			}
		},
		OnBitrate: func(bps int) {
			p.bitrate.Store(int64(bps))
			p.line.bps.Store(int64(bps))
			if current() {
				s.video.SetBitrate(bps)
			}
		},
		// Also before p is current: it finds candidates while it answers.
		OnCandidate: func(c json.RawMessage) {
			if a := s.h.attachmentOf(p.session); a != nil {
				a.send(wire.Message{Type: wire.MsgCandidate, Candidate: c})
			}
		},
	}
}

func (s *stream) applyInput(p *sessionPeer, m wire.Input) {
	if m.Type == wire.InputPing || m.Type == wire.InputCursor {
		s.tellCopy(p) // the page is there, also one that has just begun
	}
	if m.Type == wire.InputPing {
		if m.Report != nil {
			p.reported(*m.Report.Bounded(), time.Now())
		}
		return
	}
	if m.Type == wire.InputView {
		if m.View != nil {
			s.setView(p.session, *m.View)
		}
		return
	}
	// A page that loses the focus, or has just begun, does not show that the person is active.
	if m.Type == wire.InputBlur || m.Type == wire.InputCursor || m.Type == wire.InputPads {
		if s.h.state.checkHolder(p.session) != nil {
			return
		}
	} else if !s.h.state.recordInput(p.session) {
		return
	}
	if m.Type == wire.InputCursor {
		s.askedForPointer(p, m.Pressed)
		return
	}
	if m.Type == wire.InputClip {
		s.pasted(p, m)
		return
	}
	defer s.lookForCopy(p, m)
	if s.applyGamepad(m) {
		return
	}
	if m.Type == wire.InputClose {
		s.h.display.CloseWindow()
		return
	}
	if err := s.input.Apply(m); err != nil {
		s.h.log.Debug("apply input", "error", err)
	}
}

func (s *stream) addCandidate(session string, c json.RawMessage) error {
	p := s.peer.Load()
	if p == nil || p.session != session {
		p = s.prepared.Load()
	}
	if p == nil || p.session != session {
		return nil // of an offer that is not answered yet, or of an earlier one
	}
	return p.AddCandidate(c)
}

// closePeer closes p if it is the current peer.
func (s *stream) closePeer(p *sessionPeer) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.closePeerLocked(p)
}

func (s *stream) closePeerLocked(p *sessionPeer) {
	if s.peer.CompareAndSwap(p, nil) {
		s.discard(p)
	}
}

// discard closes a peer that is not the current one any more.
func (s *stream) discard(p *sessionPeer) {
	if err := p.end(); err != nil {
		s.h.log.Debug("close peer", "error", err)
	}
}
