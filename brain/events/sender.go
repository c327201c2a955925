package events

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// keptFor is how long an event is tried.
	keptFor = 24 * time.Hour
	// perWebhook and inAll are how many requests run at once.
	perWebhook = 4
	inAll      = 64
	// window is how many events of a webhook are in memory; the others are in the store. Where none
	// of these can be sent now, up to maxItems are, without their bodies: what an endpoint refuses
	// must not be in the way of what it takes.
	window   = 1000
	maxItems = 20_000
	// brokenAfter failures in a row an endpoint counts as failing, and is tried by one event alone.
	brokenAfter = 3
	// maxBroken is how long it is left alone then.
	maxBroken = 5 * time.Minute
	// maxPending bounds what is stored for a webhook: a day of eleven events a second.
	maxPending = 1_000_000
)

// delays are the waits after each failure of an event whose endpoint takes others; the last one
// repeats.
var delays = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour}

// batch is what was stored at once for a webhook.
type batch struct {
	key  string
	left int // events that are neither delivered nor dropped
}

// item is an event on its way.
type item struct {
	id, session string
	at          time.Time // when it was stored
	body        []byte    // nil where the store alone has it
	of          *batch
	failures    int       // while the endpoint took others, as far as was known
	next        time.Time // when it is tried again
	tried       time.Time // when it failed last
	running     bool
}

// sender delivers the events of one webhook. It may be used by many goroutines at once.
type sender struct {
	id    string
	send  func(ctx context.Context, hook wire.Webhook, id string, body []byte) error
	store Store
	slots chan struct{} // one for each request of all webhooks
	log   *slog.Logger
	count *metrics
	wake  chan struct{}

	mu       sync.Mutex
	hook     wire.Webhook
	stored   []*batch // in order, that are not in memory
	items    []*item  // in order
	running  int
	failures int       // in a row
	until    time.Time // nothing is tried before
	state    wire.WebhookState
	tested   time.Time // the test that was made last
}

func (s *sender) again() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// update takes the webhook as it is registered now.
func (s *sender) update(hook wire.Webhook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hook.URL != s.hook.URL {
		s.until = time.Time{}
	}
	s.hook = hook
	s.again()
}

// add takes a batch that is stored. n is 0 where nobody has counted its events.
func (s *sender) add(key string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored = append(s.stored, &batch{key: key, left: n})
	s.state.Pending += n
	s.again()
}

// full reports whether no more is to be stored.
func (s *sender) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Pending >= maxPending
}

// run delivers until ctx ends. Requests that run end with it.
func (s *sender) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	for ctx.Err() == nil {
		wait := s.load(ctx, window)
		s.drop(ctx)
		one, hook, later := s.next(time.Now())
		if one == nil {
			if most, more := s.further(); more {
				if wait = s.load(ctx, most); wait == 0 {
					continue
				}
			}
			sleep(ctx, s.wake, least(wait, later))
			continue
		}
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		all.Go(func() {
			defer func() { <-s.slots }()
			if !s.fetch(ctx, one) {
				return
			}
			began := time.Now()
			err := s.send(ctx, hook, one.id, one.body)
			if ctx.Err() != nil {
				return // the next leader sends it again
			}
			s.count.sent(s.id, err, time.Since(began))
			s.done(ctx, one, err)
		})
	}
}

// load brings batches into memory while there are less than most events. It returns when to try again
// where the store failed; 0 is never.
func (s *sender) load(ctx context.Context, most int) time.Duration {
	for {
		s.mu.Lock()
		if len(s.items) >= most || len(s.stored) == 0 {
			s.mu.Unlock()
			return 0
		}
		b := s.stored[0]
		s.mu.Unlock()
		data, err := s.store.Get(ctx, b.key)
		var events []wire.Event
		if err == nil {
			err = json.Unmarshal(data, &events)
			if err != nil {
				s.log.Error("dropped events that cannot be read", "webhook", s.id, "key", b.key, "error", err)
				s.store.Delete(ctx, b.key)
			}
		} else if !errors.Is(err, ErrMissing) {
			if ctx.Err() == nil {
				s.count.storeFailed()
			}
			return 5 * time.Second
		}
		s.mu.Lock()
		s.stored = s.stored[1:]
		s.state.Pending += len(events) - b.left
		b.left = len(events)
		for _, e := range events {
			body, err := json.Marshal(e)
			if err != nil {
				b.left--
				continue
			}
			one := &item{id: e.ID, session: e.Data.Session, at: storedAt(b.key, e.Time), of: b}
			if len(s.items) < window {
				one.body = body
			}
			s.items = append(s.items, one)
		}
		s.mu.Unlock()
		if len(events) == 0 {
			s.store.Delete(ctx, b.key)
		}
	}
}

