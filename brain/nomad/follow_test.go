package nomad

import (
	"bytes"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// follow makes a Follower of a shelf; what it says is in the buffer.
func (s *shelf) follow(wait time.Duration) (*Follower, *bytes.Buffer) {
	checks, err := OpenChecks(Config{Address: s.server.URL})
	testkit.Must(s.t, err)
	s.t.Cleanup(checks.Close)
	var said bytes.Buffer
	return NewFollower(checks, wait, slog.New(slog.NewTextHandler(&said, nil))), &said
}

// steps makes a step, and checks what fetches after it.
func (s *shelf) steps(f *Follower, what string, running ...string) {
	s.t.Helper()
	if _, err := f.Step(s.t.Context()); err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
	if got := s.running(); !slices.Equal(got, running) {
		s.t.Errorf("%s: %q fetch, want %q", what, got, running)
	}
	if s.wrong != "" {
		s.t.Errorf("%s: %s", what, s.wrong)
	}
}

// noted reports whether the record has an app's present version.
func (s *shelf) noted(app string) bool {
	return s.record != nil && s.record.Items[app] == fmt.Sprint(*s.jobs[app].JobModifyIndex)
}

// on is an app's present version on each of some nodes.
func (s *shelf) on(app, nodes string) (out []string) {
	for _, node := range nodes {
		out = append(out, fmt.Sprintf("%s %d on %c", app, *s.jobs[app].JobModifyIndex, node))
	}
	return out
}

var quarters = []string{"0123", "4567", "89ab", "cdef"}

// Each version of each app with content is fetched in turns, and once.
func TestFollower(t *testing.T) {
	s := newShelf(t)
	f, _ := s.follow(time.Hour)
	s.app("plain", "", nil)
	s.app("late", "s3://b/late/", map[string]string{"prefetch": "false"})
	s.app("viewer", "s3://b/v1/", nil)
	s.app("game", "s3://b/game/", nil)
	s.steps(f, "at first", s.on("viewer", quarters[0])...)
	s.steps(f, "while they fetch", s.on("viewer", quarters[0])...)
	s.end(3, "complete")
	f, _ = s.follow(time.Hour)
	s.steps(f, "after a restart one of them still fetches", s.on("viewer", "3")...)
	s.end(1, "failed")
	s.steps(f, "the next turn", s.on("viewer", quarters[1])...)

	// It is registered again while the Follower reads it: the next step sees that.
	s.end(4, "complete")
	s.before = func() { s.app("viewer", "s3://b/v1-again/", nil) }
	s.steps(f, "a version that is there no more", s.on("game", quarters[0])...)
	s.end(4, "complete")
	for n, q := range quarters[1:] {
		s.steps(f, fmt.Sprint("the other app, turn ", n+1), s.on("game", q)...)
		s.end(4, "complete")
	}
	s.steps(f, "its first turn", s.on("viewer", quarters[0])...)
	s.end(4, "complete")
	s.steps(f, "its second turn", s.on("viewer", quarters[1])...)
	s.app("game", "s3://b/game2/", nil)

	// A new version where another app waits: the fetch of the one before is stopped, and the other app has its turns first.
	s.app("viewer", "s3://b/v2/", nil)
	s.steps(f, "a new version while another app waits")
	for n, q := range quarters {
		s.steps(f, fmt.Sprint("the other app, turn ", n), s.on("game", q)...)
		s.end(4, "complete")
	}
	s.steps(f, "the new version", s.on("viewer", quarters[0])...)
	s.end(4, "complete")
	s.steps(f, "its second turn", s.on("viewer", quarters[1])...)
	// Where nobody waits, it begins at once where nodes fetch the one before.
	s.app("viewer", "s3://b/v3/", nil)
	s.steps(f, "a newer version", s.on("viewer", quarters[1])...)
	if got := s.turns("viewer"); got != "1:v2 2:v3" {
		t.Errorf("turns are %s", got)
	}
	for _, n := range []int{0, 2, 3} {
		s.end(4, "complete")
		s.steps(f, fmt.Sprint("the rest of the newer version, turn ", n), s.on("viewer", quarters[n])...)
	}
	if more, err := f.Step(t.Context()); err != nil || !more || s.noted("viewer") {
		t.Errorf("while its last turn fetches: more is %t, it is noted: %t; %v", more, s.noted("viewer"), err)
	}
	s.end(4, "complete")
	if more, err := f.Step(t.Context()); err != nil || more || !s.noted("viewer") {
		t.Errorf("at the end: more is %t, it is noted: %t; %v", more, s.noted("viewer"), err)
	}
	if s.has("viewer") != 16 || s.has("game") != 16 {
		t.Errorf("%d and %d nodes have the content", s.has("viewer"), s.has("game"))
	}

	was := s.reads
	s.steps(f, "nothing is left")
	if s.reads != was {
		t.Errorf("%d jobs are read again", s.reads-was)
	}
	s.collect()
	f, _ = s.follow(time.Hour)
	s.steps(f, "Nomad has forgotten the jobs, and the follower is another")
	s.app("late", "s3://b/late/", nil)
	delete(s.jobs, "game")
	for _, q := range quarters {
		s.steps(f, "it is left out no more", s.on("late", q)...)
		s.end(4, "complete")
	}
	if s.steps(f, "an app is gone"); len(s.record.Items) != 2 || !s.noted("late") || !s.noted("viewer") {
		t.Errorf("the record is %v", s.record.Items)
	}
}

// Who has no room holds up nobody, and fetches later; so does who fetches for longer than the wait.
func TestFollowerGoesOn(t *testing.T) {
	s := newShelf(t)
	f, said := s.follow(time.Hour)
	s.full["1"], s.full["4"], s.full["5"], s.full["6"], s.full["7"] = true, true, true, true, true
	s.app("viewer", "s3://b/v1/", nil)
	s.steps(f, "a node has no room", s.on("viewer", "023")...)
	s.end(3, "complete")
	s.steps(f, "a turn without room begins")
	s.steps(f, "the next one", s.on("viewer", quarters[2])...)
	if !strings.Contains(said.String(), "without_room=1 ") || !strings.Contains(said.String(), "without_room=4 ") {
		t.Errorf("it says %s", said)
	}
	s.end(3, "complete")
	id := turnJob("viewer", 2)
	s.mu.Lock()
	long := time.Now().Add(-2 * time.Hour).UnixNano()
	s.jobs[id].SubmitTime = &long
	s.mu.Unlock()
	s.steps(f, "a node fetches for long", s.on("viewer", "bcdef")...)
	if !strings.Contains(said.String(), "fetching=1 ") {
		t.Errorf("it says %s", said)
	}
	s.end(5, "complete")
	s.steps(f, "all have ended")
	s.mu.Lock()
	clear(s.full)
	s.plan(turnJob("viewer", 0))
	s.plan(turnJob("viewer", 1))
	s.mu.Unlock()
	s.steps(f, "there is room", s.on("viewer", "14567")...)
	s.end(5, "complete")
	if got := s.has("viewer"); got != 16 || s.record == nil {
		t.Errorf("%d nodes have the content; the record is %v", got, s.record)
	}
	for _, node := range strings.Split(quarters[0], "") {
		s.full[node] = true
	}
	s.app("viewer", "s3://b/v2/", nil)
	s.steps(f, "a version for which no node has room")
	s.steps(f, "the next turn", s.on("viewer", quarters[1])...)
	if !strings.Contains(said.String(), "version=1 turn=1 nodes=0 failed=0 fetching=0 without_room=4 ") {
		t.Errorf("it says %s", said)
	}
}

// Nomad refuses a turn, and does not plan another: others go on, and it is said once.
func TestFollowerOfWhatFails(t *testing.T) {
	s := newShelf(t)
	f, said := s.follow(time.Hour)
	s.app("car", "s3://b/car/", nil)
	s.refuse = turnJob("car", 0)
	s.app("game", "s3://b/game/", nil)
	id := turnJob("game", 0)
	s.plans[id] = "failed"
	s.steps(f, "an app is refused, or perhaps taken")
	s.steps(f, "so others go first: a turn is not planned")
	first := *s.jobs[id].JobModifyIndex
	if s.steps(f, "soon after"); *s.jobs[id].JobModifyIndex != first {
		t.Error("it begins again at once")
	}
	s.mu.Lock()
	before := time.Now().Add(-2 * planAgain).UnixNano()
	s.jobs[id].SubmitTime = &before
	s.mu.Unlock()
	s.steps(f, "a minute later", s.on("game", quarters[0])...)
	for _, q := range quarters[1:] {
		s.end(4, "complete")
		s.steps(f, "the other turns", s.on("game", q)...)
	}
	s.end(4, "complete")
	s.steps(f, "all have ended")
	s.steps(f, "the app is refused again")
	if n := strings.Count(said.String(), "register job car"); n != 1 {
		t.Errorf("said %d times\n%s", n, said)
	}
	if !strings.Contains(said.String(), "it begins again") {
		t.Errorf("it says %s", said)
	}
}

// An app that is registered again before each step, while nodes fetch it, keeps no other from being fetched.
func TestFollowerIsFair(t *testing.T) {
	s := newShelf(t)
	f, _ := s.follow(time.Hour)
	s.app("viewer", "s3://b/v1/", nil)
	s.steps(f, "at first", s.on("viewer", quarters[0])...)
	s.app("game", "s3://b/game/", nil)
	for n := 0; !s.noted("game"); n++ {
		if n == 20 {
			t.Fatalf("after %d steps %d nodes have the other app's content, and %q run", n, s.has("game"), s.running())
		}
		s.app("viewer", "s3://b/again/", nil)
		if _, err := f.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		if running := s.running(); len(running) > 0 && strings.HasPrefix(running[0], "game ") {
			s.end(4, "complete")
		}
	}
	for n := 0; !s.noted("viewer"); n++ {
		if _, err := f.Step(t.Context()); err != nil || n == 20 {
			t.Fatalf("its turn does not come: %v, %q run", err, s.running())
		}
		s.end(4, "complete")
	}
	if s.wrong != "" || s.has("game") != 16 || s.has("viewer") != 16 {
		t.Errorf("%s; %d and %d nodes have the content", s.wrong, s.has("game"), s.has("viewer"))
	}
}

// Whatever request fails, or its answer, and a follower that begins anew then: all nodes fetch the present versions, also
// those that come later, a quarter at a time, and no fetch of them is stopped.
func TestFollowerIsInterrupted(t *testing.T) {
	for _, answer := range []bool{false, true} {
		for until, reached := 0, true; reached; until += 1 + max(0, until-20)/2 {
			s := newShelf(t)
			f, _ := s.follow(time.Hour)
			s.app("viewer", "s3://b/v1/", nil)
			s.app("game", "s3://b/game/", nil)
			s.until, s.answer = until, answer
			s.leave("2 6 e f")
			for n := 0; n < 20 || !s.noted("viewer") || !s.noted("game") || s.has("viewer") < 16 || s.has("game") < 16; n++ {
				if n == 300 {
					t.Fatalf("request %d fails: not at an end: %v, %q run", until, s.record, s.running())
				}
				switch n { // in the middle of a turn, and between
				case 3:
					s.app("viewer", "s3://b/v2/", nil)
				case 9:
					s.app("game", "s3://b/game2/", nil)
				case 7:
					s.come("2")
				case 19:
					s.come("6 e f")
				}
				if _, err := f.Step(t.Context()); err != nil {
					f, _ = s.follow(time.Hour)
				}
				if got := s.running(); len(got) > 4 {
					t.Fatalf("request %d fails: %q fetch at a time", until, got)
				}
				s.end(3, "complete")
			}
			if s.has("viewer") != 16 || s.has("game") != 16 || s.wrong != "" {
				t.Fatalf("request %d fails: %d and %d nodes have the content; %s", until, s.has("viewer"), s.has("game"), s.wrong)
			}
			reached = s.until < 0
			s.server.Close()
		}
	}
}

// The turns have each node once.
func TestWaves(t *testing.T) {
	for _, digit := range "0123456789abcdef" {
		in := 0
		for n, w := range waves {
			if node := string(digit) + "0000000-0000-0000-0000-000000000000"; regexp.MustCompile(w).MatchString(node) {
				in++
				if quarterOf(node) != n {
					t.Errorf("a node whose id begins with %c has turn %d, and not %d", digit, n, quarterOf(node))
				}
			}
		}
		if in != 1 {
			t.Errorf("a node whose id begins with %c has %d turns", digit, in)
		}
	}
}
