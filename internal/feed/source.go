package feed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// MaxItems is how many items a message has at most.
const MaxItems = 500

const (
	// beat is the longest that either end says nothing, silence how long the other end
	// takes that. A brain with 625 nodes spends most of its time at rest on beats, and a lost
	// node is to be seen within 10 s.
	beat    = 4 * time.Second
	silence = 9 * time.Second
	// window is how many messages may be on the way. So a follower that is behind finds
	// what is new in a few messages, and not a long history in the buffers of sockets.
	window = 16
	// batchBytes ends a message before MaxItems do. maxBytes is what a reader takes: a
	// batch, and the item that went beyond it.
	batchBytes = 512 << 10
	maxBytes   = 1 << 20
)

// Message is one message of a feed, a text frame with JSON.
type Message[T any] struct {
	Seq uint64 `json:"seq"`
	// All begins a snapshot: what is not in it is gone.
	All bool `json:"all,omitempty"`
	// More says that the snapshot goes on in the next message.
	More bool         `json:"more,omitempty"`
	Set  map[string]T `json:"set,omitempty"`
	// Brief has what changed of items that the follower knows, where that is all that changed.
	Brief map[string]string `json:"brief,omitempty"`
	Gone  []string          `json:"gone,omitempty"`
}

// items is how many items the message tells of.
func (m Message[T]) items() int { return len(m.Set) + len(m.Brief) + len(m.Gone) }

// Source has items and tells followers of them. It may be used by many goroutines at once.
type Source[T any] struct {
	mu        sync.Mutex
	items     map[string]json.RawMessage
	briefs    map[string]string // of items that SetBrief has changed
	followers map[*follower]struct{}
}

// follower is what one of them has to be told.
type follower struct {
	pending map[string]bool     // ids that changed; true where an item's brief says all of it
	told    map[string]struct{} // ids of the items that it knows
	wake    chan struct{}
}

// NewSource makes a Source without items.
func NewSource[T any]() *Source[T] {
	return &Source[T]{items: map[string]json.RawMessage{}, briefs: map[string]string{}, followers: map[*follower]struct{}{}}
}

// Set makes an item what it is now. A value that JSON does not know counts as none.
func (s *Source[T]) Set(id string, value T) {
	text, err := json.Marshal(value)
	if err != nil {
		s.Delete(id)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, ok := s.items[id]; ok && bytes.Equal(was, text) {
		return
	}
	s.items[id] = text
	delete(s.briefs, id)
	s.changed(id, false)
}

// SetBrief does so with many items at once. What brief makes of an item tells all that has changed
// since Set: a follower that knows the item is told only that. One that is not behind is told of all
// of them in one message, but for MaxItems.
func (s *Source[T]) SetBrief(items map[string]T, brief func(T) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, value := range items {
		text, err := json.Marshal(value)
		if err != nil || bytes.Equal(s.items[id], text) {
			continue
		}
		_, known := s.items[id]
		s.items[id] = text
		if known {
			s.briefs[id] = brief(value)
		}
		s.changed(id, known)
	}
}

// Delete takes an item away. One that is not there is no error.
func (s *Source[T]) Delete(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.items[id]; ok {
		delete(s.items, id)
		delete(s.briefs, id)
		s.changed(id, false)
	}
}

// changed notes a change for every follower. brief says that the item's brief tells it. mu is held.
func (s *Source[T]) changed(id string, brief bool) {
	_, exists := s.items[id]
	for f := range s.followers {
		_, knows := f.told[id]
		if !exists && !knows {
			delete(f.pending, id) // it came and went
			continue
		}
		if inBrief, waits := f.pending[id]; !waits || inBrief {
			f.pending[id] = brief && knows
		}
		f.again()
	}
}

// again wakes the one that tells the follower.
func (f *follower) again() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Stream tells one follower, until the connection or ctx ends. It closes the connection.
func (s *Source[T]) Stream(ctx context.Context, ws *websocket.Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o := &outlet{ws: ws, heard: make(chan struct{}, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cancel(o.hear(ctx))
	}()
	defer func() {
		ws.CloseNow() // ends hear
		<-ended
	}()

	f, ids := s.follow()
	defer s.unfollow(f)
	m := Message[json.RawMessage]{Seq: 1, All: true}
	for {
		ids = s.snapshot(f, &m, ids)
		m.More = len(ids) > 0
		if err := o.send(ctx, m); err != nil {
			return err
		}
		if !m.More {
			break
		}
		m = Message[json.RawMessage]{Seq: m.Seq + 1}
	}
	tick := time.NewTimer(beat)
	defer tick.Stop()
	for {
		select {
		case <-f.wake:
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("stream the feed: %w", context.Cause(ctx))
		}
		// What changes while the follower is behind goes into one message.
		if err := o.room(ctx, m.Seq+1); err != nil {
			return err
		}
		m = Message[json.RawMessage]{Seq: m.Seq + 1}
		s.changes(f, &m)
		if err := o.send(ctx, m); err != nil {
			return err
		}
		tick.Reset(beat)
	}
}

// follow adds a follower, to whom the items with these ids are the snapshot.
func (s *Source[T]) follow() (f *follower, ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f = &follower{pending: map[string]bool{}, told: make(map[string]struct{}, len(s.items)), wake: make(chan struct{}, 1)}
	s.followers[f] = struct{}{}
	return f, slices.Collect(maps.Keys(s.items))
}

func (s *Source[T]) unfollow(f *follower) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.followers, f)
}

// batch fills a message.
type batch struct {
	*Message[json.RawMessage]
	size int
}

func (b *batch) full() bool { return b.items() == MaxItems || b.size >= batchBytes }

func (b *batch) set(f *follower, id string, value json.RawMessage) {
	if b.Set == nil {
		b.Set = map[string]json.RawMessage{}
	}
	b.Set[id] = value
	b.size += len(id) + len(value)
	f.told[id] = struct{}{}
}

func (b *batch) brief(id, text string) {
	if b.Brief == nil {
		b.Brief = map[string]string{}
	}
	b.Brief[id] = text
	b.size += len(id) + len(text)
}

// snapshot puts items into a message, and returns the ids for which there was no room.
func (s *Source[T]) snapshot(f *follower, m *Message[json.RawMessage], ids []string) (left []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := batch{Message: m}
	for i, id := range ids {
		if b.full() {
			return ids[i:]
		}
		if value, ok := s.items[id]; ok {
			delete(f.pending, id)
			b.set(f, id, value)
		}
	}
	return nil
}

// changes puts what changed into a message. What has no room wakes the follower again.
func (s *Source[T]) changes(f *follower, m *Message[json.RawMessage]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := batch{Message: m}
	for id, brief := range f.pending {
		if b.full() {
			f.again()
			return
		}
		delete(f.pending, id)
		if value, ok := s.items[id]; ok && brief {
			b.brief(id, s.briefs[id])
		} else if ok {
			b.set(f, id, value)
		} else {
			b.Gone = append(b.Gone, id)
			b.size += len(id)
			delete(f.told, id)
		}
	}
}