// next is the event to be sent now, or else how long nothing is to be sent; 0 is until something
// changes.
func (s *sender) next(now time.Time) (*item, wire.Webhook, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := perWebhook
	if s.failures >= brokenAfter {
		most = 1
		if now.Before(s.until) {
			return nil, s.hook, s.until.Sub(now)
		}
	}
	if s.running >= most {
		return nil, s.hook, 0
	}
	var (
		later  time.Duration
		chosen *item
		before = map[string]bool{} // sessions of which an earlier event waits
	)
	for _, one := range s.items {
		if one.session != "" && before[one.session] {
			continue
		}
		before[one.session] = true
		switch {
		case one.running:
		case s.failures >= brokenAfter:
			// What is new, then each in turn: what fails may be the events that were tried, and not
			// the endpoint.
			if chosen == nil || one.tried.IsZero() || !chosen.tried.IsZero() && one.tried.Before(chosen.tried) {
				chosen = one
			}
		case now.Before(one.next):
			later = least(later, one.next.Sub(now))
		case chosen == nil || one.failures < chosen.failures: // what was refused does not delay what is new
			chosen = one
		}
		if chosen != nil && s.failures < brokenAfter && chosen.failures == 0 {
			break
		}
	}
	if chosen == nil {
		return nil, s.hook, later
	}
	chosen.running = true
	s.running++
	return chosen, s.hook, 0
}

// done notes what became of an event.
func (s *sender) done(ctx context.Context, one *item, err error) {
	now := time.Now()
	s.mu.Lock()
	one.running = false
	s.running--
	if err != nil {
		s.failed(one, err, now)
		s.mu.Unlock()
		s.again()
		return
	}
	if s.failures >= brokenAfter {
		s.log.Info("a webhook takes events again", "webhook", s.id, "after", now.Sub(s.state.FailingSince).Round(time.Second))
		for _, other := range s.items {
			if other.failures <= brokenAfter { // else it fails while others arrive
				other.next = time.Time{}
			}
		}
	}
	s.failures, s.until = 0, time.Time{}
	s.state.FailingSince, s.state.Error, s.state.Succeeded = time.Time{}, "", now.UTC()
	s.state.Delivered++
	empty := s.remove(one)
	s.mu.Unlock()
	s.forget(ctx, empty)
	s.again()
}

// failed notes a failure. mu is held.
func (s *sender) failed(one *item, err error, now time.Time) {
	wait, alone := delays[min(one.failures, len(delays)-1)], s.failures >= brokenAfter
	one.tried = now
	s.failures++
	broken := min(delays[0]<<min(max(s.failures-brokenAfter, 0), 10), maxBroken)
	var asked refusal
	if errors.As(err, &asked) && asked.after > 0 {
		wait, broken = max(wait, asked.after), max(broken, asked.after)
	}
	if !alone { // a day without the endpoint says nothing about an event
		one.failures++
		one.next = now.Add(jitter(wait))
	}
	s.until = now.Add(jitter(broken))
	if s.state.FailingSince.IsZero() {
		s.state.FailingSince = now.UTC()
	}
	s.state.Error = plain(err)
	if s.failures == brokenAfter {
		s.log.Warn("a webhook fails: its events wait for a day", "webhook", s.id, "error", s.state.Error)
	}
}

// remove takes an event out. It returns the batch of which nothing is left. mu is held.
func (s *sender) remove(one *item) *batch {
	s.items = slices.DeleteFunc(s.items, func(i *item) bool { return i == one })
	s.state.Pending--
	if one.of.left--; one.of.left == 0 {
		return one.of
	}
	return nil
}

func (s *sender) forget(ctx context.Context, b *batch) {
	if b == nil {
		return
	}
	if err := s.store.Delete(ctx, b.key); err != nil && ctx.Err() == nil {
		s.count.storeFailed() // the next leader sends it again
	}
}

// drop gives up events that were tried for a day.
func (s *sender) drop(ctx context.Context) {
	s.mu.Lock()
	var empty []*batch
	n := 0
	now := time.Now()
	for _, one := range slices.Clone(s.items) {
		if one.running || now.Sub(one.at) < keptFor {
			continue
		}
		if b := s.remove(one); b != nil {
			empty = append(empty, b)
		}
		n++
	}
	s.state.Dropped += int64(n)
	s.mu.Unlock()
	s.lost(n, "they could not be delivered within a day")
	for _, b := range empty {
		s.forget(ctx, b)
	}
}

// lost counts events that are not sent.
func (s *sender) lost(n int, why string) {
	if n > 0 {
		s.count.lost(s.id, n)
		s.log.Error("dropped events of a webhook", "webhook", s.id, "events", n, "why", why)
	}
}

// stateNow is for operators.
func (s *sender) stateNow() wire.WebhookState {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.state
	if len(s.items) > 0 {
		state.Oldest = s.items[0].at
	}
	return state
}

// failing reports whether deliveries fail now.
func failing(state wire.WebhookState) bool { return !state.FailingSince.IsZero() }

// jitter spreads a wait by a tenth, so that webhooks do not try together.
func jitter(d time.Duration) time.Duration { return d + time.Duration(rand.Int64N(int64(d)/10+1)) }

// least is the smaller of two waits, where 0 is none.
func least(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// sleep waits for d, where 0 is for ever, or for wake or ctx.
func sleep(ctx context.Context, wake <-chan struct{}, d time.Duration) {
	d = least(d, time.Hour) // events get old
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-wake:
	case <-t.C:
	case <-ctx.Done():
	}
}
