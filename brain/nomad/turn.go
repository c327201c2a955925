package nomad

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

// turn is a job that fetches an app's content on a quarter of the nodes.
type turn struct {
	job    *api.JobListStub
	of     string // the app
	number int
	late   []string // where it is for nodes that came later: these, as a fleet has them
	index  string   // of the app's job whose content it fetches
	busy   bool     // nodes fetch in it, and it holds up the next one
	empty  bool     // no node completed it, and some failed
	failed bool     // it is to begin again now, as Nomad did not plan it, or it was empty
}

// planAgain is how long after a turn's begin it begins again where Nomad did not plan it.
const planAgain = time.Minute

// How long after its end a turn that no node completed begins again: twice as long each time.
const (
	firstAgain = time.Minute
	lastAgain  = time.Hour
)

// triesMeta is the meta of a turn's job that says how often the turn had begun before.
const triesMeta = "prefetch_tries"

// ending is the end of a turn that no node completed.
type ending struct {
	index uint64 // of its job
	at    time.Time
}

// turnJob is the id of the job that fetches in a turn.
func turnJob(app string, number int) string {
	return app + PrefetchSuffix + "-" + strconv.Itoa(number+1)
}

// quarterOf is the number of the turn that has a node, see waves.
func quarterOf(node string) int {
	digit, _ := strconv.ParseUint(node[:min(1, len(node))], 16, 8)
	return int(digit / 4)
}

// lateJob is the id of the job that fetches on nodes that came later, of which this is the first.
func lateJob(app, entry string) string { return app + PrefetchSuffix + "-" + entry }

// turnOf reports whether a job is one that a Follower has registered.
func turnOf(stub *api.JobListStub) (turn, bool) {
	t := turn{job: stub, of: stub.Meta["prefetch_of"], index: stub.Meta["prefetch_index"], late: strings.Fields(stub.Meta["prefetch_nodes"])}
	if stub.Type != api.JobTypeSysbatch {
		return t, false
	}
	if len(t.late) > 0 {
		return t, stub.ID == lateJob(t.of, t.late[0])
	}
	number, err := strconv.Atoi(stub.Meta["prefetch_turn"])
	t.number = number - 1
	return t, err == nil && stub.ID == turnJob(t.of, t.number)
}

// isOf reports whether the turn is that of an app's present version.
func (t turn) isOf(app *api.JobListStub) bool {
	return t.job != nil && !t.job.Stop && t.index == indexOf(app)
}

// tries is how often the turn had begun before.
func (t turn) tries() int {
	n, _ := strconv.Atoi(t.job.Meta[triesMeta])
	return max(n, 0)
}

// rests reports whether the turn is to begin again, but later.
func (t turn) rests() bool { return t.empty && !t.failed }

// again takes in whether a turn that has ended is to begin again.
func (f *Follower) again(t *turn) {
	e, empty := f.failed[t.job.ID]
	if !empty || e.index != t.job.JobModifyIndex {
		return
	}
	wait := firstAgain
	for n := t.tries(); n > 0 && wait < lastAgain; n-- {
		wait *= 2
	}
	t.empty, t.failed = true, time.Since(e.at) >= min(wait, lastAgain)
}

// see finds out whether nodes fetch in a turn. Where due is true, its end is told once.
func (f *Follower) see(ctx context.Context, t *turn, due bool) error {
	age := time.Since(time.Unix(0, t.job.SubmitTime))
	late := age >= f.wait
	tell := due && f.told[t.job.ID] != t.job.JobModifyIndex
	if !tell && (late || t.job.Status == "dead") {
		if due {
			f.again(t)
		}
		return nil
	}
	nodes, noRoom, planned, err := f.checks.fetchesOf(ctx, t.job)
	switch {
	case errors.Is(err, ErrNotPlanned):
		t.failed = age >= planAgain
		t.busy = !t.failed
		return nil
	case err != nil:
		return err
	}
	fetching, failed := 0, 0
	ended := time.Unix(0, t.job.SubmitTime)
	for _, n := range nodes {
		if n.changed.After(ended) {
			ended = n.changed
		}
		if !n.Done() {
			fetching++
		} else if n.Status != "complete" {
			failed++
		}
	}
	t.busy = !late && (fetching > 0 || !planned)
	if t.busy || !due {
		return nil
	}
	if failed == 0 || failed < len(nodes) {
		delete(f.failed, t.job.ID)
	} else if f.failed[t.job.ID].index != t.job.JobModifyIndex {
		f.failed[t.job.ID] = ending{t.job.JobModifyIndex, ended}
		f.refused[t.of] = f.steps
	}
	f.again(t)
	if !tell {
		return nil
	}
	f.told[t.job.ID] = t.job.JobModifyIndex
	log := f.log.With("app", t.of, "version", t.job.Meta["prefetch_version"], "turn", cmp.Or(t.job.Meta["prefetch_turn"], "later nodes"), "nodes", len(nodes))
	switch {
	case fetching+failed+noRoom > 0:
		log.Warn("not all nodes have the content", "failed", failed, "fetching", fetching, "without_room", noRoom, "job", t.job.ID)
	case len(nodes) > 0:
		log.Info("nodes have the content")
	}
	return nil
}

// fetchesOf is Fetches for a job that was registered before, perhaps by another process.
func (c Checks) fetchesOf(ctx context.Context, job *api.JobListStub) (nodes []NodeFetch, noRoom int, planned bool, err error) {
	evals, _, err := c.api.Jobs().Evaluations(job.ID, inFetches(ctx))
	if err != nil {
		return nil, 0, false, fmt.Errorf("read what Nomad plans for %s: %w", job.ID, err)
	}
	evals = slices.DeleteFunc(evals, func(e *api.Evaluation) bool {
		return e.TriggeredBy != "job-register" || e.JobModifyIndex != job.JobModifyIndex
	})
	if len(evals) == 0 { // Nomad has forgotten it, an hour after its end
		evals = []*api.Evaluation{{Status: api.EvalStatusComplete}}
	}
	return c.fetches(inFetches(ctx), job.ID, evals[0], func(a *api.AllocationListStub) bool { return a.CreateIndex > job.JobModifyIndex })
}
