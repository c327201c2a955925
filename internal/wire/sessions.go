package wire

import "time"

// SessionsPath lists sessions: at routers for customers' servers and operators, and at brains'
// internal listeners for routers. A path below it is a session.
//
// The query of a list, all of it optional:
//
//	app       sessions of this app
//	state     StateWaiting or a state of a seat; can be repeated
//	subject   at routers, the customer's own name of a person, who has launched with one of the
//	          customer's keys; at brains their hashes, repeated
//	customer  for operators, and at brains
//	site      at routers: only of this site; can be repeated
//	limit     1 to MaxSessions in one answer, by default DefaultSessions
//	cursor    at routers: where the last answer ended
//	after     at brains: the last session of the answer before
const SessionsPath = "/v1/sessions"

// PlacementPath, below a session's path, is how the session was placed, for operators: GET, a
// ConsolePlacement. The router that placed it remembers it for a while, and routers of one site ask
// each other.
const PlacementPath = "/placement"

const (
	DefaultSessions = 100
	MaxSessions     = 500
	// MaxSubjectHashes is for how many hashes of a subject a brain looks at once.
	MaxSubjectHashes = 64
)

// StateWaiting is the state of a session before a seat is granted.
const StateWaiting = "waiting"

// SessionView answers GET /v1/sessions/{id}, at the router and at the brain.
type SessionView struct {
	Session string `json:"session"`
	App     string `json:"app"`
	Site    string `json:"site"`
	// State is StateWaiting before a seat is granted, then the seat's state.
	State string    `json:"state"`
	Seat  string    `json:"seat,omitempty"`
	Since time.Time `json:"since"` // of State
	// Customer is whose launch token it was, Subject the hash of the customer's name of the person,
	// and Meta the token's own. All are empty where a public app was launched without a token.
	Customer string            `json:"customer,omitempty"`
	Subject  string            `json:"subject,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
	// Until is when the session ends at the latest, if it has a limit.
	Until time.Time `json:"until,omitzero"`
	// Node is where the seat runs; only operators learn it.
	Node string `json:"node,omitempty"`
	// Stills is who may look at stills of the picture: StillsOperator or StillsAdmin, else nobody. Only
	// operators learn it.
	Stills string `json:"stills,omitempty"`
	// Measured is what the session is like now, and Quality what it was like so far. Both are
	// empty before the browser is connected, and of seats of an earlier release. Customers do
	// not learn Measured.Encoder and Measured.Preset.
	Measured *Measured `json:"measured,omitempty"`
	Quality  *Quality  `json:"quality,omitempty"`
}

// SessionList answers GET /v1/sessions. Sessions are in the order of their sites, and of their ids
// within a site: so each that lasts while a list is read is in it once.
type SessionList struct {
	Sessions []SessionView `json:"sessions"`
	// Cursor asks a router for what follows; empty at the end.
	Cursor string `json:"cursor,omitempty"`
	// More is true where a brain has more after the last one.
	More bool `json:"more,omitempty"`
	// Missing are sites that did not answer, whose sessions are not in the list.
	Missing []string `json:"missing,omitempty"`
}

// Measured is what a seat measured of its session in the seconds before At. The stream host has it
// in the seat's record, and the node's registrar tells brains at most every MeasuredEvery.
type Measured struct {
	At time.Time `json:"at"`
	// RTTMS is the round trip to the browser, and Loss, 0..1, the share of the picture's packets
	// that did not arrive at first.
	RTTMS float64 `json:"rtt_ms"`
	Loss  float64 `json:"loss"`
	// BitrateKbps is what was sent of the picture, and TargetKbps what the network takes as
	// congestion control sees it.
	BitrateKbps float64 `json:"bitrate_kbps"`
	TargetKbps  float64 `json:"target_kbps"`
	// FPS is how many pictures a second were sent, and Paints in how many of them the app had
	// changed something: the others refine a still picture. Both are at most the display's rate.
	FPS    float64 `json:"fps"`
	Paints float64 `json:"paints"`
	// CaptureMS is from a change of the picture to the copy of it, EncodeMS from there to the
	// encoded picture, QueueMS what waits in the network, InjectMS from an input's arrival at the
	// seat to the app's display. All are means; InjectMS is 0 without input.
	CaptureMS float64 `json:"capture_ms"`
	EncodeMS  float64 `json:"encode_ms"`
	QueueMS   float64 `json:"queue_ms"`
	InjectMS  float64 `json:"inject_ms"`
	// Encoder is GStreamer's name of it, and Preset how much work x264 does for a picture.
	Encoder string `json:"encoder,omitempty"`
	Preset  string `json:"preset,omitempty"`
	// Width and Height are the picture's, in pixels.
	Width  int `json:"width"`
	Height int `json:"height"`
	// Page is what the page says of its end: the browser's word, which can be wrong or forged.
	Page *PageMeasured `json:"page,omitempty"`
}

// PageMeasured is what a page measured since its last report. Where a browser does not tell, a
// figure is 0.
type PageMeasured struct {
	FPS      float64 `json:"fps"`       // pictures decoded a second
	Dropped  float64 `json:"dropped"`   // pictures a second that were decoded and not shown
	FrozenMS float64 `json:"frozen_ms"` // of each second, how long the picture stood still where it should have moved
	DecodeMS float64 `json:"decode_ms"` // of a picture
	BufferMS float64 `json:"buffer_ms"` // how long a picture waits before it is decoded
	// Concealed, 0..1, is the share of the sound that the browser made up, as it did not arrive.
	Concealed float64 `json:"concealed"`
}

// MeasuredEvery is how often brains learn of a seat's Measured and Quality at most. They learn the
// last ones with the seat's end.
const MeasuredEvery = 10 * time.Second

// Quality is a session in a few figures, from the browser's first connection on. Means are over
// the time in which it was connected.
type Quality struct {
	DurationS   float64 `json:"duration_s"` // with the browser connected
	RTTMS       float64 `json:"rtt_ms"`
	RTTP95MS    float64 `json:"rtt_p95_ms"`
	Loss        float64 `json:"loss"` // 0..1
	FPS         float64 `json:"fps"`
	BitrateKbps float64 `json:"bitrate_kbps"`
	FrozenS     float64 `json:"frozen_s"` // by the browser's word; 0 where it does not tell
}
