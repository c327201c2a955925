package fleet

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func open(t *testing.T, consul *testkit.Consul) *Fleet {
	t.Helper()
	f, err := Open(Config{Address: consul.Address, Log: testkit.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start gives a Consul, a Fleet and a context that ends with the test.
func start(t *testing.T) (*testkit.Consul, *Fleet, context.Context) {
	t.Helper()
	consul := testkit.StartConsul(t)
	f := open(t, consul)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(func() {
		cancel()
		f.Close()
	})
	return consul, f, ctx
}

// latest is what a watch delivered last.
type latest[T any] struct {
	mu   sync.Mutex
	v    T
	bell chan struct{}
}

func newLatest[T any]() *latest[T] { return &latest[T]{bell: make(chan struct{}, 1)} }

func (l *latest[T]) set(v T) {
	l.mu.Lock()
	l.v = v
	l.mu.Unlock()
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

func (l *latest[T]) wait(t *testing.T, within time.Duration, what string, ok func(T) bool) T {
	t.Helper()
	deadline := time.After(within)
	for {
		l.mu.Lock()
		v := l.v
		l.mu.Unlock()
		if ok(v) {
			return v
		}
		select {
		case <-l.bell:
		case <-deadline:
			t.Fatalf("not within %v: %s; last seen: %+v", within, what, v)
		}
	}
}

// vanish stops a registration as a killed process does: without a goodbye.
func (r *registration) vanish() {
	r.mu.Lock()
	r.want.id += "-somebody-else" // what is deregistered at the end is not what is there
	r.mu.Unlock()
	r.stop()
	<-r.done
}

// here is the node that testkit's Consul has.
func here(class wire.LoadClass, media ...string) wire.Node {
	return wire.Node{Name: "test", Key: "its-key", Media: media, Class: class, CPU: 0.25, Memory: 0.5, GPU: 0.1, GPUMemory: 0.75, EncoderSessions: 3, Pool: "stream-gpu", MHz: 9600, MemoryMB: 32000,
		Seats: map[wire.SeatState]int{wire.SeatIdle: 2, wire.SeatStreaming: 1}}
}

func takesMediaAt(media string, healthy bool) func([]wire.Node) bool {
	return func(nodes []wire.Node) bool {
		return len(nodes) == 1 && slices.Equal(nodes[0].Media, []string{media}) && nodes[0].Healthy == healthy
	}
}

func TestNode(t *testing.T) {
	t.Parallel()
	_, f, ctx := start(t)
	seen := newLatest[[]wire.Node]()
	f.WatchNodes(ctx, seen.set)
	reg := f.RegisterNode(ctx, "one", here(wire.LoadCalm, "203.0.113.7:20000-20999", "[2001:db8::7]:20000-20999"))
	got := seen.wait(t, 60*time.Second, "the node", func(l []wire.Node) bool { return len(l) == 1 && l[0].Healthy })[0]
	want := here(wire.LoadCalm, "203.0.113.7:20000-20999", "[2001:db8::7]:20000-20999")
	if want.Healthy = true; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// Addresses are told at once. Load of the same class is not, and a class waits.
	same := here(wire.LoadCalm, "203.0.113.8:20000-20999")
	reg.Set(same)
	seen.wait(t, 5*time.Second, "the new address", takesMediaAt("203.0.113.8:20000-20999", true))
	same.CPU = 0.3
	reg.Set(same)
	busy := same
	busy.Class = wire.LoadBusy
	reg.Set(busy)
	if was := reg.r.wanted().meta; was["class"] != "calm" || was["cpu"] != "0.25" {
		t.Errorf("written before its time: %v", was)
	}
	reg.mu.Lock()
	if reg.pending == nil {
		t.Error("a change of the class is never written")
	}
	reg.at = time.Now().Add(-loadEvery)
	reg.mu.Unlock()
	reg.Set(busy)
	seen.wait(t, 5*time.Second, "the class", func(l []wire.Node) bool { return l[0].Class == wire.LoadBusy && l[0].CPU == 0.3 })
	// The record outlives its registrar, as its seats do. The next one takes it over.
	reg.Close()
	seen.wait(t, checkTTL+10*time.Second, "not healthy any more", takesMediaAt("203.0.113.8:20000-20999", false))
	next := same
	next.Key = "another-key"
	defer f.RegisterNode(ctx, "one", next).Close()
	seen.wait(t, 10*time.Second, "the next registrar", func(l []wire.Node) bool { return len(l) == 1 && l[0].Key == "another-key" && l[0].Healthy })
}

func TestRegistrationSurvivesItsAgent(t *testing.T) {
	for _, forget := range []bool{false, true} {
		t.Run(fmt.Sprintf("forget=%v", forget), func(t *testing.T) {
			t.Parallel()
			consul, f, ctx := start(t)
			seen := newLatest[[]wire.Node]()
			w := f.WatchNodes(ctx, seen.set)
			const before, after = "203.0.113.7:20000-20999", "203.0.113.8:20000-20999"
			reg := f.RegisterNode(ctx, "one", here(wire.LoadCalm, before))
			defer reg.Close()
			seen.wait(t, 60*time.Second, "the node", takesMediaAt(before, true))
			consul.Kill()
			testkit.Within(t, 5*time.Second, "the watch says stale", w.Stale)
			if !takesMediaAt(before, true)(seen.v) {
				t.Error("the last known view was lost with the agent")
			}
			begin := time.Now()
			reg.Set(here(wire.LoadCalm, after)) // while nobody listens
			if d := time.Since(begin); d > time.Second {
				t.Errorf("Set took %v without an agent", d)
			}
			consul.Restart(forget)
			seen.wait(t, 20*time.Second, "what was told while the agent was down", takesMediaAt(after, true))
			testkit.Within(t, 5*time.Second, "the watch is fresh again", func() bool { return !w.Stale() })
		})
	}
}

func TestRegisterBeforeTheAgentLives(t *testing.T) {
	t.Parallel()
	consul, f, ctx := start(t)
	consul.Kill()
	begin := time.Now()
	reg, err := f.RegisterInstance(ctx, wire.BrainService,
		wire.Instance{ID: "b1", Site: "dc1", URL: "ws://x/v1/connect", Address: "127.0.0.1:81", Internal: ":91"})
	if err != nil || time.Since(begin) > 2*time.Second {
		t.Fatalf("RegisterInstance: %v after %v", err, time.Since(begin))
	}
	seen := newLatest[[]wire.Instance]()
	f.WatchInstances(ctx, wire.BrainService, seen.set)
	consul.Restart(true)
	got := seen.wait(t, 20*time.Second, "healthy", func(l []wire.Instance) bool { return len(l) == 1 && l[0].Healthy })[0]
	if want := (wire.Instance{ID: "b1", Site: "dc1", URL: "ws://x/v1/connect", Address: "127.0.0.1:81", Internal: "127.0.0.1:91", Healthy: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	consul.Pause()
	begin = time.Now()
	reg.Close()
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("Close took %v with an agent that hangs", d)
	}
	consul.Resume()
}

func TestBadAddressIsSaid(t *testing.T) {
	f, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"", "host", "host:", "host:0", "host:http", "host:70000"} {
		if _, err := f.RegisterInstance(t.Context(), wire.BrainService, wire.Instance{ID: "b1", Address: address}); err == nil {
			t.Errorf("%q was taken for an address", address)
		}
	}
}

func TestApps(t *testing.T) {
	t.Parallel()
	_, f, ctx := start(t)
	seen := newLatest[map[string]wire.App]()
	f.WatchApps(ctx, seen.set)
	app := wire.App{ID: "viewer", Version: 2, Title: "Viewer", Capacity: wire.Capacity{Idle: 1, Max: 3}}
	if err := f.PublishApp(ctx, app); err != nil {
		t.Fatal(err)
	}
	got := seen.wait(t, 60*time.Second, "published", func(m map[string]wire.App) bool { return len(m) == 1 })["viewer"]
	if !reflect.DeepEqual(got, app) {
		t.Errorf("got %+v, want %+v", got, app)
	}
	app.Capacity.Idle = 0
	if err := f.PublishApp(ctx, app); err != nil {
		t.Fatal(err)
	}
	seen.wait(t, 2*time.Second, "changed", func(m map[string]wire.App) bool { return reflect.DeepEqual(m["viewer"], app) })
	for range 2 { // twice: removing what is not there is no error
		if err := f.RemoveApp(ctx, "viewer"); err != nil {
			t.Fatal(err)
		}
	}
	seen.wait(t, 2*time.Second, "removed", func(m map[string]wire.App) bool { return len(m) == 0 })
	if sites, err := f.Sites(ctx); err != nil || len(sites) != 1 || sites[0] != "dc1" {
		t.Errorf("Sites: %v, %v", sites, err)
	}
	if site, err := f.Site(ctx); err != nil || site != "dc1" {
		t.Errorf("Site: %q, %v", site, err)
	}
	if coords, err := f.Coordinates(ctx); err != nil || len(coords["dc1"]) != 1 {
		t.Errorf("Coordinates: %v, %v", coords, err)
	}
	if err := f.At("nowhere").PublishApp(ctx, app); err == nil {
		t.Error("an unknown site took an app")
	}
}

func TestTicketIsUsedOnce(t *testing.T) {
	t.Parallel()
	_, f, ctx := start(t)
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	// race has many callers write over one record, and returns the one that did.
	race := func(at uint64) (won wire.UsedTicket, index uint64) {
		t.Helper()
		var mu sync.Mutex
		var all sync.WaitGroup
		writers := 0
		heard := map[string]bool{}
		for i := range 50 {
			all.Go(func() {
				mine := wire.UsedTicket{Brain: "b", Seat: fmt.Sprintf("seat-%d-%d", at, i), Expires: expires}
				now, n, written, err := f.UseTicket(ctx, "s-1", mine, at)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				heard[now.Seat] = true
				if written {
					won, index = now, n
					writers++
				}
			})
		}
		all.Wait()
		if writers != 1 || len(heard) != 1 || !heard[won.Seat] || index <= at {
			t.Fatalf("%d of 50 wrote over index %d, at %d; they heard of the seats %v", writers, at, index, heard)
		}
		return won, index
	}
	_, first := race(0)
	second, index := race(first)
	for _, stale := range []uint64{0, first} {
		now, n, written, err := f.UseTicket(ctx, "s-1", wire.UsedTicket{Brain: "late", Seat: "other"}, stale)
		if written || err != nil || now != second || n != index {
			t.Errorf("a writer of index %d hears %+v at %d, %v, %v; want %+v at %d", stale, now, n, written, err, second, index)
		}
	}
	if _, _, written, err := f.UseTicket(ctx, "s-old", wire.UsedTicket{Expires: time.Now().Add(-time.Second)}, 0); err != nil || !written {
		t.Fatal(written, err)
	}
	if n, err := f.SweepTickets(ctx); n != 1 || err != nil {
		t.Errorf("swept %d, %v; want the expired one", n, err)
	}
	if now, _, written, _ := f.UseTicket(ctx, "s-1", wire.UsedTicket{}, 0); written || now != second {
		t.Errorf("the sweep took a ticket that is still good: %+v", now)
	}
	if now, n, written, err := f.UseTicket(ctx, "s-new", wire.UsedTicket{Seat: "other"}, 12); written || err != nil || n != 0 || now.Seat != "" {
		t.Errorf("written over a record that is not there: %+v at %d, %v, %v", now, n, written, err)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	consul, f, ctx := start(t)
	other := open(t, consul)
	defer other.Close()
	ra, err := f.RegisterInstance(ctx, wire.BrainService, wire.Instance{ID: "a", Address: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	rb, err := other.RegisterInstance(ctx, wire.BrainService, wire.Instance{ID: "b", Address: "127.0.0.1:2"})
	if err != nil {
		t.Fatal(err)
	}
	defer rb.Close()
	a, err := f.Lock(ctx, wire.PoolLock, ra)
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan *Lock, 1)
	wait := func() {
		if l, err := other.Lock(ctx, wire.PoolLock, rb); err == nil {
			second <- l
		} else {
			t.Error(err)
		}
	}
	go wait()
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	if _, err := f.Lock(short, wire.PoolLock, ra); err == nil {
		t.Fatal("two hold one lock")
	}
	cancel()
	select {
	case <-second:
		t.Fatal("two hold one lock")
	case <-a.Lost():
		t.Fatal("lost without a reason")
	default:
	}
	begin := time.Now()
	a.Release()
	b := <-second
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("a released lock took %v to change hands", d)
	}

	// The holder dies: nobody renews, nobody says goodbye.
	go func() {
		if l, err := f.Lock(ctx, wire.PoolLock, ra); err == nil {
			second <- l
		} else {
			t.Error(err)
		}
	}()
	begin = time.Now()
	rb.vanish()
	select {
	case <-b.Lost():
	case <-time.After(checkTTL + 5*time.Second):
		t.Fatal("the holder does not notice that it is counted as dead")
	}
	a = <-second
	t.Logf("the lock of a dead holder changed hands after %v", time.Since(begin))
	if d := time.Since(begin); d > checkTTL+20*time.Second {
		t.Errorf("took %v", d)
	}
	b.Release()

	// Consul dies: the holder stands back before another could hold it.
	begin = time.Now()
	consul.Kill()
	select {
	case <-a.Lost():
		if d := time.Since(begin); d > lockTTL {
			t.Errorf("stood back only after %v", d)
		}
	case <-time.After(lockTTL + 5*time.Second):
		t.Fatal("the holder does not notice that Consul is gone")
	}
	a.Release()
	consul.Restart(true)
	a, err = f.Lock(ctx, wire.PoolLock, ra)
	if err != nil {
		t.Fatal(err)
	}
	a.Release()
	ra.Close()
}
