package nomad

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
)

func TestLine(t *testing.T) {
	app := func(id string, index uint64) *api.JobListStub {
		return &api.JobListStub{ID: id, JobModifyIndex: index}
	}
	for _, c := range []struct {
		due       []*api.JobListStub
		refused   map[string]int
		of, index string // of the turn that goes on
		line      string
		over      bool
	}{
		{[]*api.JobListStub{app("a", 9), app("b", 5)}, nil, "a", "9", "b a", false},                    // of the present version
		{[]*api.JobListStub{app("a", 9), app("b", 5)}, nil, "a", "3", "b a", true},                     // b was registered before a's present version
		{[]*api.JobListStub{app("a", 9), app("b", 12)}, nil, "a", "3", "a b", false},                   // b came later
		{[]*api.JobListStub{app("a", 9)}, nil, "a", "3", "a", false},                                   // nobody waits
		{[]*api.JobListStub{app("a", 9), app("b", 5)}, map[string]int{"b": 2}, "a", "3", "a b", false}, // Nomad refused b
		{[]*api.JobListStub{app("b", 5)}, nil, "a", "3", "b", false},                                   // a is gone, or left out now
	} {
		f := &Follower{refused: c.refused, waits: map[string]*waiting{}}
		f.line(c.due)
		var ids []string
		for _, a := range c.due {
			ids = append(ids, a.ID)
		}
		over := overtaken(map[string]turn{"job": {job: &api.JobListStub{}, of: c.of, index: c.index, busy: true}}, c.due)
		if got := strings.Join(ids, " "); got != c.line || (len(over) == 1) != c.over {
			t.Errorf("%+v: line %s, %q are stopped", c, got, over)
		}
	}
}

// Two apps that are registered again and again, each before its turns are over, keep neither each other nor a
// third one from being fetched.
func TestFollowerIsFairToTwo(t *testing.T) {
	s := newShelf(t)
	server := httptest.NewServer(s)
	defer server.Close()
	f, _ := s.follow(server.URL, time.Hour)
	s.app("viewer", "s3://b/v1/", nil)
	s.app("game", "s3://b/game/", nil)
	s.app("car", "s3://b/car/", nil)
	begun := map[string]int{}
	for n := range 40 {
		if n%3 == 0 { // of its four turns an app has no more than three until then
			s.app("viewer", "s3://b/again/", nil)
			s.app("game", "s3://b/again/", nil)
		}
		if _, err := f.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		if running := s.running(); len(running) > 0 {
			app, _, _ := strings.Cut(running[0], " ")
			begun[app]++
		}
		s.end(4, "complete")
	}
	if !s.noted("car") || begun["viewer"] < 8 || begun["game"] < 8 || s.wrong != "" {
		t.Errorf("turns are %v, the third app is noted: %t; %s", begun, s.noted("car"), s.wrong)
	}
}

// A fetch that nobody wants any more is stopped, also one of later nodes, and holds up no other app.
func TestFollowerStopsWhatNobodyWants(t *testing.T) {
	for what, change := range map[string]func(s *shelf){
		"gone":            func(s *shelf) { delete(s.jobs, "viewer") },
		"stopped":         func(s *shelf) { s.stop("viewer") },
		"left out":        func(s *shelf) { s.app("viewer", "s3://b/v1/", map[string]string{"prefetch": "false"}) },
		"without files":   func(s *shelf) { s.app("viewer", "", nil) },
		"a later version": func(s *shelf) { s.app("viewer", "s3://b/v2/", nil) },
	} {
		for _, late := range []bool{false, true} {
			s := newShelf(t)
			server := httptest.NewServer(s)
			f, _ := s.follow(server.URL, time.Hour)
			s.app("viewer", "s3://b/v1/", nil)
			first := s.on("viewer", quarters[0])
			if late {
				s.fetched(f, "viewer")
				s.come("99")
				first = []string{s.on("viewer", "9")[0] + "9"}
			}
			s.steps(f, what+": it is fetched", first...)
			change(s)
			s.app("game", "s3://b/game/", nil)
			want := s.on("game", quarters[0])
			if what == "a later version" {
				want = s.on("viewer", quarters[0])
			}
			for n := 0; !slices.Equal(s.running(), want) && n < 4; n++ {
				if _, err := f.Step(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.running(); !slices.Equal(got, want) || s.wrong != "" {
				t.Errorf("%s, later nodes: %t: %q fetch, want %q; %s", what, late, got, want, s.wrong)
			}
			server.Close()
		}
	}
}
