package registrar

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/feed"
	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// streamHost is the control socket of one.
type streamHost struct {
	task   Task
	server *http.Server
	served chan struct{}

	mu   sync.Mutex
	seat wire.Seat
	more chan struct{}
}

func newStreamHost(t *testing.T, id string) *streamHost {
	t.Helper()
	h := &streamHost{more: make(chan struct{}), served: make(chan struct{}), task: Task{ID: id, App: "viewer", Job: "viewer/dispatch-v3-1",
		Version: 3, Node: "node-1", Socket: filepath.Join(testkit.ShortDir(t), wire.ControlSocket), Host: "127.0.0.1"}}
	h.seat = good(t, id)
	l, err := net.Listen("unix", h.task.Socket)
	testkit.Must(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.SeatPath, func(w http.ResponseWriter, r *http.Request) {
		for {
			h.mu.Lock()
			seat, more := h.seat, h.more
			h.mu.Unlock()
			if json.NewEncoder(w).Encode(seat) != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-more:
			case <-r.Context().Done():
				return
			}
		}
	})
	h.server = &http.Server{Handler: mux}
	go func() { defer close(h.served); h.server.Serve(l) }()
	t.Cleanup(h.die)
	return h
}

func (h *streamHost) die() { h.server.Close(); <-h.served }

func (h *streamHost) say(change func(*wire.Seat)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.seat)
	close(h.more)
	h.more = make(chan struct{})
}

var ports = struct {
	sync.Mutex
	last int
}{last: 30000}

// good is a record of an idle seat.
func good(t *testing.T, id string) wire.Seat {
	ports.Lock()
	ports.last++
	port := ports.last
	ports.Unlock()
	return wire.Seat{ID: id, App: "viewer", Job: "viewer/dispatch-v3-1", Version: 3, Node: "node-1",
		Address: (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}).String(), Key: testkit.Identity(t).Key(), State: wire.SeatIdle,
		Progress: wire.Progress{Phase: wire.PhaseReady, Fraction: 1}, Since: time.Now().UTC()}
}

func logTo(t *testing.T) *slog.Logger { return testkit.Logger(t) }

func newRegistrar(t *testing.T, dir, consul string) *Registrar {
	return New(Config{Dir: dir, Consul: wire.ConsulRef{Address: consul}, Listen: wire.Listen{Media: "127.0.0.1", PortMin: 20000, PortMax: 20999}, Log: logTo(t)})
}

// background runs something until stop is called or the test ends.
func background(t *testing.T, run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// brain takes the feeds of nodes, as a brain does.
type brain struct {
	me     *identity.Identity
	server *httptest.Server
	node   string // whose feed came last

	mu    sync.Mutex
	seats map[string]wire.Seat
	feeds int
	end   context.CancelFunc
}

func newBrain(t *testing.T, f *fleet.Fleet, id string) *brain {
	t.Helper()
	b := &brain{me: testkit.Identity(t), seats: map[string]wire.Seat{}}
	peers := f.Peers(wire.NodeService)
	ctx, cancel := context.WithCancel(context.Background())
	var open sync.WaitGroup
	mux := http.NewServeMux()
	mux.Handle("GET "+wire.FeedPath, identity.Only(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Done()
		peer, _ := identity.Caller(r, peers)
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		one, end := context.WithCancel(ctx)
		defer end()
		b.mu.Lock()
		b.node, b.end = peer.Node, end
		b.feeds++
		b.mu.Unlock()
		feed.Read(one, ws, func(m feed.Message[wire.Seat]) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if m.All {
				clear(b.seats)
			}
			maps.Copy(b.seats, m.Set)
			for _, id := range m.Gone {
				delete(b.seats, id)
			}
			return nil
		})
	}), peers, wire.NodeService))
	b.server = httptest.NewUnstartedServer(mux)
	b.server.Listener = tls.NewListener(b.server.Listener, b.me.Open())
	b.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	b.server.Start()
	reg, err := f.RegisterInstance(ctx, wire.BrainService, wire.Instance{ID: id, Site: "dc1", Address: "127.0.0.1:1",
		Internal: b.server.Listener.Addr().String(), Key: b.me.Key()})
	testkit.Must(t, err)
	t.Cleanup(func() { reg.Close(); cancel(); open.Wait(); b.server.Close() })
	return b
}

