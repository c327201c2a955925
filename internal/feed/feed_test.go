package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type item struct {
	N    int    `json:"n"`
	Text string `json:"text,omitempty"`
}

// serve has everybody who connects told by talk, and returns the address.
func serve(t *testing.T, talk func(ctx context.Context, ws *websocket.Conn)) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var talks sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		talks.Add(1)
		defer talks.Done()
		ws, err := websocket.Accept(rw, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		talk(ctx, ws)
		ws.CloseNow()
	}))
	t.Cleanup(func() { cancel(); talks.Wait(); server.Close() })
	return server.Listener.Addr().String()
}

func stream[T any](t *testing.T, s *Source[T]) string {
	return serve(t, func(ctx context.Context, ws *websocket.Conn) { s.Stream(ctx, ws) })
}

func dial(t *testing.T, address string) *websocket.Conn {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	ws, _, err := websocket.Dial(t.Context(), "ws://"+address, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	testkit.Must(t, err)
	t.Cleanup(func() { ws.CloseNow() })
	return ws
}

// mirror is a follower that applies what it is told.
type mirror struct {
	mu        sync.Mutex
	items     map[string]item
	fresh     map[string]item // the snapshot, while it is not complete
	snapshots int
	messages  []Message[item]
	done      chan error
}

func (f *mirror) apply(m Message[item]) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.messages = append(f.messages, m)
	if m.All {
		f.fresh = map[string]item{}
	}
	to := f.items
	if f.fresh != nil {
		to = f.fresh
	}
	maps.Copy(to, m.Set)
	for _, id := range m.Gone {
		delete(to, id)
	}
	if f.fresh != nil && !m.More {
		f.items, f.fresh = f.fresh, nil
		f.snapshots++
	}
	return nil
}

func (f *mirror) equals(want map[string]item) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snapshots > 0 && maps.Equal(f.items, want)
}

func (f *mirror) log() []Message[item] {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Message[item](nil), f.messages...)
}

// read follows a feed until the test ends. slow is a pause in each message.
func read(t *testing.T, address string, slow time.Duration) *mirror {
	t.Helper()
	f := &mirror{items: map[string]item{}, done: make(chan error, 1)}
	ws := dial(t, address)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.done <- Read(ctx, ws, func(m Message[item]) error {
			if slow > 0 {
				select {
				case <-time.After(slow):
				case <-ctx.Done():
				}
			}
			return f.apply(m)
		})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return f
}

func TestDeltas(t *testing.T) {
	s := NewSource[item]()
	s.Set("a", item{N: 1})
	f := read(t, stream(t, s), 0)
	testkit.Until(t, "the snapshot", func() bool { return f.equals(map[string]item{"a": {N: 1}}) })
	want := map[string]item{"a": {N: 1}}
	for i, step := range []struct {
		id string
		n  int // 0 deletes
	}{{"b", 1}, {"a", 2}, {"b", 0}, {"b", 3}, {"a", 0}, {"b", 0}} {
		if step.n == 0 {
			s.Delete(step.id)
			delete(want, step.id)
		} else {
			s.Set(step.id, item{N: step.n})
			want[step.id] = item{N: step.n}
		}
		testkit.Until(t, fmt.Sprintf("step %d", i), func() bool { return f.equals(want) })
	}
	s.Delete("unknown")
	s.Set("c", item{N: 9})
	s.Set("c", item{N: 9}) // says nothing new
	testkit.Until(t, "the last step", func() bool { return f.equals(map[string]item{"c": {N: 9}}) })
	all := f.log()
	if len(all) != 8 || all[0].Seq != 1 || !all[0].All || all[0].More {
		t.Errorf("%d messages, the first %+v", len(all), all[0])
	}
	for i, m := range all[1:] {
		if m.All || m.More || len(m.Set)+len(m.Gone) != 1 {
			t.Errorf("delta %d: %+v", i, m)
		}
	}
}

