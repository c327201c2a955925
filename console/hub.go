package console

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// kind is a kind of item in an event.
type kind int

const (
	sites kind = iota
	apps
	nodes
	sessions
	kinds
)

// items are the items of a kind as JSON, by their keys: so two of them are compared, and sent, without
// being encoded again.
type items map[string]json.RawMessage

// change is what became of items since an event.
type change struct {
	now  [kinds]items
	gone [kinds][]string
}

func (c *change) empty() bool {
	for k := range kinds {
		if len(c.now[k])+len(c.gone[k]) > 0 {
			return false
		}
	}
	return true
}

// event is a wire.ConsoleEvent of items that are encoded already.
type event struct {
	Time         time.Time         `json:"time"`
	Sites        []json.RawMessage `json:"sites,omitempty"`
	Apps         []json.RawMessage `json:"apps,omitempty"`
	Nodes        []json.RawMessage `json:"nodes,omitempty"`
	Sessions     []json.RawMessage `json:"sessions,omitempty"`
	GoneSites    []string          `json:"gone_sites,omitempty"`
	GoneApps     []string          `json:"gone_apps,omitempty"`
	GoneNodes    []string          `json:"gone_nodes,omitempty"`
	GoneSessions []string          `json:"gone_sessions,omitempty"`
	More         bool              `json:"more,omitempty"`
}

// events are the data of the events that tell a change, and whether each is the last: sessions in
// batches. Each is made when it is asked for: all of a snapshot at once, for each of many slow
// readers, would be more than the process's memory.
func (c *change) events(at time.Time) iter.Seq2[[]byte, bool] {
	list := func(k kind) (values []json.RawMessage) {
		for _, key := range slices.Sorted(maps.Keys(c.now[k])) {
			values = append(values, c.now[k][key])
		}
		return values
	}
	e := event{Time: at.UTC(), Sites: list(sites), Apps: list(apps), Nodes: list(nodes),
		GoneSites: c.gone[sites], GoneApps: c.gone[apps], GoneNodes: c.gone[nodes], GoneSessions: c.gone[sessions]}
	all := list(sessions)
	return func(yield func([]byte, bool) bool) {
		e, all := e, all
		for {
			n := min(len(all), wire.MaxConsoleBatch)
			e.Sessions, all, e.More = all[:n], all[n:], len(all) > n
			text, err := json.Marshal(e)
			if err != nil {
				panic(err) // of values that were encoded before
			}
			if !yield(text, !e.More) || !e.More {
				return
			}
			e = event{Time: e.Time}
		}
	}
}

// told is an event that went to all streams. It is in the text of a stream already.
type told struct {
	number uint64
	text   []byte
}

const (
	// kept and keptBytes bound the events that a stream can resume after.
	kept      = 256
	keptBytes = 32 << 20
	// maxSubscribers bounds the streams at once.
	maxSubscribers = 100
	// behind is how many events a stream may be behind: all sessions can change at once
	// (maxSessions). A reader who is slower is dropped, and gets a snapshot when they come again.
	behind = maxSessions/wire.MaxConsoleBatch + 28
)

// hub has what is known now, and tells the streams what changes.
type hub struct {
	epoch string // events of another process have another one

	mu     sync.Mutex
	now    [kinds]items
	number uint64 // of the last event
	last   []told
	bytes  int
	subs   map[*subscriber]bool
	closed bool
	looked time.Time // somebody looked last

	wake   chan struct{} // somebody looks
	rounds uint64        // how often facts were read
	round  chan struct{} // closed when they were read again
}

type subscriber struct {
	events chan told // closed where the stream is to end
	gone   bool
}

func newHub() *hub {
	h := &hub{epoch: rand.Text()[:8], subs: map[*subscriber]bool{}, wake: make(chan struct{}, 1), round: make(chan struct{})}
	for k := range kinds {
		h.now[k] = items{}
	}
	return h
}

