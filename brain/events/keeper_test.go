package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// world is a site in memory, with endpoints.
type world struct {
	t     *testing.T
	hooks map[string]wire.Webhook
	watch chan map[string]wire.Webhook

	mu       sync.Mutex
	objects  map[string][]byte
	put      func(key string) error // may refuse a write
	slow     time.Duration          // that a write takes
	now      Snapshot
	states   map[string]wire.WebhookState
	answer   func(hook string, e wire.Event) int
	attempts []string // "seconds hook id status"
	got      map[string][]wire.Event
	began    time.Time
	every    time.Duration // that a leader looks
}

func newWorld(t *testing.T, hooks ...wire.Webhook) *world {
	w := &world{t: t, hooks: map[string]wire.Webhook{}, watch: make(chan map[string]wire.Webhook, 8), objects: map[string][]byte{}, states: map[string]wire.WebhookState{},
		got: map[string][]wire.Event{}, answer: func(string, wire.Event) int { return 200 }, put: func(string) error { return nil }, began: time.Now(), every: lookEvery,
		now: Snapshot{Sessions: map[string]Session{}, Apps: map[string]App{}, Failed: map[string]Failure{}, Ended: map[string]wire.End{}}}
	for _, h := range hooks {
		h.URL, h.Secrets = "https://"+h.ID+".example/hooks", []wire.WebhookSecret{{Secret: NewSecret()}}
		w.hooks[h.ID] = h
	}
	return w
}

func (w *world) Put(_ context.Context, key string, data []byte) error {
	time.Sleep(w.slow)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.put(key); err != nil {
		return err
	}
	w.objects[key] = data
	return nil
}

func (w *world) Get(_ context.Context, key string) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if data, ok := w.objects[key]; ok {
		return data, nil
	}
	return nil, ErrMissing
}

func (w *world) Delete(_ context.Context, key string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.objects, key)
	return nil
}

func (w *world) List(_ context.Context, prefix string) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(w.objects)), func(k string) bool { return !strings.HasPrefix(k, prefix) }), nil
}

func (w *world) WatchWebhooks(ctx context.Context, fn func(map[string]wire.Webhook)) {
	fn(w.hooks)
	for {
		select {
		case all := <-w.watch:
			fn(all)
		case <-ctx.Done():
			return
		}
	}
}

func (w *world) PutWebhookState(_ context.Context, s wire.WebhookState) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states[s.ID] = s
	return nil
}

func (w *world) DeleteWebhookState(_ context.Context, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.states, id)
	return nil
}

// RoundTrip is all endpoints. Each message has to have a good signature.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	id, _, _ := strings.Cut(r.URL.Host, ".")
	key, _ := webhooks.NewWebhook(w.hooks[id].Secrets[0].Secret)
	var e wire.Event
	if err := errors.Join(key.Verify(body, r.Header), json.Unmarshal(body, &e)); err != nil || e.ID != r.Header.Get("webhook-id") {
		w.t.Errorf("%s: %v, %s", id, err, body)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	status := w.answer(id, e)
	w.attempts = append(w.attempts, fmt.Sprintf("%.0f %s %s %d", time.Since(w.began).Seconds(), id, e.ID, status))
	if status == 200 {
		w.got[id] = append(w.got[id], e)
	}
	return &http.Response{StatusCode: status, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
}

// lead runs a leader until stop.
func (w *world) lead(name string) (stop func()) {
	k := New(Config{Site: "here", Brain: name, Store: w, Registry: w, Log: testkit.Logger(w.t)})
	k.client = &http.Client{Transport: w}
	k.every = w.every
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Lead(ctx, func() (Snapshot, bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			now := w.now
			now.At, now.Sessions, now.Ended = time.Now(), maps.Clone(now.Sessions), maps.Clone(now.Ended)
			return now, true
		})
	}()
	return func() { cancel(); <-done }
}

// session makes a session what it is now; without a state it is gone.
func (w *world) session(id, state string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if state == "" {
		w.now.Ended[id] = wire.End{Reason: wire.ReasonLeft}
		delete(w.now.Sessions, id)
		return
	}
	w.now.Sessions[id] = Session{App: "game", Customer: "shop", State: state, Since: time.Now(), Seat: id}
}

func (w *world) ids(hook string) (ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.got[hook] {
		ids = append(ids, e.ID)
	}
	return ids
}

func (w *world) seen() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.attempts)
}

func (w *world) keys(prefix string) []string {
	keys, _ := w.List(context.Background(), prefix)
	return keys
}

func after(d time.Duration) { time.Sleep(d); synctest.Wait() }

