package wire

import "time"

// WebhooksPrefix + webhook id holds a Webhook, at each site. Written by operators, read by brains
// alone: it has secrets. WebhookStatesPrefix + webhook id holds a WebhookState, which the site's
// leader writes for operators.
const (
	WebhooksPrefix      = "nearcast/webhooks/"
	WebhookStatesPrefix = "nearcast/webhook-states/"
)

// What a webhook may be.
const (
	MaxWebhooks       = 64 // of all customers
	MaxWebhookURL     = 2048
	MaxWebhookSecrets = 3
)

// Types of events.
const (
	EventPrefix       = "io.nearcast."
	EventRequested    = EventPrefix + "session.requested" // a person came with a good ticket
	EventQueued       = EventPrefix + "session.queued"    // they have waited for a second, as no seat was free
	EventStarted      = EventPrefix + "session.started"   // their browser was connected to a seat
	EventDetached     = EventPrefix + "session.detached"  // the browser was lost; the app lives on
	EventResumed      = EventPrefix + "session.resumed"   // it came back
	EventEnded        = EventPrefix + "session.ended"
	EventSeatFailed   = EventPrefix + "seat.failed"   // a seat died before it served
	EventAppPublished = EventPrefix + "app.published" // a site has an app, or a version of it, that it had not
	EventTest         = EventPrefix + "webhook.test"  // nearcast webhook test
)

// EventTypes are those that a webhook may choose from.
var EventTypes = []string{EventRequested, EventQueued, EventStarted, EventDetached, EventResumed, EventEnded, EventSeatFailed, EventAppPublished}

// SiteEvents are of a site, and of no customer's session: only operators' webhooks get them.
var SiteEvents = []string{EventSeatFailed, EventAppPublished}

// EventContentType is that of an Event in the body of a request.
const EventContentType = "application/cloudevents+json"

// Event is what a webhook gets: a CloudEvent 1.0 in its structured JSON form.
type Event struct {
	SpecVersion string `json:"specversion"` // "1.0"
	// ID is the same in each delivery of an event, and no other event of any site has it.
	ID      string    `json:"id"`
	Source  string    `json:"source"` // "/sites/" and the site
	Type    string    `json:"type"`
	Subject string    `json:"subject,omitempty"` // the session, seat, app or webhook
	Time    time.Time `json:"time"`
	// DataContentType is "application/json".
	DataContentType string    `json:"datacontenttype"`
	Data            EventData `json:"data"`
}

// EventData is what an Event tells. Fields that do not belong to its type are left out.
type EventData struct {
	Site string `json:"site"`
	App  string `json:"app,omitempty"`

	// Session, and Number, its events counted from 1.
	Session string `json:"session,omitempty"`
	Number  int    `json:"number,omitempty"`
	// Customer, Subject and Meta are of the launch token: the name of its key, the hash of its sub,
	// and its meta as it is.
	Customer string            `json:"customer,omitempty"`
	Subject  string            `json:"subject,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
	Seat     string            `json:"seat,omitempty"`

	// End is of EventEnded and EventSeatFailed, as the public may know it, and DurationS how long
	// the session was: from its start, whether a browser was connected or not. Quality is what its
	// seat said last; a session that did not start has none.
	End       *End     `json:"end,omitempty"`
	DurationS float64  `json:"duration_s,omitempty"`
	Quality   *Quality `json:"quality,omitempty"`

	Version uint64 `json:"version,omitempty"` // EventSeatFailed, EventAppPublished
	Title   string `json:"title,omitempty"`   // EventAppPublished
	Webhook string `json:"webhook,omitempty"` // EventTest
}

// Webhook is where a customer's server, or an operator's, gets events.
type Webhook struct {
	ID  string `json:"id"`
	URL string `json:"url"`
	// Customer whose sessions it is told of; empty for all, and for events of the site.
	Customer string   `json:"customer,omitempty"`
	Types    []string `json:"types,omitempty"` // without them, all
	// Secrets sign, the newest first.
	Secrets []WebhookSecret `json:"secrets"`
	Created time.Time       `json:"created"`
	// Test is when an operator asked for a test event last.
	Test time.Time `json:"test,omitzero"`
}

// WebhookSecret is "whsec_" and base64, as Standard Webhooks has it.
type WebhookSecret struct {
	Secret string    `json:"secret"`
	Until  time.Time `json:"until,omitzero"` // when it signs no more, once another has replaced it
}

// WebhookState is how the deliveries to a webhook go at a site. Its leader writes it when they begin
// to fail or to succeed, and else once a minute where something has changed. Counts are of this leader.
type WebhookState struct {
	ID        string `json:"id"`
	Brain     string `json:"brain"`
	Delivered int64  `json:"delivered"`
	Dropped   int64  `json:"dropped"` // not delivered within a day, or too many
	// Pending are the events that wait, and Oldest is when the first of them happened.
	Pending int       `json:"pending"`
	Oldest  time.Time `json:"oldest,omitzero"`
	// FailingSince is when the first of the attempts failed since the last success.
	FailingSince time.Time    `json:"failing_since,omitzero"`
	Error        string       `json:"error,omitempty"` // of the last attempt, where it failed
	Succeeded    time.Time    `json:"succeeded,omitzero"`
	Test         *WebhookTest `json:"test,omitempty"`
	Updated      time.Time    `json:"updated"`
}

// WebhookTest is what became of a test event.
type WebhookTest struct {
	Asked  time.Time `json:"asked"` // Webhook.Test
	Error  string    `json:"error,omitempty"`
	TookMS int64     `json:"took_ms"`
}
