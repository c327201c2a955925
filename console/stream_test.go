package console

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestStream(t *testing.T) {
	r := newRig(t)
	p := r.person(wire.RoleViewer)
	s := p.stream("")
	name, id, e, _ := s.next()
	if name != wire.ConsoleEventSnapshot || len(e.Sites) != 2 || len(e.Apps) != 2 || len(e.Sessions) != 1 || e.More || id == "" {
		t.Fatalf("the first event is %s %q %+v", name, id, e)
	}
	if e.Sessions[0].Meta != nil {
		t.Errorf("the page gets what a customer says of a person: %v", e.Sessions[0].Meta)
	}
	east, app, node := e.Sites[0], e.Apps[0], e.Nodes[0]
	if !east.Own || east.Place != "Dublin" || *east.Lat != 53 || east.Sessions != 1 || east.Distances["west"].RTTMS != 80 {
		t.Errorf("site %+v", east)
	}
	if app.Site != "east" || app.Capacity.Idle != 2 || app.Pool != "stream-cpu" || app.Failure != "error(disk-full): no room" {
		t.Errorf("app %+v", app)
	}
	if node.Load != wire.LoadBusy || node.CPU != 0.7 || node.Seats[wire.SeatIdle] != 2 || !node.Eligible {
		t.Errorf("node %+v", node)
	}

	// A session comes, another one ends: only they are told, and the counts of their site.
	second := ticket.NewSessionAt("west")
	r.world.mu.Lock()
	delete(r.world.sessions, first)
	r.world.sessions[second] = wire.SessionView{Session: second, Site: "west", State: wire.StateWaiting}
	r.world.mu.Unlock()
	name, id, e, _ = s.next()
	if name != wire.ConsoleEventChange || len(e.Sessions) != 1 || e.Sessions[0].Session != second || len(e.GoneSessions) != 1 || e.GoneSessions[0] != first || len(e.Apps)+len(e.Nodes) != 0 {
		t.Fatalf("the change is %s %+v", name, e)
	}
	if len(e.Sites) != 2 || e.Sites[1].Waiting != 1 {
		t.Errorf("the sites of the change: %+v", e.Sites)
	}
	s.body.Close()

	// What happened meanwhile is told to who comes again.
	r.world.mu.Lock()
	delete(r.world.sessions, second)
	r.world.mu.Unlock()
	other := p.stream("")
	for {
		if _, _, e, ok := other.next(); !ok || len(e.Sessions) == 0 {
			break
		}
	}
	s = p.stream(id)
	if name, _, e, _ = s.next(); name != wire.ConsoleEventChange || len(e.GoneSessions) != 1 || e.GoneSessions[0] != second {
		t.Errorf("after %s came %s %+v", id, name, e)
	}
	// Of another process, or too old: a snapshot.
	for _, id := range []string{"other-1", "nonsense", r.console.hub.epoch + "-99999999"} {
		if name, _, _, _ := p.stream(id).next(); name != wire.ConsoleEventSnapshot {
			t.Errorf("after %s came %s", id, name)
		}
	}
}

func TestStreamEndsWithTheLogin(t *testing.T) {
	r := newRig(t)
	p := r.person(wire.RoleViewer)
	s := p.stream("")
	s.next()
	if status := p.ask(http.MethodPost, wire.ConsoleLogoutPath, "", nil); status != http.StatusNoContent {
		t.Fatalf("logout: %d", status)
	}
	for {
		if _, _, _, ok := s.next(); !ok {
			break
		}
	}
	if status := p.ask(http.MethodGet, wire.ConsoleEventsPath, "", nil); status != http.StatusUnauthorized {
		t.Errorf("after the logout: %d", status)
	}
}

// TestLongStream: a stream outlives the times that the server has for other requests.
func TestLongStream(t *testing.T) {
	r := newRig(t)
	s := r.person(wire.RoleViewer).stream("")
	s.next()
	time.AfterFunc(readTimeOfTests+readTimeOfTests/2, func() { // nothing can be waited for: that nothing happens is the test
		r.world.mu.Lock()
		defer r.world.mu.Unlock()
		delete(r.world.sessions, first)
	})
	if _, _, e, ok := s.next(); !ok || len(e.GoneSessions) != 1 {
		t.Errorf("after the server's time for a request: %v %+v", ok, e)
	}
}

