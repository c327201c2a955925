package nomad

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// waves are the turns in which nodes fetch a new version, by the first digit of their ids: a
// quarter of the nodes at a time.
var waves = []string{"^[0-3]", "^[4-7]", "^[89ab]", "^[c-f]"}

// Waves is how many turns there are.
var Waves = len(waves)

// Follower finds the apps whose nodes have not fetched the content of the present version. It keeps
// nothing: what was begun is in the meta of the jobs that fetch.
type Follower struct {
	checks Checks
	done   map[string]uint64 // by app, the index of its job when nothing was left to do
}

// NewFollower makes a Follower.
func NewFollower(checks Checks) *Follower { return &Follower{checks, map[string]uint64{}} }

// Due is an app whose content is to be fetched, from a turn on.
type Due struct {
	App     string
	Version uint64
	Wave    int
	index   uint64
}

// Due are the apps whose content is to be fetched. A job with the meta prefetch = "false" is left out.
func (f *Follower) Due(ctx context.Context) (due []Due, err error) {
	q := query(ctx)
	q.Filter = `ParentID == "" and Stop == false and Type == "batch"`
	stubs, _, err := f.checks.api.Jobs().List(q)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	there := map[string]bool{}
	for _, stub := range stubs {
		there[stub.ID] = true
		if !stub.ParameterizedJob || f.done[stub.ID] == stub.JobModifyIndex {
			continue
		}
		d, ok, err := f.look(ctx, stub)
		switch {
		case err != nil:
			return nil, err
		case ok:
			due = append(due, d)
		default:
			f.done[stub.ID] = stub.JobModifyIndex
		}
	}
	for id := range f.done {
		if !there[id] {
			delete(f.done, id)
		}
	}
	slices.SortFunc(due, func(a, b Due) int { return strings.Compare(a.App, b.App) })
	return due, nil
}

// look reports whether something of an app is to be fetched.
func (f *Follower) look(ctx context.Context, stub *api.JobListStub) (d Due, ok bool, err error) {
	job, _, err := f.checks.api.Jobs().Info(stub.ID, query(ctx))
	if status(err) == http.StatusNotFound {
		return d, false, nil
	} else if err != nil {
		return d, false, fmt.Errorf("read job %s: %w", stub.ID, err)
	}
	if _, err := f.checks.prefetchJob(job); err != nil || strings.TrimSpace(job.Meta["prefetch"]) == "false" {
		return d, false, nil
	}
	d = Due{App: stub.ID, Version: *job.Version, index: stub.JobModifyIndex}
	last, _, err := f.checks.api.Jobs().Info(stub.ID+PrefetchSuffix, query(ctx))
	switch {
	case status(err) == http.StatusNotFound:
		return d, true, nil
	case err != nil:
		return d, false, fmt.Errorf("read job %s: %w", stub.ID+PrefetchSuffix, err)
	case last.Meta["prefetch_version"] != strconv.FormatUint(d.Version, 10):
		return d, true, nil
	}
	wave, err := strconv.Atoi(last.Meta["prefetch_wave"])
	if err != nil { // nearcast app prefetch had all nodes fetch it
		return d, false, nil
	}
	d.Wave = max(0, wave+1)
	return d, d.Wave < Waves, nil
}

// Done notes that nothing is left to do, until the app's job changes.
func (f *Follower) Done(d Due) { f.done[d.App] = d.index }

// PrefetchWave is Prefetch for the nodes of one turn.
func (c Checks) PrefetchWave(ctx context.Context, app string, wave int) (Prefetch, error) {
	return c.prefetch(ctx, app, func(fetch *api.Job) {
		fetch.Constraints = append(fetch.Constraints, api.NewConstraint("${node.unique.id}", "regexp", waves[wave]))
		fetch.Meta["prefetch_wave"] = strconv.Itoa(wave)
	})
}
