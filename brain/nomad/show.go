package nomad

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/wire"
)

// Shown is an app as Nomad has it now.
type Shown struct {
	CheckedJob
	Registered time.Time // the present version
	Seats      SeatCount
	Failures   []Failure // of its seats, the newest first
}

// SeatCount is how many seats there are, by what they do.
type SeatCount struct {
	Idle     int `json:"idle"`
	Busy     int `json:"busy"`
	Starting int `json:"starting"`
}

// Failure is how a seat failed.
type Failure struct {
	At      time.Time `json:"at"`
	Node    string    `json:"node"`
	Version uint64    `json:"version"`
	Why     string    `json:"why"`
}

const (
	maxFailures = 5
	maxWhy      = 500 // bytes
)

// Show reads an app's job, and how its seats are.
func (c Checks) Show(ctx context.Context, id string) (s Shown, err error) {
	job, _, err := c.api.Jobs().Info(id, query(ctx))
	if status(err) == http.StatusNotFound || err == nil && deref(job.ParentID) != "" {
		return s, fmt.Errorf("there is no app %q; nearcast app list shows those of this site", id)
	}
	if err != nil {
		return s, fmt.Errorf("read job %s: %w", id, err)
	}
	if s.App, s.Problems, err = CheckJob(job); err != nil {
		return s, fmt.Errorf("check job %s: %w", id, err)
	}
	_, s.Access = job.Meta["access"]
	if job.SubmitTime != nil {
		s.Registered = time.Unix(0, *job.SubmitTime).UTC().Truncate(time.Second)
	}
	children, err := c.Live(ctx, id)
	if err != nil {
		return s, err
	}
	if s.Seats, err = c.seats(ctx, children); err != nil {
		return s, err
	}
	s.Failures, err = c.failures(ctx, id)
	return s, err
}

// seats counts the seats of children that live. One without an allocation that runs is starting.
func (c Checks) seats(ctx context.Context, children []string) (n SeatCount, err error) {
	q := query(ctx)
	q.Filter = `ClientStatus == "running"`
	allocs, _, err := c.api.Allocations().List(q)
	if err != nil {
		return n, fmt.Errorf("list seats: %w", err)
	}
	states := map[string]wire.SeatState{}
	for _, a := range allocs {
		states[a.JobID] = stateOf(a.TaskStates)
	}
	for _, child := range children {
		switch state := states[child]; {
		case state.Busy():
			n.Busy++
		case state == wire.SeatIdle:
			n.Idle++
		case state == wire.SeatEnding:
		default:
			n.Starting++
		}
	}
	return n, nil
}

// stateOf is what a seat's stream host said last; empty where it said nothing yet.
func stateOf(tasks map[string]*api.TaskState) wire.SeatState {
	for _, t := range tasks {
		for _, e := range slices.Backward(t.Events) {
			if state := wire.SeatState(e.Details["state"]); state != "" {
				return state
			}
		}
	}
	return ""
}

// failures are those that Nomad remembers: it forgets an allocation some hours after its end.
func (c Checks) failures(ctx context.Context, app string) ([]Failure, error) {
	q := query(ctx)
	q.Filter = `ClientStatus == "failed"`
	allocs, _, err := c.api.Allocations().List(q)
	if err != nil {
		return nil, fmt.Errorf("list failed seats: %w", err)
	}
	out := []Failure{} // "[]" in JSON
	for _, a := range allocs {
		if !strings.HasPrefix(a.JobID, app+api.JobDispatchLaunchSuffix) {
			continue
		}
		f := Failure{At: time.Unix(0, a.ModifyTime).UTC().Truncate(time.Second), Node: a.NodeName, Why: a.ClientDescription}
		f.Version, _, _ = parseID(app, a.JobID)
		for _, t := range a.TaskStates {
			if e := end(taskOf(t)); e != nil {
				f.Why = e.String()
			}
		}
		f.Why = strings.ToValidUTF8(f.Why[:min(len(f.Why), maxWhy)], "")
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b Failure) int { return b.At.Compare(a.At) })
	return out[:min(len(out), maxFailures)], nil
}

func taskOf(t *api.TaskState) (out task) {
	text, err := json.Marshal(t)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		return task{}
	}
	return out
}
