package nomad

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
)

// fetched makes steps until each app's present version is noted.
func (s *shelf) fetched(f *Follower, apps ...string) {
	s.t.Helper()
	for n := 0; slices.ContainsFunc(apps, func(app string) bool { return !s.noted(app) }); n++ {
		if _, err := f.Step(s.t.Context()); err != nil || n == 50 {
			s.t.Fatalf("not at an end: %v; %v", err, s.record)
		}
		s.end(16, "complete")
	}
}

// Nodes that come later fetch each app, the last registered first, a quarter of all nodes at a time, and once.
func TestFollowerOfLaterNodes(t *testing.T) {
	s := newShelf(t)
	f, said := s.follow(time.Hour)
	s.leave("5 6 c d e f")
	s.app("plain", "", nil)
	s.app("out", "s3://b/out/", map[string]string{"prefetch": "false"})
	s.app("game", "s3://b/game/", nil)
	s.app("viewer", "s3://b/v1/", nil)
	s.fetched(f, "game", "viewer")

	s.come("5")
	s.steps(f, "one comes", s.on("viewer", "5")...)
	s.come("c d e f")
	s.steps(f, "others come while it fetches", s.on("viewer", "5")...)
	s.end(1, "complete")
	s.steps(f, "they are next", s.on("viewer", "cdef")...)
	s.end(2, "complete")
	if !strings.Contains(said.String(), `app=viewer version=0 turn="later nodes" nodes=1`) {
		t.Errorf("it says %s", said)
	}
	f, said = s.follow(time.Hour)
	s.steps(f, "after a restart two of them still fetch", s.on("viewer", "ef")...)
	s.end(2, "failed")
	s.steps(f, "the other app", s.on("game", "5cde")...)
	s.end(4, "complete")
	s.steps(f, "its rest", s.on("game", "f")...)
	s.end(1, "complete")
	s.steps(f, "all have ended")
	if s.has("game") != 15 || s.has("viewer") != 13 {
		t.Errorf("%d and %d nodes have the content", s.has("game"), s.has("viewer"))
	}

	was := s.writes
	for range 3 { // a node that comes and goes has had its turn
		s.leave("5 d")
		s.steps(f, "two are away")
		s.come("5 d")
		s.steps(f, "they are back")
	}
	if s.writes != was {
		t.Errorf("%d writes, though nothing is to be done", s.writes-was)
	}

	// Who is away while a version is fetched fetches all when it is back, and then no more.
	s.leave("5")
	s.app("viewer", "s3://b/v2/", nil)
	s.fetched(f, "viewer")
	s.come("5")
	s.steps(f, "it is back", s.on("viewer", "5")...)
	s.collect() // no job that still runs
	s.end(1, "complete")
	s.steps(f, "the other app on it", s.on("game", "5")...)
	s.end(1, "complete")
	s.steps(f, "it has all")
	s.leave("5")
	s.steps(f, "it is away again")
	s.come("5")
	s.steps(f, "it is back again")

	// A node in place of another.
	s.mu.Lock()
	s.nodes = slices.DeleteFunc(s.nodes, func(n string) bool { return n == "5" })
	s.mu.Unlock()
	s.come("5a")
	s.app("game", "s3://b/game2/", nil)
	s.steps(f, "a node takes its place, and an app is registered", s.on("game", quarters[0])...)
	s.end(4, "complete")
	s.steps(f, "then it is the node's turn", fmt.Sprintf("viewer %d on 5a", *s.jobs["viewer"].JobModifyIndex))
	s.end(1, "complete")
	s.fetched(f, "game")
	if s.steps(f, "its turns had the node"); s.has("game") != 15 || s.has("viewer") != 16 { // 6 has never come, and one is gone that had a version
		t.Errorf("%d and %d nodes have the content: %v", s.has("game"), s.has("viewer"), s.kept.Items)
	}
	if strings.Contains(s.kept.Items["seen"]+" ", "5 ") || len(s.kept.Items) != 1 {
		t.Errorf("it keeps %v", s.kept.Items)
	}
	if !strings.Contains(said.String(), `turn="later nodes" nodes=4 failed=2 `) {
		t.Errorf("it says %s", said)
	}
}

