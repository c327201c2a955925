package autoscaler

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad-autoscaler/plugins/base"
	"github.com/hashicorp/nomad-autoscaler/sdk"

	"github.com/nearcast/nearcast/internal/sizing"
)

// Strategy gives the number of nodes of a pool.
type Strategy struct {
	// Now is the clock; a benchmark has one of its own.
	Now func() time.Time

	log hclog.Logger

	mu    sync.Mutex
	pools map[string]*sizing.Sizer // by check
}

// NewStrategy makes a Strategy.
func NewStrategy(log hclog.Logger) *Strategy {
	return &Strategy{log: log, Now: time.Now, pools: map[string]*sizing.Sizer{}}
}

// PluginInfo implements base.Base.
func (s *Strategy) PluginInfo() (*base.PluginInfo, error) {
	return &base.PluginInfo{Name: Name, PluginType: sdk.PluginTypeStrategy}, nil
}

// SetConfig has nothing to take: all settings are those of a policy's strategy.
func (s *Strategy) SetConfig(config map[string]string) error { return onlyKnown(config) }

// maxPools bounds what is remembered.
const maxPools = 1000

// Run implements strategy.Strategy. The autoscaler itself keeps the policy's min and max.
func (s *Strategy) Run(eval *sdk.ScalingCheckEvaluation, count int64) (*sdk.ScalingCheckEvaluation, error) {
	settings := eval.Check.Strategy.Config
	pool, hold, err := settingsOf(settings)
	if err != nil {
		return nil, err
	}
	apps, err := figures(eval.Metrics)
	if err != nil {
		return nil, err
	}
	if count < 0 || count > mostPeople {
		return nil, fmt.Errorf("the pool cannot have %d nodes", count)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := fmt.Sprint(eval.Action.Meta["nomad_policy_id"], " ", eval.Check.Name, " ", eval.Check.Query)
	sizer := s.pools[id]
	if sizer == nil {
		if len(s.pools) >= maxPools {
			clear(s.pools) // policies that are gone
		}
		sizer = &sizing.Sizer{}
		s.pools[id] = sizer
	}
	sizer.For = hold
	d := sizer.Decide(pool, apps, int(count), s.Now())
	switch {
	case d.Nodes > int(count):
		eval.Action.Direction = sdk.ScaleDirectionUp
	case d.Nodes < int(count):
		eval.Action.Direction = sdk.ScaleDirectionDown
	default:
		eval.Action.Direction = sdk.ScaleDirectionNone
	}
	eval.Action.Count, eval.Action.Reason = int64(d.Nodes), d.Reason
	s.log.Debug("sized", "query", eval.Check.Query, "nodes", count, "wanted", d.Nodes, "reason", d.Reason)
	return eval, nil
}

// settingsOf reads a strategy's settings.
func settingsOf(config map[string]string) (p sizing.Pool, hold time.Duration, err error) {
	if err := onlyKnown(config, "seats_per_node", "ready", "wait", "length", "hold", "schedule"); err != nil {
		return p, 0, err
	}
	set := func(key, fallback string, read func(string) error) {
		text := strings.TrimSpace(config[key])
		if text == "" {
			text = fallback
		}
		if e := read(text); e != nil && err == nil {
			err = fmt.Errorf("%s = %q: %w", key, text, e)
		}
	}
	duration := func(to *time.Duration) func(string) error {
		return func(text string) (err error) { *to, err = time.ParseDuration(text); return err }
	}
	set("seats_per_node", "0", func(text string) (err error) { p.SeatsPerNode, err = strconv.Atoi(text); return err })
	set("ready", "4m", duration(&p.Ready))
	set("length", "30m", duration(&p.Length))
	set("hold", "5m", duration(&hold))
	set("wait", "1%", func(text string) (err error) { p.Wait, err = sizing.ParseShare(text); return err })
	set("schedule", "", func(text string) (err error) { p.Schedule, err = sizing.ParseSchedule(text); return err })
	if err == nil {
		err = p.Check()
	}
	if err == nil && hold < 0 {
		err = fmt.Errorf("hold must not be negative")
	}
	return p, hold, err
}
