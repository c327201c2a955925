package autoscaler

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad-autoscaler/plugins/base"
	"github.com/hashicorp/nomad-autoscaler/sdk"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/wire"
)

// Name is the file's name in the autoscaler's plugin_dir, and what both plugins say they are.
const Name = "nomad-autoscaler-seats"

// within bounds one question to all brains.
const within = 5 * time.Second

// APM answers what brains know.
type APM struct {
	log hclog.Logger

	mu    sync.Mutex
	asker *asker // nil before SetConfig
}

// NewAPM makes an APM that SetConfig connects.
func NewAPM(log hclog.Logger) *APM { return &APM{log: log} }

// PluginInfo implements base.Base.
func (a *APM) PluginInfo() (*base.PluginInfo, error) {
	return &base.PluginInfo{Name: Name, PluginType: sdk.PluginTypeAPM}, nil
}

// SetConfig takes consul and consul_token; the defaults are CONSUL_HTTP_ADDR and
// CONSUL_HTTP_TOKEN, which Nomad sets for a task with an identity for Consul.
func (a *APM) SetConfig(config map[string]string) error {
	if err := onlyKnown(config, "consul", "consul_token"); err != nil {
		return err
	}
	next, err := newAsker(cmp.Or(config["consul"], os.Getenv("CONSUL_HTTP_ADDR")),
		cmp.Or(config["consul_token"], os.Getenv("CONSUL_HTTP_TOKEN")), a.log)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asker.close() // before the next one registers: both records have one id
	a.asker = next
	next.register("")
	return nil
}

// Close takes the autoscaler out of Consul.
func (a *APM) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asker.close()
	a.asker = nil
}