// A node that is away for its turn of a version, and back before the last one ends, fetches that version, and no other app.
func TestFollowerOfNodesThatMissTheirTurn(t *testing.T) {
	s := newShelf(t)
	f, _ := s.follow(time.Hour)
	s.app("game", "s3://b/game/", nil)
	s.app("viewer", "s3://b/v1/", nil)
	s.fetched(f, "game", "viewer")

	s.leave("1 6 d")
	s.app("viewer", "s3://b/v2/", nil)
	s.steps(f, "a node of the first turn is away", s.on("viewer", "023")...)
	s.end(3, "complete")
	s.come("d")
	s.steps(f, "so is one of the second turn", s.on("viewer", "457")...)
	s.come("1 6")
	s.end(3, "complete")
	f, _ = s.follow(time.Hour)
	s.steps(f, "the third turn", s.on("viewer", quarters[2])...)
	s.end(4, "complete")
	s.steps(f, "the last turn has the node that is back in time", s.on("viewer", quarters[3])...)
	s.end(4, "complete")
	s.steps(f, "all turns are over: who missed one", s.on("viewer", "16")...)
	f, _ = s.follow(time.Hour)
	s.steps(f, "after a restart they fetch still", s.on("viewer", "16")...)
	s.end(2, "complete")
	s.steps(f, "all have it")
	if s.has("viewer") != 16 || s.has("game") != 16 || len(s.kept.Items) != 1 {
		t.Errorf("%d and %d nodes have the content; it keeps %v", s.has("viewer"), s.has("game"), s.kept.Items)
	}
}

// Turns of later nodes and those of versions take turns, though nodes come, and versions are registered, all the time.
func TestFollowerOfNodesThatComeAllTheTime(t *testing.T) {
	s := newShelf(t)
	f, _ := s.follow(time.Hour)
	s.app("game", "s3://b/game/", nil)
	s.app("viewer", "s3://b/v1/", nil)
	s.fetched(f, "game", "viewer")
	late, all := 0, 0
	s.refuse = lateJob("viewer", "n1-0") // Nomad refuses one: that holds up no other
	for n := range 60 {
		s.come(fmt.Sprintf("n%d", n))
		if n%8 == 0 {
			s.app("game", "s3://b/again/", nil)
		}
		if _, err := f.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		switch running := s.running(); {
		case len(running) > (16+n+4)/4:
			t.Fatalf("%q fetch at a time", running)
		case len(running) == 0:
		case strings.Contains(running[0], "on n"):
			late++
		default:
			all++
		}
		s.end(16, "complete")
	}
	if late < 20 || all < 20 || s.wrong != "" {
		t.Errorf("of 60 turns %d were of later nodes, and %d of versions; %s", late, all, s.wrong)
	}
}

