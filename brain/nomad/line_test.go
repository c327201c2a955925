package nomad

import (
	"fmt"
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
	f, _ := s.follow(time.Hour)
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
			f, _ := s.follow(time.Hour)
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
			s.server.Close()
		}
	}
}

// earlier has all turns be older.
func (s *shelf) earlier(f *Follower, by time.Duration) {
	for id, e := range f.failed {
		f.failed[id] = ending{e.index, e.at.Add(-by)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.jobs {
		if j.Namespace != nil {
			at := *j.SubmitTime - by.Nanoseconds()
			j.SubmitTime = &at
		}
	}
	for _, a := range s.allocs {
		a.ModifyTime -= by.Nanoseconds()
	}
}

// A turn that no node completes begins again, each time after a longer wait, and others go first meanwhile.
func TestFollowerOfEmptyTurns(t *testing.T) {
	s := newShelf(t)
	f, said := s.follow(24 * time.Hour)
	s.app("viewer", "s3://b/v1/", nil)
	s.app("game", "s3://b/game/", nil)
	s.steps(f, "its first turn", s.on("viewer", quarters[0])...)
	s.end(4, "failed")
	for n, q := range quarters {
		s.steps(f, fmt.Sprint("others go first, turn ", n), s.on("game", q)...)
		s.end(1, "complete")
		s.end(3, "failed") // where one completes it, it is over
	}
	for _, q := range quarters[1:] {
		s.steps(f, "the other turns of it", s.on("viewer", q)...)
		s.end(4, "complete")
	}
	if s.steps(f, "all have ended"); s.noted("viewer") || !s.noted("game") {
		t.Errorf("noted are %v", s.record.Items)
	}

	// A node that comes meanwhile waits for nothing.
	s.come("77")
	s.steps(f, "one comes", s.on("game", "7")[0]+"7")
	s.end(1, "complete")
	s.steps(f, "the other app on it", s.on("viewer", "7")[0]+"7")
	s.end(1, "complete")

	for n, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		s.earlier(f, wait*time.Minute-20*time.Second)
		s.steps(f, fmt.Sprint("not yet, ", n))
		if n == 1 {
			f, said = s.follow(24 * time.Hour)
			s.steps(f, "nor after a restart")
		}
		s.earlier(f, 20*time.Second)
		s.steps(f, fmt.Sprint("again, ", n), s.on("viewer", quarters[0])...)
		s.earlier(f, 10*time.Minute) // what counts is the end
		s.mu.Lock()
		for _, a := range s.allocs {
			a.ModifyTime = time.Now().UnixNano()
		}
		s.mu.Unlock()
		s.end(4, "failed")
		s.steps(f, fmt.Sprint("it has ended, ", n))
	}
	s.earlier(f, time.Hour)
	s.steps(f, "again", s.on("viewer", quarters[0])...)
	s.end(1, "complete")
	s.end(3, "failed")
	if s.steps(f, "the end"); !s.noted("viewer") {
		t.Errorf("noted are %v", s.record.Items)
	}
	if !strings.Contains(said.String(), "no node completed a turn; it begins again") || strings.Contains(said.String(), "not planned") {
		t.Errorf("it says %s", said)
	}

	// The same for nodes that come later. Others of them do not wait for it.
	s.come("88")
	s.steps(f, "it comes", s.on("game", "8")[0]+"8")
	s.end(1, "complete")
	s.steps(f, "its other app", s.on("viewer", "8")[0]+"8")
	s.end(1, "failed")
	s.steps(f, "it waits")
	s.come("99")
	s.steps(f, "another comes", s.on("game", "9")[0]+"9")
	s.end(1, "complete")
	s.steps(f, "its other app", s.on("viewer", "9")[0]+"9")
	s.end(1, "complete")
	s.steps(f, "it waits still")
	s.earlier(f, time.Minute)
	s.steps(f, "it is tried again", s.on("viewer", "8")[0]+"8")
	s.end(1, "complete")
	s.steps(f, "the end")
	s.earlier(f, 2*time.Hour)
	if s.steps(f, "nothing is left"); len(s.kept.Items) != 1 {
		t.Errorf("it keeps %v", s.kept.Items)
	}
}
