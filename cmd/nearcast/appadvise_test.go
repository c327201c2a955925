package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// advised runs app advise --watch 24h against a Nomad, which may end it as Ctrl-C does.
func advised(t *testing.T, nomad func(path, filter string, end func()) any) (out string, err error) {
	t.Helper()
	ctx, end := context.WithTimeout(t.Context(), 30*time.Second)
	defer end()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		json.NewEncoder(rw).Encode(nomad(r.URL.Path, r.URL.Query().Get("filter"), end))
	}))
	defer server.Close()
	cmd := appCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	var text strings.Builder
	cmd.SetOut(&text)
	cmd.SetErr(&text)
	cmd.SetArgs([]string{"advise", "--watch", "24h", "--nomad", server.URL})
	err = cmd.ExecuteContext(ctx)
	if ctx.Err() == context.DeadlineExceeded {
		t.Error("it was still measuring")
	}
	return text.String(), err
}

func TestAdviseWithoutApps(t *testing.T) {
	out, err := advised(t, func(string, string, func()) any { return []any{} })
	if err != nil || !strings.HasPrefix(out, "No app is registered") {
		t.Errorf("%v\n%s", err, out)
	}
}

// What was measured until Ctrl-C counts, and what it broke off does not.
func TestAdviseThatIsInterrupted(t *testing.T) {
	type object = map[string]any
	seat := func(id string) object {
		return object{"ID": id, "JobID": "viewer/dispatch-1", "TaskStates": object{"seat": object{"Events": []object{{"Details": object{"state": "streaming"}}}}}}
	}
	out, err := advised(t, func(path, filter string, end func()) any {
		switch path {
		case "/v1/jobs":
			if strings.Contains(filter, `ParentID == ""`) {
				return []object{{"ID": "viewer"}}
			}
			return []object{{"ID": "viewer/dispatch-1", "ParentID": "viewer"}}
		case "/v1/job/viewer":
			return object{"ID": "viewer", "Type": "batch", "ParameterizedJob": object{}, "TaskGroups": []object{{"Tasks": []object{{"Name": "seat", "Driver": "stream"}}}}}
		case "/v1/allocations":
			return []object{seat("one"), seat("two")}
		case "/v1/client/allocation/two/stats":
			end()
		}
		return object{"Tasks": object{"seat": object{"Timestamp": 1, "ResourceUsage": object{"CpuStats": object{"TotalTicks": 100}, "MemoryStats": object{"Usage": 1 << 20}}}}}
	})
	if err != nil || !strings.Contains(out, "viewer: no advice: 1 measurements of 1 seats with people are too little") || strings.Contains(out, "not measured") {
		t.Errorf("%v\n%s", err, out)
	}
}
