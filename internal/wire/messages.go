package wire

import (
	"encoding/json"
	"errors"
	"fmt"
)

// What page and app say to each other travels on ChannelMessages, reliable and ordered, which
// the page opens before its offer. Each direction has numbers of its own, from 1 on, and is
// delivered once and in order, also over a new channel: who sends keeps each message until the
// other end has taken it.
//
// A text message on the channel is one MessageFrame. A message is a frame FrameMessage, then
// its bytes in binary messages of MaxMessageChunk, the last one shorter; frames FrameAck may
// come in between. An example, of a page that was loaded again:
//
//	page  {"t":"hello","page":"Wq3…","got":4,"seq":4}  it has taken the seat's messages up to 4
//	seat  {"t":"hello"}                                nothing came from this page yet
//	seat  {"t":"message","seq":5,"size":11}            then 11 bytes
//	page  {"t":"message","seq":1,"size":9}             then 9 bytes
//	seat  {"t":"ack","chunks":1}                       they have come
//	seat  {"t":"ack","seq":1,"chunks":1}               and the app has them
//	page  {"t":"ack","seq":5,"chunks":1}
//
// The page says hello once it may send and hear, which is after Play. The seat sends from then
// on, and the page from the seat's hello on. A page numbers its messages anew when it has a new
// Page, as after it was loaded again. The seat numbers its own as long as it lives, and keeps
// none that a page has taken: so the first one on a channel has any number above the page's Got.
const (
	ChannelMessages = "messages"

	MaxAppMessage   = 256 << 10 // bytes of a message
	MaxMessageChunk = 8 << 10   // bytes of its part in one message on the channel

	// At most so many messages, of so many bytes together, are sent and not yet taken. Then
	// the sender waits.
	MaxMessagesOpen     = 64
	MaxMessageBytesOpen = 1 << 20

	// MaxChunksOpen is how many chunks may be sent of which the other end has not said that
	// they came. Less are where they come late: keys must not wait behind them.
	MaxChunksOpen = 64

	maxMessageFrame = 512 // bytes
	maxPageID       = 64
)

// MessageFrameType names a MessageFrame.
type MessageFrameType string

const (
	FrameHello   MessageFrameType = "hello"   // Got, Seq; of the page Page too
	FrameMessage MessageFrameType = "message" // Seq, Size, Bytes: the chunks of this message follow
	FrameAck     MessageFrameType = "ack"     // Seq, Chunks
)

// MessageFrame is a text message on ChannelMessages.
type MessageFrame struct {
	Type MessageFrameType `json:"t"`
	// Page is the page's own random name. It has a new one when it numbers anew.
	Page string `json:"page,omitempty"`
	// Got is the last message that has come whole: the other end goes on after it.
	Got uint64 `json:"got,omitempty"`
	// Seq is the number of a message; in FrameAck and FrameHello the last one that was taken: by
	// the page, or by the app.
	Seq uint64 `json:"seq,omitempty"`
	// Size is how many bytes the message has, Bytes that they are no JSON.
	Size  int  `json:"size,omitempty"`
	Bytes bool `json:"bytes,omitempty"`
	// Chunks is how many chunks have come on this channel.
	Chunks uint64 `json:"chunks,omitempty"`
}

// ParseMessageFrame reads a text message of ChannelMessages. The other end may be hostile.
func ParseMessageFrame(data []byte) (f MessageFrame, err error) {
	if len(data) > maxMessageFrame {
		return f, fmt.Errorf("a frame has %d bytes, at most %d are allowed", len(data), maxMessageFrame)
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return MessageFrame{}, fmt.Errorf("read a frame: %w", err)
	}
	switch {
	case f.Type != FrameHello && f.Type != FrameMessage && f.Type != FrameAck:
		err = fmt.Errorf("there is no frame %.20q", f.Type)
	case len(f.Page) > maxPageID:
		err = fmt.Errorf("a page's name has %d bytes, at most %d are allowed", len(f.Page), maxPageID)
	case f.Type == FrameMessage && f.Seq == 0:
		err = errors.New("a message has no number")
	case f.Size < 0 || f.Size > MaxAppMessage:
		err = fmt.Errorf("a message has %d bytes, at most %d are allowed", f.Size, MaxAppMessage)
	case f.Type == FrameMessage && f.Size == 0 && !f.Bytes:
		err = errors.New("a message of JSON is empty")
	}
	if err != nil {
		return MessageFrame{}, err
	}
	return f, nil
}

// MessagesEnv is the variable of an app's environment with the URL at which it exchanges
// messages with the page, by WebSocket: ws://127.0.0.1:PORT/SECRET. A text message is JSON, a
// binary one is bytes. With the query ReceiveQuery=N the connection gets at most N of the
// page's messages, and ends with the last of them. A POST to the same address, with http, and
// with one of the paths below added, says something to the seat.
const (
	MessagesEnv = "NEARCAST_MESSAGES"

	ReceiveQuery = "receive"
	ReadyPath    = "/ready" // the app is presentable (Spec.ReadyByApp)
	QuitPath     = "/quit"  // end the session
)

// AppTool is the file beside the stream host's binary with which scripts in a seat exchange
// messages. A node without it has none.
const AppTool = "nearcast-app"
