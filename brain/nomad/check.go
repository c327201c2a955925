package nomad

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

// CheckJob reads a job as brains do, and says in words for its publisher what is wrong
// with it, also why it is no app.
func CheckJob(in *api.Job) (app brain.App, problems []string, err error) {
	text, err := json.Marshal(in)
	if err != nil {
		return app, nil, fmt.Errorf("encode job: %w", err)
	}
	var j job
	if err := json.Unmarshal(text, &j); err != nil {
		return app, nil, fmt.Errorf("decode job: %w", err)
	}
	c := &Client{driver: "stream", access: wire.AccessSigned, log: slog.New(slog.DiscardHandler)}
	if driver, _ := j.task(); driver != c.driver {
		problems = append(problems, fmt.Sprintf("the first task's driver is %q: an app's is %q", driver, c.driver))
	}
	if j.ParameterizedJob == nil {
		problems = append(problems, "the job has no block parameterized: brains do not see it as an app; add: parameterized {}")
	}
	if j.Type != "batch" {
		problems = append(problems, fmt.Sprintf("type = %q: an app's is \"batch\"", j.Type))
	}
	if j.Stop {
		problems = append(problems, "the job is stopped")
	}
	if len(problems) > 0 {
		// What brains would say of it as an app.
		j.ParameterizedJob, j.Type, j.Stop, j.Dispatched = &struct{}{}, "batch", false, false
		c.driver, _ = j.task()
	}
	app, _ = c.app(j)
	problems = append(problems, app.Problems...)
	return app, append(problems, lives(in)...), nil
}

// JobProblems says why a job is no app, or none that works as its job says.
func JobProblems(in *api.Job) ([]string, error) {
	_, problems, err := CheckJob(in)
	return problems, err
}

// lives says which parts of a job make a seat live more than once.
func lives(j *api.Job) (problems []string) {
	if len(j.TaskGroups) != 1 {
		return []string{fmt.Sprintf("the job has %d groups: an app has one", len(j.TaskGroups))}
	}
	g := j.TaskGroups[0]
	if len(g.Tasks) == 0 {
		return []string{"the group has no task"}
	}
	if g.Count != nil && *g.Count != 1 {
		problems = append(problems, fmt.Sprintf("count = %d: each seat is a dispatch of its own, and count is 1", *g.Count))
	}
	if r := g.RestartPolicy; r != nil && r.Attempts != nil && *r.Attempts > 0 {
		problems = append(problems, fmt.Sprintf("restart { attempts = %d }: a seat serves one session, and is replaced; use 0, with mode = \"fail\"", *r.Attempts))
	}
	if r := g.ReschedulePolicy; r != nil && (r.Attempts != nil && *r.Attempts > 0 || r.Unlimited != nil && *r.Unlimited) {
		problems = append(problems, "reschedule: a seat that failed is replaced by its brain; use attempts = 0 and unlimited = false")
	}
	return problems
}
