package nomad

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/wire"
)

// waves are the turns in which nodes fetch a new version, by the first digit of their ids: a
// quarter of the nodes at a time.
var waves = []string{"^[0-3]", "^[4-7]", "^[89ab]", "^[c-f]"}

// recordPath is the variable in wire.FetchNamespace that has, for each app, the index of its job
// when its last turn was over. The jobs that fetch do not say so for long: Nomad forgets them.
const recordPath = "nearcast/prefetch"

// Follower has nodes fetch the content of each version of each app that is registered. Each turn
// is a job of its own in wire.FetchNamespace, so that registering one ends no other. All that it
// needs to go on is in Nomad: it may be stopped at any line.
type Follower struct {
	checks  Checks
	found   bool          // Nomad has wire.FetchNamespace
	wait    time.Duration // how long a turn holds up the next one
	log     *slog.Logger
	nothing map[string]uint64 // by app, the index of its job when that had nothing to fetch
	told    map[string]uint64 // by turn's job, its index when its end was told
	said    map[string]string // by app, the error that was told last
	steps   int
	refused map[string]int // by app that Nomad refused, the last step that tried it
	others  bool           // the next turn is one of those that are for all nodes
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
	apps   map[string]*api.JobListStub
	turns  map[string]turn // by id
	busy   bool            // nodes fetch in some turn
	record *api.Variable
	nodes  *fleet
}

// inFetches asks for what is in the namespace of the jobs that fetch.
func inFetches(ctx context.Context) *api.QueryOptions {
	q := query(ctx)
	q.Namespace = wire.FetchNamespace
	return q
}

func toFetches(ctx context.Context) *api.WriteOptions {
	return (&api.WriteOptions{Namespace: wire.FetchNamespace}).WithContext(ctx)
}

// Step does what is to be done now. It begins no turn while another goes on, but in place of an earlier
// version's where nobody waits. more is true where the next step is due soon.
func (f *Follower) Step(ctx context.Context) (more bool, err error) {
	if !f.found {
		if err := f.checks.findNamespace(ctx, wire.FetchNamespace); err != nil {
			return false, err
		}
		f.found = true
	}
	s, err := f.look(ctx)
	if err != nil {
		return false, err
	}
	var due []*api.JobListStub
	for id, app := range s.apps {
		if f.fetches(app) && s.record.Items[id] != indexOf(app) {
			due = append(due, app)
		}
	}
	var unknown error
	for id, t := range s.turns {
		app := s.apps[t.of]
		present := app != nil && t.isOf(app)
		if err := f.see(ctx, &t, present && (slices.Contains(due, app) || s.nodes.awaits(t))); err != nil {
			unknown = errors.Join(unknown, err)
		}
		s.turns[id], s.busy = t, s.busy || t.busy
	}
	if unknown != nil {
		return false, unknown
	}
	f.steps++
	line(due, f.refused)
	if over := overtaken(s.turns, due); len(over) > 0 {
		for _, id := range over {
			if _, _, err := f.checks.api.Jobs().Deregister(id, false, toFetches(ctx)); err != nil {
				return false, fmt.Errorf("stop job %s: %w", id, err)
			}
		}
		return true, nil
	}
	if err := f.meet(ctx, s); err != nil {
		return false, err
	}
	more = s.busy
	tried := func(app *api.JobListStub, began bool, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
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
		return nil
	}
	// Turns for later nodes and turns for all take turns, so that neither holds up the other for long.
	late := func() error {
		for _, app := range f.lateLine(s, due) {
			if s.busy {
				return nil
			}
			f.others = true
			began, err := f.beginLate(ctx, s, app)
			if err := tried(app, began, err); err != nil {
				return err
			}
		}
		return nil
	}
	if !f.others {
		if err := late(); err != nil {
			return false, err
		}
	}
	for _, app := range due {
		busy := s.busy
		began, err := f.advance(ctx, s, app)
		if err := tried(app, began, err); err != nil {
			return false, err
		}
		if s.busy && !busy {
			f.others = false
		}
	}
	err = late()
	return more, err
}

// fetches reports whether nodes are to fetch an app.
func (f *Follower) fetches(app *api.JobListStub) bool {
	return f.nothing[app.ID] != app.JobModifyIndex && strings.TrimSpace(app.Meta["prefetch"]) != "false"
}

// line sorts apps in the order of their turns: whose present version was registered first goes first, and
// those that Nomad refused after the others, the one that was tried last at the end. So one that it always
// refuses holds up no other, nor does one that is registered again and again.
func line(due []*api.JobListStub, refused map[string]int) {
	slices.SortFunc(due, func(a, b *api.JobListStub) int {
		return cmp.Or(cmp.Compare(refused[a.ID], refused[b.ID]), cmp.Compare(a.JobModifyIndex, b.JobModifyIndex))
	})
}

// overtaken are the turns that go on for the earlier version of an app that has to wait for others now.
func overtaken(turns map[string]turn, line []*api.JobListStub) (ids []string) {
	for id, t := range turns {
		place := slices.IndexFunc(line, func(app *api.JobListStub) bool { return app.ID == t.of })
		if t.busy && place > 0 && !t.isOf(line[place]) {
			ids = append(ids, id)
		}
	}
	return ids
}

