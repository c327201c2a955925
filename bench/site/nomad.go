package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/nomad/api"
)

// namespace is that of the apps.
const namespace = "apps"

// job is an app's job or a child of one, as Nomad's API shows it.
type job struct {
	ID, Name, Namespace, Type, Status string
	ParentID                          string            `json:",omitempty"`
	Stop, Dispatched                  bool              `json:",omitempty"`
	Version                           uint64            `json:",omitempty"`
	Meta                              map[string]string `json:",omitempty"`
	DispatchIdempotencyToken          string            `json:",omitempty"`
	ParameterizedJob                  *struct{}         `json:",omitempty"`
	SubmitTime                        int64
	CreateIndex, ModifyIndex          uint64
	JobModifyIndex                    uint64
	TaskGroups                        []taskGroup
}

type taskGroup struct {
	Name  string
	Tasks []task
}

type task struct {
	Name, Driver string
	Config       map[string]any
}

var tasks = []taskGroup{{Name: "seat", Tasks: []task{{Name: "seat", Driver: "stream", Config: map[string]any{}}}}}

// alloc is an allocation, likewise.
type alloc struct {
	ID, Name, Namespace, JobID, NodeID, NodeName string
	ClientStatus, DesiredStatus                  string
	CreateIndex, ModifyIndex                     uint64
	CreateTime, ModifyTime                       int64
	TaskGroup, JobType                           string
	TaskStates                                   map[string]*api.TaskState `json:",omitempty"`
}

// event is one of Nomad's event stream.
type event struct {
	Topic, Type, Key, Namespace string
	Index                       uint64
	Payload                     map[string]any
}

// fakeNomad has the apps and children of a site, and speaks Nomad's HTTP API as far as
// brains ask. Its children are placed by the site's nodes.
type fakeNomad struct {
	// place starts a child on a node. ok is false where no node has room.
	place func(j job) (allocID, node string, ok bool)
	// ended is told of a child that is stopped.
	ended func(allocID string)

	mu     sync.Mutex
	index  uint64
	jobs   map[string]*job
	allocs map[string]*alloc // by child
	tokens map[string]string // children by token
	queue  []*job            // children that no node has room for, first come, first served
	past   []line            // of the event stream, the last of them
	grown  chan struct{}     // closed at the next event
}

// line is one message of the event stream.
type line struct {
	index uint64
	text  []byte
}

// remembered is how many messages of the event stream are kept for a reader that comes back.
const remembered = 4096

func newNomad() *fakeNomad {
	return &fakeNomad{index: 10, jobs: map[string]*job{}, allocs: map[string]*alloc{}, tokens: map[string]string{}, grown: make(chan struct{})}
}

// app makes an app.
func (n *fakeNomad) app(id string, seats int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index++
	n.jobs[id] = &job{ID: id, Name: id, Namespace: namespace, Type: "batch", Status: "running", ParameterizedJob: &struct{}{},
		Meta:       map[string]string{"warm": fmt.Sprint(seats), "max": fmt.Sprint(seats), "access": "public", "title": id},
		SubmitTime: time.Now().UnixNano(), CreateIndex: n.index, ModifyIndex: n.index, JobModifyIndex: n.index, TaskGroups: tasks}
}

// child makes a child that runs on a node already, or that is dead, without an event: the
// brains have not started yet.
func (n *fakeNomad) child(app, node string, dead bool) (child, allocID string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	j := n.newChild(app, "pool/"+uuid.NewString())
	a := n.newAlloc(j, uuid.NewString(), node)
	a.ClientStatus, j.Status = "running", "running"
	if dead {
		n.end(j, a)
	}
	return j.ID, a.ID
}

func (n *fakeNomad) newChild(app, token string) *job {
	n.index++
	// As brains dispatch, the id has the token.
	j := &job{ID: fmt.Sprintf("%s%sv0-%s-%d-%08x", app, api.JobDispatchLaunchSuffix, strings.ReplaceAll(token, "/", "~"), time.Now().Unix(), n.index),
		ParentID: app, Namespace: namespace, Type: "batch", Status: "pending", Dispatched: true, DispatchIdempotencyToken: token,
		ParameterizedJob: &struct{}{}, SubmitTime: time.Now().UnixNano(),
		CreateIndex: n.index, ModifyIndex: n.index, JobModifyIndex: n.index, TaskGroups: tasks}
	j.Name = j.ID
	n.jobs[j.ID] = j
	n.tokens[token] = j.ID
	return j
}

func (n *fakeNomad) newAlloc(j *job, id, node string) *alloc {
	n.index++
	now := time.Now().UnixNano()
	a := &alloc{ID: id, Name: j.ID + ".seat[0]", Namespace: namespace, JobID: j.ID, NodeID: node, NodeName: node, TaskGroup: "seat", JobType: "batch",
		ClientStatus: "pending", DesiredStatus: "run", CreateIndex: n.index, ModifyIndex: n.index, CreateTime: now, ModifyTime: now}
	n.allocs[j.ID] = a
	return a
}