// set replaces the items of a kind, and gives what became of them. Where only is not nil, items whose
// keys it does not take stay.
func (h *hub) set(ch *change, k kind, next items, only func(key string) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ch.now[k] == nil {
		ch.now[k] = items{}
	}
	for key, value := range next {
		if !bytes.Equal(h.now[k][key], value) {
			h.now[k][key], ch.now[k][key] = value, value
		}
	}
	for key := range h.now[k] {
		if _, have := next[key]; !have && (only == nil || only(key)) {
			delete(h.now[k], key)
			delete(ch.now[k], key)
			ch.gone[k] = append(ch.gone[k], key)
		}
	}
	slices.Sort(ch.gone[k])
}

// tell sends a change to all streams.
func (h *hub) tell(ch *change, at time.Time) {
	if ch.empty() {
		return
	}
	var events [][]byte
	for data := range ch.events(at) {
		events = append(events, data)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, data := range events {
		h.number++
		one := told{h.number, h.text(wire.ConsoleEventChange, h.id(h.number), data)}
		h.last = append(h.last, one)
		h.bytes += len(one.text)
		for len(h.last) > kept || h.bytes > keptBytes && len(h.last) > 1 {
			h.bytes -= len(h.last[0].text)
			h.last = slices.Delete(h.last, 0, 1)
		}
		for s := range h.subs {
			select {
			case s.events <- one:
			default:
				h.drop(s)
			}
		}
	}
}

// drop ends a stream. mu is held.
func (h *hub) drop(s *subscriber) {
	if !s.gone {
		s.gone = true
		delete(h.subs, s)
		close(s.events)
	}
}

func (h *hub) id(number uint64) string { return h.epoch + "-" + strconv.FormatUint(number, 10) }

// text is an event as a stream has it. JSON has no line ends.
func (h *hub) text(name, id string, data []byte) []byte {
	b := make([]byte, 0, len(data)+64)
	b = append(b, "event: "+name+"\nid: "+id+"\ndata: "...)
	b = append(b, data...)
	return append(b, "\n\n"...)
}

// subscribe begins a stream: with what came after the event that the browser had last, or with a
// snapshot. It reports false where there are too many streams.
func (h *hub) subscribe(lastID string, at time.Time) (s *subscriber, first iter.Seq[[]byte], ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looked = at
	if h.closed || len(h.subs) >= maxSubscribers {
		return nil, nil, false
	}
	s = &subscriber{events: make(chan told, behind)}
	h.subs[s] = true
	if missed, ok := h.since(lastID); ok {
		return s, slices.Values(missed), true
	}
	all := change{}
	for k := range kinds {
		all.now[k] = maps.Clone(h.now[k])
	}
	events, whole := all.events(at), h.id(h.number)
	return s, func(yield func([]byte) bool) {
		name := wire.ConsoleEventSnapshot
		for data, last := range events {
			id := "" // before it is whole, a browser that comes again begins anew
			if last {
				id = whole
			}
			if !yield(h.text(name, id, data)) {
				return
			}
			name = wire.ConsoleEventChange
		}
	}, true
}

// since are the events after one, if all of them are there still. mu is held.
func (h *hub) since(lastID string) (out [][]byte, ok bool) {
	epoch, text, _ := strings.Cut(lastID, "-")
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil || epoch != h.epoch || number > h.number || h.number-number > uint64(len(h.last)) || h.number-number > behind {
		return nil, false
	}
	for _, one := range h.last[len(h.last)-int(h.number-number):] {
		out = append(out, one.text)
	}
	return out, true
}

// unsubscribe ends a stream whose browser is gone.
func (h *hub) unsubscribe(s *subscriber, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looked = at
	h.drop(s)
}

// lingers is how long facts are read after the last one has looked.
const lingers = 30 * time.Second

// watched reports whether facts are worth reading.
func (h *hub) watched(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs) > 0 || now.Sub(h.looked) < lingers
}

// roundDone says that facts were read.
func (h *hub) roundDone() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rounds++
	close(h.round)
	h.round = make(chan struct{})
}

// item is an item that is known now.
func (h *hub) item(k kind, key string) (json.RawMessage, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	value, ok := h.now[k][key]
	return value, ok
}

// close ends all streams.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.subs {
		h.drop(s)
	}
}
