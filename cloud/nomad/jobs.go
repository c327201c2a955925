package nomad

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/cloud"
)

// againMeta is the meta of a job that is tried anew after its deployment failed: Nomad does not
// place a version again that is the same. A later plan keeps its value, so that it is no change.
const againMeta = "nearcast_again"

// planned is what Run needs of a plan.
type planned struct {
	job   *api.Job
	index uint64
}

// Plan implements cloud.Nomad.
func (s *Site) Plan(ctx context.Context, in cloud.Job) (p cloud.Planned, err error) {
	p.Job = in
	job, err := s.api.Jobs().ParseHCLOpts(&api.JobsParseRequest{JobHCL: in.Source, Variables: in.Text()})
	if status(err) == http.StatusBadRequest {
		var refused api.UnexpectedResponseError
		errors.As(err, &refused)
		return p, fmt.Errorf("the job %s is not valid: %s", in.Name, strings.TrimSpace(refused.Body()))
	} else if err != nil {
		return p, fmt.Errorf("have Nomad parse the job %s: %w", in.Name, err)
	}
	job.Region = &s.region
	p.ID = *job.ID
	namespace := cmp.Or(deref(job.Namespace), api.DefaultNamespace)
	existing, err := s.job(ctx, namespace, p.ID)
	if err != nil {
		return p, err
	}
	if existing != nil {
		if again := existing.Meta[againMeta]; again != "" {
			job.SetMeta(againMeta, again)
		}
		p.New = deref(existing.Stop)
	} else {
		p.New = true
	}
	w, cancel := s.write(ctx, namespace)
	defer cancel()
	plan, _, err := s.api.Jobs().PlanOpts(job, &api.PlanOptions{Diff: true}, w)
	if err != nil {
		return p, fmt.Errorf("have Nomad plan the job %s: %w", in.Name, err)
	}
	p.Adapter = planned{job, plan.JobModifyIndex}
	if !p.New && plan.Diff != nil && plan.Diff.Type != "None" {
		p.Changes = changes(plan.Diff)
	}
	p.Unplaced = unplaced(plan.FailedTGAllocs)
	if p.New || len(p.Changes) > 0 {
		return p, nil
	}
	state, err := s.State(ctx, namespace, p.ID)
	if err == nil && state.Deployment == api.DeploymentStatusFailed && state.DeploymentVersion == state.Version {
		p.Again = true
		p.Changes = []string{"its deployment failed (" + state.Why + "), and is tried again"}
	}
	return p, err
}

// Run implements cloud.Nomad.
func (s *Site) Run(ctx context.Context, p cloud.Planned) error {
	plan, ok := p.Adapter.(planned)
	if !ok {
		return errors.New("run a job that was not planned")
	}
	if p.Again {
		plan.job.SetMeta(againMeta, time.Now().UTC().Format(time.RFC3339))
	}
	w, cancel := s.write(ctx, cmp.Or(deref(plan.job.Namespace), api.DefaultNamespace))
	defer cancel()
	_, _, err := s.api.Jobs().RegisterOpts(plan.job, &api.RegisterOptions{
		EnforceIndex: true, ModifyIndex: plan.index,
		Submission: &api.JobSubmission{Source: p.Job.Source, Format: "hcl2", Variables: p.Job.Text()},
	}, w)
	if err != nil && strings.Contains(err.Error(), api.RegisterEnforceIndexErrPrefix) {
		return cloud.ErrChanged
	}
	if err != nil {
		return fmt.Errorf("register the job %s: %w", p.ID, err)
	}
	return nil
}

func (s *Site) job(ctx context.Context, namespace, id string) (*api.Job, error) {
	q, cancel := s.query(ctx, namespace)
	defer cancel()
	job, _, err := s.api.Jobs().Info(id, q)
	if status(err) == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the job %s: %w", id, err)
	}
	return job, nil
}