// has waits until the brain has exactly these seats, with their states.
func (b *brain) has(t *testing.T, what string, want map[string]wire.SeatState) {
	t.Helper()
	testkit.UntilSeen(t, what, func() (any, bool) {
		b.mu.Lock()
		defer b.mu.Unlock()
		got := map[string]wire.SeatState{}
		for id, seat := range b.seats {
			got[id] = seat.State
		}
		return got, maps.Equal(got, want)
	})
}

func openFleet(t *testing.T, address string) *fleet.Fleet {
	f, err := fleet.Open(fleet.Config{Address: address, Log: logTo(t)})
	testkit.Must(t, err)
	t.Cleanup(f.Close)
	return f
}

type states = map[string]wire.SeatState

// TestSite has a real Consul, two brains and a node, parts of which die.
func TestSite(t *testing.T) {
	consul := testkit.StartConsul(t)
	f := openFleet(t, consul.Address)
	dir := testkit.ShortDir(t)
	first := newBrain(t, f, "b1")
	r := newRegistrar(t, dir, consul.Address)
	background(t, r.Run)
	one, two := newStreamHost(t, "one"), newStreamHost(t, "two")
	background(t, func(ctx context.Context) { r.Follow(ctx, one.task) })
	stopTwo := background(t, func(ctx context.Context) { r.Follow(ctx, two.task) })
	first.has(t, "both seats", states{"one": wire.SeatIdle, "two": wire.SeatIdle})
	if first.node != "test" {
		t.Errorf("the feed is of the node %q", first.node)
	}
	one.say(func(s *wire.Seat) { s.State, s.Session = wire.SeatClaimed, "s-1" })
	first.has(t, "the claim", states{"one": wire.SeatClaimed, "two": wire.SeatIdle})
	second := newBrain(t, f, "b2")
	second.has(t, "a brain that comes later", states{"one": wire.SeatClaimed, "two": wire.SeatIdle})

	t.Run("a task ends", func(t *testing.T) {
		stopTwo()
		first.has(t, "without it", states{"one": wire.SeatClaimed})
		background(t, func(ctx context.Context) { r.Follow(ctx, two.task) })
		first.has(t, "with it again", states{"one": wire.SeatClaimed, "two": wire.SeatIdle})
		two.die()
		first.has(t, "its stream host is dead", states{"one": wire.SeatClaimed})
	})
	t.Run("the node's drain asks", func(t *testing.T) {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, wire.NodeSocket))
		}}}
		res, err := client.Get("http://node" + wire.NodeSeatsPath)
		testkit.Must(t, err)
		defer res.Body.Close()
		var seats map[string]wire.Seat
		testkit.Must(t, json.NewDecoder(res.Body).Decode(&seats))
		if len(seats) != 1 || seats["one"].Session != "s-1" {
			t.Errorf("told %+v", seats)
		}
		info, err := os.Stat(filepath.Join(dir, wire.NodeSocket))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the socket: %v, %v", info.Mode(), err)
		}
	})
	t.Run("the connection ends", func(t *testing.T) {
		first.mu.Lock()
		was := first.feeds
		first.end()
		first.mu.Unlock()
		testkit.Until(t, "the registrar connects anew", func() bool { first.mu.Lock(); defer first.mu.Unlock(); return first.feeds > was })
		one.say(func(s *wire.Seat) { s.State = wire.SeatStreaming })
		first.has(t, "what changed", states{"one": wire.SeatStreaming})
	})
	t.Run("Consul dies without its data", func(t *testing.T) {
		consul.Kill()
		one.say(func(s *wire.Seat) { s.State = wire.SeatDetached })
		first.has(t, "what changed meanwhile", states{"one": wire.SeatDetached})
		consul.Restart(true)
		third := newBrain(t, f, "b3")
		third.has(t, "a brain that comes later", states{"one": wire.SeatDetached})
	})
	t.Run("a later plugin process", func(t *testing.T) {
		// As after a kill -9 of the plugin, or beside one whose agent was killed.
		later := newRegistrar(t, dir, consul.Address)
		three := newStreamHost(t, "three")
		background(t, later.Run)
		background(t, func(ctx context.Context) { later.Follow(ctx, one.task) })
		background(t, func(ctx context.Context) { later.Follow(ctx, three.task) })
		first.has(t, "its seats", states{"one": wire.SeatDetached, "three": wire.SeatIdle})
		three.say(func(s *wire.Seat) { s.State, s.Session = wire.SeatClaimed, "s-3" })
		first.has(t, "its changes", states{"one": wire.SeatDetached, "three": wire.SeatClaimed})
	})
}

