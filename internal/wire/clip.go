package wire

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// A short text of a clipboard travels on ChannelInput, in parts, so that it is there before
// the key that pastes it. All else is only offered there, by its size. Who was offered it
// asks for it on ChannelClip, chunk by chunk (ClipAsk, as JSON in a text message), and is
// answered in the order of the asks by binary messages with these bytes, or an empty one
// where the offer is no longer good. So nobody gets more than they can hold, and input
// never waits behind more than was asked for.
const (
	MaxClip      = 8 << 20   // bytes of each kind
	MaxClipText  = 200 << 10 // bytes of a text on ChannelInput
	MaxClipPart  = 8 << 10   // bytes of its part in one message
	MaxClipChunk = 8 << 10   // bytes of an answer to a ClipAsk

	// MaxClipPixels is the most pixels of a picture: a small file can be a large picture.
	MaxClipPixels = 64 << 20
)

// ClipKind is a kind of what a clipboard has.
type ClipKind string

const (
	ClipText ClipKind = "text" // UTF-8
	ClipHTML ClipKind = "html" // UTF-8
	ClipPNG  ClipKind = "png"
)

// ClipKinds are all of them.
var ClipKinds = []ClipKind{ClipText, ClipHTML, ClipPNG}

// Clip tells the page, on ChannelInput, what the app copied: a text in parts, and in the
// last one what else there is.
type Clip struct {
	Type  string     `json:"t"`               // "clip"
	First bool       `json:"first,omitempty"` // what came of a copy before is void
	Text  string     `json:"text"`
	More  bool       `json:"more,omitempty"`
	Offer *ClipOffer `json:"offer,omitempty"`
}

// ClipOffer says how many bytes of each kind can be asked for. A later offer voids it.
type ClipOffer struct {
	ID   uint32 `json:"id"` // from 1, counted up
	Text int    `json:"text,omitempty"`
	HTML int    `json:"html,omitempty"`
	PNG  int    `json:"png,omitempty"`
}

// ClipAsk asks for a chunk of what was offered.
type ClipAsk struct {
	ID   uint32   `json:"id"`
	Kind ClipKind `json:"kind"`
	At   int      `json:"at"`
	Size int      `json:"size"`
}

// Size is how many bytes of a kind are offered; 0 is none.
func (o *ClipOffer) Size(kind ClipKind) int {
	switch {
	case o == nil:
		return 0
	case kind == ClipText:
		return o.Text
	case kind == ClipHTML:
		return o.HTML
	case kind == ClipPNG:
		return o.PNG
	}
	return 0
}

// Valid reports whether there can be such an offer.
func (o *ClipOffer) Valid() bool {
	some := 0
	for _, kind := range ClipKinds {
		if n := o.Size(kind); n < 0 || n > MaxClip {
			return false
		}
		some += o.Size(kind)
	}
	return o != nil && o.ID > 0 && some > 0
}

// Valid reports whether data can be of this kind: the other side need not try to read it.
func (k ClipKind) Valid(data []byte) bool {
	switch {
	case len(data) == 0 || len(data) > MaxClip:
		return false
	case k == ClipText || k == ClipHTML:
		return utf8.Valid(data)
	case k == ClipPNG:
		// The first chunk is the header: its length, its name, width and height.
		head, rest := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"), len(data)-16
		if !bytes.HasPrefix(data, head) || rest < 8 {
			return false
		}
		width, height := uint64(binary.BigEndian.Uint32(data[16:])), uint64(binary.BigEndian.Uint32(data[20:]))
		return width > 0 && height > 0 && width*height <= MaxClipPixels
	}
	return false
}
