package dev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	nomad "github.com/hashicorp/nomad/api"
	"github.com/prometheus/procfs"
)

// task is the only task of a Nomad job. Nomad keeps it running; this watches its
// process, also while Nomad is down.
type task struct {
	*report
	cluster *Cluster
	argv    []string // the first words of its process's command line
	ready   func(context.Context) error

	cancel context.CancelFunc
	done   chan struct{}
}

// taskTick is how soon the exit of a process is noticed.
const taskTick = 100 * time.Millisecond

// startTask begins to watch the task of a job that was just registered.
func startTask(c *Cluster, job string, argv []string, ready func(context.Context) error) *task {
	ctx, cancel := context.WithCancel(context.Background())
	t := &task{
		report: newReport(job, c.LogFile(job), c.logger, c.save), cluster: c, argv: argv, ready: ready,
		cancel: cancel, done: make(chan struct{}),
	}
	go t.watch(ctx)
	return t
}

// stop stops the job and waits for the exit of its process. Where Nomad cannot do
// that, the sweep that follows ends the process.
func (t *task) stop() {
	if t.cluster.nomadServes() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := t.end(ctx); err != nil {
			t.logger.Warn("a job did not stop in time; ending its process", "job", t.status.Name, "error", err)
		}
	}
	t.cancel()
	<-t.done
}

func (t *task) end(ctx context.Context) error {
	jobs, write := t.cluster.nomad.Jobs(), (&nomad.WriteOptions{}).WithContext(ctx)
	if _, _, err := jobs.Deregister(t.status.Name, false, write); err != nil {
		return err
	}
	for status, changed := t.snapshot(); status.PID != 0; status, changed = t.snapshot() {
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	t.keepLog()
	// Purge it: a version with other ports is none to go back to.
	_, _, err := jobs.Deregister(t.status.Name, true, write)
	return err
}

// keepLog puts a copy of the part's log in the place of the link: Nomad removes what an
// allocation printed when its job is purged.
func (t *task) keepLog() {
	status, _ := t.snapshot()
	text, err := os.ReadFile(status.Log)
	if err == nil {
		err = renameio.WriteFile(status.Log, text, 0o644)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.logger.Warn("cannot keep the log of a part", "part", status.Name, "error", err)
	}
}

func (t *task) watch(ctx context.Context) {
	var checks sync.WaitGroup
	defer close(t.done)
	defer checks.Wait()
	defer t.update(func(s *ProcessStatus) { s.State, s.PID, s.Started = StateStopped, 0, 0 })
	stopCheck := func() {}
	defer func() { stopCheck() }()

	tick := time.NewTicker(taskTick)
	defer tick.Stop()
	began, asked, said := time.Now(), time.Now(), ""
	for {
		now, _ := t.snapshot()
		switch {
		case now.PID == 0:
			pid, started := t.find()
			if pid != 0 {
				t.learn(ctx, pid)
				t.update(func(s *ProcessStatus) { s.State, s.PID, s.Started = StateStarting, pid, started })
				stopCheck = t.checkIn(ctx, &checks, began)
				break
			}
			if time.Since(began) < slowStart || time.Since(asked) < time.Second {
				break
			}
			asked = time.Now()
			if why := t.whyNot(ctx); why != said {
				said = why
				t.update(func(s *ProcessStatus) { s.notReady = why })
				t.logger.Info("waiting for "+now.Name, "reason", why)
			}
		case !alive(now.PID, now.Started):
			stopCheck()
			began = time.Now()
			t.update(func(s *ProcessStatus) {
				s.State, s.PID, s.Started = StateRestarting, 0, 0
				s.exits++
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// checkIn checks the task's process in a goroutine, until it serves or stop is called.
func (t *task) checkIn(ctx context.Context, checks *sync.WaitGroup, began time.Time) (stop func()) {
	ctx, stop = context.WithCancel(ctx)
	checks.Go(func() { t.check(ctx, began, t.ready) })
	return stop
}

// find finds the task's process among those with the cluster's mark.
func (t *task) find() (pid int, started uint64) {
	marked, _ := leftovers(t.cluster.Dir, t.cluster.folder.RunDir)
	for _, l := range marked {
		if slices.Equal(l.argv[:min(len(t.argv), len(l.argv))], t.argv) {
			return l.pid, l.started
		}
	}
	return 0, 0
}

// learn asks Nomad about a new process: where its log is, how often it was restarted,
// and why. Without an answer the status lacks this, and the process serves anyway.
func (t *task) learn(ctx context.Context, pid int) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return
	}
	environ, err := p.Environ()
	if err != nil {
		return
	}
	id := ""
	for _, v := range environ {
		if value, ok := strings.CutPrefix(v, "NOMAD_ALLOC_ID="); ok {
			id = value
		}
	}
	if err := t.linkLog(id); err != nil {
		t.logger.Warn("cannot link the log of "+t.status.Name, "error", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	alloc, _, err := t.cluster.nomad.Allocations().Info(id, (&nomad.QueryOptions{}).WithContext(ctx))
	if err != nil || alloc.TaskStates[t.status.Name] == nil {
		return
	}
	state := alloc.TaskStates[t.status.Name]
	t.update(func(s *ProcessStatus) {
		s.Restarts = int(state.Restarts)
		for _, event := range state.Events {
			if event.Type == nomad.TaskTerminated {
				s.LastExit = event.DisplayMessage
			}
		}
	})
}

// whyNot asks Nomad why the task has no process.
func (t *task) whyNot(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	query := (&nomad.QueryOptions{}).WithContext(ctx)
	name := t.status.Name
	allocs, _, err := t.cluster.nomad.Jobs().Allocations(name, false, query)
	if err != nil {
		return fmt.Sprintf("Nomad does not answer: %v", err)
	}
	if len(allocs) > 0 {
		newest := slices.MaxFunc(allocs, func(a, b *nomad.AllocationListStub) int { return int(a.CreateIndex) - int(b.CreateIndex) })
		if state := newest.TaskStates[name]; state != nil && len(state.Events) > 0 {
			var events []string // the cause comes before what Nomad does about it
			for _, event := range state.Events[max(0, len(state.Events)-3):] {
				events = append(events, event.DisplayMessage)
			}
			return "its task is " + state.State + ": " + strings.Join(events, "; ")
		}
		return "its allocation is " + newest.ClientStatus
	}
	evals, _, err := t.cluster.nomad.Jobs().Evaluations(name, query)
	if err != nil {
		return fmt.Sprintf("Nomad does not answer: %v", err)
	}
	for _, eval := range evals {
		if failed := eval.FailedTGAllocs[name]; failed != nil {
			return fmt.Sprintf("Nomad cannot place it: exhausted %v, filtered %v", failed.DimensionExhausted, failed.ConstraintFiltered)
		}
	}
	return "Nomad has not placed it yet"
}

// linkLog makes the part's log file a link to the file in which Nomad collects what
// an allocation prints.
func (t *task) linkLog(alloc string) error {
	status, _ := t.snapshot()
	logs, _ := filepath.Glob(filepath.Join(t.cluster.Dir, "nomad", "data", "alloc", alloc, "alloc", "logs", status.Name+".stderr.*"))
	if len(logs) == 0 {
		return fmt.Errorf("allocation %q has no log", alloc)
	}
	// Rotation counts up the last part of the name.
	newest := slices.MaxFunc(logs, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return renameio.Symlink(newest, status.Log)
}
