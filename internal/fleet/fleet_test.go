package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func open(t *testing.T, consul *testkit.Consul) *Fleet {
	t.Helper()
	f, err := Open(Config{Address: consul.Address, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
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

func seat(id string, state wire.SeatState) wire.Seat {
	return wire.Seat{ID: id, App: "viewer", Job: "viewer/dispatch-v3-1", Version: 3, Node: "test", // testkit's Consul has this name

		Address: "127.0.0.1:4000", State: state, Since: time.Now().UTC().Truncate(time.Millisecond)}
}

func has(id string, state wire.SeatState) func([]wire.Seat) bool {
	return func(seats []wire.Seat) bool {
		for _, s := range seats {
			if s.ID == id && s.State == state {
				return true
			}
		}
		return false
	}
}

func TestSeatIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	_, f, ctx := start(t)
	seen := newLatest[[]wire.Seat]()
	w := f.WatchSeats(ctx, seen.set)

	s := seat("a1", wire.SeatStarting)
	s.Progress = wire.Progress{Phase: wire.PhaseContent, Fraction: 0.25, Detail: strings.Repeat("ü", 400)}
	reg, err := f.RegisterSeat(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	got := seen.wait(t, 60*time.Second, "starting", has("a1", wire.SeatStarting))[0]
	if got.Progress.Fraction != 0.25 || got.Address != s.Address || got.Version != 3 || !got.Since.Equal(s.Since) {
		t.Errorf("got %+v, want %+v", got, s)
	}
	if d := got.Progress.Detail; d != strings.Repeat("ü", 256) {
		t.Errorf("a detail longer than Consul takes was cut to %d bytes: %q", len(d), d)
	}
	// Two changes on one another's heels: each state is seen well below the
	// 500 ms that progress may take, and the 5 min of output-only updates.
	for _, state := range []wire.SeatState{wire.SeatIdle, wire.SeatClaimed, wire.SeatStreaming, wire.SeatEnding} {
		begin := time.Now()
		reg.Update(seat("a1", state))
		if d := time.Since(begin); d > time.Second {
			t.Errorf("Update took %v", d)
		}
		seen.wait(t, 2*time.Second, string(state), has("a1", state))
		t.Logf("%s seen after %v", state, time.Since(begin))
	}
	reg.Close()
	seen.wait(t, 2*time.Second, "gone", func(s []wire.Seat) bool { return len(s) == 0 })
	reg.Close()
	if w.Stale() || w.Err() != nil {
		t.Errorf("watch is stale: %v", w.Err())
	}
}

func TestSilentSeatIsLeftOut(t *testing.T) {
	t.Parallel()
	_, f, ctx := start(t)
	seen := newLatest[[]wire.Seat]()
	f.WatchSeats(ctx, seen.set)
	reg, err := f.RegisterSeat(ctx, seat("a1", wire.SeatIdle))
	if err != nil {
		t.Fatal(err)
	}
	seen.wait(t, 60*time.Second, "idle", has("a1", wire.SeatIdle))
	// A seat that was killed does not say goodbye: keep the worker from it.
	reg.vanish()
	seen.wait(t, checkTTL+5*time.Second, "left out", func(s []wire.Seat) bool { return len(s) == 0 })
}

func TestRegistrationSurvivesItsAgent(t *testing.T) {
	for _, forget := range []bool{false, true} {
		t.Run(fmt.Sprintf("forget=%v", forget), func(t *testing.T) {
			t.Parallel()
			consul, f, ctx := start(t)
			seen := newLatest[[]wire.Seat]()
			w := f.WatchSeats(ctx, seen.set)
			reg, err := f.RegisterSeat(ctx, seat("a1", wire.SeatIdle))
			if err != nil {
				t.Fatal(err)
			}
			defer reg.Close()
			seen.wait(t, 60*time.Second, "idle", has("a1", wire.SeatIdle))
			consul.Kill()
			testkit.Within(t, 5*time.Second, "the watch says stale", w.Stale)
			if !has("a1", wire.SeatIdle)(seen.v) {
				t.Error("the last known view was lost with the agent")
			}
			begin := time.Now()
			reg.Update(seat("a1", wire.SeatStreaming)) // while nobody listens
			if d := time.Since(begin); d > time.Second {
				t.Errorf("Update took %v without an agent", d)
			}
			consul.Restart(forget)
			seen.wait(t, 20*time.Second, "streaming, as told while the agent was down", has("a1", wire.SeatStreaming))
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
		s := seat("a1", wire.SeatIdle)
		s.Address = address
		if _, err := f.RegisterSeat(t.Context(), s); err == nil {
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
	var won atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			ok, err := f.UseTicket(ctx, "s-1", wire.UsedTicket{Brain: "b", Expires: time.Now().Add(time.Hour)})
			if err != nil {
				t.Error(err)
			}
			if ok {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d of 50 used the same ticket", won.Load())
	}
	if ok, err := f.UseTicket(ctx, "s-old", wire.UsedTicket{Expires: time.Now().Add(-time.Second)}); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if n, err := f.SweepTickets(ctx); n != 1 || err != nil {
		t.Errorf("swept %d, %v; want the expired one", n, err)
	}
	if ok, _ := f.UseTicket(ctx, "s-1", wire.UsedTicket{}); ok {
		t.Error("the sweep took a ticket that is still good")
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