// TestWhoGetsWhat has webhooks of two customers, of an operator, and one that chose a type.
func TestWhoGetsWhat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wire.Webhook{ID: "shop", Customer: "shop"}, wire.Webhook{ID: "bank", Customer: "bank"}, wire.Webhook{ID: "all"},
			wire.Webhook{ID: "ends", Customer: "shop", Types: []string{wire.EventEnded}})
		defer w.lead("b1")()
		after(2 * time.Second)
		w.session("a", "streaming")
		w.mu.Lock()
		w.now.Apps = map[string]App{"game": {Version: 3}}
		w.mu.Unlock()
		after(3 * time.Second)
		w.session("a", "")
		after(3 * time.Second)
		for hook, want := range map[string][]string{
			"shop": {"a-1-requested", "a-2-started", "a-3-ended"}, "bank": nil, "ends": {"a-3-ended"},
			"all": {"a-1-requested", "a-2-started", "app-here-game-3", "a-3-ended"},
		} {
			got := w.ids(hook)
			if hook == "all" { // an app's event is in no order with a session's
				slices.Sort(got)
				slices.Sort(want)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s got %q, want %q", hook, got, want)
			}
		}
		if left := w.keys("pending/"); len(left) != 0 {
			t.Errorf("what is delivered is stored still: %q", left)
		}
	})
}

// TestOrder has an endpoint refuse one session's event, and take those of others.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wire.Webhook{ID: "shop", Customer: "shop"})
		refused := 0
		w.answer = func(_ string, e wire.Event) int {
			if e.Subject == "a" && refused < 5 {
				refused++
				return 500
			}
			return 200
		}
		defer w.lead("b1")()
		w.session("a", "streaming")
		for i := range 40 { // others come and go meanwhile
			id := fmt.Sprint("s", i)
			w.session(id, "streaming")
			after(time.Second)
			w.session(id, "")
			if i == 3 {
				w.session("a", "detached")
			}
		}
		// After 5 s, 30 s, 2 min, 5 min and 15 min, and a tenth more at most each.
		after(25 * time.Minute)
		var a []string
		for _, one := range w.seen() {
			if strings.Contains(one, " a-") {
				a = append(a, one)
			}
		}
		if len(a) != 8 || w.ids("shop")[0] == "a-1-requested" {
			t.Fatalf("attempts of the session: %q", a)
		}
		var last int
		for i, least := range []int{0, 5, 30, 120, 300, 900} {
			var s int
			fmt.Sscanf(a[i], "%d ", &s)
			if i > 0 && (s-last < least || s-last > least*11/10+2) {
				t.Errorf("attempt %d is %d s after the one before, not %d: %q", i, s-last, least, a)
			}
			last = s
		}
		for i, id := range []string{"a-1-requested 200", "a-2-started 200", "a-3-detached 200"} {
			if !strings.HasSuffix(a[5+i], id) {
				t.Errorf("%q, want %q", a[5+i], id)
			}
		}
		got := map[string][]string{}
		for _, id := range w.ids("shop") {
			session, event, _ := strings.Cut(id, "-")
			got[session] = append(got[session], event)
		}
		for i := range 40 {
			if s := got[fmt.Sprint("s", i)]; !slices.Equal(s, []string{"1-requested", "2-started", "3-ended"}) {
				t.Fatalf("session %d: %q", i, s)
			}
		}
	})
}

// TestEndpointIsDown has an endpoint fail for more than a day, and come back.
func TestEndpointIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wire.Webhook{ID: "shop", Customer: "shop"})
		down := true
		w.answer = func(string, wire.Event) int {
			if down {
				return 503
			}
			return 200
		}
		stop := w.lead("b1")
		for i := range 20 {
			w.session(fmt.Sprint("s", i), "streaming")
		}
		after(10 * time.Second)
		w.mu.Lock()
		state := w.states["shop"]
		w.mu.Unlock()
		if state.FailingSince.IsZero() || state.Pending != 40 || !strings.Contains(state.Error, "503") {
			t.Errorf("operators learn %+v", state)
		}
		stop()
		w.every = time.Minute // or this test would take ten seconds
		defer w.lead("b2")()
		after(20 * time.Hour)
		w.session("late", "streaming")
		after(5 * time.Hour)
		attempts := len(w.seen())
		if attempts < 25*60/6 || attempts > 25*12+60 {
			t.Errorf("%d attempts in 25 hours at an endpoint that is down", attempts)
		}
		w.mu.Lock()
		down = false
		w.mu.Unlock()
		after(6 * time.Minute)
		if got := w.ids("shop"); !slices.Equal(got, []string{"late-1-requested", "late-2-started"}) {
			t.Errorf("after a day it got %q", got)
		}
		w.mu.Lock()
		state = w.states["shop"]
		w.mu.Unlock()
		if state.Dropped != 40 || state.Pending != 0 || !state.FailingSince.IsZero() || state.Delivered != 2 {
			t.Errorf("operators learn %+v", state)
		}
		if left := w.keys("pending/"); len(left) != 0 {
			t.Errorf("stored still: %q", left)
		}
		w.mu.Lock()
		w.hooks = map[string]wire.Webhook{}
		w.mu.Unlock()
		w.watch <- map[string]wire.Webhook{}
		after(2 * time.Minute)
		if _, ok := w.states["shop"]; ok {
			t.Error("the state of a webhook that was revoked is there")
		}
	})
}

