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
