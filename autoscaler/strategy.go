package autoscaler

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad-autoscaler/plugins/base"
	"github.com/hashicorp/nomad-autoscaler/sdk"

	"github.com/nearcast/nearcast/internal/sizing"
	"github.com/nearcast/nearcast/internal/wire"
)

// Strategy gives the number of nodes of a pool.
type Strategy struct {
	// Now is the clock; a benchmark has one of its own.
	Now func() time.Time

	log hclog.Logger

	mu    sync.Mutex
	pools map[string]*sized // by check
	asker *asker            // nil where no Consul is known: then brains are told nothing
	drain *drains           // nil before SetConfig
}

// NewStrategy makes a Strategy.
func NewStrategy(log hclog.Logger) *Strategy {
	return &Strategy{log: log, Now: time.Now, pools: map[string]*sized{}}
}

// PluginInfo implements base.Base.
func (s *Strategy) PluginInfo() (*base.PluginInfo, error) {
	return &base.PluginInfo{Name: Name, PluginType: sdk.PluginTypeStrategy}, nil
}

// SetConfig takes consul and consul_token, as the APM does, to find the brains that are told when
// a pool needs fewer nodes, and whether it may get some. All other settings are those of a policy's strategy.
func (s *Strategy) SetConfig(config map[string]string) error {
	if err := onlyKnown(config, "consul", "consul_token"); err != nil {
		return err
	}
	s.mu.Lock()
	s.drain.close()
	s.drain = newDrains(config)
	s.mu.Unlock()
	address := cmp.Or(config["consul"], os.Getenv("CONSUL_HTTP_ADDR"))
	if address == "" {
		s.log.Info("brains are not told of a pool's nodes, so idle seats keep theirs, and who finds none does not wait for one: set consul in the strategy's config")
		return nil
	}
	next, err := newAsker(address, cmp.Or(config["consul_token"], os.Getenv("CONSUL_HTTP_TOKEN")), s.log)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asker.close()
	s.asker = next
	next.register("-strategy")
	return nil
}

// Close takes the process out of Consul.
func (s *Strategy) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asker.close()
	s.drain.close()
	s.asker, s.drain = nil, nil
}

// maxPools bounds what is remembered.
const maxPools = 1000

// Run implements strategy.Strategy. The autoscaler itself keeps the policy's max, and its min. Nodes that the
// target drains are in the count, and take no people: so the pool needs the others beside them.
func (s *Strategy) Run(eval *sdk.ScalingCheckEvaluation, count int64) (*sdk.ScalingCheckEvaluation, error) {
	g, err := s.size(eval, count)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	asker := s.asker
	s.mu.Unlock()
	if asker == nil {
		return eval, nil
	}
	if eval.Action.Direction == sdk.ScaleDirectionDown {
		s.tell(asker, wire.SparePath, wire.Spare{Pools: g.Pools, Nodes: int(eval.Action.Count)},
			"brains are not told that a pool needs fewer nodes, so idle seats keep theirs")
	}
	s.tell(asker, wire.GrowthPath, g, "brains are not told whether a pool may get nodes, so who finds none does not wait for one")
	return eval, nil
}

// size decides, and says what brains are told of the pool.
func (s *Strategy) size(eval *sdk.ScalingCheckEvaluation, count int64) (g wire.Growth, err error) {
	settings := eval.Check.Strategy.Config
	pool, hold, err := settingsOf(settings)
	if err != nil {
		return g, err
	}
	apps, err := figures(eval.Metrics)
	if err != nil {
		return g, err
	}
	if count < 0 || count > mostPeople {
		return g, fmt.Errorf("the pool cannot have %d nodes", count)
	}
	ending, taking := s.nodesOf(settings["node_class"])
	ending = min(ending, int(count))
	most := pool.Max
	if most > 0 {
		pool.Max = max(1, most-ending) // those that drain are among them
	}
	d, g := s.decide(eval, pool, apps, look{int(count), ending, taking, most, s.Now()}, hold)
	if ending > 0 {
		d.Nodes += ending
		d.Reason += fmt.Sprintf("; nodes that drain beside these: %d", ending)
	}
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
	return g, nil
}

// nodesOf is how many nodes of a class the target drains, and how many take people. Where Nomad does not say it,
// none is counted as draining, nodes are added all the same, and taking is -1.
func (s *Strategy) nodesOf(class string) (ending, taking int) {
	s.mu.Lock()
	drain := s.drain
	s.mu.Unlock()
	if drain == nil || class == "" {
		return 0, -1
	}
	ending, taking, err := drain.of(class, s.Now())
	if err != nil {
		s.log.Warn("nodes that drain count as if they took people", "node_class", class, "error", err)
		return 0, -1
	}
	return ending, taking
}

// tell tells all brains something of a pool. failed says what follows where that fails.
func (s *Strategy) tell(asker *asker, path string, what any, failed string) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := asker.tell(ctx, path, what); err != nil {
		s.log.Warn(failed, "told", what, "error", err)
	}
}

// decide sizes a pool, and says what its people may expect who find no node.
func (s *Strategy) decide(eval *sdk.ScalingCheckEvaluation, pool sizing.Pool, apps []sizing.App, l look, hold time.Duration) (sizing.Decision, wire.Growth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := fmt.Sprint(eval.Action.Meta["nomad_policy_id"], " ", eval.Check.Name, " ", eval.Check.Query)
	sizer := s.pools[id]
	if sizer == nil {
		if len(s.pools) >= maxPools {
			clear(s.pools) // policies that are gone
		}
		if l.most == 0 {
			s.log.Warn("the strategy has no max: people wait for a node also where the policy allows no more", "query", eval.Check.Query)
		}
		sizer = &sized{count: l.count}
		s.pools[id] = sizer
	}
	sizer.For = hold
	sizer.looks(l)
	d := sizer.Decide(pool, apps, l.count-l.ending, l.at)
	g := sizer.growth(pool.Ready, d, slices.ContainsFunc(apps, func(a sizing.App) bool { return a.Blocked > 0 }), l)
	g.Policy, g.Pools = id, poolsOf(eval.Check.Query)
	return d, g
}

// settingsOf reads a strategy's settings.
func settingsOf(config map[string]string) (p sizing.Pool, hold time.Duration, err error) {
	if err := onlyKnown(config, "seats_per_node", "ready", "wait", "length", "hold", "schedule", "min", "max", "node_class"); err != nil {
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
	// The autoscaler keeps the policy's least number, and tells no strategy: without it, brains would
	// be told to empty nodes that stay.
	set("min", "0", func(text string) (err error) { p.Min, err = strconv.Atoi(text); return err })
	// With it, people are not made to wait for a node that the autoscaler does not request.
	set("max", "0", func(text string) (err error) { p.Max, err = strconv.Atoi(text); return err })
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
