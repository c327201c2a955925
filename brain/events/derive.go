package events

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// queuedAfter is how long a person waits before their session counts as queued: who gets an idle
	// seat waits for a moment, too.
	queuedAfter = time.Second
	// leftAfter is how long a person who had no seat may be away: then no brain takes their ticket.
	leftAfter = ticket.TTL + ticket.Leeway
	// endWithin is how long Nomad may take to say how a seat ended that has gone.
	endWithin = 2 * time.Minute
	// toldFor is how long ends and failures are remembered: longer than brains know of them.
	toldFor = 20 * time.Minute
)

// Session is what is seen of a session.
type Session struct {
	App      string            `json:"app"`
	Customer string            `json:"customer,omitempty"`
	Subject  string            `json:"subject,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
	// State is wire.StateWaiting, or that of the seat, and Since is when it began.
	State string    `json:"state"`
	Since time.Time `json:"since"`
	Seat  string    `json:"seat,omitempty"`
	// Quality is what the seat said last. It is not stored: the next leader hears it from the seat.
	Quality *wire.Quality `json:"-"`
}

// App is what is seen of an app.
type App struct {
	Version uint64
	Title   string
}

// Failure is a seat that died before it served.
type Failure struct {
	App     string
	Version uint64
	End     wire.End
	At      time.Time
}

// Snapshot is what there is at a site.
type Snapshot struct {
	At       time.Time
	Sessions map[string]Session // that wait or have a seat
	Apps     map[string]App
	Failed   map[string]Failure       // by seat, of the last minutes
	Ended    map[string]wire.End      // by seat, of the last minutes
	Quality  map[string]*wire.Quality // by seat, what those said last that are in Ended
	Over     map[string]Session       // that had a seat of Ended, as they were when they began to play
}

// Known is what was told of a site. Its zero value is a site of which nothing was told.
type Known struct {
	Sessions map[string]told      `json:"sessions"`
	Apps     map[string]uint64    `json:"apps"` // versions; nil where nobody has looked yet
	Failed   map[string]time.Time `json:"failed,omitempty"`
}

// told is what was told of a session.
type told struct {
	Session
	Number  int       `json:"number"`           // of its last event
	Queued  bool      `json:"queued,omitempty"` // it was told
	Started time.Time `json:"started,omitzero"` // it was told
	Away    bool      `json:"away,omitempty"`   // that it is detached was told last
	Gone    time.Time `json:"gone,omitzero"`    // since when it is not seen
	Over    bool      `json:"over,omitempty"`   // its end was told
}

// Diff gives the events that lead from what was told to what there is, in the order of each session,
// and what is told then. It changes neither k nor now.
func (k Known) Diff(site string, now Snapshot) ([]wire.Event, Known) {
	d := differ{site: site, at: now.At.UTC()}
	next := Known{Sessions: maps.Clone(k.Sessions), Apps: map[string]uint64{}, Failed: maps.Clone(k.Failed)}
	if next.Sessions == nil {
		next.Sessions = map[string]told{}
	}
	if next.Failed == nil {
		next.Failed = map[string]time.Time{}
	}
	for _, id := range slices.Sorted(maps.Keys(now.Sessions)) {
		next.Sessions[id] = d.seen(id, next.Sessions[id], now.Sessions[id])
	}
	for _, id := range slices.Sorted(maps.Keys(next.Sessions)) {
		if _, ok := now.Sessions[id]; ok {
			continue
		}
		if t, keep := d.unseen(id, next.Sessions[id], now); keep {
			next.Sessions[id] = t
		} else {
			delete(next.Sessions, id)
		}
	}
	first := k.Apps == nil // else all apps of a site would be published when its webhooks begin
	for _, id := range slices.Sorted(maps.Keys(now.Apps)) {
		app := now.Apps[id]
		next.Apps[id] = app.Version
		if was, ok := k.Apps[id]; !first && (!ok || was != app.Version) {
			d.add(fmt.Sprintf("app-%s-%s-%d", site, id, app.Version), wire.EventAppPublished, id, d.at,
				wire.EventData{App: id, Version: app.Version, Title: app.Title})
		}
	}
	for _, seat := range slices.Sorted(maps.Keys(now.Failed)) {
		f := now.Failed[seat]
		_, ok := next.Failed[seat]
		next.Failed[seat] = d.at
		if !first && !ok {
			end := f.End.Public()
			d.add("seat-"+seat+"-failed", wire.EventSeatFailed, seat, f.At, wire.EventData{App: f.App, Version: f.Version, Seat: seat, End: &end})
		}
	}
	for seat, at := range next.Failed {
		if now.At.Sub(at) > toldFor {
			delete(next.Failed, seat)
		}
	}
	return d.events, next
}

// differ collects events.
type differ struct {
	site   string
	at     time.Time
	events []wire.Event
}

func (d *differ) add(id, kind, subject string, at time.Time, data wire.EventData) {
	data.Site = d.site
	d.events = append(d.events, wire.Event{SpecVersion: "1.0", ID: id, Source: "/sites/" + d.site, Type: kind, Subject: subject,
		Time: at.UTC(), DataContentType: "application/json", Data: data})
}

// tell adds an event of a session.
func (d *differ) tell(id string, t *told, kind string, at time.Time, more wire.EventData) {
	t.Number++
	more.Session, more.Number, more.App, more.Customer, more.Subject, more.Meta, more.Seat = id, t.Number, t.App, t.Customer, t.Subject, t.Meta, t.Seat
	event := fmt.Sprintf("%s-%d-%s", id, t.Number, kind[strings.LastIndexByte(kind, '.')+1:])
	if of := ticket.SiteOf(id); of != "" && of != d.site {
		event += "-at-" + d.site // its first site failed, and has told events of these numbers
	}
	d.add(event, kind, id, at, more)
}

// seen tells what is new of a session that is there.
func (d *differ) seen(id string, t told, now Session) told {
	if t.Over {
		return t
	}
	seat, quality := t.Seat, t.Quality
	t.Session, t.Gone = now, time.Time{}
	if now.Quality == nil {
		t.Quality = quality
	}
	if now.Seat == "" {
		t.Seat = seat // its brain was lost before it could say so, and it comes back to its seat
	}
	if t.Number == 0 {
		d.tell(id, &t, wire.EventRequested, now.Since, wire.EventData{})
	}
	switch wire.SeatState(now.State) {
	case wire.StateWaiting:
		if !t.Queued && d.at.Sub(now.Since) >= queuedAfter {
			t.Queued = true
			d.tell(id, &t, wire.EventQueued, now.Since, wire.EventData{})
		}
	case wire.SeatStreaming:
		d.started(id, &t)
		if t.Away {
			t.Away = false
			d.tell(id, &t, wire.EventResumed, now.Since, wire.EventData{})
		}
	case wire.SeatDetached:
		d.started(id, &t)
		if !t.Away {
			t.Away = true
			d.tell(id, &t, wire.EventDetached, now.Since, wire.EventData{})
		}
	}
	return t
}

func (d *differ) started(id string, t *told) {
	if t.Started.IsZero() {
		t.Started = t.Since.UTC()
		d.tell(id, t, wire.EventStarted, t.Since, wire.EventData{})
	}
}

// unseen tells how a session ended that is not there. keep is false once that needs no memory.
func (d *differ) unseen(id string, t told, now Snapshot) (told, bool) {
	if t.Gone.IsZero() {
		t.Gone = d.at
	}
	away := d.at.Sub(t.Gone)
	if t.Over {
		return t, away < toldFor
	}
	if over, ok := now.Over[id]; ok && t.Started.IsZero() { // it played between two looks
		t.Session = over
		d.started(id, &t)
		if t.Gone.Before(over.Since) { // it was granted its seat at the last look
			t.Gone = d.at
		}
	}
	end, ok := now.Ended[t.Seat]
	switch {
	case ok && t.Seat != "":
	case t.Started.IsZero() && away >= leftAfter:
		if end = (wire.End{Reason: wire.ReasonLeft}); t.Seat != "" {
			end.Reason = wire.ReasonLost // the browser did not come
		}
	case away >= endWithin:
		end = wire.End{Reason: wire.ReasonError, Code: wire.CodeStreamHostDied}
	default:
		return t, true
	}
	end = end.Public()
	data := wire.EventData{End: &end}
	if !t.Started.IsZero() {
		data.DurationS = max(0, t.Gone.Sub(t.Started)).Seconds()
		data.Quality = cmp.Or(now.Quality[t.Seat], t.Quality)
	}
	t.Over = true
	d.tell(id, &t, wire.EventEnded, t.Gone, data)
	return t, true
}
