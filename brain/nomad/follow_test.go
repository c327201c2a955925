package nomad

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/nomad/api"
)

// shelf is a Nomad that has jobs, and runs none.
type shelf struct {
	mu    sync.Mutex
	jobs  map[string]*api.Job
	index uint64
	reads int // of single jobs
}

func (s *shelf) put(job *api.Job) {
	s.index++
	version, index := uint64(0), s.index
	if was := s.jobs[*job.ID]; was != nil {
		version = *was.Version + 1
	}
	job.Version, job.JobModifyIndex = &version, &index
	s.jobs[*job.ID] = job
}

func (s *shelf) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, one := strings.CutPrefix(r.URL.Path, "/v1/job/")
	switch {
	case r.Method == http.MethodPut:
		var req api.JobRegisterRequest
		json.NewDecoder(r.Body).Decode(&req)
		s.put(req.Job)
		json.NewEncoder(rw).Encode(map[string]any{"EvalID": "e1"})
	case one && s.jobs[id] == nil:
		http.Error(rw, "job not found", http.StatusNotFound)
	case one:
		s.reads++
		json.NewEncoder(rw).Encode(s.jobs[id])
	default:
		list := []map[string]any{}
		for id, j := range s.jobs {
			if *j.Type == api.JobTypeBatch { // as the filter says
				list = append(list, map[string]any{"ID": id, "Type": *j.Type, "ParameterizedJob": j.ParameterizedJob != nil, "JobModifyIndex": *j.JobModifyIndex})
			}
		}
		json.NewEncoder(rw).Encode(list)
	}
}

// app registers an app, with content if it says from where.
func (s *shelf) app(id, source string, meta map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := api.JobTypeBatch
	config := map[string]any{"command": "viewer"}
	if source != "" {
		config["content"] = []any{map[string]any{"source": source}}
	}
	s.put(&api.Job{ID: &id, Type: &batch, ParameterizedJob: &api.ParameterizedJobConfig{}, Meta: meta,
		TaskGroups: []*api.TaskGroup{{Tasks: []*api.Task{{Name: "seat", Driver: "stream", Config: config}}}}})
}

// Each version of each app with content is due, until its last turn was begun, by whomever.
func TestFollower(t *testing.T) {
	s := &shelf{jobs: map[string]*api.Job{}}
	server := httptest.NewServer(s)
	defer server.Close()
	open := func() (*Follower, Checks) {
		checks, err := OpenChecks(Config{Address: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(checks.Close)
		return NewFollower(checks), checks
	}
	f, checks := open()
	want := func(f *Follower, what string, want ...string) []Due {
		t.Helper()
		due, err := f.Due(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, d := range due {
			got = append(got, fmt.Sprintf("%s v%d from %d", d.App, d.Version, d.Wave))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: due are %q, want %q", what, got, want)
		}
		return due
	}
	begin := func(app string, wave int) {
		t.Helper()
		p, err := checks.PrefetchWave(t.Context(), app, wave)
		if err != nil {
			t.Fatal(err)
		}
		fetch := s.jobs[p.Job]
		c := fetch.Constraints[len(fetch.Constraints)-1]
		if *fetch.Type != api.JobTypeSysbatch || c.LTarget != "${node.unique.id}" || c.Operand != "regexp" || c.RTarget != waves[wave] {
			t.Errorf("turn %d: a %s job with %+v", wave, *fetch.Type, c)
		}
	}
	s.app("plain", "", nil)
	s.app("late", "s3://b/late/", map[string]string{"prefetch": "false"})
	s.app("viewer", "s3://b/v1/", nil)
	s.app("game", "s3://b/game/", nil)
	want(f, "at first", "game v0 from 0", "viewer v0 from 0")
	begin("viewer", 0)
	begin("viewer", 1)
	f, checks = open()
	want(f, "after a restart it goes on", "game v0 from 0", "viewer v0 from 2")
	begin("viewer", 2)
	begin("viewer", 3)
	due := want(f, "viewer was begun everywhere", "game v0 from 0")
	f.Done(due[0])
	want(f, "nothing is left")
	was := s.reads
	if want(f, "nothing has changed"); s.reads != was {
		t.Errorf("%d jobs are read again", s.reads-was)
	}
	s.app("viewer", "s3://b/v2/", nil)
	want(f, "a new version", "viewer v1 from 0")
	if _, err := checks.Prefetch(t.Context(), "viewer"); err != nil {
		t.Fatal(err)
	}
	want(f, "an operator had all nodes fetch it")
	s.app("late", "s3://b/late/", nil)
	want(f, "it is left out no more", "late v1 from 0")
}

// The turns have each node once.
func TestWaves(t *testing.T) {
	for _, digit := range "0123456789abcdef" {
		in := 0
		for _, w := range waves {
			if regexp.MustCompile(w).MatchString(string(digit) + "0000000-0000-0000-0000-000000000000") {
				in++
			}
		}
		if in != 1 {
			t.Errorf("a node whose id begins with %c has %d turns", digit, in)
		}
	}
}
