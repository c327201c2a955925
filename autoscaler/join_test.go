package autoscaler

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/sizing"
	"github.com/nearcast/nearcast/internal/wire"
)

func arrivals(ms int64, count int) wire.Arrivals { return wire.Arrivals{WindowMS: ms, Count: count} }

// Two brains see the same seats, and different people come to them.
func TestJoin(t *testing.T) {
	answers := []wire.Demand{
		{Brain: "a", Known: true, Apps: []wire.AppDemand{
			{App: "game", Pool: "stream-cpu", Busy: 9, Queued: 2, Warm: 1, Arrivals: []wire.Arrivals{arrivals(120_000, 3), arrivals(600_000, 20)}, Played: 1_800_000, Ended: 30},
			{App: "other", Pool: "stream-gpu", Busy: 50},
			{App: "any", Pool: "all", Busy: 1},
		}},
		// It has just started: it knows less.
		{Brain: "b", Apps: []wire.AppDemand{
			{App: "game", Pool: "stream-cpu", Busy: 8, Blocked: 1, Arrivals: []wire.Arrivals{arrivals(60_000, 2), arrivals(60_000, 2)}, Played: 5_000, Ended: 1},
		}},
	}
	got, err := join(answers, []string{"stream-cpu", "all"})
	if err != nil {
		t.Fatal(err)
	}
	// 3 in two minutes and 2 in one are 3.5 a minute, as exact as 4.46 in 76 s; 20 in ten minutes and
	// 2 in what counts as five are 2.4 a minute.
	want := []sizing.App{{Busy: 1}, {Busy: 9, Queued: 2, Blocked: 1, Warm: 1, Played: 30 * time.Minute, Ended: 30,
		Arrivals: []sizing.Window{{Over: 68_571 * time.Millisecond, Count: 4}, {Over: 525 * time.Second, Count: 21}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// The only brain, of a second, to which two people came: no 7,200 an hour.
	answers[1].Apps[0].Arrivals = []wire.Arrivals{arrivals(1_000, 2), arrivals(1_000, 2)}
	got, err = join([]wire.Demand{{Known: true, Apps: answers[1].Apps}}, []string{"stream-cpu"})
	if want := []sizing.Window{{Over: time.Minute, Count: 2}, {Over: 5 * time.Minute, Count: 2}}; err != nil || !slices.Equal(got[0].Arrivals, want) {
		t.Errorf("the only brain, of a second: %+v, %v", got, err)
	}
	// Nobody came.
	answers[1].Apps[0].Arrivals = []wire.Arrivals{arrivals(120_000, 0), arrivals(600_000, 0)}
	got, err = join([]wire.Demand{{Known: true, Apps: answers[1].Apps}}, []string{"stream-cpu"})
	if want := []sizing.Window{{Over: 2 * time.Minute}, {Over: 10 * time.Minute}}; err != nil || !slices.Equal(got[0].Arrivals, want) {
		t.Errorf("nobody came: %+v, %v", got, err)
	}
	answers[0].Known = false
	if _, err := join(answers, []string{"stream-cpu"}); err == nil {
		t.Error("no brain knows its site, and the answer counts")
	}
}

// A broken brain ends no node.
func TestJoinRefuses(t *testing.T) {
	for what, app := range map[string]wire.AppDemand{
		"people below zero":   {Busy: -1},
		"too many people":     {Queued: 2e6},
		"sessions below zero": {Ended: -1},
		"endless sessions":    {Played: 1 << 60},
		"no window":           {Arrivals: []wire.Arrivals{arrivals(0, 1)}},
		"arrivals below zero": {Arrivals: []wire.Arrivals{arrivals(1, -1)}},
		"too many windows":    {Arrivals: make([]wire.Arrivals, 9)},
	} {
		app.Pool = "p"
		if _, err := join([]wire.Demand{{Known: true, Apps: []wire.AppDemand{app}}}, []string{"p"}); err == nil {
			t.Errorf("%s: it counts", what)
		}
	}
}

func TestSeries(t *testing.T) {
	apps := []sizing.App{
		{Busy: 3, Queued: 1, Blocked: 2, Warm: 4, Played: 90 * time.Second, Ended: 9.5,
			Arrivals: []sizing.Window{{Over: 2 * time.Minute, Count: 7}, {Over: 10 * time.Minute, Count: 11}}},
		{Busy: 1},
	}
	whole := series(apps, time.Unix(1_800_000_000, 0))
	if got, err := figures(whole); err != nil || !reflect.DeepEqual(got, apps) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := figures(series(nil, time.Now())); err != nil || len(got) != 0 {
		t.Errorf("no apps: %+v, %v", got, err)
	}
	for i := range whole {
		if _, err := figures(whole[:i]); err == nil {
			t.Errorf("%d of %d figures are taken", i, len(whole))
		}
	}
	if _, err := figures(append(whole, whole[0])); err == nil {
		t.Error("one figure too many is taken")
	}
	whole[0].Value = 42
	if _, err := figures(whole); err == nil || !strings.Contains(err.Error(), "format") {
		t.Errorf("another source's answer: %v", err)
	}
}