// TestWithoutConsul: tasks are followed, and all is told when Consul comes.
func TestWithoutConsul(t *testing.T) {
	consul := testkit.StartConsul(t)
	consul.Kill()
	r := newRegistrar(t, testkit.ShortDir(t), consul.Address)
	background(t, r.Run)
	one := newStreamHost(t, "one")
	background(t, func(ctx context.Context) { r.Follow(ctx, one.task) })
	testkit.Until(t, "the seat is known", func() bool { return r.count()[wire.SeatIdle] == 1 })
	consul.Restart(false)
	newBrain(t, openFleet(t, consul.Address), "b1").has(t, "the seat", states{"one": wire.SeatIdle})
}

// TestEarlierStreamHost has no stream of its seat: it is asked for its status.
func TestEarlierStreamHost(t *testing.T) {
	r := newRegistrar(t, t.TempDir(), "127.0.0.1:1")
	h := newStreamHost(t, "one")
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.StatusPath, func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(wire.StreamHostStatus{State: h.seat.State, Seat: h.seat})
	})
	h.server.Handler = mux
	background(t, func(ctx context.Context) { r.Follow(ctx, h.task) })
	testkit.Until(t, "the seat is known", func() bool { return r.count()[wire.SeatIdle] == 1 })
}

func TestClass(t *testing.T) {
	was := wire.LoadCalm
	for i, step := range []struct {
		load float64
		want wire.LoadClass
	}{{0.1, "calm"}, {0.59, "calm"}, {0.6, "busy"}, {0.56, "busy"}, {0.54, "calm"}, {0.9, "full"}, {0.81, "full"}, {0.79, "busy"}, {0.2, "calm"}} {
		if was = classOf(step.load, was); was != step.want {
			t.Errorf("step %d: %s at %v, want %s", i, was, step.load, step.want)
		}
	}
	if n := newMeter(t.TempDir()).node(); n.Memory <= 0 || n.Memory > 1 || n.CPU < 0 || n.CPU > 1 || n.Class == "" {
		t.Errorf("this machine: %+v", n)
	}
}

