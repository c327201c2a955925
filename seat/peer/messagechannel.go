package peer

import (
	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/wire"
)

// maxMessagesWaiting is how many bytes may wait to be sent on wire.ChannelMessages. Our end
// sends no more chunks than wire.MaxChunksOpen before the page has answered: what goes beyond
// is of a page that does not read.
const maxMessagesWaiting = 2 * wire.MaxChunksOpen * wire.MaxMessageChunk

// acceptMessages handles the channel of messages between page and app. What comes is taken
// as it comes, so that it does not fill the buffer that input needs too.
func (p *Peer) acceptMessages(ch *webrtc.DataChannel) {
	if p.cfg.OnMessage == nil || p.cfg.OnMessagesEnd == nil || !p.messages.CompareAndSwap(nil, ch) {
		ch.Close()
		return
	}
	ch.OnClose(func() { p.call(p.cfg.OnMessagesEnd) })
	ch.OnMessage(func(msg webrtc.DataChannelMessage) {
		if len(msg.Data) > wire.MaxMessageChunk {
			p.log.Debug("channel of messages closed: a part is too long", "bytes", len(msg.Data))
			ch.Close()
			return
		}
		// As for input, OnState comes first.
		if State(p.told.Load()) != Connected {
			p.changed(p.pc.ConnectionState())
		}
		p.call(func() { p.cfg.OnMessage(msg.Data, msg.IsString) })
	})
}

// TellMessage sends on wire.ChannelMessages, a text or bytes. The channel is closed where its
// page does not read: no part may be left out.
func (p *Peer) TellMessage(message []byte, text bool) {
	ch := p.messages.Load()
	if ch == nil || ch.ReadyState() != webrtc.DataChannelStateOpen {
		return
	}
	if ch.BufferedAmount() > maxMessagesWaiting {
		p.log.Debug("channel of messages closed: the page does not read it")
		ch.Close()
		return
	}
	if text {
		ch.SendText(string(message))
	} else {
		ch.Send(message)
	}
}

// EndMessages closes wire.ChannelMessages: its page breaks the rules.
func (p *Peer) EndMessages() {
	if ch := p.messages.Load(); ch != nil {
		ch.Close()
	}
}
