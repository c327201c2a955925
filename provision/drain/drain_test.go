package drain

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/provision/agents"
	"github.com/nearcast/nearcast/provision/awsapi"
	"github.com/nearcast/nearcast/provision/awsapi/awstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a real Nomad, server and client in one, with a stand-in for the cloud.
type node struct {
	t     *testing.T
	ctx   context.Context
	cloud *awstest.Cloud
	nomad *api.Client
	node  agents.Nomad
	dir   string
}

func newNode(t *testing.T) *node {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real agent")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: Nomad's clients do")
	}
	ctx := testkit.Context(t, 3*time.Minute)
	agent := testkit.NewNomad(t)
	agent.Start(`
name = "stream-1"
client {
  options = { "driver.allowlist" = "raw_exec" }
}
plugin "raw_exec" {
  config { enabled = true }
}`)
	h := &node{t: t, ctx: ctx, cloud: awstest.New(t), dir: agent.Dir}
	h.node = agents.Nomad{Address: "http://" + agent.Address, IDFile: filepath.Join(h.dir, "data", "client", "client-id")}
	var err error
	if h.nomad, err = api.NewClient(&api.Config{Address: h.node.Address, TLSConfig: &api.TLSConfig{}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.nomad.Close)
	agent.WaitReady("raw_exec")
	return h
}

func (h *node) eventually(what string, try func() error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, time.Minute)
	defer cancel()
	testkit.Retry(ctx, h.t, what, try)
}

// session starts what a seat is for Nomad: the allocation of a batch job. It ends when its
// file exists.
func (h *node) session() (end string) {
	h.t.Helper()
	end = filepath.Join(h.dir, "left")
	job := api.NewBatchJob("session", "session", "global", 50)
	task := api.NewTask("app", "raw_exec").SetConfig("command", "/bin/sh").
		SetConfig("args", []string{"-c", "until test -e " + end + "; do sleep 0.1; done"})
	zero := 0
	group := api.NewTaskGroup("seat", 1).AddTask(task)
	group.RestartPolicy = &api.RestartPolicy{Attempts: &zero}
	group.ReschedulePolicy = &api.ReschedulePolicy{Attempts: &zero}
	if _, _, err := h.nomad.Jobs().Register(job.AddTaskGroup(group), nil); err != nil {
		h.t.Fatal(err)
	}
	h.eventually("a session", func() error { return h.status("running") })
	return end
}

func (h *node) status(want string) error {
	allocs, _, err := h.nomad.Jobs().Allocations("session", true, nil)
	if err == nil && (len(allocs) != 1 || allocs[0].ClientStatus != want) {
		err = fmt.Errorf("allocations: %+v", allocs)
	}
	return err
}

func (h *node) config() Config {
	return Config{
		Meta: h.cloud.IMDS(), Group: h.cloud.Client(), Lifecycle: awsapi.Lifecycle{Group: "prod-stream-cpu", Hook: "drain"},
		Node: h.node, Poll: 20 * time.Millisecond, Beat: 50 * time.Millisecond,
		Log: testkit.Logger(h.t),
	}
}

// run runs the drain in the background and returns how it ended.
func (h *node) run(c Config) <-chan error {
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(h.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		done <- Run(ctx, c)
	}()
	h.t.Cleanup(func() { cancel(); <-ended })
	return done
}

func (h *node) completed() bool {
	actions, _ := h.cloud.Actions()
	for _, a := range actions {
		if a.Get("Action") == "CompleteLifecycleAction" {
			if a.Get("AutoScalingGroupName") != "prod-stream-cpu" || a.Get("LifecycleHookName") != "drain" ||
				a.Get("InstanceId") != "i-0123456789abcdef0" || a.Get("LifecycleActionResult") != "CONTINUE" {
				h.t.Errorf("completed with %v", a)
			}
			return true
		}
	}
	return false
}

// late knows nobody when it is asked first.
type late struct {
	testkit.Peers
	asked atomic.Bool
}

func (l *late) Peer(ctx context.Context, key string) (identity.Peer, error) {
	if !l.asked.Swap(true) {
		return identity.Peer{}, identity.ErrStranger
	}
	return l.Peers.Peer(ctx, key)
}

// driver answers at the socket of the node as the driver does, and returns what asks it.
func (h *node) driver(seats map[string]wire.Seat) func(context.Context) ([]wire.Seat, error) {
	dir := testkit.ShortDir(h.t)
	l, err := net.Listen("unix", filepath.Join(dir, wire.NodeSocket))
	testkit.Must(h.t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wire.NodeSeatsPath {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		json.NewEncoder(w).Encode(seats)
	}))
	server.Listener.Close()
	server.Listener = l
	server.Start()
	h.t.Cleanup(server.Close)
	return NodeSeats(dir)
}

