package wire

import (
	"encoding/json"
	"time"
)

// MessageType names a signalling message. The comment says who sends it.
type MessageType string

const (
	// MsgHello opens the conversation: Ticket or Resume, and at once the offer in SDP. Browser.
	MsgHello MessageType = "hello"
	// MsgPrepare opens the conversation of a person who has not pressed Play yet: Ticket, SDP,
	// and View. Where a seat is to spare it is theirs for PrepareFor, see Grant.Prepared. Browser.
	MsgPrepare MessageType = "prepare"
	// MsgPlay follows MsgPrepare when the person presses Play. A seat that was prepared
	// becomes the session's, and says so by another MsgGranted. Browser.
	MsgPlay MessageType = "play"
	// MsgTicket replaces a waiting person's ticket by a renewed one. Browser.
	MsgTicket MessageType = "ticket"
	// MsgOffer makes a new peer connection, replacing the one before. With Restart, it is
	// an offer of the one that is there, for which a new way is looked for. Browser.
	MsgOffer MessageType = "offer"
	// MsgCandidate is a trickled ICE candidate; an empty one ends them. Browser and seat.
	MsgCandidate MessageType = "candidate"
	// MsgPing asks whether this socket still leads to the seat. Browser.
	MsgPing MessageType = "ping"
	// MsgLeave ends the session. Browser.
	MsgLeave MessageType = "leave"

	// MsgUnprepared: no seat is to spare for a person who has not pressed Play. With MsgPlay
	// within PrepareFor they go on as with a hello that had the same ticket and offer. Brain.
	MsgUnprepared MessageType = "unprepared"
	// MsgQueued: no seat is free; Queue. Brain.
	MsgQueued MessageType = "queued"
	// MsgStarting: a seat is being started for this person; Progress. Brain.
	MsgStarting MessageType = "starting"
	// MsgGranted: the seat is this session's; Grant. Seat, as its first message.
	MsgGranted MessageType = "granted"
	// MsgPong answers MsgPing. Seats of releases without MsgPing do not answer. Seat.
	MsgPong MessageType = "pong"
	// MsgWindows: how many windows of the app the person can close; Windows. Seat.
	MsgWindows MessageType = "windows"
	// MsgICE renews the grant's ICE servers before their credentials expire; ICEServers. Brain.
	MsgICE MessageType = "ice"
	// MsgAnswer answers hello's or offer's SDP. Where that had Restart and the answer has
	// not, the peer connection cannot be kept: the browser makes a new one. Seat.
	MsgAnswer MessageType = "answer"
	// MsgEnding: the session will end soon; Ending. It says what may happen: where the
	// reason goes away, the session goes on. Seat.
	MsgEnding MessageType = "ending"
	// MsgLooked: somebody who runs the site looks at a still of the picture (StillPath). Seat.
	MsgLooked MessageType = "looked"
	// MsgEnded: the session is over; End. Seat, or brain where the seat is gone. The last message.
	MsgEnded MessageType = "ended"
	// MsgRefused: the request cannot be served; Problem. Brain, or a seat that
	// cannot answer the offer. The last message.
	MsgRefused MessageType = "refused"
)

// Message is one signalling message, a JSON object in a WebSocket text frame
// of at most MaxMessage bytes. Fields not named at its type are empty.
type Message struct {
	Type      MessageType     `json:"type"`
	Ticket    string          `json:"ticket,omitempty"`
	Resume    string          `json:"resume,omitempty"`
	SDP       string          `json:"sdp,omitempty"`
	Candidate json.RawMessage `json:"candidate,omitempty"` // RTCIceCandidateInit
	Queue     *Queue          `json:"queue,omitempty"`
	Progress  *Progress       `json:"progress,omitempty"`
	Grant     *Grant          `json:"grant,omitempty"`
	End       *End            `json:"end,omitempty"`
	Problem   *Problem        `json:"problem,omitempty"`
	Ending    *Ending         `json:"ending,omitempty"`
	// ICEServers replace those of the grant.
	ICEServers []ICEServer `json:"ice_servers,omitempty"`
	// Restart keeps the peer connection, and restarts ICE: the way to the seat was lost, as
	// where the browser has got another address.
	Restart bool `json:"restart,omitempty"`
	// View comes with an offer, and with hello, where the page has a window.
	View    *View `json:"view,omitempty"`
	Windows int   `json:"windows,omitempty"`
}