func TestEmptySnapshot(t *testing.T) {
	f := read(t, stream(t, NewSource[item]()), 0)
	testkit.Until(t, "the snapshot", func() bool { return f.equals(map[string]item{}) })
}

func TestLargeSnapshot(t *testing.T) {
	for name, text := range map[string]string{"many": "", "many and large": strings.Repeat("x", 3000)} {
		t.Run(name, func(t *testing.T) {
			s, want := NewSource[item](), map[string]item{}
			for i := range 2*MaxItems + 1 {
				id := fmt.Sprintf("seat-%d", i)
				want[id] = item{N: i, Text: text}
				s.Set(id, want[id])
			}
			f := read(t, stream(t, s), 0)
			testkit.Until(t, "the snapshot", func() bool { return f.equals(want) })
			all := f.log()
			if text == "" && len(all) != 3 || text != "" && len(all) < 6 {
				t.Errorf("%d messages", len(all))
			}
			for i, m := range all {
				if m.All != (i == 0) || m.More != (i < len(all)-1) || len(m.Set) > MaxItems {
					t.Errorf("message %d: all %v, more %v, %d items", i, m.All, m.More, len(m.Set))
				}
			}
		})
	}
}

// TestComesWhileItChanges has followers come while four goroutines change items. Each sees
// the last state in the end.
func TestComesWhileItChanges(t *testing.T) {
	s := NewSource[item]()
	address := stream(t, s)
	var followers []*mirror
	var changing sync.WaitGroup
	final := make([]map[string]item, 4)
	for g := range final {
		final[g] = map[string]item{}
		changing.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 7))
			for i := range 20_000 {
				id := fmt.Sprintf("%d-%d", g, r.IntN(600))
				if r.IntN(3) == 0 {
					s.Delete(id)
					delete(final[g], id)
				} else {
					final[g][id] = item{N: i}
					s.Set(id, item{N: i})
				}
			}
		})
	}
	for range 8 {
		followers = append(followers, read(t, address, 0))
	}
	changing.Wait()
	want := map[string]item{}
	for _, part := range final {
		maps.Copy(want, part)
	}
	for i, f := range followers {
		testkit.Until(t, fmt.Sprintf("follower %d has the last state", i), func() bool { return f.equals(want) })
		if f.snapshots != 1 {
			t.Errorf("follower %d was told %d snapshots", i, f.snapshots)
		}
	}
}

// TestSlowFollower has a follower that takes its time. What is kept for it does not grow,
// though items come and go without end, and it is told the last state.
func TestSlowFollower(t *testing.T) {
	s := NewSource[item]()
	for i := range 10 {
		s.Set(fmt.Sprintf("stays-%d", i), item{N: i})
	}
	address := stream(t, s)
	slow, quick := read(t, address, 50*time.Millisecond), read(t, address, 0)
	testkit.Until(t, "both follow", func() bool { return slow.snapshots1() && quick.snapshots1() })
	most := 0
	for i := range 100_000 {
		id := fmt.Sprintf("comes-%d", i)
		s.Set(id, item{N: i, Text: strings.Repeat("x", 100)})
		s.Set(fmt.Sprintf("stays-%d", i%10), item{N: i})
		s.Delete(id)
		if i%1000 == 0 { // so that there are many messages, also where the loop has the only processor
			before := len(quick.log())
			s.Set("stays-0", item{N: -1 - i})
			testkit.Until(t, "the quick follower is told", func() bool { return len(quick.log()) > before })
		}
		if i%100 == 0 {
			s.mu.Lock()
			for f := range s.followers {
				most = max(most, len(f.pending), len(f.told))
			}
			s.mu.Unlock()
		}
	}
	before := len(slow.log())
	// Those that exist, and those that a message of this moment may tell of.
	if most > 10+MaxItems {
		t.Errorf("%d ids were kept for a follower, while there were 11 items", most)
	}
	want := map[string]item{}
	for i := range 10 {
		want[fmt.Sprintf("stays-%d", i)] = item{N: 99_990 + i}
	}
	for name, f := range map[string]*mirror{"slow": slow, "quick": quick} {
		testkit.Until(t, "the "+name+" follower has the last state", func() bool { return f.equals(want) })
	}
	// It finds the last state behind what may be on the way, and not behind a history.
	if n := len(slow.log()) - before; n > window+2 {
		t.Errorf("the slow follower was told the last state after %d messages", n)
	}
}

