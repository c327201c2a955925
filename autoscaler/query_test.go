package autoscaler

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// Each figure that brains know is a number of its own, by pool and by app.
func TestFigures(t *testing.T) {
	answers := []wire.Demand{
		{Brain: "a", Known: true, Apps: []wire.AppDemand{
			{App: "game", Pool: "stream-cpu", Busy: 9, Idle: 3, Starting: 2, Queued: 4, Blocked: 1, Warm: 5, Played: 1_200_000, Ended: 10,
				Arrivals: []wire.Arrivals{arrivals(120_000, 9), arrivals(600_000, 60)}},
			{App: "team/any", Pool: "all", Busy: 1, Idle: 1, Starting: 1, Queued: 1, Warm: 1, Played: 600_000, Ended: 2},
			{App: "other", Pool: "stream-gpu", Busy: 50, Idle: 50, Starting: 50, Queued: 50, Blocked: 50, Warm: 50},
		}},
		// The same seats, seen a moment later, and other people.
		{Brain: "b", Known: true, Apps: []wire.AppDemand{
			{App: "game", Pool: "stream-cpu", Busy: 8, Idle: 4, Starting: 1, Queued: 4, Blocked: 1, Warm: 5, Played: 1_200_000, Ended: 10,
				Arrivals: []wire.Arrivals{arrivals(120_000, 0), arrivals(600_000, 30)}},
		}},
	}
	at := time.Unix(1_800_000_000, 0)
	for text, want := range map[string]float64{
		"busy/stream-cpu": 9, "idle/stream-cpu": 4, "starting/stream-cpu": 2, "queued/stream-cpu": 4, "blocked/stream-cpu": 1, "warm/stream-cpu": 5,
		"busy/stream-cpu,all": 10, "idle/stream-cpu, all": 5, "starting/stream-cpu,all": 3, "warm/stream-cpu,all": 6,
		"idle/stream-cpu,all/team/any": 1, "idle/stream-cpu,all/game": 4, "idle/nobody": 0,
		"length/stream-cpu": 120, "length/stream-cpu,all": 150, "length/nobody": 0,
		"arrivals/stream-cpu": .15, "arrivals/stream-cpu,all/team/any": 0,
	} {
		q, err := parseQuery(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := q.one(answers, at)
		if err != nil || len(got) != 1 || math.Abs(got[0].Value-want) > 1e-3 || !got[0].Timestamp.Equal(at) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	for text, says := range map[string]string{
		"": "must name node pools", " , ": "must name node pools", "idle/": "must name node pools", "free/stream-cpu": `no figure "free"`, "idle/stream-cpu/": "ends before the app",
	} {
		if _, err := parseQuery(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
	q, _ := parseQuery("idle/stream-cpu/none")
	if _, err := q.one(answers, at); err == nil || !strings.Contains(err.Error(), `no brain knows an app "none"`) {
		t.Errorf("of an app that is not there: %v", err)
	}
	q, _ = parseQuery("idle/stream-cpu")
	if _, err := q.one([]wire.Demand{{}}, at); err == nil {
		t.Error("no brain knows its site, and the answer counts")
	}
	answers[0].Apps[0].Idle = -1
	if _, err := q.one(answers, at); err == nil {
		t.Error("idle seats below zero count")
	}
}