// The largest signalling messages, in bytes. A browser's offer has about 8 KiB, and
// a ticket at most 8 KiB.
const (
	MaxMessage   = 64 << 10
	MaxOffer     = 40 << 10 // MsgHello and MsgOffer
	MaxCandidate = 1 << 10  // MsgCandidate
)

// MaxEarly is how many candidates a brain keeps for a person before a seat is
// granted. More are dropped: the seat learns a browser's addresses by its checks.
const MaxEarly = 16

// Queue is a waiting person's place.
type Queue struct {
	Position int `json:"position"` // 1 is next
	// EstimateMS until a seat, or -1 while nobody can say.
	EstimateMS int64 `json:"estimate_ms"`
	// Paused is true while the site can give seats to nobody. The person keeps
	// their place and has nothing to do.
	Paused bool `json:"paused,omitempty"`
	// Machine is true where no machine has a seat of the app, and one is expected to start.
	Machine bool `json:"machine,omitempty"`
}

// Ending is the end that a session is about to have.
type Ending struct {
	Reason Reason `json:"reason"`
	AfterS int    `json:"after_s"`
}

// Grant tells the person which seat they have and how to come back to it.
type Grant struct {
	Session string `json:"session"`
	App     string `json:"app"`
	Seat    string `json:"seat"`
	// Resume is a token that only this seat can check, good until the session
	// ends. The brain reads the seat's id from it to find the way.
	Resume  string  `json:"resume"`
	Display Display `json:"display"`
	// GraceS is how long the seat waits for a lost browser.
	GraceS int `json:"grace_s"`
	// IdleS is after how long without input the session ends; 0 never.
	IdleS int `json:"idle_s,omitempty"`
	// Resumed is true where the session was already running.
	Resumed bool `json:"resumed,omitempty"`
	// Prepared is true where the seat waits for MsgPlay: the connection comes up, and nothing
	// flows. No session has begun, and Resume is good as soon as one has.
	Prepared bool `json:"prepared,omitempty"`
	// ConfirmLeave is true where work can be lost: the page asks before it is closed.
	ConfirmLeave bool `json:"confirm_leave,omitempty"`
	// Stills is true where those who run the site may look at stills of the picture: the page says so.
	Stills bool `json:"stills,omitempty"`
	// ICEServers are the site's TURN servers, with credentials for a few minutes, for a
	// browser that cannot reach the seat itself. The brain adds them, and renews them by MsgICE.
	ICEServers []ICEServer `json:"ice_servers,omitempty"`
}

// Display is the picture's size and rate, and what the pointer means.
type Display struct {
	Width  int `json:"width"`
	Height int `json:"height"`
	FPS    int `json:"fps"`
	// Pointer is PointerAbsolute, PointerRelative (games that grab the mouse), or
	// PointerAuto: the seat sees what the app does, and tells the page by Pointer.
	Pointer string `json:"pointer"`
	Audio   bool   `json:"audio"`
	// MinWidth to MaxHeight are set where the display follows the person's window: the
	// least and the most pixels that it has, in either orientation.
	MinWidth  int `json:"min_width,omitempty"`
	MinHeight int `json:"min_height,omitempty"`
	MaxWidth  int `json:"max_width,omitempty"`
	MaxHeight int `json:"max_height,omitempty"`
	// Scale is how large the app draws its UI; 0 follows the person's device.
	Scale float64 `json:"scale,omitempty"`
	// Clipboard says which way clips go between the person's clipboard and the app's:
	// ClipboardNone, which empty is too, ClipboardIn, ClipboardOut or ClipboardBoth.
	Clipboard string `json:"clipboard,omitempty"`
	// Gamepads is whether the app gets the person's gamepads.
	Gamepads bool `json:"gamepads,omitempty"`
	// Touch is whether the app gets the person's fingers as touches. Else the page makes a
	// mouse of them.
	Touch bool `json:"touch,omitempty"`
}