// TestBrief: a follower that knows an item is told its brief, and any other the whole item.
func TestBrief(t *testing.T) {
	s := NewSource[item]()
	brief := func(i item) string { return fmt.Sprint(i.N) }
	s.Set("a", item{N: 1})
	f, ids := s.follow()
	var m Message[json.RawMessage]
	s.SetBrief(map[string]item{"a": {N: 2}}, brief) // before the snapshot
	s.snapshot(f, &m, ids)
	next := func() string {
		m := Message[json.RawMessage]{}
		s.changes(f, &m)
		return fmt.Sprintf("%s %v %v", m.Set, m.Brief, m.Gone)
	}
	if got := string(m.Set["a"]) + next(); got != `{"n":2}map[] map[] []` {
		t.Errorf("the snapshot is followed by %s", got)
	}
	for _, step := range []struct {
		what string
		do   func()
		want string
	}{
		{"what changes often", func() { s.SetBrief(map[string]item{"a": {N: 3}}, brief) }, `map[] map[a:3] []`},
		{"nothing new", func() { s.SetBrief(map[string]item{"a": {N: 3}}, brief) }, `map[] map[] []`},
		{"twice", func() {
			s.SetBrief(map[string]item{"a": {N: 4}}, brief)
			s.SetBrief(map[string]item{"a": {N: 5}}, brief)
		}, `map[] map[a:5] []`},
		{"the whole item, then its brief", func() {
			s.Set("a", item{N: 6, Text: "x"})
			s.SetBrief(map[string]item{"a": {N: 7, Text: "x"}}, brief)
		}, `map[a:{"n":7,"text":"x"}] map[] []`},
		{"its brief, then the whole item", func() {
			s.SetBrief(map[string]item{"a": {N: 8, Text: "x"}}, brief)
			s.Set("a", item{N: 9})
		}, `map[a:{"n":9}] map[] []`},
		{"an item that is not known", func() { s.SetBrief(map[string]item{"b": {N: 1}}, brief) }, `map[b:{"n":1}] map[] []`},
		{"gone", func() { s.SetBrief(map[string]item{"b": {N: 2}}, brief); s.Delete("b") }, `map[] map[] [b]`},
		{"gone and back", func() { s.Delete("a"); s.SetBrief(map[string]item{"a": {N: 1}}, brief) }, `map[a:{"n":1}] map[] []`},
	} {
		step.do()
		if got := next(); got != step.want {
			t.Errorf("%s: told %s, want %s", step.what, got, step.want)
		}
	}
	if len(s.briefs) > 0 {
		t.Errorf("kept: %v", s.briefs)
	}
}

func (f *mirror) snapshots1() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snapshots == 1
}

