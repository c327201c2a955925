package wire

import (
	"fmt"
	"time"
)

// SeatState is where a seat is in its one life:
//
//	starting → idle → claimed → streaming ⇄ detached → ending
//
// claimed falls back to idle when the browser does not connect within the lease.
type SeatState string

const (
	SeatStarting  SeatState = "starting"  // bringing content, display and app up; see Phase
	SeatIdle      SeatState = "idle"      // ready and free: may be claimed
	SeatClaimed   SeatState = "claimed"   // granted to a session whose browser has not connected yet
	SeatStreaming SeatState = "streaming" // a browser is connected
	SeatDetached  SeatState = "detached"  // the browser was lost; the app lives on for the reconnect grace
	SeatEnding    SeatState = "ending"    // shutting down; accepts nothing
)

// Free reports whether the seat may be claimed.
func (s SeatState) Free() bool { return s == SeatIdle }

// Busy reports whether a session holds the seat.
func (s SeatState) Busy() bool {
	return s == SeatClaimed || s == SeatStreaming || s == SeatDetached
}

// Phase is what a starting seat is doing, in this order.
type Phase string

const (
	PhasePlacing Phase = "placing" // Nomad has the job; no stream host speaks yet. Told by the brain
	PhaseContent Phase = "content" // fetching content into the node's cache
	PhaseDisplay Phase = "display" // starting display and sound
	PhaseApp     Phase = "app"     // the app was started and has no window yet
	PhaseReady   Phase = "ready"
)

// Reason is why a seat or session ended. It reaches the person in words and
// the Nomad task event as it is.
type Reason string

const (
	ReasonLeft      Reason = "left"       // the person left, or DELETE /v1/sessions/{id}
	ReasonIdle      Reason = "idle"       // no input for idle_timeout
	ReasonTimeLimit Reason = "time-limit" // max_duration is over
	ReasonLost      Reason = "lost"       // the browser did not come back within reconnect_grace
	ReasonAppExited Reason = "app-exited" // the app ended; End.ExitCode or End.Signal says how
	ReasonDrained   Reason = "drained"    // the operator stopped or drained the seat
	ReasonRetired   Reason = "retired"    // a seat was no longer wanted that was idle (new app version, smaller pool) or fetched its content
	ReasonError     Reason = "error"      // End.Code says which, End.Detail says it in words
)

// Codes of End with ReasonError. They are stable: pages and alerts may rely on them.
const (
	CodeContentMissing  = "content-missing"   // no such object or bucket
	CodeContentDenied   = "content-denied"    // the store refused the node's credentials
	CodeContentTrunc    = "content-truncated" // fewer bytes came than the object has
	CodeContentChecksum = "content-checksum"  // sha256 differs from the job's
	CodeContentStore    = "content-store"     // the store could not be reached or failed
	CodeContentTimeout  = "content-timeout"   // the content was not there within content_timeout
	CodeDiskFull        = "disk-full"         // the node's cache has no room
	CodeDiskFailed      = "disk-failed"       // the node's disk did not take the content, or lost it
	CodeDisplay         = "display-failed"    // the display or sound server did not start
	CodeAppNotFound     = "app-not-found"     // command is missing or not executable
	CodeAppNoWindow     = "app-no-window"     // the app showed no window within start_timeout
	CodeAppNotReady     = "app-not-ready"     // the app did not say within start_timeout that it is ready
	CodeEncoder         = "encoder-failed"    // no encoder, or the pipeline stopped
	CodeMemory          = "memory-limit"      // the seat needed more memory than its job has
	CodeConfig          = "config"            // the task's config cannot be carried out
	CodeStreamHostDied  = "stream-host-died"  // the stream host ended without a reason
	CodeTooLarge        = "too-large"         // no node is large enough for the app. Told by the brain
	CodeNoCapacity      = "no-capacity"       // no node has room. Told by the brain
)

// End says how a seat's or session's life ended.
type End struct {
	Reason Reason `json:"reason"`
	// Code refines ReasonError; empty otherwise.
	Code string `json:"code,omitempty"`
	// Detail is one sentence for a person who operates the app, without secrets. It
	// may name nodes, paths and objects: Public replaces it.
	Detail string `json:"detail,omitempty"`
	// ExitCode is the app's, with ReasonAppExited.
	ExitCode int `json:"exit_code,omitempty"`
	// Signal is the number of the signal that ended the app, with ReasonAppExited.
	Signal int `json:"signal,omitempty"`
}

