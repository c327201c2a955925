package nomad

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/wire"
)

// read makes an app of a job with this meta, as Nomad's JSON gives it.
func read(t *testing.T, meta map[string]string) (params []wire.Param, log string) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"ID": "viewer", "Type": "batch", "ParameterizedJob": map[string]any{}, "Meta": meta,
		"TaskGroups": []any{map[string]any{"Tasks": []any{map[string]any{"Driver": "stream"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	var j job
	if err := json.Unmarshal(text, &j); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	app, ok := (&Client{driver: "stream", log: slog.New(slog.NewTextHandler(&out, nil))}).app(j)
	if !ok {
		t.Fatal("the job is no app")
	}
	return app.Params, out.String()
}

func TestParams(t *testing.T) {
	got, log := read(t, map[string]string{"params": `[{"name":"model","pattern":"[a-z]+","default":"robot"},{"name":"key","secret":true}]`})
	want := []wire.Param{{Name: "model", Pattern: "[a-z]+", Default: "robot"}, {Name: "key", Secret: true}}
	if !slices.Equal(got, want) || log != "" {
		t.Errorf("got %+v, log %s", got, log)
	}
	if got, log := read(t, nil); got != nil || log != "" {
		t.Errorf("without params: %+v, log %s", got, log)
	}
	// An app whose declarations are wrong takes no values from anybody.
	if got, log := read(t, map[string]string{"params": `[{"name":"model"},{"name":"model"}]`}); got != nil || !strings.Contains(log, "twice") {
		t.Errorf("declared twice: %+v, log %s", got, log)
	}
}

// What is wrong with a job reaches its publisher: nearcast app check and app list say it.
func TestCheckJob(t *testing.T) {
	good := func() *api.Job {
		restarts, reschedules, once, batch, id := 0, 0, 1, "batch", "viewer"
		unlimited := false
		return &api.Job{ID: &id, Name: &id, Type: &batch, ParameterizedJob: &api.ParameterizedJobConfig{}, Meta: map[string]string{"warm": "1", "max": "4"},
			TaskGroups: []*api.TaskGroup{{Count: &once, RestartPolicy: &api.RestartPolicy{Attempts: &restarts},
				ReschedulePolicy: &api.ReschedulePolicy{Attempts: &reschedules, Unlimited: &unlimited},
				Tasks:            []*api.Task{{Driver: "stream"}}}}}
	}
	for name, c := range map[string]struct {
		change func(*api.Job)
		want   []string // each is a part of one problem
	}{
		"nothing wrong":       {func(*api.Job) {}, nil},
		"warm in words":       {func(j *api.Job) { j.Meta["warm"] = "two" }, []string{`meta.warm = "two": must be a whole number of 0 or more or "auto"`}},
		"warm below zero":     {func(j *api.Job) { j.Meta["warm"] = "-3" }, []string{`meta.warm = "-3"`}},
		"warm auto":           {func(j *api.Job) { j.Meta["warm"], j.Meta["warm_wait"] = "auto", "0.5%" }, nil},
		"warm auto, no max":   {func(j *api.Job) { j.Meta["warm"] = "auto"; j.Meta["max"] = "0" }, []string{"keeps a seat warm, and max = 0"}},
		"warm_wait in words":  {func(j *api.Job) { j.Meta["warm"], j.Meta["warm_wait"] = "auto", "few" }, []string{`meta.warm_wait = "few": must be a share`}},
		"everybody may wait":  {func(j *api.Job) { j.Meta["warm"], j.Meta["warm_wait"] = "auto", "100%" }, []string{`meta.warm_wait = "100%"`}},
		"a number, no share":  {func(j *api.Job) { j.Meta["warm"], j.Meta["warm_wait"] = "auto", "5" }, []string{`meta.warm_wait = "5"`}},
		"warm_wait alone":     {func(j *api.Job) { j.Meta["warm_wait"] = "1%" }, []string{`counts only with warm = "auto"`}},
		"max below warm":      {func(j *api.Job) { j.Meta["warm"] = "5" }, []string{"meta.warm = 5 is more than max = 4"}},
		"access":              {func(j *api.Job) { j.Meta["access"] = "publik" }, []string{`meta.access = "publik"`}},
		"not parameterized":   {func(j *api.Job) { j.ParameterizedJob = nil }, []string{"no block parameterized"}},
		"a service":           {func(j *api.Job) { *j.Type = "service" }, []string{`type = "service"`}},
		"another driver":      {func(j *api.Job) { j.TaskGroups[0].Tasks[0].Driver = "exec" }, []string{`driver is "exec"`}},
		"several at once":     {func(j *api.Job) { j.ParameterizedJob = nil; j.Meta["max"] = "many" }, []string{"no block parameterized", `meta.max = "many"`}},
		"it would live twice": {func(j *api.Job) { *j.TaskGroups[0].RestartPolicy.Attempts = 3 }, []string{"restart { attempts = 3 }"}},
	} {
		t.Run(name, func(t *testing.T) {
			j := good()
			c.change(j)
			_, got, err := CheckJob(j)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(c.want) {
				t.Fatalf("problems %q, want %q", got, c.want)
			}
			for i, part := range c.want {
				if !strings.Contains(got[i], part) {
					t.Errorf("problem %q, want it to say %q", got[i], part)
				}
			}
		})
	}
}
