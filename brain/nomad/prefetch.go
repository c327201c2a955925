package nomad

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/nomad/api"
)

// PrefetchSuffix follows an app's id in the id of the job that fetches its content.
const PrefetchSuffix = "-prefetch"

// fetchPriority is below that of apps: where Nomad may preempt, seats go first.
const fetchPriority = 10

// Prefetch is a job that fetches an app's content into the caches of the nodes on which
// its seats may run, ahead of them. It is of type sysbatch: Nomad runs it once on each
// node. Brains do not see it, as it is no app.
type Prefetch struct {
	Job     string
	Version uint64 // of the app's job whose content it fetches
	own     uint64 // its own version
	eval    string
}

// NodeFetch is what became of it on a node.
type NodeFetch struct {
	Node   string `json:"node"`
	Status string `json:"status"` // Nomad's: pending, running, complete, failed, lost
	// Says is what the node said last, such as why it failed.
	Says    string `json:"says,omitempty"`
	changed time.Time
}

// Done reports whether the node has ended its fetch.
func (n NodeFetch) Done() bool { return n.Status != "pending" && n.Status != "running" }

// Prefetch registers the job for the present version of an app.
func (c Checks) Prefetch(ctx context.Context, app string) (p Prefetch, err error) {
	job, _, err := c.api.Jobs().Info(app, query(ctx))
	if err != nil {
		return p, fmt.Errorf("read job %s: %w", app, err)
	}
	fetch, err := c.prefetchJob(job)
	if err != nil {
		return p, err
	}
	write := (&api.WriteOptions{}).WithContext(ctx)
	answer, _, err := c.api.Jobs().Register(fetch, write)
	if err != nil {
		return p, fmt.Errorf("register job %s: %w", *fetch.ID, err)
	}
	registered, _, err := c.api.Jobs().Info(*fetch.ID, query(ctx))
	if err != nil {
		return p, fmt.Errorf("read job %s: %w", *fetch.ID, err)
	}
	return Prefetch{Job: *fetch.ID, Version: *job.Version, own: *registered.Version, eval: answer.EvalID}, nil
}

// prefetchJob makes the job that fetches the content of an app's. It may run where the
// app's may, and has its meta and variables, which content may name.
func (c Checks) prefetchJob(app *api.Job) (*api.Job, error) {
	if app.ParameterizedJob == nil || len(app.TaskGroups) == 0 || len(app.TaskGroups[0].Tasks) == 0 || app.TaskGroups[0].Tasks[0].Driver != c.driver {
		return nil, fmt.Errorf("job %s is no app: see nearcast app check", *app.ID)
	}
	group := app.TaskGroups[0]
	task := group.Tasks[0]
	if task.Config["content"] == nil {
		return nil, fmt.Errorf("job %s has no content: its nodes have nothing to fetch", *app.ID)
	}
	config := map[string]any{"fetch_only": true}
	for _, key := range []string{"command", "content", "content_timeout"} {
		if v, ok := task.Config[key]; ok {
			config[key] = v
		}
	}
	at := func(v string) *string { return &v }
	number := func(v int) *int { return &v }
	fetch := api.NewBatchJob(*app.ID+PrefetchSuffix, *app.ID+PrefetchSuffix, "", fetchPriority)
	fetch.Region, fetch.Namespace, fetch.Type = app.Region, app.Namespace, at(api.JobTypeSysbatch)
	fetch.NodePool, fetch.Datacenters = app.NodePool, app.Datacenters
	fetch.Constraints = slices.Concat(app.Constraints, group.Constraints, task.Constraints)
	fetch.Meta = map[string]string{}
	maps.Copy(fetch.Meta, app.Meta)
	maps.Copy(fetch.Meta, map[string]string{
		"prefetch_of": *app.ID, "prefetch_version": strconv.FormatUint(*app.Version, 10),
		// Else Nomad would not run again what has not changed, where files may have.
		"prefetch_asked": time.Now().UTC().Format(time.RFC3339Nano),
	})
	run := api.NewTask("fetch", task.Driver)
	run.Meta, run.Env = maps.Clone(task.Meta), maps.Clone(task.Env)
	run.Config = maps.Clone(config)
	run.Resources = &api.Resources{CPU: number(50), MemoryMB: number(256)}
	run.LogConfig = &api.LogConfig{MaxFiles: number(1), MaxFileSizeMB: number(1)}
	in := api.NewTaskGroup("fetch", 1)
	in.Meta = maps.Clone(group.Meta)
	in.EphemeralDisk = &api.EphemeralDisk{SizeMB: number(10)}
	once, delay, interval := 1, 15*time.Second, time.Hour
	in.RestartPolicy = &api.RestartPolicy{Attempts: &once, Delay: &delay, Interval: &interval, Mode: at("fail")}
	in.AddTask(run)
	fetch.AddTaskGroup(in)
	return fetch, nil
}

// ErrNotPlanned is returned where Nomad has given up planning a job: asking again does not help.
var ErrNotPlanned = errors.New("nomad does not plan the job")

// Fetches tells what became of the job on each node, and how many nodes have no room for
// it yet. planned is false until Nomad has chosen the nodes; where it cannot, that is an
// error.
func (c Checks) Fetches(ctx context.Context, p Prefetch) (nodes []NodeFetch, noRoom int, planned bool, err error) {
	eval, _, err := c.api.Evaluations().Info(p.eval, query(ctx))
	if err != nil {
		return nil, 0, false, fmt.Errorf("read what Nomad plans for %s: %w", p.Job, err)
	}
	return c.fetches(query(ctx), p.Job, eval, func(a *api.AllocationListStub) bool { return a.JobVersion == p.own })
}

// fetches is Fetches, of the allocations that are mine, where eval planned them.
func (c Checks) fetches(q *api.QueryOptions, job string, eval *api.Evaluation, mine func(*api.AllocationListStub) bool) (nodes []NodeFetch, noRoom int, planned bool, err error) {
	if eval.Status == api.EvalStatusFailed || eval.Status == api.EvalStatusCancelled {
		return nil, 0, false, fmt.Errorf("%w: %s: its evaluation is %s: %s; nomad eval status %s says more",
			ErrNotPlanned, job, eval.Status, cmp.Or(eval.StatusDescription, "it gives no reason"), eval.ID)
	}
	stubs, _, err := c.api.Jobs().Allocations(job, false, q)
	if err != nil {
		return nil, 0, false, fmt.Errorf("list the allocations of %s: %w", job, err)
	}
	latest := map[string]*api.AllocationListStub{}
	for _, a := range stubs {
		if mine(a) && (latest[a.NodeName] == nil || a.CreateIndex > latest[a.NodeName].CreateIndex) {
			latest[a.NodeName] = a
		}
	}
	for _, name := range slices.Sorted(maps.Keys(latest)) {
		a := latest[name]
		says := ""
		if t := a.TaskStates["fetch"]; t != nil {
			for _, e := range t.Events {
				if e.Type == "Driver" || e.Type == api.TaskDriverFailure || e.Type == api.TaskSetupFailure {
					says = e.DisplayMessage
				}
			}
		}
		nodes = append(nodes, NodeFetch{Node: name, Status: a.ClientStatus, Says: says, changed: time.Unix(0, a.ModifyTime)})
	}
	for _, failed := range eval.FailedTGAllocs {
		if failed.NodesExhausted == 0 && failed.NodesFiltered > 0 {
			continue // no node is meant
		}
		noRoom += failed.CoalescedFailures + 1
	}
	return nodes, noRoom, eval.Status == api.EvalStatusComplete, nil
}