// State implements cloud.Nomad.
func (s *Site) State(ctx context.Context, namespace, id string) (state cloud.State, err error) {
	job, err := s.job(ctx, namespace, id)
	if err != nil || job == nil {
		return state, err
	}
	state.Exists, state.Stopped, state.Version = true, deref(job.Stop), deref(job.Version)
	for _, group := range job.TaskGroups {
		state.Wanted += deref(group.Count)
	}
	q, cancel := s.query(ctx, namespace)
	defer cancel()
	last, _, err := s.api.Jobs().LatestDeployment(id, q)
	if err != nil {
		return state, fmt.Errorf("read the deployment of %s: %w", id, err)
	}
	if last != nil {
		state.Deployment, state.Why, state.DeploymentVersion = last.Status, last.StatusDescription, last.JobVersion
	}
	allocs, _, err := s.api.Jobs().Allocations(id, false, q)
	if err != nil {
		return state, fmt.Errorf("read the instances of %s: %w", id, err)
	}
	slices.SortFunc(allocs, func(a, b *api.AllocationListStub) int { return cmp.Compare(b.ModifyTime, a.ModifyTime) })
	for _, a := range allocs {
		switch {
		case a.ClientStatus == api.AllocClientStatusRunning && a.DesiredStatus == api.AllocDesiredStatusRun:
			state.Running++
		case a.ClientStatus != api.AllocClientStatusComplete && len(state.Trouble) < 3:
			if words := lastWords(a); words != "" {
				state.Trouble = append(state.Trouble, fmt.Sprintf("on %s: %s", a.NodeName, words))
			}
		}
	}
	evals, _, err := s.api.Jobs().Evaluations(id, q)
	if err != nil {
		return state, fmt.Errorf("read the evaluations of %s: %w", id, err)
	}
	for _, e := range evals {
		if e.Status == "blocked" {
			state.Trouble = append(state.Trouble, unplaced(e.FailedTGAllocs))
		}
	}
	return state, nil
}

// LastFailure implements cloud.Nomad.
func (s *Site) LastFailure(ctx context.Context, app string) (string, error) {
	q, cancel := s.query(ctx, "apps")
	defer cancel()
	q.Filter = fmt.Sprintf(`ClientStatus == "failed" and JobID matches %q`, "^"+app+"/dispatch-")
	q.PerPage = 200
	allocs, _, err := s.api.Allocations().List(q)
	if err != nil {
		return "", fmt.Errorf("read the last seats of %s: %w", app, err)
	}
	var latest *api.AllocationListStub
	for _, a := range allocs {
		if latest == nil || a.ModifyTime > latest.ModifyTime {
			latest = a
		}
	}
	if latest == nil {
		return "", nil
	}
	return fmt.Sprintf("on %s at %s: %s", latest.NodeName, time.Unix(0, latest.ModifyTime).UTC().Format(time.RFC3339), lastWords(latest)), nil
}

// lastWords are the last events of an instance that failed.
func lastWords(a *api.AllocationListStub) string {
	var words []string
	for _, task := range a.TaskStates {
		if task == nil {
			continue
		}
		for _, e := range slices.Backward(task.Events) {
			if e.DisplayMessage != "" && len(words) < 3 && (e.Type != api.TaskReceived && e.Type != api.TaskSetup) {
				words = append(words, e.DisplayMessage)
			}
		}
	}
	if len(words) == 0 {
		return a.ClientDescription
	}
	slices.Reverse(words)
	text := strings.Join(words, "; ")
	const most = 400
	return text[:min(len(text), most)]
}

// unplaced says why instances find no node.
func unplaced(groups map[string]*api.AllocationMetric) string {
	var words []string
	for _, m := range groups {
		if m.NodesEvaluated == 0 {
			words = append(words, fmt.Sprintf("the node pool %s has no node", m.NodePool))
			continue
		}
		for why, n := range m.ConstraintFiltered {
			words = append(words, fmt.Sprintf("%d nodes do not fit: %s", n, why))
		}
		for what, n := range m.DimensionExhausted {
			words = append(words, fmt.Sprintf("%d nodes have no room: %s", n, what))
		}
	}
	slices.Sort(words)
	if len(words) == 0 && len(groups) > 0 {
		return "no node has room"
	}
	return strings.Join(words, "; ")
}

// changes says in words what differs, at most a dozen of it.
func changes(diff *api.JobDiff) (words []string) {
	fields := func(where string, fields []*api.FieldDiff) {
		for _, f := range fields {
			if f.Type != "None" {
				words = append(words, fmt.Sprintf("%s%s: %s → %s", where, f.Name, short(f.Old), short(f.New)))
			}
		}
	}
	var objects func(where string, list []*api.ObjectDiff)
	objects = func(where string, list []*api.ObjectDiff) {
		for _, o := range list {
			if o.Type != "None" {
				fields(where+o.Name+".", o.Fields)
				objects(where+o.Name+".", o.Objects)
			}
		}
	}
	fields("", diff.Fields)
	objects("", diff.Objects)
	for _, g := range diff.TaskGroups {
		fields("", g.Fields)
		objects("", g.Objects)
		for _, t := range g.Tasks {
			fields("", t.Fields)
			objects("", t.Objects)
		}
	}
	const most = 12
	if len(words) > most {
		words = append(words[:most], fmt.Sprintf("and %d more", len(words)-most))
	}
	if len(words) == 0 {
		words = []string{"Nomad says that it differs"}
	}
	return words
}

func short(text string) string {
	const most = 60
	if text == "" {
		return "nothing"
	}
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return fmt.Sprintf("%q", text)
}

func deref[T any](p *T) (zero T) {
	if p == nil {
		return zero
	}
	return *p
}