// TestSilentSite: what a site had stays while it does not answer, and is marked.
func TestSilentSite(t *testing.T) {
	r := newRig(t)
	s := r.person(wire.RoleViewer).stream("")
	s.next()
	r.world.mu.Lock()
	r.world.missing = []string{"east"}
	r.world.mu.Unlock()
	_, _, e, _ := s.next()
	if len(e.GoneSessions) != 0 || len(e.Sites) != 1 || len(e.Sites[0].Unread) != 1 || e.Sites[0].Sessions != 1 {
		t.Errorf("a silent site: %+v", e)
	}
}

func TestSilentSitesAreReadLast(t *testing.T) {
	w := &watch{parts: map[string]time.Time{"b/" + partNodes: {}}}
	if got := w.silentLast([]wire.SiteView{{Site: "a"}, {Site: "b"}, {Site: "c"}}); !slices.Equal(got, []int{0, 2, 1}) {
		t.Errorf("the order is %v", got)
	}
}

// TestManySessions: a snapshot of ten thousand comes in batches, of which only the last can be resumed
// after, and a change has the changed one alone.
func TestManySessions(t *testing.T) {
	h := newHub()
	next := items{}
	for i := range 10_000 {
		id := fmt.Sprintf("s%05d", i)
		next[id] = encode(wire.SessionView{Session: id, Site: fmt.Sprintf("site-%d", i%10), App: "viewer", State: "streaming", Seat: "0b5e3f1c-6a1d-4a51-9c5b-0f1e2d3c4b5a", Node: "node-1"})
	}
	var ch change
	began := time.Now()
	h.set(&ch, sessions, next, nil)
	h.tell(&ch, time.Now())
	_, events, ok := h.subscribe("", time.Now())
	first, size := slices.Collect(events), 0
	for i, text := range first {
		size += len(text)
		name, id, _ := strings.Cut(string(text[:60]), "\n")
		if want := "event: " + map[bool]string{true: wire.ConsoleEventSnapshot, false: wire.ConsoleEventChange}[i == 0]; name != want {
			t.Errorf("event %d is %s", i, name)
		}
		if last := i == len(first)-1; strings.HasPrefix(id, "id: \n") == last {
			t.Errorf("event %d of %d: %q", i, len(first), id)
		}
	}
	t.Logf("10,000 sessions: %d events of %d bytes in all, %v", len(first), size, time.Since(began).Round(time.Millisecond))
	if !ok || len(first) != 20 {
		t.Fatalf("%d events", len(first))
	}
	s, _, _ := h.subscribe("", time.Now())
	for i := range 3 * behind { // nobody reads
		one := change{now: [kinds]items{sessions: {"s00001": json.RawMessage(fmt.Sprintf(`{"session":"s00001","since":%d}`, i))}}}
		h.tell(&one, time.Now())
	}
	got := 0
	for range s.events {
		got++
	}
	if got != behind || len(h.subs) != 0 {
		t.Errorf("a reader who does not read got %d events, %d streams are left", got, len(h.subs))
	}
	if len(h.last) > kept || h.bytes > keptBytes {
		t.Errorf("%d events of %d bytes are kept", len(h.last), h.bytes)
	}
	// What has not been sent to a slow reader yet is not made yet.
	held := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := held()
	var snapshots []iter.Seq[[]byte]
	for range 2 * maxSubscribers {
		if _, events, ok := h.subscribe("", time.Now()); ok {
			snapshots = append(snapshots, events)
		}
	}
	if len(h.subs) != maxSubscribers {
		t.Errorf("%d streams", len(h.subs))
	}
	if took, most := held()-before, maxSubscribers*size/2; took > most {
		t.Errorf("%d streams take %d bytes before they sent anything, %d at most", len(snapshots), took, most)
	}
	runtime.KeepAlive(snapshots)
}
