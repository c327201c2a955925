package nomad

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAdvise(t *testing.T) {
	use := func(mhz, mb, seats, each int, cpu, memory func(i int) float64) *Use {
		u := &Use{App: "viewer", Seat: SeatTask{Name: "seat", MHz: mhz, MemoryMB: mb}, Seats: map[string]bool{}}
		for i := range seats * each {
			u.Seats[fmt.Sprint(i%seats)] = true
			u.CPU, u.Memory = append(u.CPU, cpu(i)), append(u.Memory, memory(i))
		}
		return u
	}
	flat := func(v float64) func(int) float64 { return func(int) float64 { return v } }
	spikes := func(usual, spike float64, every int) func(int) float64 {
		return func(i int) float64 {
			if i%every == 0 {
				return spike
			}
			return usual
		}
	}
	for _, c := range []struct {
		name        string
		use         *Use
		cpu, memory int
		refused     bool
	}{
		{"too much of both", use(4000, 4096, 3, 20, flat(900), flat(700)), 1100, 896, false},
		{"too little of both", use(500, 512, 3, 20, flat(900), flat(700)), 1100, 896, false},
		{"about right", use(1000, 1024, 3, 20, flat(900), flat(850)), 1000, 1024, false},
		{"a little too little memory", use(1000, 1024, 3, 20, flat(800), flat(1030)), 1000, 1344, false},
		{"one measurement of thirty is high: CPU may, memory may not", use(1000, 1024, 3, 20, spikes(800, 5000, 30), spikes(800, 2000, 30)), 1000, 2560, false},
		{"one of ten", use(1000, 1024, 3, 20, spikes(800, 2000, 10), flat(850)), 2400, 1024, false},
		{"frozen apps need something", use(1000, 1024, 3, 20, flat(0), flat(0)), 50, 64, false},
		{"two seats", use(4000, 4096, 2, 90, flat(900), flat(700)), 4000, 4096, true},
		{"few measurements", use(4000, 4096, 5, 5, flat(900), flat(700)), 4000, 4096, true},
		{"nobody plays", use(4000, 4096, 0, 0, nil, nil), 4000, 4096, true},
	} {
		a := Advise(c.use)
		if a.CPU.Proposed != c.cpu || a.Memory.Proposed != c.memory || (a.Refused != "") != c.refused {
			t.Errorf("%s: %+v, want %d MHz and %d MB", c.name, a, c.cpu, c.memory)
		}
	}
}

// Nomad takes no cpu beside cores, and no memory above memory_max.
func TestAdviceThatNomadTakes(t *testing.T) {
	u := &Use{App: "viewer", Seat: SeatTask{Name: "seat", MHz: 100, Cores: 2, MemoryMB: 512, MemoryMaxMB: 1024}, Seats: map[string]bool{"a": true, "b": true, "c": true}}
	for range 60 {
		u.CPU, u.Memory = append(u.CPU, 3000), append(u.Memory, 1000)
	}
	if a := Advise(u); a.CPU.Has != 0 || a.CPU.Proposed != 0 || a.Memory.Proposed != 1024 || len(a.Notes) != 2 || !strings.Contains(a.Notes[0], "cores = 2") || !strings.Contains(a.Notes[1], "memory_max") {
		t.Errorf("%+v", a)
	}
	u.Seat.Cores, u.Seat.MemoryMaxMB = 0, 0
	if a := Advise(u); a.CPU.Proposed != 3600 || a.Memory.Proposed != 1280 || len(a.Notes) != 0 {
		t.Errorf("without them: %+v", a)
	}
}

// Of the running seats only those count that somebody has, by their last event, and a seat whose
// node has no figures is told of. The answers are as Nomad 1.11.2 gives them.
func TestMeasure(t *testing.T) {
	type object = map[string]any
	alloc := func(id, job string, states ...string) object {
		var events []object
		for _, s := range states {
			events = append(events, object{"Details": object{"state": s}}, object{"Details": object{}, "DisplayMessage": "other"})
		}
		return object{"ID": id, "JobID": job, "ClientStatus": "running", "TaskStates": object{"seat": object{"Events": events}}}
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		answer := func(v any) { json.NewEncoder(rw).Encode(v) }
		switch path := r.URL.Path; path {
		case "/v1/jobs":
			if strings.Contains(r.URL.Query().Get("filter"), `ParentID == ""`) {
				answer([]object{{"ID": "viewer"}, {"ID": "game"}})
				return
			}
			answer([]object{{"ID": "viewer/dispatch-1", "ParentID": "viewer"}, {"ID": "game/dispatch-1", "ParentID": "game"}})
		case "/v1/job/viewer", "/v1/job/game":
			answer(object{"ID": strings.TrimPrefix(path, "/v1/job/"), "Type": "batch", "ParameterizedJob": object{},
				"TaskGroups": []object{{"Tasks": []object{
					{"Name": "seat", "Driver": "stream", "Resources": object{"CPU": 1500, "MemoryMB": 2048, "MemoryMaxMB": 4096}},
					{"Name": "helper", "Driver": "stream", "Resources": object{"CPU": 500, "MemoryMB": 100}},
				}}}})
		case "/v1/allocations":
			answer([]object{
				alloc("plays", "viewer/dispatch-1", "idle", "claimed", "streaming"), alloc("idle", "viewer/dispatch-1", "idle"),
				alloc("left", "viewer/dispatch-1", "idle", "streaming", "detached"), alloc("unmeasured", "viewer/dispatch-1", "streaming"),
				alloc("starts", "viewer/dispatch-1"), alloc("another", "game/dispatch-1", "streaming"),
			})
		case "/v1/client/allocation/plays/stats":
			usage := func(ticks float64, memory int) object {
				return object{"Timestamp": 1, "ResourceUsage": object{"CpuStats": object{"TotalTicks": ticks}, "MemoryStats": object{"Usage": memory << 20, "RSS": memory << 19}}}
			}
			all := usage(1200, 800)
			all["Tasks"] = object{"seat": usage(812.5, 700), "helper": usage(387.5, 100)}
			answer(all)
		case "/v1/client/allocation/unmeasured/stats":
			answer(object{"Timestamp": 0})
		default:
			t.Errorf("asked for %s", path)
			rw.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	checks, err := OpenChecks(Config{Address: server.URL, Namespace: "apps"})
	if err != nil {
		t.Fatal(err)
	}
	defer checks.Close()
	if _, err := checks.Asks(context.Background(), "nothing"); err == nil || !strings.Contains(err.Error(), `no app "nothing"`) {
		t.Errorf("an app that is not there: %v", err)
	}
	uses, err := checks.Asks(context.Background(), "viewer")
	if err != nil || len(uses) != 1 || uses[0].Seat != (SeatTask{"seat", 1500, 0, 2048, 4096}) {
		t.Fatalf("%+v, %v", uses, err)
	}
	for range 2 {
		if err := checks.Measure(context.Background(), uses); err != nil {
			t.Fatal(err)
		}
	}
	u := uses[0]
	if len(u.Seats) != 1 || !u.Seats["plays"] || len(u.CPU) != 2 || u.CPU[0] != 812.5 || u.Memory[1] != 700 {
		t.Errorf("measured %+v", u)
	}
	if a := Advise(u); a.Refused == "" || len(a.Notes) != 1 || !strings.Contains(a.Notes[0], "not measured at times: 1 of the seats: its node has no figures yet") {
		t.Errorf("%+v", a)
	}
}
