package peer

import (
	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/wire"
)

// How much may wait to be sent on wire.ChannelClip. A page gets only what it asks for, and
// ours asks for less: what goes beyond is of one that does not read its answers.
const (
	maxClipWaiting = 1 << 20 // bytes
	// An empty answer counts as a byte, but needs memory as any message.
	maxEmptyWaiting = 4 << 10
)

// acceptClip handles the channel of clipboards. What comes is taken as it comes, so that
// it does not fill the buffer that input needs too.
func (p *Peer) acceptClip(ch *webrtc.DataChannel) {
	if p.cfg.OnClip == nil || !p.clip.CompareAndSwap(nil, ch) {
		ch.Close()
		return
	}
	ch.OnMessage(func(msg webrtc.DataChannelMessage) {
		if len(msg.Data) > wire.MaxClipChunk {
			p.log.Debug("channel of clipboards closed: a message is too long", "bytes", len(msg.Data))
			ch.Close()
			return
		}
		p.call(func() { p.cfg.OnClip(msg.Data, msg.IsString) })
	})
}

// TakesClips reports whether the page has opened wire.ChannelClip.
func (p *Peer) TakesClips() bool {
	ch := p.clip.Load()
	return ch != nil && ch.ReadyState() == webrtc.DataChannelStateOpen
}

// TellClip sends on wire.ChannelClip, a text or bytes. The channel is closed where its page
// does not read: answers are in the order of the asks, so none may be left out.
func (p *Peer) TellClip(message []byte, text bool) {
	if !p.TakesClips() {
		return
	}
	ch := p.clip.Load()
	most := uint64(maxClipWaiting)
	if len(message) == 0 {
		most = maxEmptyWaiting
	}
	if ch.BufferedAmount() > most {
		p.log.Debug("channel of clipboards closed: the page does not read it")
		ch.Close()
		return
	}
	if text {
		ch.SendText(string(message))
	} else {
		ch.Send(message)
	}
}
