package dev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	nomad "github.com/hashicorp/nomad/api"
)

// task is the only task of a Nomad job, seen from here. Nomad keeps it running;
// this watches what becomes of its process, also while Nomad is away.
type task struct {
	*report
	cluster *Cluster
	argv    []string // how the command line of its process begins
	ready   func(context.Context) error

	cancel context.CancelFunc
	done   chan struct{}
}

// taskTick is how soon the death of a process is seen.
const taskTick = 100 * time.Millisecond

// startTask begins to watch the task of a job that has just been run.
func startTask(c *Cluster, job string, argv []string, ready func(context.Context) error) *task {
	ctx, cancel := context.WithCancel(context.Background())
	t := &task{
		report: newReport(job, c.LogFile(job), c.logger, c.save), cluster: c, argv: argv, ready: ready,
		cancel: cancel, done: make(chan struct{}),
	}
	go t.watch(ctx)
	return t
}

// stop ends the job and waits for its process. Where Nomad cannot do that, the
// sweep that follows ends the process.
func (t *task) stop() {
	if t.cluster.nomadServes() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := t.end(ctx); err != nil {
			t.logger.Warn("a job does not end when asked; ending its process", "job", t.status.Name, "error", err)
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
	// What a job was under other ports is no version to go back to.
	_, _, err := jobs.Deregister(t.status.Name, true, write)
	return err
}

func (t *task) watch(ctx context.Context) {
	var probes sync.WaitGroup
	defer close(t.done)
	defer probes.Wait()
	defer t.update(func(s *ProcessStatus) { s.State, s.PID, s.Started = StateStopped, 0, 0 })
	probed := func() {}
	defer func() { probed() }()

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
				probed = t.probeIn(ctx, &probes, began)
				break
			}
			if time.Since(began) < slowStart || time.Since(asked) < time.Second {
				break
			}
			asked = time.Now()
			if why := t.whyNot(ctx); why != said {
				said = why
				t.update(func(s *ProcessStatus) { s.lastProbe = why })
				t.logger.Info("waiting for "+now.Name, "because", why)
			}
		case !alive(now.PID, now.Started):
			probed()
			began = time.Now()
			t.update(func(s *ProcessStatus) {
				s.State, s.PID, s.Started = StateRestarting, 0, 0
				s.deaths++
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// probeIn probes the task's process in a goroutine, until it serves or the
// function that is returned is called.
func (t *task) probeIn(ctx context.Context, probes *sync.WaitGroup, began time.Time) (stop func()) {
	ctx, stop = context.WithCancel(ctx)
	probes.Go(func() { t.probe(ctx, began, t.ready) })
	return stop
}

// find finds the task's process among those with the cluster's mark.
func (t *task) find() (pid int, started uint64) {
	marked, _ := leftovers(t.cluster.Dir, t.cluster.runDir)
	for _, l := range marked {
		if slices.Equal(l.argv[:min(len(t.argv), len(l.argv))], t.argv) {
			return l.pid, l.started
		}
	}
	return 0, 0
}

// learn notes of a new process what Nomad knows of it: where its log is, how
// often it was started, and why it was. It runs all the same where that cannot be
// asked.
func (t *task) learn(ctx context.Context, pid int) {
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return
	}
	id := ""
	for v := range bytes.SplitSeq(environ, []byte{0}) {
		if value, ok := bytes.CutPrefix(v, []byte("NOMAD_ALLOC_ID=")); ok {
			id = string(value)
		}
	}
	if err := t.link(id); err != nil {
		t.logger.Warn("the log is not where it should be", "of", t.status.Name, "error", err)
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
				s.LastDeath = event.DisplayMessage
			}
		}
	})
}

// whyNot says why the task has no process, as far as Nomad knows.
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
			return fmt.Sprintf("Nomad has no room for it: exhausted %v, filtered %v", failed.DimensionExhausted, failed.ConstraintFiltered)
		}
	}
	return "Nomad has not placed it yet"
}

// link makes the part's log file point to where Nomad collects what an
// allocation prints.
func (t *task) link(alloc string) error {
	status, _ := t.snapshot()
	logs, _ := filepath.Glob(filepath.Join(t.cluster.Dir, "nomad", "data", "alloc", alloc, "alloc", "logs", status.Name+".stderr.*"))
	if len(logs) == 0 {
		return fmt.Errorf("allocation %q has none", alloc)
	}
	// Rotation counts the last part of the name up.
	newest := slices.MaxFunc(logs, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	temp := status.Log + ".new"
	if err := errors.Join(os.RemoveAll(temp), os.Symlink(newest, temp)); err != nil {
		return err
	}
	return os.Rename(temp, status.Log)
}
