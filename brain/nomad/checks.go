package nomad

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

// Checks look at jobs for their publisher, before and after they are registered.
type Checks struct{ *Client }

// OpenChecks makes Checks. It does not connect yet.
func OpenChecks(cfg Config) (Checks, error) {
	cfg.Log = slog.New(slog.DiscardHandler) // what is wrong is returned
	client, err := Open(cfg)
	return Checks{client}, err
}

// CheckedJob is a job of the apps' namespace.
type CheckedJob struct {
	App      brain.App
	Access   bool // its meta says who may launch it
	Problems []string
	Seat     SeatTask
}

// SeatTask is the task of a job that is the seat, its first one, and what that asks for.
type SeatTask struct {
	Name                              string
	MHz, Cores, MemoryMB, MemoryMaxMB int
}

func seatTask(job *api.Job) (t SeatTask) {
	if len(job.TaskGroups) == 0 || len(job.TaskGroups[0].Tasks) == 0 {
		return t
	}
	first := job.TaskGroups[0].Tasks[0]
	t.Name = first.Name
	if r := first.Resources; r != nil {
		t.MHz, t.Cores, t.MemoryMB, t.MemoryMaxMB = deref(r.CPU), deref(r.Cores), deref(r.MemoryMB), deref(r.MemoryMaxMB)
	}
	return t
}

// Registered reads the jobs that are not seats, and do not fetch for them (Prefetch).
func (c Checks) Registered(ctx context.Context) ([]CheckedJob, error) {
	q := query(ctx)
	q.Filter = `ParentID == "" and Stop == false`
	stubs, _, err := c.api.Jobs().List(q)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	var out []CheckedJob
	for _, stub := range stubs {
		if stub.Type == api.JobTypeSysbatch && strings.HasSuffix(stub.ID, PrefetchSuffix) {
			continue
		}
		job, _, err := c.api.Jobs().Info(stub.ID, query(ctx))
		if err != nil {
			return nil, fmt.Errorf("read job %s: %w", stub.ID, err)
		}
		app, problems, err := CheckJob(job)
		if err != nil {
			return nil, fmt.Errorf("check job %s: %w", stub.ID, err)
		}
		_, says := job.Meta["access"]
		out = append(out, CheckedJob{app, says, problems, seatTask(job)})
	}
	slices.SortFunc(out, func(a, b CheckedJob) int { return cmp.Compare(a.App.ID, b.App.ID) })
	return out, nil
}

// Report is what a check of a job file found.
type Report struct {
	Job    string
	Access wire.Access // as a brain without --default-access reads it
	// Problems keep the app from working as its job says. Notes are what could not be
	// checked from here, or depends on a node's operator.
	Problems, Notes []string
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

func (r *Report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// File checks a job in HCL, with the content of a file of variables. task checks the
// config of its task as the driver would.
func (c Checks) File(ctx context.Context, source, variables string, task func(context.Context, wire.TaskCheck) (wire.TaskVerdict, error)) (r Report, err error) {
	job, err := c.api.Jobs().ParseHCLOpts(&api.JobsParseRequest{JobHCL: source, Variables: variables, Canonicalize: true})
	var refused api.UnexpectedResponseError
	if errors.As(err, &refused) && refused.StatusCode() == http.StatusBadRequest {
		r.problem("Nomad cannot parse the job: %s", strings.TrimSpace(refused.Body()))
		return r, nil
	} else if err != nil {
		return r, fmt.Errorf("have Nomad parse the job: %w", err)
	}
	r.Job = deref(job.ID)
	if ns := cmp.Or(deref(job.Namespace), api.DefaultNamespace); ns != c.namespace {
		r.problem("namespace = %q: brains look for apps in %q", ns, c.namespace)
	}
	app, problems, err := CheckJob(job)
	if err != nil {
		return r, err
	}
	r.Access = app.Access
	r.Problems = append(r.Problems, problems...)
	if len(job.TaskGroups) > 0 && len(job.TaskGroups[0].Tasks) > 0 && job.TaskGroups[0].Tasks[0].Driver == c.driver {
		r.task(ctx, job, task)
	}
	c.plan(ctx, &r, job)
	c.nodes(ctx, &r, job, app)
	r.unseen(job)
	return r, nil
}

func deref[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}

func (r *Report) task(ctx context.Context, job *api.Job, check func(context.Context, wire.TaskCheck) (wire.TaskVerdict, error)) {
	task := job.TaskGroups[0].Tasks[0]
	config, err := json.Marshal(task.Config)
	if err != nil {
		r.problem("the task's config cannot be read: %v", err)
		return
	}
	gpu := reservesGPU(task)
	if deref(job.NodePool) == gpuPool && !gpu {
		r.note("node_pool = %q without device %q {} in the task's resources: Nomad may place more seats on a GPU than it carries", gpuPool, wire.GPUSeat)
	}
	verdict, err := check(ctx, wire.TaskCheck{Config: config, User: task.User, GPU: gpu, Params: job.Meta["params"]})
	if err != nil {
		r.note("the task's config was not checked: %v", err)
		return
	}
	params := func(s string) bool { return strings.HasPrefix(s, "meta.params") }
	for _, problem := range verdict.Problems {
		if !params(problem) || !slices.ContainsFunc(r.Problems, params) { // brains read them too
			r.problem("task config: %s", problem)
		}
	}
	r.Notes = append(r.Notes, verdict.Needs...)
}

// gpuPool is the pool of nodes with GPUs in jobs/pools.
const gpuPool = "stream-gpu"

// reservesGPU reports whether a task asks for a seat of a GPU, of whatever model.
func reservesGPU(task *api.Task) bool {
	return task.Resources != nil && slices.ContainsFunc(task.Resources.Devices, func(d *api.RequestedDevice) bool {
		return d.Name == wire.GPUSeat || strings.HasPrefix(d.Name, wire.GPUSeat+"/") || d.Name == wire.GPUType
	})
}

// plan has Nomad say what it would do.
func (c Checks) plan(ctx context.Context, r *Report, job *api.Job) {
	plan, _, err := c.api.Jobs().PlanOpts(job, &api.PlanOptions{}, (&api.WriteOptions{Namespace: deref(job.Namespace)}).WithContext(ctx))
	switch {
	case err == nil && plan.Warnings != "":
		r.note("Nomad: %s", strings.Join(strings.Fields(plan.Warnings), " "))
	case err == nil:
	case status(err) == http.StatusForbidden:
		r.note("Nomad did not plan the job: the token has no right to submit jobs here")
	default:
		r.problem("Nomad refuses the job: %s", strings.TrimSpace(err.Error()))
	}
}
