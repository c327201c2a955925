package brain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
)

// poolToken starts the idempotency token of a seat dispatched ahead of need.
const poolToken = "pool/"

// Config is what a Broker is made of.
type Config struct {
	ID   string // of this replica
	Site string
	// Residency and GPU are what the site is to say of itself; see wire.SiteInfo.
	Residency, GPU []string

	Fleet    Fleet
	Nomad    Nomad
	Verifier Verifier
	Log      *slog.Logger          // nil is slog.Default()
	Metrics  prometheus.Registerer // nil is none
}

// Broker is one replica.
type Broker struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	seats   *http.Client // to seats
	plain   *http.Transport

	closing chan struct{} // closed when people are to go to another brain
	shut    sync.Once
	conns   sync.WaitGroup
	errands sync.WaitGroup // short work that Run waits for
	wakeup  chan struct{}  // wakes the planner
	now     func() time.Time

	mu      sync.Mutex
	stopped bool
	view    *view
	queues  map[string]queue
	waiters map[string]*waiter // by session
	relayed map[string]relayed // by session
	leading bool
	// elsewhere is how many people wait at the other replicas, by replica and
	// app, while this one leads.
	peerQueues map[string]map[string]int
}

// attached is a session that is relayed here.
type relayed struct {
	app, seat string
	since     time.Time
}

// New makes a Broker. Run brings it to life.
func New(cfg Config) (*Broker, error) {
	switch {
	case cfg.ID == "" || cfg.Site == "":
		return nil, errors.New("brain: needs an id and a site")
	case cfg.Fleet == nil || cfg.Nomad == nil || cfg.Verifier == nil:
		return nil, errors.New("brain: needs a fleet, a nomad and a verifier")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	// Seats are near or gone: a second is long. No proxy, and no connection
	// kept, because each is upgraded or rare.
	plain := &http.Transport{
		DialContext:       (&net.Dialer{Timeout: time.Second}).DialContext,
		DisableKeepAlives: true,
	}
	return &Broker{
		cfg: cfg, log: cfg.Log, metrics: newMetrics(cfg.Metrics),
		plain: plain, seats: &http.Client{Transport: plain, Timeout: 3 * time.Second},
		closing: make(chan struct{}), wakeup: make(chan struct{}, 1), now: time.Now,
		peerQueues: map[string]map[string]int{},
		view:       newView(), queues: map[string]queue{}, waiters: map[string]*waiter{}, relayed: map[string]relayed{},
	}, nil
}

// Run watches, plans and dispatches until ctx ends.
func (b *Broker) Run(ctx context.Context) {
	defer b.errands.Wait()
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { b.cfg.Fleet.WatchSeats(ctx, b.seatsChanged) })
	all.Go(func() { b.cfg.Nomad.Watch(ctx, b.jobsChanged) })
	all.Go(func() { b.leadLoop(ctx) })
	all.Go(func() { b.planLoop(ctx) })
}

// Shutdown sends people to other brains and waits until they are gone or ctx
// ends. Their seats keep streaming.
func (b *Broker) Shutdown(ctx context.Context) error {
	b.mu.Lock()
	b.stopped = true
	b.mu.Unlock()
	b.shut.Do(func() { close(b.closing) })
	done := make(chan struct{})
	go func() {
		b.conns.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close connections: %w", ctx.Err())
	}
}

func newPoolToken() string { return poolToken + uuid.NewString() }
