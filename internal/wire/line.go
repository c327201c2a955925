package wire

import "time"

// LinePath is where a brain's internal listener takes the line of another brain: a
// WebSocket on which that brain tells who waits there (internal/feed, a Waiting an item,
// by session).
const LinePath = "/v1/line"

// Waiting is a person who waits for a seat at a brain.
type Waiting struct {
	App string `json:"app"`
	// First is when their ticket was made first: the line is in this order.
	First time.Time `json:"first"`
	// Version is what they asked for; 0 is any.
	Version uint64 `json:"version,omitempty"`
	// Offered is the seat that they are offered now, empty while they wait for one.
	Offered string `json:"offered,omitempty"`
	// Customer, Subject and Meta are those of the ticket: the leader tells them in events.
	Customer string            `json:"customer,omitempty"`
	Subject  string            `json:"subject,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
}
