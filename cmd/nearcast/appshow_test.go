package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestAppShow asks a stand-in of Nomad's API, and of Consul's.
func TestAppShow(t *testing.T) {
	type object = map[string]any
	var filters []string
	events := func(state string) object {
		return object{"seat": object{"Events": []object{{"Details": object{"state": state}}}}}
	}
	seat := func(n, status string, states object, ago time.Duration) object {
		return object{"ID": "alloc-" + n, "JobID": "viewer/dispatch-v2-" + n + "-1763880000-5f0a", "ClientStatus": status, "NodeName": "node-" + n, "TaskStates": states,
			"ModifyTime": time.Now().Add(-ago).UnixNano()}
	}
	broke := object{"seat": object{"Events": []object{{"Type": "Driver", "DisplayMessage": "error(content-missing): no object a/b", "Details": object{"reason": "error", "code": "content-missing"}}}}}
	nomad := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		filter := r.URL.Query().Get("filter")
		filters = append(filters, filter)
		var out any
		switch {
		case r.URL.Path == "/v1/job/viewer":
			out = object{"ID": "viewer", "Version": 2, "Type": "batch", "NodePool": "stream", "SubmitTime": time.Now().Add(-time.Hour).UnixNano(), "ParameterizedJob": object{},
				"Meta":       object{"title": "The viewer", "access": "login", "login_groups": "staff, partners", "warm": "2", "max": "9"},
				"TaskGroups": []object{{"Count": 1, "Tasks": []object{{"Driver": "stream"}}}}}
		case r.URL.Path == "/v1/jobs" && strings.Contains(filter, `ParentID == "viewer"`):
			out = []object{{"ID": "viewer/dispatch-v2-a-1763880000-5f0a"}, {"ID": "viewer/dispatch-v2-b-1763880000-5f0a"}, {"ID": "viewer/dispatch-v2-c-1763880000-5f0a"}, {"ID": "viewer/dispatch-v2-d-1763880000-5f0a"}}
		case r.URL.Path == "/v1/allocations" && strings.Contains(filter, "running"):
			out = []object{seat("a", "running", events("idle"), 0), seat("b", "running", events("streaming"), 0), seat("c", "running", events("starting"), 0)}
		case r.URL.Path == "/v1/allocations" && strings.Contains(filter, "failed"):
			out = []object{seat("x", "failed", broke, 2*time.Hour), seat("y", "failed", object{}, time.Minute),
				{"ID": "other", "JobID": "viewer2/dispatch-v1-z-1-1", "ClientStatus": "failed", "NodeName": "node-z"}}
		default:
			rw.WriteHeader(http.StatusNotFound)
			return
		}
		json.NewEncoder(rw).Encode(out)
	}))
	defer nomad.Close()
	app := wire.App{ID: "viewer", Version: 1, Access: wire.AccessLogin, Updated: time.Now(), Capacity: wire.Capacity{Idle: 1, Busy: 1, Queued: 7, Warm: 2, Max: 9, ColdStartMS: 8200}}
	consul := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		text, _ := json.Marshal(app)
		json.NewEncoder(rw).Encode([]object{{"Key": wire.AppsPrefix + "viewer", "Value": text}})
	}))
	defer consul.Close()
	defer http.DefaultClient.CloseIdleConnections()
	show := func(args ...string) (string, error) {
		t.Helper()
		return command(t, appCommand(), append([]string{"show", "--nomad", nomad.URL}, args...)...)
	}
	out, err := show("viewer", "--consul", consul.URL)
	testkit.Must(t, err)
	plain := strings.Join(strings.Fields(out), " ")
	for _, want := range []string{"version 2, registered 1h0m", "access login", "groups staff, partners", "warm 2", "max 9", "seats 1 idle, 1 busy, 2 starting", "queue 7 wait",
		"a start takes 8.2s", "on node-x: error(content-missing): no object a/b", "note: the brains still offer version 1"} {
		if !strings.Contains(plain, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "node-z") || strings.Index(out, "node-y") > strings.Index(out, "node-x") {
		t.Errorf("the failures are of another app, or not in order:\n%s", out)
	}
	out, err = show("viewer", "--consul", consul.URL, "--json")
	testkit.Must(t, err)
	var got shownApp
	testkit.Must(t, json.Unmarshal([]byte(out), &got))
	if got.Seats.Idle != 1 || got.Capacity == nil || got.Capacity.Queued != 7 || !slices.Equal(got.Login.Groups, []string{"staff", "partners"}) || len(got.Failures) != 2 {
		t.Errorf("%s", out)
	}
	// Without Consul, the rest is shown.
	out, err = show("viewer", "--consul", testkit.Address(t))
	if err != nil || !strings.Contains(out, "note: the queue is not known") || !strings.Contains(out, "1 idle") || strings.Contains(out, "wait, as of") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err = show("none"); err == nil || !strings.Contains(err.Error(), "nearcast app list") {
		t.Errorf("an app that is not there: %v", err)
	}
}

// TestCheckLogin: a job that asks for a login is checked against what the site's routers have.
func TestCheckLogin(t *testing.T) {
	has := false
	router := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(rw).Encode(wire.SitesResponse{Entry: "east", Login: has})
	}))
	defer router.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if problem, note := checkLogin(t.Context(), router.URL); !strings.Contains(problem, "east has no login provider") || note != "" {
		t.Errorf("without a provider: %q, %q", problem, note)
	}
	has = true
	if problem, note := checkLogin(t.Context(), router.URL); problem != "" || note != "" {
		t.Errorf("with it: %q, %q", problem, note)
	}
	for url, says := range map[string]string{"": "name one with --router", "http://" + testkit.Address(t): "was not checked: "} {
		if problem, note := checkLogin(t.Context(), url); problem != "" || !strings.Contains(note, says) {
			t.Errorf("%q: %q, %q", url, problem, note)
		}
	}
}