// TestMalformed is what a reader refuses.
func TestMalformed(t *testing.T) {
	crowd := func(n int) string {
		m := Message[item]{Seq: 1, All: true, Set: map[string]item{}}
		for i := range n {
			m.Set[fmt.Sprint(i)] = item{}
		}
		text, _ := json.Marshal(m)
		return string(text)
	}
	for name, tt := range map[string]struct {
		says []string
		gap  bool // else another error
	}{
		"a message is missing":     {[]string{`{"seq":1,"all":true}`, `{"seq":3}`}, true},
		"a message twice":          {[]string{`{"seq":1,"all":true}`, `{"seq":1}`}, true},
		"it begins in the middle":  {[]string{`{"seq":2,"all":true}`}, true},
		"no snapshot":              {[]string{`{"seq":1,"set":{"a":{"n":1}}}`}, true},
		"a second snapshot":        {[]string{`{"seq":1,"all":true}`, `{"seq":2,"all":true}`}, true},
		"a snapshot that goes on":  {[]string{`{"seq":1,"all":true}`, `{"seq":2,"more":true}`}, true},
		"too many items":           {[]string{crowd(MaxItems + 1)}, true},
		"not JSON":                 {[]string{`{"seq":1,`}, false},
		"items of another kind":    {[]string{`{"seq":1,"all":true,"set":{"a":"text"}}`}, false},
		"a message without an end": {[]string{`{"seq":1,"all":true,"gone":["` + strings.Repeat("x", maxBytes) + `"]}`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			address := serve(t, func(ctx context.Context, ws *websocket.Conn) {
				for _, text := range tt.says {
					ws.Write(ctx, websocket.MessageText, []byte(text))
				}
				ws.Read(ctx)
				<-ws.CloseRead(ctx).Done()
			})
			f := read(t, address, 0)
			if err := <-f.done; err == nil || errors.Is(err, ErrGap) != tt.gap {
				t.Errorf("ended with %v", err)
			}
		})
	}
	f := read(t, serve(t, func(ctx context.Context, ws *websocket.Conn) {
		ws.Write(ctx, websocket.MessageText, []byte(crowd(MaxItems)))
		<-ws.CloseRead(ctx).Done()
	}), 0)
	testkit.Until(t, "as many items as are allowed", func() bool { return f.snapshots1() })
}

func TestReaderRefuses(t *testing.T) {
	s := NewSource[item]()
	ws, no := dial(t, stream(t, s)), errors.New("no")
	if err := Read(t.Context(), ws, func(Message[item]) error { return no }); !errors.Is(err, no) {
		t.Errorf("ended with %v", err)
	}
	testkit.Until(t, "the source forgot the follower", func() bool { return s.count() == 0 })
}

func (s *Source[T]) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.followers)
}

// TestConnectionDies kills the connection: both ends notice at once.
func TestConnectionDies(t *testing.T) {
	s := NewSource[item]()
	proxy := testkit.StartProxy(t, stream(t, s))
	f := read(t, proxy.Address, 0)
	testkit.Until(t, "the snapshot", f.snapshots1)
	proxy.Break()
	if err := <-f.done; err == nil {
		t.Error("the reader ended without an error")
	}
	testkit.Until(t, "the source forgot the follower", func() bool { return s.count() == 0 })
}

// TestStops ends either side by its context.
func TestStops(t *testing.T) {
	s := NewSource[item]()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	f := read(t, serve(t, func(_ context.Context, ws *websocket.Conn) { ended <- s.Stream(ctx, ws) }), 0)
	testkit.Until(t, "the snapshot", f.snapshots1)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the source ended with %v", err)
	}
	if err := <-f.done; err == nil {
		t.Error("the reader ended without an error")
	}
}

// TestSilence cuts the network, which drops all packets then: both ends give up within
// seconds. Before that, a feed without changes lasts.
func TestSilence(t *testing.T) {
	t.Parallel()
	s := NewSource[item]()
	proxy := testkit.StartProxy(t, stream(t, s))
	f := read(t, proxy.Address, 0)
	testkit.Until(t, "the snapshot", f.snapshots1)
	select {
	case err := <-f.done:
		t.Fatalf("a quiet feed ended: %v", err)
	case <-time.After(silence + beat):
	}
	if s.count() != 1 {
		t.Fatal("the source lost a follower that lives")
	}
	proxy.Cut()
	cut := time.Now()
	if err := <-f.done; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the reader ended with %v", err)
	}
	testkit.Until(t, "the source forgot the follower", func() bool { return s.count() == 0 })
	if took := time.Since(cut); took > silence+beat+5*time.Second {
		t.Errorf("noticed after %s", took)
	}
}