// TestLeaderDies has leaders die at each write of the store and before each delivery, while a
// session goes on.
func TestLeaderDies(t *testing.T) {
	states := []string{"claimed", "streaming", "detached", "streaming", ""}
	want := []string{"a-1-requested", "a-2-started", "a-3-detached", "a-4-resumed", "a-5-ended"}
	for _, where := range []string{"never", "before pending", "after pending", "after known", "before delivery", "after delivery"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, wire.Webhook{ID: "shop", Customer: "shop"})
				armed := false
				dying := false // whatever the leader does from here on does not count
				die := func() error {
					dying = true
					return errors.New("dead")
				}
				w.put = func(key string) error {
					kind, _, _ := strings.Cut(key, "/")
					switch {
					case !armed:
					case dying, where == "before pending" && kind == "pending", where == "after pending" && kind == "known":
						return die()
					case where == "after known" && kind == "known":
						dying = true // this one is written still
					}
					return nil
				}
				w.answer = func(string, wire.Event) int {
					switch {
					case dying:
						return 500
					case !armed:
					case where == "before delivery":
						die()
						return 500
					case where == "after delivery":
						dying = true // it arrives, and the leader learns it no more
					}
					return 200
				}
				for _, state := range states {
					stop := w.lead("dies")
					after(1200 * time.Millisecond)
					armed = true
					w.session("a", state)
					after(2 * time.Second)
					stop()
					w.mu.Lock()
					armed, dying = false, false
					w.mu.Unlock()
					stop = w.lead("next")
					after(4 * time.Second)
					stop()
				}
				var once []string
				for _, id := range w.ids("shop") {
					if !slices.Contains(once, id) {
						once = append(once, id)
					}
				}
				if !slices.Equal(once, want) {
					t.Errorf("the first time each: %q\nwant %q\n%s", once, want, strings.Join(w.seen(), "\n"))
				}
				if left := w.keys("pending/"); len(left) != 0 {
					t.Errorf("stored still: %q", left)
				}
			})
		})
	}
}

// TestStoreIsDown has no store for a while: events wait, and what is beyond is counted.
func TestStoreIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wire.Webhook{ID: "shop", Customer: "shop"})
		defer w.lead("b1")()
		after(2 * time.Second)
		w.mu.Lock()
		w.put = func(string) error { return errors.New("down") }
		w.mu.Unlock()
		w.session("a", "streaming")
		after(2 * time.Second)
		w.session("a", "")
		after(time.Minute)
		if got := w.ids("shop"); len(got) != 0 {
			t.Errorf("sent before it was stored: %q", got)
		}
		w.mu.Lock()
		w.put = func(string) error { return nil }
		w.mu.Unlock()
		after(3 * time.Second)
		if got := w.ids("shop"); !slices.Equal(got, []string{"a-1-requested", "a-2-started", "a-3-ended"}) {
			t.Errorf("afterwards %q", got)
		}
	})
}

// TestTest has an operator ask for a test of an endpoint that fails.
func TestTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wire.Webhook{ID: "shop", Customer: "shop"})
		w.answer = func(_ string, e wire.Event) int {
			if e.Type == wire.EventTest && e.Data.Webhook == "shop" {
				return 200
			}
			return 302
		}
		defer w.lead("b1")()
		w.session("a", "streaming")
		after(time.Minute)
		hook := w.hooks["shop"]
		hook.Test = time.Now()
		w.watch <- map[string]wire.Webhook{"shop": hook}
		after(2 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if s := w.states["shop"]; s.Test == nil || s.Test.Error != "" || !s.Test.Asked.Equal(hook.Test) || !strings.Contains(s.Error, "redirects are not followed") {
			t.Errorf("%+v", s)
		}
	})
}
