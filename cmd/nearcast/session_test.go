package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestSessionCommands asks a router that gives a session a page. What routers say is tested in
// package router, and all of it together in e2e.
func TestSessionCommands(t *testing.T) {
	defer testkit.NoLeaks(t, goleak.IgnoreCurrent())
	defer http.DefaultClient.CloseIdleConnections()
	ids := []string{ticket.NewSessionAt("east"), ticket.NewSessionAt("east"), ticket.NewSessionAt("west")}
	slices.Sort(ids[:2])
	var ended, asked []string
	var missing []string
	router := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		if r.Header.Get("Authorization") != "Bearer nck_key" {
			w.WriteHeader(http.StatusUnauthorized)
			json.NewEncoder(w).Encode(wire.Problem{Title: "The API key is not valid", Detail: "It is unknown.", Status: 401})
			return
		}
		if id, one := strings.CutPrefix(r.URL.Path, wire.SessionsPath+"/"); one {
			if r.Method == http.MethodDelete {
				ended = append(ended, id)
				w.WriteHeader(http.StatusNoContent)
				return
			}
			json.NewEncoder(w).Encode(wire.SessionView{Session: id, App: "chess", Site: "east", State: "streaming", Since: time.Now()})
			return
		}
		at := slices.Index(ids, r.URL.Query().Get("cursor")) + 1
		list := wire.SessionList{Missing: missing, Sessions: []wire.SessionView{{Session: ids[at], App: "chess", Site: ticket.SiteOf(ids[at]), State: "streaming", Since: time.Now()}}}
		if at+1 < len(ids) {
			list.Cursor = ids[at]
		}
		json.NewEncoder(w).Encode(list)
	}))
	defer router.Close()
	t.Setenv("NEARCAST_ROUTER", router.URL)
	t.Setenv("NEARCAST_API_KEY", "nck_key")
	session := func(args ...string) (string, error) { t.Helper(); return command(t, sessionCommand(), args...) }

	out, err := session("list", "--app", "chess", "--state", "streaming", "--state", "waiting")
	if err != nil || strings.Count(out, "chess") != 3 || !strings.Contains(out, ids[2]) {
		t.Errorf("list: %v\n%s", err, out)
	}
	for _, part := range []string{"app=chess", "state=streaming", "state=waiting", "limit=500"} {
		if !strings.Contains(asked[0], part) {
			t.Errorf("asked for %s, without %s", asked[0], part)
		}
	}
	var list []wire.SessionView
	if out, err = session("list", "--json"); err != nil || json.Unmarshal([]byte(out), &list) != nil || len(list) != 3 {
		t.Errorf("list in JSON: %v\n%s", err, out)
	}
	missing = []string{"north"}
	if out, err = session("list"); err == nil || !strings.Contains(err.Error(), "north") || !strings.Contains(out, ids[0]) {
		t.Errorf("a list that is not whole: %v\n%s", err, out)
	}
	if out, err = session("show", ids[0]); err != nil || !strings.Contains(out, "streaming, for") {
		t.Errorf("show: %v\n%s", err, out)
	}
	if out, err = session("end", ids[0], "x", ids[1]); err == nil || !strings.Contains(err.Error(), `"x" is not the id`) || !slices.Equal(ended, ids[:2]) {
		t.Errorf("end: %v\n%s", err, out)
	}
	t.Setenv("NEARCAST_API_KEY", "other")
	if _, err = session("list"); err == nil || !strings.Contains(err.Error(), "API key is not valid") {
		t.Errorf("another key: %v", err)
	}
	t.Setenv("NEARCAST_API_KEY", "")
	if _, err = session("list"); err == nil || !strings.Contains(err.Error(), "NEARCAST_API_KEY") {
		t.Errorf("no key: %v", err)
	}
	if _, err = session("list", "--router", "play.example"); err == nil || !strings.Contains(err.Error(), "--router") {
		t.Errorf("no URL: %v", err)
	}
}

// TestChangesOfSessions checks what watch prints.
func TestChangesOfSessions(t *testing.T) {
	known := map[string]wire.SessionView{}
	at := time.Now().UTC()
	one := func(id, state string) wire.SessionView {
		return wire.SessionView{Session: id, Site: "east", State: state, Since: at}
	}
	step := func(list []wire.SessionView, missing []string, want ...string) {
		t.Helper()
		var out bytes.Buffer
		testkit.Must(t, printChanges(&out, known, list, missing, true))
		got := []string{}
		for line := range strings.Lines(out.String()) {
			var v wire.SessionView
			testkit.Must(t, json.Unmarshal([]byte(line), &v))
			got = append(got, v.Session+" "+v.State)
		}
		slices.Sort(got)
		if !slices.Equal(got, append([]string{}, want...)) {
			t.Errorf("printed %v, want %v", got, want)
		}
	}
	step([]wire.SessionView{one("a", "waiting"), one("b", "streaming")}, nil, "a waiting", "b streaming")
	step([]wire.SessionView{one("a", "waiting"), one("b", "streaming")}, nil)
	step([]wire.SessionView{one("a", "streaming")}, []string{"east"}, "a streaming") // b may be there
	step([]wire.SessionView{one("a", "streaming")}, nil, "b gone")
	step(nil, nil, "a gone")
}
