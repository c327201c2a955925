package nomad

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

// waves are the turns in which nodes fetch a new version, by the first digit of their ids: a
// quarter of the nodes at a time.
var waves = []string{"^[0-3]", "^[4-7]", "^[89ab]", "^[c-f]"}

// recordPath is the variable in the apps' namespace that has, for each app, the index of its job
// when its last turn was over. The jobs that fetch do not say so for long: Nomad forgets them.
const recordPath = "nearcast/prefetch"

// Follower has nodes fetch the content of each version of each app that is registered. Each turn
// is a job of its own, so that registering one ends no other. All that it needs to go on is in
// Nomad: it may be stopped at any line.
type Follower struct {
	checks  Checks
	wait    time.Duration // how long a turn holds up the next one
	log     *slog.Logger
	nothing map[string]uint64 // by app, the index of its job when that had nothing to fetch
	told    map[string]uint64 // by turn's job, its index when its end was told
	said    map[string]string // by app, the error that was told last
	steps   int
	refused map[string]int // by app that Nomad refused, the last step that tried it
}

// NewFollower makes a Follower.
func NewFollower(checks Checks, wait time.Duration, log *slog.Logger) *Follower {
	return &Follower{
		checks: checks, wait: wait, log: log,
		nothing: map[string]uint64{}, told: map[string]uint64{}, said: map[string]string{}, refused: map[string]int{},
	}
}

// step is what Nomad says at one time.
type step struct {
	jobs   map[string]*api.JobListStub
	apps   map[string]*api.JobListStub
	turns  map[string]turn // by id
	busy   bool            // nodes fetch in some turn
	record *api.Variable
}

// Step does what is to be done now. It begins no turn while another goes on, but in place of an earlier
// version's. more is true where the next step is due soon.
func (f *Follower) Step(ctx context.Context) (more bool, err error) {
	s, err := f.look(ctx)
	if err != nil {
		return false, err
	}
	var due []*api.JobListStub
	for id, app := range s.apps {
		if f.nothing[id] != app.JobModifyIndex && s.record.Items[id] != indexOf(app) && strings.TrimSpace(app.Meta["prefetch"]) != "false" {
			due = append(due, app)
		}
	}
	var unknown error
	for id, t := range s.turns {
		app := s.apps[t.of]
		present := app != nil && t.index == indexOf(app)
		if err := f.see(ctx, &t, present && slices.Contains(due, app)); err != nil {
			unknown = errors.Join(unknown, err)
		}
		s.turns[id], s.busy = t, s.busy || t.busy
	}
	if unknown != nil {
		return false, unknown
	}
	// Who was registered first goes first, and those that Nomad refused after the others, the one that was
	// tried last at the end: so one that it always refuses holds up no other.
	f.steps++
	slices.SortFunc(due, func(a, b *api.JobListStub) int {
		return cmp.Or(cmp.Compare(f.refused[a.ID], f.refused[b.ID]), cmp.Compare(a.JobModifyIndex, b.JobModifyIndex))
	})
	more = s.busy
	for _, app := range due {
		began, err := f.advance(ctx, s, app)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil {
			if err.Error() != f.said[app.ID] {
				f.log.Warn("cannot have nodes fetch the content; trying again", "app", app.ID, "error", err)
			}
			f.said[app.ID], f.refused[app.ID] = err.Error(), f.steps
		} else if began {
			delete(f.said, app.ID)
			delete(f.refused, app.ID)
		}
		s.busy, more = s.busy || began, more || began && err == nil
	}
	return more, nil
}

func indexOf(app *api.JobListStub) string { return strconv.FormatUint(app.JobModifyIndex, 10) }