// end makes a child dead, as a seat does that has served. mu is held.
func (n *fakeNomad) end(j *job, a *alloc) {
	n.index++
	j.Status, j.ModifyIndex = "dead", n.index
	if a == nil {
		return
	}
	a.ClientStatus, a.ModifyIndex, a.ModifyTime = "complete", n.index, time.Now().UnixNano()
	a.TaskStates = map[string]*api.TaskState{"seat": {State: "dead", Events: []*api.TaskEvent{
		{Type: "Started"}, {Type: "Driver", DisplayMessage: "left", Details: map[string]string{"reason": "left"}}, {Type: "Terminated", Details: map[string]string{"exit_code": "0"}},
	}}}
}

// tell writes to the event stream what has changed: a job, an allocation, or both, at one
// index. mu is held.
func (n *fakeNomad) tell(kind string, j *job, a *alloc) {
	n.index++
	var events []event
	add := func(topic, key string, what any) {
		events = append(events, event{Topic: topic, Type: kind, Key: key, Namespace: namespace, Index: n.index, Payload: map[string]any{topic: what}})
	}
	if a != nil {
		a.ModifyIndex, a.ModifyTime = n.index, time.Now().UnixNano()
		add("Allocation", a.ID, *a)
	}
	if j != nil {
		j.ModifyIndex = n.index
		if kind == dispatched {
			j.CreateIndex, j.JobModifyIndex = n.index, n.index
		}
		add("Job", j.ID, *j)
	}
	n.write(events)
}

// dispatched is the type of the event with which a child is born.
const dispatched = "JobDispatched"

// write writes a message of the event stream. mu is held.
func (n *fakeNomad) write(events []event) {
	text, err := json.Marshal(map[string]any{"Index": n.index, "Events": events})
	if err != nil {
		panic(err) // only maps and strings
	}
	n.past = append(n.past, line{n.index, append(text, '\n')})
	if len(n.past) > 2*remembered {
		n.past = slices.Clone(n.past[len(n.past)-remembered:])
	}
	close(n.grown)
	n.grown = make(chan struct{})
}

// dispatch is a request of a brain. The same token gives the same child.
func (n *fakeNomad) dispatch(app, token string) (child string, ok bool) {
	n.mu.Lock()
	parent := n.jobs[app]
	if parent == nil || parent.ParentID != "" || parent.Stop {
		n.mu.Unlock()
		return "", false
	}
	if id := n.tokens[token]; id != "" && token != "" {
		n.mu.Unlock()
		return id, true
	}
	j := n.newChild(app, token)
	n.tell(dispatched, j, nil)
	n.mu.Unlock()
	if !n.start(j) {
		n.mu.Lock()
		n.index++
		n.write([]event{{Topic: "Evaluation", Type: "EvaluationUpdated", Key: uuid.NewString(), Namespace: namespace, Index: n.index,
			Payload: map[string]any{"Evaluation": map[string]any{"JobID": j.ID, "Status": "blocked",
				"FailedTGAllocs": map[string]any{"seat": map[string]any{"NodesEvaluated": 1, "NodesExhausted": 1}}}}}})
		n.queue = append(n.queue, j)
		n.mu.Unlock()
		n.unblock() // a place may have become empty meanwhile
	}
	return j.ID, true
}

// start starts a child on a node that has room.
func (n *fakeNomad) start(j *job) bool {
	n.mu.Lock()
	copied := *j
	n.mu.Unlock()
	id, node, ok := n.place(copied)
	if !ok {
		return false
	}
	n.mu.Lock()
	a := n.newAlloc(j, id, node)
	stopped := j.Stop
	if !stopped {
		j.Status, a.ClientStatus = "running", "running"
		n.tell("PlanResult", j, a)
	}
	n.mu.Unlock()
	if stopped { // meanwhile
		n.ended(id)
	}
	return true
}

// unblock starts children of the queue while nodes have room.
func (n *fakeNomad) unblock() {
	for {
		n.mu.Lock()
		if len(n.queue) == 0 {
			n.mu.Unlock()
			return
		}
		j := n.queue[0]
		n.queue = n.queue[1:]
		stopped := j.Stop
		n.mu.Unlock()
		if !stopped && !n.start(j) {
			n.mu.Lock()
			n.queue = slices.Insert(n.queue, 0, j)
			n.mu.Unlock()
			return
		}
	}
}

// died says that the seat of a child has ended.
func (n *fakeNomad) died(child string) {
	n.mu.Lock()
	j, a := n.jobs[child], n.allocs[child]
	if j != nil && j.Status != "dead" && a != nil {
		n.end(j, a)
		n.tell("AllocationUpdated", j, a)
	}
	n.mu.Unlock()
	n.unblock()
}

// stop is a request of a brain.
func (n *fakeNomad) stop(child string) bool {
	n.mu.Lock()
	j := n.jobs[child]
	if j == nil {
		n.mu.Unlock()
		return false
	}
	j.Stop = true
	a := n.allocs[child]
	if a == nil {
		n.end(j, nil)
	} // else it is dead once its seat has ended
	n.tell("JobDeregistered", j, nil)
	n.mu.Unlock()
	if a != nil {
		n.ended(a.ID)
	}
	return true
}