// TestTermination: the group terminates a node on which a person plays and one seat is
// idle. The group waits until the person has left.
func TestTermination(t *testing.T) {
	h := newNode(t)
	end := h.session()
	retired := make(chan string, 8)
	me, its := testkit.Identity(t), testkit.Identity(t)
	seat := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !json.Valid(body) {
			w.WriteHeader(http.StatusBadRequest)
		}
		retired <- r.Host + r.URL.Path
		w.WriteHeader(http.StatusNoContent)
	}))
	// As if Consul had not told the seat yet who this is: the first question is in vain.
	peers := &late{Peers: testkit.Peers{me.Key(): {Service: wire.DrainService, Node: "stream-1"}}}
	seat.Listener = tls.NewListener(seat.Listener, its.Server(peers, wire.DrainService))
	seat.Start()
	defer seat.Close()
	address := seat.Listener.Addr().String()

	c := h.config()
	c.Identity = me
	left := make(chan struct{})
	c.Leave = func(context.Context) error { close(left); return nil }
	c.Seats = h.driver(map[string]wire.Seat{
		"1": {ID: "1", Node: "stream-1", State: wire.SeatIdle, Address: address, Key: its.Key()},
		"2": {ID: "2", Node: "stream-1", State: wire.SeatStreaming, Address: "192.0.2.1:1"},
	})
	h.cloud.Say("autoscaling/target-lifecycle-state", "InService")
	done := h.run(c)
	h.cloud.ForgetTokens()
	h.cloud.Say("autoscaling/target-lifecycle-state", "Terminated")

	select {
	case path := <-retired:
		if path != address+wire.RetirePath {
			t.Errorf("asked %s", path)
		}
	case <-h.ctx.Done():
		t.Fatal("the idle seat was not asked to end")
	}
	h.eventually("heartbeats while the person plays", func() error {
		if actions, _ := h.cloud.Actions(); len(actions) < 2 {
			return fmt.Errorf("%v", actions)
		}
		return nil
	})
	nodes, _, err := h.nomad.Nodes().List(nil)
	if err != nil || !nodes[0].Drain || nodes[0].SchedulingEligibility != "ineligible" {
		t.Errorf("the node does not drain: %v %+v", err, nodes)
	}
	if err := h.status("running"); err != nil || h.completed() {
		t.Errorf("the session: %v; completed %t", err, h.completed())
	}
	select {
	case err := <-done:
		t.Fatalf("it ended while the person plays: %v", err)
	case <-left:
		t.Fatal("it left Consul while the person plays")
	default:
	}
	if err := os.WriteFile(end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	<-left
	if err := h.status("complete"); err != nil || !h.completed() {
		t.Errorf("at the end: %v; completed %t", err, h.completed())
	}
}

// TestSpot: the cloud takes the node in 16 seconds, which leaves one second to the session.
// Nomad stops it.
func TestSpot(t *testing.T) {
	h := newNode(t)
	h.session()
	// The handler is killed and started again, and continues.
	ctx, cancel := context.WithCancel(h.ctx)
	h.cloud.Say("autoscaling/target-lifecycle-state", "Terminated")
	first := make(chan error, 1)
	go func() { first <- Run(ctx, h.config()) }()
	h.eventually("a drain", func() error {
		nodes, _, err := h.nomad.Nodes().List(nil)
		if err == nil && !nodes[0].Drain {
			err = fmt.Errorf("no drain")
		}
		return err
	})
	cancel()
	if err := <-first; err != context.Canceled || h.completed() {
		t.Fatalf("told to stop, it says %v; completed %t", err, h.completed())
	}

	done := h.run(h.config())
	h.eventually("the second drain", func() error {
		if actions, _ := h.cloud.Actions(); len(actions) < 1 {
			return fmt.Errorf("no heartbeat")
		}
		return nil
	})
	h.cloud.Say("spot/instance-action", fmt.Sprintf(`{"action": "terminate", "time": %q}`, time.Now().Add(reserve+time.Second).UTC().Format(time.RFC3339)))
	if err := <-done; err != nil {
		t.Error(err)
	}
	h.eventually("an end for the session", func() error { return h.status("complete") })
	if !h.completed() {
		t.Error("the group was not told")
	}
}

// TestGivenUpWithSession: a person got a seat after the node was given up with a dead Nomad. The group waits until
// they have left, and its hook gets heartbeats.
func TestGivenUpWithSession(t *testing.T) {
	h := &node{t: t, ctx: testkit.Context(t, time.Minute), cloud: awstest.New(t), dir: t.TempDir()}
	h.node = agents.Nomad{Address: "http://127.0.0.1:1", IDFile: filepath.Join(h.dir, "none")}
	var sessions, looks atomic.Int64
	sessions.Store(1)
	c := h.config()
	c.GivenUp = func() bool { return true }
	c.Sessions = func(context.Context) (int, error) { looks.Add(1); return int(sessions.Load()), nil }
	h.cloud.Say("autoscaling/target-lifecycle-state", "Terminated")
	done := h.run(c)
	testkit.Until(t, "two looks and a heartbeat", func() bool { actions, _ := h.cloud.Actions(); return looks.Load() > 1 && len(actions) > 0 })
	if h.completed() {
		t.Fatal("the group does not wait for a session")
	}
	sessions.Store(0)
	if err := <-done; err != nil || !h.completed() {
		t.Errorf("after the session: %v, completed %t", err, h.completed())
	}
}

// TestGivenUp: a node that never became ready ends at once, whatever its agents say.
func TestGivenUp(t *testing.T) {
	h := &node{t: t, ctx: testkit.Context(t, time.Minute), cloud: awstest.New(t), dir: t.TempDir()}
	h.node = agents.Nomad{Address: "http://127.0.0.1:1", IDFile: filepath.Join(h.dir, "none")}
	c := h.config()
	c.GivenUp = func() bool { return true }
	h.cloud.Say("autoscaling/target-lifecycle-state", "Terminated")
	if err := <-h.run(c); err != nil {
		t.Error(err)
	}
	if !h.completed() {
		t.Error("the group waits for a node that never worked")
	}
}

// TestUnreachableNomad: the group still goes on at the deadline.
func TestUnreachableNomad(t *testing.T) {
	h := &node{t: t, ctx: t.Context(), cloud: awstest.New(t), dir: t.TempDir()}
	h.node = agents.Nomad{Address: "http://127.0.0.1:1", IDFile: filepath.Join(h.dir, "none")}
	c := h.config()
	c.Deadline = 100*time.Millisecond - reserve/3
	h.cloud.Say("autoscaling/target-lifecycle-state", "Terminated")
	if err := <-h.run(c); err != nil {
		t.Error(err)
	}
	if !h.completed() {
		t.Error("the group waits for a node that is lost")
	}
}