func indexOf(app *api.JobListStub) string { return strconv.FormatUint(app.JobModifyIndex, 10) }

// look reads what there is, and forgets what is not there any more.
func (f *Follower) look(ctx context.Context) (s step, err error) {
	s = step{apps: map[string]*api.JobListStub{}, turns: map[string]turn{}}
	meta := &api.JobListOptions{Fields: &api.JobListFields{Meta: true}}
	q := query(ctx)
	q.Filter = `ParentID == ""`
	jobs, _, err := f.checks.api.Jobs().ListOptions(meta, q)
	if err != nil {
		return s, fmt.Errorf("list jobs: %w", err)
	}
	for _, stub := range jobs {
		if stub.Type == api.JobTypeBatch && stub.ParameterizedJob && !stub.Stop {
			s.apps[stub.ID] = stub
		}
	}
	if jobs, _, err = f.checks.api.Jobs().ListOptions(meta, inFetches(ctx)); err != nil {
		return s, fmt.Errorf("list jobs that fetch: %w", err)
	}
	for _, stub := range jobs {
		if t, ok := turnOf(stub); ok {
			s.turns[stub.ID] = t
		}
	}
	if s.record, _, err = f.checks.api.Variables().Peek(recordPath, inFetches(ctx)); err != nil {
		return s, fmt.Errorf("read variable %s: %w", recordPath, err)
	} else if s.record == nil {
		s.record = &api.Variable{Path: recordPath}
	}
	if s.nodes, err = f.lookAtNodes(ctx); err != nil {
		return s, err
	}
	forget(f.nothing, s.apps)
	forget(f.said, s.apps)
	forget(f.refused, s.apps)
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
		t := s.turns[turnJob(app.ID, n)]
		present := t.isOf(app)
		switch {
		case t.busy && !present: // its nodes are those of another version's turn, so this one goes first
			return f.beginTurn(ctx, app, n, t.job)
		case t.busy:
			fetches = true
		case next < 0 && (!present || t.failed):
			next = n
		}
	}
	switch {
	case next >= 0 && !s.busy:
		t := s.turns[turnJob(app.ID, next)]
		if t.failed {
			f.log.Warn("Nomad has not planned a turn; it begins again", "app", app.ID, "turn", next+1)
		}
		return f.beginTurn(ctx, app, next, t.job)
	case next < 0 && !fetches:
		return false, f.note(ctx, s, app)
	}
	return false, nil
}

// beginTurn begins one of the turns that are for all nodes.
func (f *Follower) beginTurn(ctx context.Context, app *api.JobListStub, number int, last *api.JobListStub) (bool, error) {
	return f.begin(ctx, app, turnJob(app.ID, number), waves[number], map[string]string{"prefetch_turn": strconv.Itoa(number + 1)}, last)
}

// begin registers the job of a turn, in place of last. on is what the ids of its nodes match.
func (f *Follower) begin(ctx context.Context, app *api.JobListStub, id, on string, meta map[string]string, last *api.JobListStub) (bool, error) {
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
	namespace := wire.FetchNamespace
	fetch.ID, fetch.Name, fetch.Namespace = &id, &id, &namespace
	fetch.Constraints = append(fetch.Constraints, api.NewConstraint("${node.unique.id}", "regexp", on))
	delete(fetch.Meta, "prefetch_turn") // what an app has of this name is not meant
	delete(fetch.Meta, "prefetch_nodes")
	maps.Copy(fetch.Meta, meta)
	fetch.Meta["prefetch_index"] = indexOf(app)
	var index uint64
	if last != nil {
		index = last.JobModifyIndex
	}
	// Another follower may have begun it meanwhile.
	if _, _, err := f.checks.api.Jobs().EnforceRegister(fetch, index, toFetches(ctx)); err != nil {
		return true, fmt.Errorf("register job %s: %w", id, err)
	}
	return true, nil
}

// note writes that an app's last turn is over.
func (f *Follower) note(ctx context.Context, s step, app *api.JobListStub) error {
	began := s.turns[turnJob(app.ID, 0)].job.JobModifyIndex
	for n := range waves {
		began = min(began, s.turns[turnJob(app.ID, n)].job.JobModifyIndex)
	}
	s.nodes.done(app.ID, began)
	if err := f.keep(ctx, s.nodes); err != nil {
		return err
	}
	next := &api.Variable{Namespace: wire.FetchNamespace, Path: recordPath, ModifyIndex: s.record.ModifyIndex, Items: api.VariableItems{}}
	for id, index := range s.record.Items {
		if s.apps[id] != nil {
			next.Items[id] = index
		}
	}
	next.Items[app.ID] = indexOf(app)
	written, _, err := f.checks.api.Variables().CheckedUpdate(next, toFetches(ctx))
	if err != nil {
		return fmt.Errorf("write variable %s: %w", recordPath, err)
	}
	*s.record = *written
	return nil
}
