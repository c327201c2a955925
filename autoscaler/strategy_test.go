package autoscaler

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad-autoscaler/plugins/apm"
	"github.com/hashicorp/nomad-autoscaler/plugins/strategy"
	"github.com/hashicorp/nomad-autoscaler/sdk"

	"github.com/nearcast/nearcast/internal/sizing"
)

var (
	_ apm.APM           = (*APM)(nil)
	_ strategy.Strategy = (*Strategy)(nil)
)

func check(apps []sizing.App, config map[string]string) *sdk.ScalingCheckEvaluation {
	return &sdk.ScalingCheckEvaluation{
		Check:   &sdk.ScalingPolicyCheck{Name: "people", Query: "stream-cpu", Strategy: &sdk.ScalingPolicyStrategy{Config: config}},
		Metrics: series(apps, time.Unix(0, 0)),
		Action:  &sdk.ScalingAction{Meta: map[string]any{"nomad_policy_id": "one"}},
	}
}

// From none to some at once, and back when they were not needed for the time hold.
func TestStrategy(t *testing.T) {
	s := NewStrategy(hclog.NewNullLogger())
	now := time.Unix(1_800_000_000, 0)
	s.Now = func() time.Time { return now }
	config := map[string]string{"seats_per_node": "4", "hold": "5m", "wait": "2%"}
	for _, c := range []struct {
		after     time.Duration
		apps      []sizing.App
		count     int64
		want      int64
		direction sdk.ScaleDirection
	}{
		{0, []sizing.App{{Queued: 9}}, 0, 3, sdk.ScaleDirectionUp},
		{time.Minute, []sizing.App{{Busy: 9}}, 3, 3, sdk.ScaleDirectionNone},
		{time.Minute, []sizing.App{{Busy: 1}}, 3, 3, sdk.ScaleDirectionNone}, // held
		{6 * time.Minute, []sizing.App{{Busy: 1}}, 3, 1, sdk.ScaleDirectionDown},
		{6 * time.Minute, nil, 1, 0, sdk.ScaleDirectionDown},
	} {
		now = now.Add(c.after)
		got, err := s.Run(check(c.apps, config), c.count)
		if err != nil || got.Action.Count != c.want || got.Action.Direction != c.direction || got.Action.Reason == "" {
			t.Errorf("%+v of %d nodes: %+v, %v", c.apps, c.count, got, err)
		}
	}
}

// Where nodes carry fewer seats than the policy says, seats that find no node get one more.
func TestStrategyOfFullNodes(t *testing.T) {
	s := NewStrategy(hclog.NewNullLogger())
	now := time.Unix(1_800_000_000, 0)
	s.Now = func() time.Time { return now }
	config := map[string]string{"seats_per_node": "100", "ready": "2m"}
	run := func() int64 {
		got, err := s.Run(check([]sizing.App{{Busy: 5, Queued: 1, Blocked: 1}}, config), 1)
		if err != nil {
			t.Fatal(err)
		}
		return got.Action.Count
	}
	if got := run(); got != 1 {
		t.Errorf("%d nodes at once: one may be starting", got)
	}
	now = now.Add(4 * time.Minute)
	if got := run(); got != 2 {
		t.Errorf("%d nodes after 4 min", got)
	}
}

// At the most nodes no node more is given, so none is seen not to help. Those that drain are among them.
func TestStrategyAtItsMost(t *testing.T) {
	s := NewStrategy(hclog.NewNullLogger())
	now := time.Unix(1_800_000_000, 0)
	s.Now = func() time.Time { return now }
	run := func(most string) *sdk.ScalingAction {
		got, err := s.Run(check([]sizing.App{{Busy: 5, Queued: 1, Blocked: 1}}, map[string]string{"seats_per_node": "100", "ready": "1m", "max": most}), 6)
		if err != nil {
			t.Fatal(err)
		}
		return got.Action
	}
	for range 20 {
		if a := run("6"); a.Count > 6 || strings.Contains(a.Reason, "did not help") {
			t.Fatalf("at the most: %d nodes, %s", a.Count, a.Reason)
		}
		now = now.Add(15 * time.Second)
	}
	if a := run("12"); a.Count != 7 {
		t.Errorf("the most was raised: %d nodes, %s", a.Count, a.Reason)
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"seats_per_node", "", "seats of a node must be 1 or more"},
		{"seats_per_node", "many", "seats_per_node"},
		{"wait", "5", "share of people"},
		{"wait", "100%", "share of people"},
		{"ready", "soon", "ready"},
		{"hold", "-1m", "hold"},
		{"schedule", "at night", "five fields of cron"},
		{"seats_per_nod", "4", `no setting "seats_per_nod"`},
	} {
		config := map[string]string{"seats_per_node": "4", c.key: c.value}
		_, err := NewStrategy(hclog.NewNullLogger()).Run(check(nil, config), 0)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %q: %v, want %q", c.key, c.value, err, c.want)
		}
	}
	if err := NewStrategy(hclog.NewNullLogger()).SetConfig(map[string]string{"nomad_address": "x", "seat": "1"}); err == nil {
		t.Error("an unknown setting of the plugin is taken")
	}
	if err := NewStrategy(hclog.NewNullLogger()).SetConfig(map[string]string{"nomad_address": "x"}); err != nil {
		t.Errorf("what the autoscaler adds is refused: %v", err)
	}
}

// A pool of its least number of nodes needs no fewer, and no brain is told to empty one.
func TestLeastNodes(t *testing.T) {
	for least, want := range map[string]int64{"0": 0, "2": 2} {
		s := NewStrategy(hclog.NewNullLogger())
		s.Now = func() time.Time { return time.Unix(1_800_000_000, 0) }
		eval := &sdk.ScalingCheckEvaluation{
			Check:   &sdk.ScalingPolicyCheck{Strategy: &sdk.ScalingPolicyStrategy{Config: map[string]string{"seats_per_node": "4", "hold": "0s", "min": least}}},
			Action:  &sdk.ScalingAction{},
			Metrics: series(nil, s.Now()),
		}
		got, err := s.Run(eval, 2)
		if err != nil || got.Action.Count != want || (got.Action.Direction == sdk.ScaleDirectionDown) != (want < 2) {
			t.Errorf("min = %s: %+v, %v", least, got.Action, err)
		}
	}
}
