package nomad

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
)

// content names what a job has in its meta and variables: ${NOMAD_META_build}.
func TestPrefetchJobHasWhatContentNames(t *testing.T) {
	checks, err := OpenChecks(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer checks.Close()
	id, version := "viewer", uint64(7)
	task := &api.Task{Name: "seat", Driver: "stream", Meta: map[string]string{"where": "task"}, Env: map[string]string{"BUILD": "9"},
		Config: map[string]any{"command": "viewer", "content": []any{map[string]any{"source": "s3://b/${NOMAD_META_build}/"}}}}
	app := &api.Job{ID: &id, Version: &version, ParameterizedJob: &api.ParameterizedJobConfig{}, Meta: map[string]string{"build": "9", "prefetch_of": "another"},
		TaskGroups: []*api.TaskGroup{{Meta: map[string]string{"part": "group"}, Tasks: []*api.Task{task}}}}
	fetch, err := checks.prefetchJob(app)
	if err != nil {
		t.Fatal(err)
	}
	group := fetch.TaskGroups[0]
	run := group.Tasks[0]
	if fetch.Meta["build"] != "9" || fetch.Meta["prefetch_of"] != "viewer" || fetch.Meta["prefetch_version"] != "7" || fetch.Meta["prefetch_asked"] == "" {
		t.Errorf("the job's meta: %v", fetch.Meta)
	}
	if !maps.Equal(group.Meta, map[string]string{"part": "group"}) || !maps.Equal(run.Meta, task.Meta) || !maps.Equal(run.Env, task.Env) {
		t.Errorf("group %v, task %v, variables %v", group.Meta, run.Meta, run.Env)
	}
	if app.Meta["prefetch_of"] != "another" || len(app.Meta) != 2 {
		t.Errorf("the app's meta was changed: %v", app.Meta)
	}
}

// Nomad gives an evaluation up; nobody has to wait for its nodes.
func TestFetchesThatAreNotPlanned(t *testing.T) {
	status, reason := "", ""
	var failed map[string]any
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/evaluation/") {
			json.NewEncoder(rw).Encode(map[string]any{"ID": "e1", "Status": status, "StatusDescription": reason, "FailedTGAllocs": failed})
			return
		}
		json.NewEncoder(rw).Encode([]any{})
	}))
	defer server.Close()
	checks, err := OpenChecks(Config{Address: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer checks.Close()
	for _, c := range []struct {
		status, reason string
		planned        bool
		says           string
	}{
		{"pending", "", false, ""},
		{"complete", "", true, ""},
		{"failed", "maximum attempts reached (5)", false, "its evaluation is failed: maximum attempts reached (5); nomad eval status e1"},
		{"canceled", "", false, "its evaluation is canceled: it gives no reason"},
	} {
		status, reason = c.status, c.reason
		_, _, planned, err := checks.Fetches(t.Context(), Prefetch{Job: "viewer-prefetch", eval: "e1"})
		if planned != c.planned || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: planned %t, %v", c.status, planned, err)
		}
	}
	status, reason = "complete", ""
	for _, c := range []struct {
		metric map[string]any
		noRoom int
	}{
		{map[string]any{"NodesExhausted": 1, "CoalescedFailures": 2}, 3},
		{map[string]any{"NodesFiltered": 4}, 0}, // the app's seats may run on none of them
	} {
		failed = map[string]any{"fetch": c.metric}
		if _, noRoom, _, err := checks.Fetches(t.Context(), Prefetch{Job: "viewer-prefetch", eval: "e1"}); err != nil || noRoom != c.noRoom {
			t.Errorf("%v: %d nodes have no room, want %d; %v", c.metric, noRoom, c.noRoom, err)
		}
	}
}
