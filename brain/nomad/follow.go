package nomad

import (
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
	refused map[string]int      // by app that Nomad refused, or that no node of a turn could fetch, the last step that tried it
	failed  map[string]ending   // by turn's job, its end, where no node completed it
	waits   map[string]*waiting // by app whose present version is yet to be fetched
	others  bool                // the next turn is one of those that are for all nodes
}

// NewFollower makes a Follower.
func NewFollower(checks Checks, wait time.Duration, log *slog.Logger) *Follower {
	return &Follower{
		checks: checks, wait: wait, log: log,
		nothing: map[string]uint64{}, told: map[string]uint64{}, said: map[string]string{}, refused: map[string]int{},
		failed: map[string]ending{}, waits: map[string]*waiting{},
	}
}

// step is what Nomad says at one time.
type step struct {
	apps   map[string]*api.JobListStub
	turns  map[string]turn    // by id
	due    []*api.JobListStub // the apps whose present version is yet to be fetched
	busy   bool               // nodes fetch in some turn
	more   bool               // the next step is due soon
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

// Step does what is to be done now. While a turn goes on, it begins no other one. But where nobody waits, a
// turn of an app's present version takes the place of the earlier version's. more is true where the next step
// is due soon.
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
	f.steps++
	if err := f.seeAll(ctx, s); err != nil {
		return false, err
	}
	f.line(s.due)
	if stopped, err := f.stop(ctx, s); err != nil || stopped {
		return stopped, err
	}
	if err := f.meet(ctx, s); err != nil {
		return false, err
	}
	err = f.beginNext(ctx, s)
	return s.more, err
}

// seeAll finds out what goes on in each turn.
func (f *Follower) seeAll(ctx context.Context, s *step) (unknown error) {
	for id, t := range s.turns {
		app := s.apps[t.of]
		present := app != nil && t.isOf(app)
		if err := f.see(ctx, &t, present && (slices.Contains(s.due, app) || s.nodes.awaits(t))); err != nil {
			unknown = errors.Join(unknown, err)
		}
		s.turns[id], s.busy = t, s.busy || t.busy
		if t.rests() {
			s.nodes.rest(t)
		}
	}
	return unknown
}

// stop stops the turns that nobody wants any more, and those that have to wait for others.
func (f *Follower) stop(ctx context.Context, s *step) (stopped bool, err error) {
	for _, id := range append(f.unwanted(s), overtaken(s.turns, s.due)...) {
		if _, _, err := f.checks.api.Jobs().Deregister(id, false, toFetches(ctx)); err != nil {
			return false, fmt.Errorf("stop job %s: %w", id, err)
		}
		stopped = true
	}
	return stopped, nil
}

// beginNext begins the next turn, if none goes on. Turns for later nodes and turns for all take turns, so that
// neither holds up the other for long.
func (f *Follower) beginNext(ctx context.Context, s *step) error {
	s.more = s.busy
	if !f.others {
		if err := f.beginLater(ctx, s); err != nil {
			return err
		}
	}
	for _, app := range s.due {
		busy := s.busy
		began, err := f.advance(ctx, s, app)
		if err := f.tried(ctx, s, app, began, err); err != nil {
			return err
		}
		if s.busy && !busy {
			f.others = false
		}
	}
	return f.beginLater(ctx, s)
}

// beginLater begins the next turn for nodes that came later, if no turn goes on.
func (f *Follower) beginLater(ctx context.Context, s *step) error {
	for _, app := range f.lateLine(s) {
		if s.busy {
			return nil
		}
		f.others = true
		began, err := f.beginLate(ctx, s, app)
		if err := f.tried(ctx, s, app, began, err); err != nil {
			return err
		}
	}
	return nil
}

// tried takes in what became of an app's next turn. An error is told once, and the app goes after the others
// then. It is returned only where ctx has ended.
func (f *Follower) tried(ctx context.Context, s *step, app *api.JobListStub, began bool, err error) error {
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
	if w := f.waits[app.ID]; began && w != nil {
		w.had = true
	}
	s.busy, s.more = s.busy || began, s.more || began && err == nil
	return nil
}

// fetches reports whether nodes are to fetch an app.
func (f *Follower) fetches(app *api.JobListStub) bool {
	return f.nothing[app.ID] != app.JobModifyIndex && strings.TrimSpace(app.Meta["prefetch"]) != "false"
}

func indexOf(app *api.JobListStub) string { return strconv.FormatUint(app.JobModifyIndex, 10) }

// look reads what there is, and forgets what is not there any more.
func (f *Follower) look(ctx context.Context) (s *step, err error) {
	s = &step{apps: map[string]*api.JobListStub{}, turns: map[string]turn{}}
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
	forget(f.failed, s.turns)
	for id, app := range s.apps {
		if f.fetches(app) && s.record.Items[id] != indexOf(app) {
			s.due = append(s.due, app)
		}
	}
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
func (f *Follower) advance(ctx context.Context, s *step, app *api.JobListStub) (began bool, err error) {
	next, over := -1, true
	for n := range waves {
		t := s.turns[turnJob(app.ID, n)]
		present := t.isOf(app)
		switch {
		case t.busy && !present: // its nodes are those of another version's turn, so this one goes first
			return f.beginTurn(ctx, app, n, t.job)
		case t.busy, present && t.rests():
			over = false
		case next < 0 && (!present || t.failed):
			next = n
		}
	}
	switch {
	case next >= 0 && !s.busy:
		t := s.turns[turnJob(app.ID, next)]
		switch {
		case t.failed && t.empty:
			f.log.Info("no node completed a turn; it begins again", "app", app.ID, "turn", next+1)
		case t.failed:
			f.log.Warn("Nomad has not planned a turn; it begins again", "app", app.ID, "turn", next+1)
		}
		return f.beginTurn(ctx, app, next, t.job)
	case next < 0 && over:
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
	delete(fetch.Meta, triesMeta)
	maps.Copy(fetch.Meta, meta)
	fetch.Meta["prefetch_index"] = indexOf(app)
	var index uint64
	if last != nil {
		index = last.JobModifyIndex
		if t, ok := turnOf(last); ok && t.isOf(app) {
			fetch.Meta[triesMeta] = strconv.Itoa(t.tries() + 1)
		}
	}
	// Another follower may have begun it meanwhile.
	if _, _, err := f.checks.api.Jobs().EnforceRegister(fetch, index, toFetches(ctx)); err != nil {
		return true, fmt.Errorf("register job %s: %w", id, err)
	}
	return true, nil
}

// note writes that an app's last turn is over.
func (f *Follower) note(ctx context.Context, s *step, app *api.JobListStub) error {
	began := make([]uint64, len(waves))
	for n := range waves {
		began[n] = s.turns[turnJob(app.ID, n)].job.JobModifyIndex
	}
	later := map[string]uint64{}
	for _, t := range s.turns {
		if t.of != app.ID || !t.isOf(app) {
			continue
		}
		for _, e := range t.late {
			later[nodeOf(e)] = max(later[nodeOf(e)], t.job.JobModifyIndex)
		}
	}
	s.nodes.done(app.ID, began, later)
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