// What the device plugin tells of GPUs counts as the node's load, while it is fresh.
func TestGPUsOfNode(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name     string
		gpus     []wire.GPULoad
		age      time.Duration
		want     wire.LoadClass
		gpu      float64
		memory   float64
		sessions int
	}{
		{"two calm GPUs", []wire.GPULoad{{Busy: 0.2, Encoder: 0.1, Memory: 0.3, Sessions: 2}, {Busy: 0.1, Memory: 0.4, Sessions: 1}}, 0, "calm", 0.2, 0.4, 3},
		{"one computes", []wire.GPULoad{{Busy: 0.9}, {}}, 0, "full", 0.9, 0, 0},
		{"one encodes", []wire.GPULoad{{}, {Busy: 0.1, Encoder: 0.7}}, 0, "busy", 0.7, 0, 0},
		{"the memory of one is used", []wire.GPULoad{{Memory: 0.95}, {}}, 0, "full", 0, 0.95, 0},
		{"the sessions of idle seats", []wire.GPULoad{{Sessions: 8}, {Sessions: 1}}, 0, "calm", 0, 0, 9},
		{"the plugin has ended", []wire.GPULoad{{Busy: 1, Memory: 1, Sessions: 8}}, time.Minute, "calm", 0, 0, 0},
		{"figures that cannot be", []wire.GPULoad{{Busy: 40, Memory: -3, Sessions: -4}}, 0, "full", 1, 0, 0},
	} {
		text, err := json.Marshal(wire.GPUs{At: time.Now().Add(-c.age), GPUs: c.gpus})
		testkit.Must(t, err)
		testkit.Must(t, os.WriteFile(filepath.Join(dir, wire.GPUsFile), text, 0o600))
		m := newMeter(dir)
		m.drm = t.TempDir() // the machine may have a GPU
		n := m.node()
		if n.GPU != c.gpu || n.GPUMemory != c.memory || n.EncoderSessions != c.sessions {
			t.Errorf("%s: told as %+v", c.name, n)
		}
		want := c.want
		if machine := classOf(max(n.CPU, n.Memory), wire.LoadCalm); machine.Rank() > want.Rank() {
			want = machine // the test's own is busier than its GPUs
		}
		if n.Class != want {
			t.Errorf("%s: the class is %s, want %s", c.name, n.Class, want)
		}
	}
}

// A node that the cloud advises to leave is told so, while its drain says it.
func TestLeavingNode(t *testing.T) {
	dir := t.TempDir()
	m := newMeter(dir)
	if c := m.node().Class; c == wire.LoadLeaving {
		t.Errorf("nobody advises it, and the node is %s", c)
	}
	for _, c := range []struct {
		age  time.Duration
		want bool
	}{{0, true}, {25 * time.Second, true}, {35 * time.Second, false}} {
		text, err := json.Marshal(wire.Leaving{At: time.Now().Add(-c.age)})
		testkit.Must(t, err)
		testkit.Must(t, os.WriteFile(filepath.Join(dir, wire.LeavingFile), text, 0o600))
		if got := m.node().Class == wire.LoadLeaving; got != c.want {
			t.Errorf("the drain said it %v ago: the node is leaving %t", c.age, got)
		}
	}
}

// A class rises at once and falls after half a minute, and only free seats are told of again.
func TestClassOfSeats(t *testing.T) {
	r := New(Config{})
	for i, state := range []wire.SeatState{wire.SeatIdle, wire.SeatStreaming} {
		if err := r.put(wire.Seat{ID: fmt.Sprint(i), Key: fmt.Sprint("key", i), Address: fmt.Sprint("address", i), State: state}); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Unix(1_800_000_000, 0)
	for i, step := range []struct {
		measured wire.LoadClass
		after    time.Duration
		idle     wire.LoadClass
	}{
		{"calm", 0, ""},
		{"busy", 5 * time.Second, "busy"},
		{"calm", 5 * time.Second, "busy"},
		{"busy", 5 * time.Second, "busy"}, // it goes up and down
		{"calm", 5 * time.Second, "busy"},
		{"calm", 25 * time.Second, "busy"},
		{"calm", 5 * time.Second, "calm"},
		{"full", 5 * time.Second, "full"},
	} {
		at = at.Add(step.after)
		r.tellClass(step.measured, at)
		if got := r.last["0"].Load; got != step.idle {
			t.Errorf("step %d: the free seat is told as %q, want %q", i, got, step.idle)
		}
		if got := r.last["1"].Load; got != "" {
			t.Errorf("step %d: the busy seat is told of again, as %q", i, got)
		}
	}
	fresh := wire.Seat{ID: "2", Key: "key2", Address: "address2", State: wire.SeatStarting, Load: "calm"}
	if err := r.put(fresh); err != nil || r.last["2"].Load != wire.LoadFull {
		t.Errorf("a new seat is told as %q, %v", r.last["2"].Load, err)
	}
}
