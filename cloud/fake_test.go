package cloud

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// fakeSite stands for a site's Consul and Nomad. Jobs run as soon as they are registered.
type fakeSite struct {
	*fakeCluster
	mu        sync.Mutex
	servers   []Server
	nodes     []Node
	variables map[string]map[string]string
	index     map[string]uint64
	jobs      map[string]string // what was registered: variables by job
	stopped   map[string]bool
	follows   string
	earlier   bool // its access control is that of an earlier release
	runs      int
	// writes is how many writes still succeed; negative is no limit.
	writes int
	fails  error // of each registration
	silent error // of questions
	// The note of the command that is at work, its index, and how many there were.
	note         string
	noted, notes uint64
	other        map[string]string // notes by name
	refuses      string            // one that cannot be written
}

var errKilled = errors.New("the command was killed here")

func newFakeSite() *fakeSite {
	f := &fakeSite{
		variables: map[string]map[string]string{routerVariable: {"ticket_key": "k", "ticket_keys": "K"}, brainVariable: {"ticket_keys": "K"}},
		index:     map[string]uint64{routerVariable: 1, brainVariable: 1}, jobs: map[string]string{}, stopped: map[string]bool{}, writes: -1,
	}
	for i := range 3 {
		f.servers = append(f.servers, Server{Name: fmt.Sprintf("server-%d", i+1), Version: "1.0", Leader: i == 0, Voter: true, Healthy: true})
		f.nodes = append(f.nodes, Node{ID: fmt.Sprintf("edge-id-%d", i+1), Name: fmt.Sprintf("edge-%d", i+1), Pool: "edge", Status: "ready", Eligible: true})
	}
	return f
}

func (f *fakeSite) mayWrite() error {
	if f.fakeCluster != nil {
		if err := f.may(); err != nil {
			return err
		}
	}
	if f.writes == 0 {
		return errKilled
	}
	f.writes--
	return nil
}

func (f *fakeSite) Servers(context.Context) ([]Server, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.servers), f.silent
}
func (f *fakeSite) Nodes(context.Context) ([]Node, error) { return f.nodes, nil }
func (f *fakeSite) ClockOffset(context.Context, string) (time.Duration, error) {
	return 0, nil
}
func (f *fakeSite) Variable(_ context.Context, path string) (map[string]string, uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.variables[path]), f.index[path], f.silent
}
func (f *fakeSite) PutVariable(_ context.Context, path string, items map[string]string, index uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.index[path] != index {
		return ErrChanged
	}
	if err := f.mayWrite(); err != nil {
		return err
	}
	f.variables[path], f.index[path] = items, index+1
	return nil
}
func (f *fakeSite) HasNamespace(_ context.Context, name string) (bool, error) {
	return name == wire.FetchNamespace && !f.earlier, nil
}
func (f *fakeSite) Plan(_ context.Context, job Job) (Planned, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := Planned{Job: job, ID: job.Name}
	had, ok := f.jobs[job.Name]
	p.New = !ok || f.stopped[job.Name]
	if ok && had != job.Text() {
		p.Changes = []string{had + " → " + job.Text()}
	}
	return p, nil
}
func (f *fakeSite) Run(_ context.Context, p Planned) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails != nil {
		return f.fails
	}
	if err := f.mayWrite(); err != nil {
		return err
	}
	f.jobs[p.ID], f.stopped[p.ID] = p.Job.Text(), false
	f.runs++
	return nil
}
func (f *fakeSite) State(_ context.Context, _, job string) (State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.jobs[job]
	return State{Exists: ok, Stopped: f.stopped[job], Wanted: 2, Running: 2, Deployment: "successful"}, nil
}
func (f *fakeSite) LastFailure(context.Context, string) (string, error) {
	return "on stream-1: exit 1", nil
}
func (f *fakeSite) Lost(context.Context) ([]string, error) { return nil, nil }
func (f *fakeSite) Instances(context.Context, string) ([]wire.Instance, error) {
	return []wire.Instance{{ID: "one", Healthy: true}}, nil
}
func (f *fakeSite) Apps(context.Context) (map[string]wire.App, error) { return nil, nil }
func (f *fakeSite) Through(context.Context) (string, []string, error) {
	return "a-1", []string{"a-1", "b-1"}, nil
}
func (f *fakeSite) Distance(context.Context, string) (wire.Distance, error) {
	return wire.Distance{}, nil
}

const twoSites = `{"url": {"value": "https://play.example"}, "sites": {"value": {
	"b-1": {"primary": false, "router_url": "https://b-1.play.example", "brain_url": "wss://brain.b-1.play.example/v1/connect", "edge_nodes": 3,
	        "turn_urls": ["turn:turn.b-1.play.example:3478"], "turn_ports": "21000-21999", "system_bucket": "system-b", "backups": {"bucket": "backups-b", "region": "far"},
	        "groups": {"server": "n-server", "edge": "n-edge", "stream-cpu": "n-stream-cpu"}, "alarms": ["n-servers"],
	        "pools": {"stream-cpu": {"group": "n-stream-cpu", "min": 0, "max": 9}}},
	"a-1": {"primary": true, "router_url": "https://a-1.play.example", "brain_url": "wss://brain.a-1.play.example/v1/connect", "edge_nodes": 3, "content_bucket": "content-a",
	        "groups": {"server": "n-server", "edge": "n-edge"}, "turn_urls": []}
}}}`

// newCluster is a cluster of two sites that are whole.
func newCluster(t *testing.T) (*Cluster, map[string]*fakeSite, *[]string) {
	t.Helper()
	outputs, err := ReadOutputs([]byte(twoSites))
	if err != nil {
		t.Fatal(err)
	}
	sites := map[string]*fakeSite{"a-1": newFakeSite(), "b-1": newFakeSite()}
	var said []string
	var mu sync.Mutex
	return &Cluster{
		Outputs: outputs, Poll: time.Millisecond, Beat: 20 * time.Millisecond, By: "test",
		Reach: func(site string) Reached { return Reached{sites[site], sites[site]} },
		Say: func(line string) {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, line)
		},
	}, sites, &said
}

func (f *fakeSite) Follows(context.Context) (string, error)  { return f.follows, nil }
func (f *fakeSite) OwnsAccess(context.Context) (bool, error) { return true, nil }

func (f *fakeSite) Note(_ context.Context, name string) (string, uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if name != workNote {
		return f.other[name], uint64(len(f.other[name])), nil
	}
	return f.note, f.noted, nil
}
func (f *fakeSite) PutNote(_ context.Context, name, text string, index uint64) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if name != workNote {
		if f.other == nil {
			f.other = map[string]string{}
		}
		if f.refuses != "" && text == f.refuses {
			return false, errors.New("there is no leader")
		}
		did := index == uint64(len(f.other[name]))
		if did {
			f.other[name] = text
		}
		return did, nil
	}
	if index != f.noted {
		return false, nil
	}
	if f.note = text; text == "" {
		f.noted = 0
		return true, nil
	}
	f.notes++
	f.noted = f.notes
	return true, nil
}