// Query answers for the apps whose jobs name one of some node pools, separated by commas: what the
// strategy of this plugin needs, or, as FIGURE/POOLS or FIGURE/POOLS/APP, one number for any other one.
func (a *APM) Query(text string, _ sdk.TimeRange) (sdk.TimestampedMetrics, error) {
	q, err := parseQuery(text)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	asker := a.asker
	a.mu.Unlock()
	if asker == nil {
		return nil, errors.New("the plugin has no config yet")
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	answers, err := asker.ask(ctx)
	if err != nil {
		return nil, err
	}
	if q.figure != "" {
		return q.one(answers, time.Now())
	}
	return Metrics(answers, q.pools, time.Now())
}

// poolsOf are the node pools that a check's query names.
func poolsOf(query string) (pools []string) {
	for pool := range strings.SplitSeq(query, ",") {
		if pool = strings.TrimSpace(pool); pool != "" {
			pools = append(pools, pool)
		}
	}
	return pools
}

// Metrics is what the strategy gets of the answers of a site's brains.
func Metrics(answers []wire.Demand, pools []string, at time.Time) (sdk.TimestampedMetrics, error) {
	apps, err := join(answers, pools)
	if err != nil {
		return nil, err
	}
	return series(apps, at), nil
}

// QueryMultiple is for a feature of the autoscaler that sizes tasks.
func (a *APM) QueryMultiple(string, sdk.TimeRange) ([]sdk.TimestampedMetrics, error) {
	return nil, errors.New("this plugin sizes pools of nodes, and no tasks")
}

// asker asks the brains of a site.
type asker struct {
	log     hclog.Logger
	fleet   *fleet.Fleet
	me      *identity.Identity
	clients *identity.Clients
	record  *fleet.InstanceRegistration // nil before register
}

func newAsker(consul, token string, log hclog.Logger) (*asker, error) {
	me, err := identity.New()
	if err != nil {
		return nil, err
	}
	f, err := fleet.Open(fleet.Config{Address: consul, Token: token, Log: slog.New(slog.NewTextHandler(
		log.StandardWriter(&hclog.StandardLoggerOptions{ForceLevel: hclog.Warn}), &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		return nil, err
	}
	return &asker{log: log, fleet: f, me: me, clients: me.Clients(within)}, nil
}

// register has the brains know this process's key. kind tells the two processes of the plugin
// apart.
func (a *asker) register(kind string) {
	id := cmp.Or(os.Getenv("NOMAD_SHORT_ALLOC_ID"), fmt.Sprint(os.Getpid())) + kind
	a.record = a.fleet.RegisterCaller(context.Background(), wire.AutoscalerService, id, a.me.Key())
}

func (a *asker) close() {
	if a == nil {
		return
	}
	a.record.Close()
	a.clients.Close()
	a.fleet.Close()
}

// ask asks all brains at once. Those that do not answer are left out, and named in the log.
func (a *asker) ask(ctx context.Context) (answers []wire.Demand, err error) {
	var mu sync.Mutex
	err = a.each(ctx, func(b wire.Instance) error {
		return a.one(ctx, b, http.MethodGet, wire.DemandPath, nil, func(body io.Reader) error {
			var d wire.Demand
			if err := json.NewDecoder(body).Decode(&d); err != nil {
				return fmt.Errorf("read the answer: %w", err)
			}
			mu.Lock()
			defer mu.Unlock()
			answers = append(answers, d)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return answers, nil
}

// tell tells all brains something of a pool: wire.Spare or wire.Growth.
func (a *asker) tell(ctx context.Context, path string, what any) error {
	text, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return a.each(ctx, func(b wire.Instance) error {
		return a.one(ctx, b, http.MethodPost, path, text, func(io.Reader) error { return nil })
	})
}

// each does something with all brains at once. It has an error where it worked with none; those
// with which it failed are named in the log.
func (a *asker) each(ctx context.Context, do func(wire.Instance) error) error {
	brains, err := a.fleet.Instances(ctx, wire.BrainService)
	if err != nil {
		return fmt.Errorf("find the brains: %w", err)
	}
	var (
		all    sync.WaitGroup
		mu     sync.Mutex
		worked int
		failed error
	)
	for _, b := range brains {
		if !b.Healthy || b.Internal == "" {
			continue
		}
		all.Go(func() {
			err := do(b)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("ask brain %s: %w", b.ID, err))
				return
			}
			worked++
		})
	}
	all.Wait()
	if worked == 0 {
		return errors.Join(errors.New("no brain answers"), failed)
	}
	if failed != nil {
		a.log.Warn("some brains do not answer", "error", failed)
	}
	return nil
}

// again is the wait before a brain is asked once more that does not know this process's key
// yet: it asks Consul four times a second at most.
const again = 300 * time.Millisecond

func (a *asker) one(ctx context.Context, b wire.Instance, method, path string, body []byte, read func(io.Reader) error) error {
	for {
		known, err := a.once(ctx, b, method, path, body, read)
		if known || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(again):
		}
	}
}

// once asks a brain. known is false if it says that it does not know who asks.
func (a *asker) once(ctx context.Context, b wire.Instance, method, path string, body []byte, read func(io.Reader) error) (known bool, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+b.Internal+path, bytes.NewReader(body))
	if err != nil {
		return true, err
	}
	res, err := a.clients.To(b.Key).Do(req)
	if err != nil {
		return true, err
	}
	answer := io.LimitReader(res.Body, wire.MaxDemand)
	defer func() {
		io.Copy(io.Discard, answer) // a connection is kept only after an answer that was read to its end
		res.Body.Close()
	}()
	if res.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(answer, 500))
		return res.StatusCode != http.StatusForbidden, fmt.Errorf("%s: %s", res.Status, text)
	}
	return true, read(answer)
}

// onlyKnown refuses misspelt settings. The autoscaler adds its own to those of each plugin.
func onlyKnown(config map[string]string, known ...string) error {
next:
	for key := range config {
		for _, one := range known {
			if key == one {
				continue next
			}
		}
		if !strings.HasPrefix(key, "nomad_") && !strings.HasPrefix(key, "_nomad_") {
			return fmt.Errorf("there is no setting %q; there are %s", key, strings.Join(known, ", "))
		}
	}
	return nil
}