// look reads what there is, and forgets what is not there any more.
func (f *Follower) look(ctx context.Context) (s step, err error) {
	s = step{map[string]*api.JobListStub{}, map[string]*api.JobListStub{}, map[string]turn{}, false, nil}
	q := query(ctx)
	q.Filter = `ParentID == ""`
	stubs, _, err := f.checks.api.Jobs().ListOptions(&api.JobListOptions{Fields: &api.JobListFields{Meta: true}}, q)
	if err != nil {
		return s, fmt.Errorf("list jobs: %w", err)
	}
	for _, stub := range stubs {
		s.jobs[stub.ID] = stub
		if stub.Type == api.JobTypeBatch && stub.ParameterizedJob && !stub.Stop {
			s.apps[stub.ID] = stub
		} else if t, ok := turnOf(stub); ok {
			s.turns[stub.ID] = t
		}
	}
	if s.record, _, err = f.checks.api.Variables().Peek(recordPath, query(ctx)); err != nil {
		return s, fmt.Errorf("read variable %s: %w", recordPath, err)
	} else if s.record == nil {
		s.record = &api.Variable{Path: recordPath}
	}
	forget(f.nothing, s.apps)
	forget(f.said, s.apps)
	forget(f.told, s.turns)
	return s, nil
}

func forget[V, W any](from map[string]V, there map[string]W) {
	for id := range from {
		if _, ok := there[id]; !ok {
			delete(from, id)
		}
	}
}

// advance begins an app's next turn, or notes that its last one is over. began is true where it
// has begun one, or may have: Nomad's answer may be lost.
func (f *Follower) advance(ctx context.Context, s step, app *api.JobListStub) (began bool, err error) {
	next, fetches := -1, false
	for n := range waves {
		id := turnJob(app.ID, n)
		t, ok := s.turns[id]
		present := ok && t.index == indexOf(app)
		switch {
		case !ok && s.jobs[id] != nil:
			return false, fmt.Errorf("the job %s is there, and does not fetch for %s: rename it, or leave %s out with the meta prefetch = \"false\"", id, app.ID, app.ID)
		case t.busy && !present: // its nodes are those of another version's turn, so this one goes first
			return f.begin(ctx, app, n, t.job)
		case t.busy:
			fetches = true
		case next < 0 && (!present || t.failed):
			next = n
		}
	}
	switch {
	case next >= 0 && !s.busy:
		if s.turns[turnJob(app.ID, next)].failed {
			f.log.Warn("Nomad has not planned a turn; it begins again", "app", app.ID, "turn", next+1)
		}
		return f.begin(ctx, app, next, s.jobs[turnJob(app.ID, next)])
	case next < 0 && !fetches:
		return false, f.note(ctx, s, app)
	}
	return false, nil
}

// begin registers the job of a turn, in place of last.
func (f *Follower) begin(ctx context.Context, app *api.JobListStub, number int, last *api.JobListStub) (bool, error) {
	job, _, err := f.checks.api.Jobs().Info(app.ID, query(ctx))
	switch {
	case status(err) == http.StatusNotFound:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read job %s: %w", app.ID, err)
	case *job.JobModifyIndex != app.JobModifyIndex: // the next step sees the later version
		return false, nil
	}
	fetch, err := f.checks.prefetchJob(job)
	if err != nil {
		f.nothing[app.ID] = app.JobModifyIndex
		return false, nil
	}
	id := turnJob(app.ID, number)
	fetch.ID, fetch.Name = &id, &id
	fetch.Constraints = append(fetch.Constraints, api.NewConstraint("${node.unique.id}", "regexp", waves[number]))
	fetch.Meta["prefetch_turn"], fetch.Meta["prefetch_index"] = strconv.Itoa(number+1), indexOf(app)
	var index uint64
	if last != nil {
		index = last.JobModifyIndex
	}
	// Another follower may have begun it meanwhile.
	if _, _, err := f.checks.api.Jobs().EnforceRegister(fetch, index, (&api.WriteOptions{}).WithContext(ctx)); err != nil {
		return true, fmt.Errorf("register job %s: %w", id, err)
	}
	return true, nil
}

// note writes that an app's last turn is over.
func (f *Follower) note(ctx context.Context, s step, app *api.JobListStub) error {
	next := &api.Variable{Path: recordPath, ModifyIndex: s.record.ModifyIndex, Items: api.VariableItems{}}
	for id, index := range s.record.Items {
		if s.apps[id] != nil {
			next.Items[id] = index
		}
	}
	next.Items[app.ID] = indexOf(app)
	written, _, err := f.checks.api.Variables().CheckedUpdate(next, (&api.WriteOptions{}).WithContext(ctx))
	if err != nil {
		return fmt.Errorf("write variable %s: %w", recordPath, err)
	}
	*s.record = *written
	return nil
}
