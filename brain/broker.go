package brain

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/trace"
	"github.com/nearcast/nearcast/internal/wire"
)

// Config is what a Broker is made of.
type Config struct {
	ID   string // of this replica
	Site string
	// Residency and GPU are what is published of the site; see wire.SiteInfo.
	Residency, GPU []string
	// TrustedProxies are the proxies whose X-Forwarded-For is believed.
	TrustedProxies guard.Proxies

	// PerNetwork is how many sessions of one app the anonymous people of a network may
	// have at once; 0 is no limit.
	PerNetwork int
	// SharedAgent is the name of a Consul agent with which nodes of any name register;
	// empty where each node has an agent of its own.
	SharedAgent string
	// TURN are the site's TURN servers; without URLs it has none.
	TURN TURN

	// Identity is the brain's own key, and Peers knows the keys of the site's brains,
	// routers and nodes.
	Identity *identity.Identity
	Peers    identity.Peers

	// Room is told how much room the brain has, at each change; nil is nobody. It must
	// not block.
	Room func(wire.Room)

	// Events is told what there is at the site while this brain leads; nil is nobody.
	Events Events

	Fleet    Fleet
	Nomad    Nomad
	Verifier Verifier
	Log      *slog.Logger          // nil means slog.Default()
	Trace    *trace.Tracer         // nil means none
	Metrics  prometheus.Registerer // nil means none
}

// Broker is one replica. It serves people itself. What it knows is in its state;
// the planner does what follows from that, and the leader what only the holder
// of the pool lock does.
type Broker struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	state   *state
	planner *planner
	leader  *leader
	seats   *seatClient
	stills  chan struct{} // holds one for each still that is made now
	sockets *sockets
	guard   *guard.Guard
	feeds   *feeds
	// running ends with Run, and with it what the internal listener streams.
	running context.Context
	ended   context.CancelFunc
	room    roomState
	pace    *pace
}

// New makes a Broker. It does nothing before Run.
func New(cfg Config) (*Broker, error) {
	if err := cfg.TURN.check(); err != nil {
		return nil, err
	}
	switch {
	case cfg.ID == "" || cfg.Site == "":
		return nil, errors.New("brain: ID and Site are required")
	case cfg.Fleet == nil || cfg.Nomad == nil || cfg.Verifier == nil || cfg.Identity == nil || cfg.Peers == nil:
		return nil, errors.New("brain: Fleet, Nomad, Verifier, Identity and Peers are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	metrics := newMetrics(cfg.Metrics)
	state := newState(cfg.Site, cfg.Log, metrics, time.Now)
	state.perNetwork = cfg.PerNetwork
	state.view.sharedAgent = cfg.SharedAgent
	seats := &seatClient{me: cfg.Identity}
	pace := newPace(state.behind)
	g := newGuard(cfg.TrustedProxies, pace, metrics)
	guarded(cfg.Metrics, g)
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(seatsCollector{state})
	}
	state.crowded = g.Crowded
	running, ended := context.WithCancel(context.Background())
	return &Broker{
		running: running, ended: ended,
		cfg: cfg, log: cfg.Log, metrics: metrics, state: state, seats: seats, stills: make(chan struct{}, stillsAtOnce), sockets: newSockets(), guard: g, pace: pace, feeds: newFeeds(running, cfg.Peers, state, cfg.Log),
		planner: &planner{state: state, nomad: cfg.Nomad, seats: seats, log: cfg.Log},
		leader: &leader{id: cfg.ID, me: cfg.Identity, state: state, fleet: cfg.Fleet, log: cfg.Log, events: cfg.Events,
			site: wire.SiteInfo{Site: cfg.Site, Residency: cfg.Residency, GPU: cfg.GPU}},
	}, nil
}

// Run watches, plans and dispatches until ctx ends.
func (b *Broker) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer b.ended()
	defer all.Wait()
	all.Go(func() { b.feeds.awaitAll(ctx, b.cfg.Fleet) })
	all.Go(func() { b.state.watchSizes(ctx, b.cfg.Fleet) })
	all.Go(func() { b.tellPeers(ctx) })
	all.Go(func() { b.cfg.Nomad.Watch(ctx, b.state.jobsChanged) })
	all.Go(func() { b.leader.loop(ctx) })
	all.Go(func() { b.planner.loop(ctx) })
	all.Go(func() { b.guard.Run(ctx) })
	all.Go(func() { b.watchConsul(ctx) })
	all.Go(func() { b.followRoom(ctx) })
	all.Go(func() { b.pace.follow(ctx) })
}

// Shutdown sends people to other brains and waits until their connections are
// closed or ctx ends. Their seats keep streaming.
func (b *Broker) Shutdown(ctx context.Context) error {
	b.state.close()
	b.sockets.close()
	return b.sockets.wait(ctx)
}