func TestFleet(t *testing.T) {
	node := func(id, status, eligible string, healthy bool, index uint64) *api.NodeListStub {
		return &api.NodeListStub{ID: id + "-0000-0000-0000-000000000000", Status: status, SchedulingEligibility: eligible, ModifyIndex: index,
			Drivers: map[string]*api.DriverInfo{"stream": {Detected: true, Healthy: healthy}}}
	}
	nodes := []*api.NodeListStub{
		node("aaaaaaaa", "ready", "eligible", true, 50), node("bbbbbbbb", "ready", "eligible", false, 51), node("cccccccc", "ready", "ineligible", true, 52),
		node("dddddddd", "initializing", "eligible", true, 53), node("eeeeeeee", "ready", "eligible", true, 54), {ID: "ffffffff", Status: "ready", SchedulingEligibility: "eligible"},
	}
	// At first, who is there has the turns of all apps.
	f := fleetOf(nodes, "stream", nil)
	if !f.take([]string{"viewer"}) || len(f.late) != 0 || f.items()[seenItem] != "aaaaaaaa eeeeeeee" {
		t.Errorf("at first: %v", f.items())
	}
	v := &api.Variable{ModifyIndex: 7, Items: api.VariableItems{seenItem: "aaaaaaaa bbbbbbbb gggggggg", lateItem + "viewer": "gggggggg-9 bbbbbbbb-20 eeeeeeee-30"}}
	f = fleetOf(nodes, "stream", v)
	if !f.take([]string{"viewer", "game"}) || f.take([]string{"viewer", "game"}) || f.index != 7 {
		t.Error("a new node is taken in once")
	}
	want := map[string]string{seenItem: "aaaaaaaa bbbbbbbb eeeeeeee", lateItem + "viewer": "bbbbbbbb-20 eeeeeeee-54", lateItem + "game": "eeeeeeee-54"}
	if got := f.items(); fmt.Sprint(map[string]string(got)) != fmt.Sprint(want) {
		t.Errorf("kept are %v, want %v", got, want)
	}
	if got := f.next("viewer"); !slices.Equal(got, []string{"eeeeeeee-54"}) {
		t.Errorf("next are %q", got)
	}
	// The turns of a version that began before a node came, and after.
	began := func(quarters ...uint64) []uint64 { return quarters }
	if f.done("viewer", began(54, 54, 54, 54), nil); len(f.next("viewer")) != 1 || f.seen["bbbbbbbb"] || !f.seen["eeeeeeee"] {
		t.Errorf("kept are %v", f.items())
	}
	if f.done("viewer", began(54, 54, 60, 55), nil); len(f.next("viewer")) != 0 || len(f.next("game")) != 1 {
		t.Errorf("kept are %v", f.items())
	}
	// An earlier turn of the same node is not that which it is to have.
	if f.awaits(turn{of: "game", late: []string{"eeeeeeee-30"}}) || !f.awaits(turn{of: "game", late: []string{"eeeeeeee-54"}}) {
		t.Error("which turn is meant")
	}
	if f.had(turn{of: "game", late: []string{"eeeeeeee-54"}}); f.take([]string{"game"}) || len(f.next("game")) != 0 {
		t.Errorf("kept are %v", f.items())
	}
	// A node that is away at the end of its turn has another one when it is back.
	f.late["game"] = append(f.late["game"], "ffffffff-60")
	missed := turn{of: "game", late: []string{"ffffffff-60"}}
	if f.had(missed); f.awaits(missed) || !slices.Contains(f.late["game"], "ffffffff-61") || len(f.next("game")) != 0 {
		t.Errorf("kept are %v", f.late)
	}
	f.ready["ffffffff"] = 70
	if again := f.next("game"); len(again) != 1 || again[0] != "ffffffff-61" {
		t.Errorf("the next turn is of %v", again)
	}
	f.had(turn{of: "game", late: []string{"ffffffff-61"}})
	delete(f.ready, "ffffffff")
	// A node that has changed since its own turn began may have missed it, and has that app yet to fetch; one whose turn
	// began later has it. To say so twice, as where the rest of a step failed, changes nothing.
	f.seen["aaaaaaaa"] = true
	for range 2 {
		f.done("game", began(70, 70, 45, 70), nil)
		if got := f.items()[lateItem+"game"]; got != "aaaaaaaa-50" || f.items()[seenItem] != "aaaaaaaa eeeeeeee" {
			t.Errorf("kept are %v", f.items())
		}
	}
	// A turn of later nodes had it since.
	f.late["game"] = nil
	if f.done("game", began(70, 70, 45, 70), map[string]uint64{"aaaaaaaa": 60}); len(f.late["game"]) != 0 || !f.seen["aaaaaaaa"] {
		t.Errorf("kept are %v", f.items())
	}
}

// Nomad takes no larger variable: the rest of the nodes is taken in later.
func TestFleetOfManyNodes(t *testing.T) {
	var nodes []*api.NodeListStub
	for n := range 2000 {
		nodes = append(nodes, &api.NodeListStub{ID: fmt.Sprintf("%08x", n), Status: "ready", SchedulingEligibility: "eligible", ModifyIndex: 1e9,
			Drivers: map[string]*api.DriverInfo{"stream": {Detected: true, Healthy: true}}})
	}
	var apps []string
	for n := range 20 {
		apps = append(apps, fmt.Sprint("app-", n))
	}
	f := fleetOf(nodes, "stream", &api.Variable{})
	for turns := 0; f.take(apps) || len(f.next(apps[0])) > 0; turns++ {
		size := 0
		for key, value := range f.items() {
			size += len(key) + len(value)
		}
		if size > 64<<10 || turns > 100 {
			t.Fatalf("%d bytes, %d turns", size, turns)
		}
		for _, app := range apps {
			if len(f.next(app)) > 500 {
				t.Fatal("more than a quarter")
			}
			f.had(turn{of: app, late: f.next(app)})
		}
	}
	if len(f.seen) != 2000 {
		t.Errorf("%d nodes had their turns", len(f.seen))
	}
	// All have changed since their turns of each app began: who finds no room counts as new.
	for _, app := range apps {
		if f.done(app, make([]uint64, len(waves)), nil); f.size() > nodesLimit {
			t.Fatalf("%d bytes", f.size())
		}
		for node := range f.seen {
			if !slices.Contains(f.late[app], entryOf(node, 1e9)) {
				t.Fatalf("%s: node %s does not fetch it, and does not count as new", app, node)
			}
		}
	}
	if len(f.late[apps[0]]) == 0 || len(f.seen) == 2000 {
		t.Errorf("%d nodes wait, %d were seen", len(f.late[apps[0]]), len(f.seen))
	}
}