// String is the form that stands in Nomad task events: "error(content-missing): …",
// "app-exited(3)", "left".
func (e End) String() string {
	s := string(e.Reason)
	switch {
	case e.Reason == ReasonAppExited && e.Signal != 0:
		s += fmt.Sprintf("(signal %d)", e.Signal)
	case e.Reason == ReasonAppExited:
		s += fmt.Sprintf("(%d)", e.ExitCode)
	case e.Code != "":
		s += "(" + e.Code + ")"
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Public is what people and strangers may know of an end: its detail is one
// sentence about the code, instead of what may name nodes, paths, objects in a store
// or lines of a log. Operators find those in the Nomad task event, in the brain's log
// and at its internal listener.
func (e End) Public() End {
	e.Detail = publicDetails[e.Code]
	return e
}

// publicDetails says for each code what is wrong.
var publicDetails = map[string]string{
	CodeContentMissing:  "a part of the app's content is missing",
	CodeContentDenied:   "the app's content may not be read",
	CodeContentTrunc:    "a part of the app's content did not arrive whole",
	CodeContentChecksum: "a part of the app's content is not what its publisher named",
	CodeContentStore:    "the store of the app's content does not answer",
	CodeContentTimeout:  "the app's content takes too long to arrive",
	CodeDiskFull:        "there is no room for the app's content",
	CodeDiskFailed:      "the disk of the machine failed",
	CodeDisplay:         "no display could be started",
	CodeAppNotFound:     "the app's program is missing, or cannot be run",
	CodeAppNoWindow:     "the app showed no window in time",
	CodeAppNotReady:     "the app did not say in time that it is ready",
	CodeEncoder:         "the video cannot be encoded",
	CodeMemory:          "the app needs more memory than its job gives it",
	CodeConfig:          "the app's job asks for something that is not possible",
	CodeStreamHostDied:  "the process that ran the session died",
	CodeTooLarge:        "no machine is large enough for the app",
	CodeNoCapacity:      "no machine has room for the app now",
}

// Error makes End usable as an error, so that the layer that knows why a seat
// cannot go on returns it and every layer above passes it on untouched.
func (e End) Error() string { return e.String() }

// Failed reports whether the end is a fault: of the app, its content or the stream host.
func (e End) Failed() bool {
	return e.Reason == ReasonError ||
		e.Reason == ReasonAppExited && (e.ExitCode != 0 || e.Signal != 0)
}

// Progress is how far a starting seat is.
type Progress struct {
	Phase Phase `json:"phase"`
	// Fraction is 0..1 within the phase, or -1 where it is unknown.
	Fraction float64 `json:"fraction"`
	// Detail is in words: "18 of 240 MB".
	Detail string `json:"detail,omitempty"`
}

// Seat is a seat's record. The stream host says it to the driver (SeatPath), and the node's
// registrar tells the brains of it by its feed (FeedPath).
type Seat struct {
	ID      string `json:"id"`      // the Nomad allocation id
	App     string `json:"app"`     // the app's job id
	Job     string `json:"job"`     // the dispatched child's job id
	Version uint64 `json:"version"` // of the app's job
	Node    string `json:"node"`    // Nomad node name; at brains, the name of its Consul agent
	Address string `json:"address"` // host:port of the seat API
	// Key is the fingerprint of the seat's public key, by which brains know the seat
	// (internal/identity).
	Key   string    `json:"key"`
	State SeatState `json:"state"`
	// Load is the class of the node's load when the seat was told of, or when the class has changed
	// since and the seat was free. Empty from a registrar of an earlier release: calm.
	Load     LoadClass `json:"load,omitempty"`
	Progress Progress  `json:"progress"`          // while starting
	Session  string    `json:"session,omitempty"` // while busy
	Since    time.Time `json:"since"`             // of State
	// Prepared is true of an idle seat that waits for a person to press Play (PreparePath). It
	// is free like any other, and the last to be claimed.
	Prepared bool `json:"prepared,omitempty"`
	// Stills is Spec.Stills.
	Stills string `json:"stills,omitempty"`
	// Subject, Network, Customer and Meta are those of the session's ticket, and Until is when its
	// time is up at the latest: brains count sessions by them. Empty while free.
	Subject  string            `json:"subject,omitempty"`
	Network  string            `json:"network,omitempty"`
	Customer string            `json:"customer,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
	Until    time.Time         `json:"until,omitzero"`
	// Measured and Quality are of the session that holds the seat, or held it when it began to end.
	Measured *Measured `json:"measured,omitempty"`
	Quality  *Quality  `json:"quality,omitempty"`
}

// DrainService is the Consul service name of what empties a node that is to end.
const DrainService = "nearcast-drain"