const (
	ClipboardNone = "none"
	ClipboardIn   = "in"
	ClipboardOut  = "out"
	ClipboardBoth = "both"
)

// ClipboardTakes and ClipboardGives say whether clips may go to the app, and from it.
func ClipboardTakes(clipboard string) bool {
	return clipboard == ClipboardIn || clipboard == ClipboardBoth
}
func ClipboardGives(clipboard string) bool {
	return clipboard == ClipboardOut || clipboard == ClipboardBoth
}

const (
	PointerAbsolute = "absolute"
	PointerRelative = "relative"
	PointerAuto     = "auto"
)

// Attach is how a brain reaches a seat: GET AttachPath of the seat API, as a
// WebSocket by TLS, with "Authorization: Bearer <ticket or resume>". Seat.Key says which
// seat it must be, and the seat takes nobody but brains (internal/identity).
// A ticket claims, a resume token returns. The upgrade *is* the claim:
//
//	101  granted; MsgGranted comes first, then messages flow both ways
//	401  credential forged or expired     403  for another app, or used before
//	409  the seat is not free             410  the seat is ending
//
// A ticket may claim again while its session's browser has not connected: the brain that
// claimed before may have died with the grant. The grant is the same, and the lease goes on.
//
// A later attach of the same session replaces the earlier, which is closed
// with CloseReplaced. Losing this connection does not end the session.
const AttachPath = "/v1/attach"

// PreparePath leases an idle seat, with a ticket, to a person who has not pressed Play: as
// AttachPath does, and with its answers. The seat stays idle, so that a claim of anybody else
// takes it, and the lease ends after PrepareFor, or with this connection. A ticket for which
// MsgPlay did not come is not used at the seat.
const PreparePath = "/v1/prepare"

// PrepareFor is how long a seat is kept for a person who has not pressed Play.
const PrepareFor = 5 * time.Second

// TryHeader is in each claim: the index of the ticket's record (UsedTicket) by which the brain
// may claim. A seat that has seen a larger one of the session answers 409: by then the record
// may name another seat.
const TryHeader = "Nearcast-Try"

// TraceHeader is in the request of a brain that traces launches (internal/trace): the W3C
// traceparent of its span. Without it, or with one that is unsound, a seat takes that of the
// ticket.
const TraceHeader = "Traceparent"

// ClockHeader is in each refusal of a seat: its clock, as RFC 3339 with nanoseconds.
// A seat that refuses a good ticket may have a wrong clock.
const ClockHeader = "Nearcast-Clock"

// WebSocket close codes beyond RFC 6455's.
const (
	CloseReplaced = 4001 // another page took the session over
	CloseEnded    = 4002 // after MsgEnded
	CloseRefused  = 4003 // after MsgRefused
)

// Other requests of the seat API, all POST with a JSON body.
const (
	// EndPath ends the seat if the body's session holds it (EndRequest): 204, 403 or 410.
	EndPath = "/v1/end"
	// WarnPath tells the person of the body's session that it will end (WarnRequest):
	// 204, 403 or 410. It ends nothing.
	WarnPath = "/v1/warn"
	// CheckPath answers whether a resume token is that of a session that holds the seat
	// (CheckRequest): 204, 401 or 410.
	CheckPath = "/v1/check"
	// RetirePath ends the seat if it is idle, or as RetireRequest says: 204 or 409. SeatStillPath is
	// in still.go.
	RetirePath = "/v1/retire"
)

// RetireRequest is the body of RetirePath.
type RetireRequest struct {
	// Fetching asks a seat to end that still fetches its content, and no other one.
	Fetching bool `json:"fetching,omitempty"`
}

// CheckRequest is the body of CheckPath.
type CheckRequest struct {
	Session string `json:"session"`
	Resume  string `json:"resume"`
}

// WarnRequest is the body of WarnPath.
type WarnRequest struct {
	Session string `json:"session"`
	Ending  Ending `json:"ending"`
}

// EndRequest is the body of EndPath.
type EndRequest struct {
	Session string `json:"session"`
	Reason  Reason `json:"reason"`
}
