package brain_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/brain/consul"
	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestMain(m *testing.M) {
	if os.Getenv(processEnv) != "" {
		beBrain() // and not a test
		return
	}
	goleak.VerifyTestMain(m)
}

// site is everything that a brain speaks with: a real Consul, a Nomad in memory,
// and seats with the seat API.
type site struct {
	t      *testing.T
	ctx    context.Context
	consul *testkit.Consul
	fleet  *fleet.Fleet
	signer *ticket.Signer
	verify *ticket.Verifier
	nomad  *fakeNomad
	logs   *testkit.Buffer // what brains log, so that a test can look for secrets in it
	output io.Writer       // of the test
	here   *node           // the one where seats are

	mu    sync.Mutex
	seats map[string]*seat
}

func newSite(t *testing.T, apps ...brain.App) *site {
	t.Helper()
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	s := &site{t: t, ctx: ctx, consul: testkit.StartConsul(t), signer: testkit.Signer(t),
		logs: &testkit.Buffer{}, output: testkit.Output(t), seats: map[string]*seat{}}
	s.verify = ticket.NewVerifier(s.signer.Public())
	s.fleet = s.open(s.consul.Address)
	_, err := s.fleet.RegisterInstance(ctx, wire.RouterService, wire.Instance{ID: "router", Site: "dc1", Address: "127.0.0.1:1", Key: router.Key()})
	testkit.Must(t, err)
	s.here = s.node("here")
	s.nomad = &fakeNomad{site: s, jobs: brain.Jobs{Apps: map[string]brain.App{}, Children: map[string]brain.Child{}},
		tokens: map[string]string{}, changed: make(chan struct{})}
	for _, app := range apps {
		s.nomad.jobs.Apps[app.ID] = app
	}
	t.Cleanup(func() { // the brains have ended
		s.nomad.placing.Wait()
		for _, seat := range s.seats {
			seat.vanish()
		}
		s.here.stop()
		cancel()
		s.fleet.Close()
	})
	return s
}

func (s *site) open(address string) *fleet.Fleet {
	f, err := fleet.Open(fleet.Config{Address: address, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		s.t.Fatal(err)
	}
	return f
}

// replica is a running brain.
type replica struct {
	*brain.Broker
	url      string
	server   *httptest.Server
	internal string // URL of the internal listener
	inside   *httptest.Server
	me       *identity.Identity
	stop     func()
	metrics  *prometheus.Registry
}

// router is the key of the router of every site.
var router = func() *identity.Identity {
	i, err := identity.New()
	if err != nil {
		panic(err)
	}
	return i
}()

// asRouter is the router's client for internal listeners.
func asRouter() *http.Client { return as(router) }

// as is the client of a process for internal listeners, whose keys it does not check.
func as(me *identity.Identity) *http.Client {
	config := me.Client("")
	config.VerifyConnection = nil
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
}

// proxy is a network of loopback from which X-Forwarded-For is believed.
var proxy = netip.MustParsePrefix("127.9.9.0/24")

// value is a metric's value, the sum of those with the label value if one is given.
func (r *replica) value(name string, label ...string) (sum float64) {
	families, _ := r.metrics.Gather()
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if len(label) > 0 && !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetValue() == label[0] }) {
				continue
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

func (r *replica) cuts(why string) float64 { return r.value("nearcast_brain_cuts_total", why) }

// brain starts a replica, with another address of Consul if one is given.
func (s *site) brain(name string, consulAddress ...string) *replica {
	s.t.Helper()
	return s.brainWith(name, func(*brain.Config) {}, consulAddress...)
}

func (s *site) brainWith(name string, change func(*brain.Config), consulAddress ...string) *replica {
	s.t.Helper()
	f := s.open(append(consulAddress, s.consul.Address)[0])
	ctx, cancel := context.WithCancel(s.ctx)
	server, inside := httptest.NewUnstartedServer(nil), httptest.NewUnstartedServer(nil)
	me := testkit.Identity(s.t)
	reg, err := f.RegisterInstance(ctx, wire.BrainService, wire.Instance{ID: name, Site: "dc1", Key: me.Key(),
		Address: server.Listener.Addr().String(), Internal: inside.Listener.Addr().String()})
	if err != nil {
		s.t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	cfg := brain.Config{Identity: me, Peers: f.Peers(wire.BrainService, wire.RouterService, wire.NodeService, wire.AutoscalerService), Metrics: metrics, TrustedProxies: guard.Proxies{proxy}, ID: name, Site: "dc1", Fleet: consul.Fleet{Fleet: f, Holder: reg}, Nomad: s.nomad,
		Residency: []string{"eu", "land-of-" + name}, GPU: []string{"nvidia-l4"}, PerNetwork: 2, Verifier: s.verify, Log: slog.New(slog.NewTextHandler(io.MultiWriter(s.logs, s.output), nil)).With("brain", name)}
	change(&cfg)
	b, err := brain.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	server.Config.Handler, inside.Config.Handler = b.Handler(), b.Internal()
	b.Guard().Attach(server.Config)
	server.Listener = b.Guard().Listener(server.Listener)
	server.Start()
	inside.Listener = tls.NewListener(inside.Listener, me.Open())
	inside.Start()
	done := make(chan struct{})
	go func() { b.Run(ctx); close(done) }()
	var once sync.Once
	r := &replica{Broker: b, url: server.URL, metrics: metrics, server: server, me: me, internal: "https://" + inside.Listener.Addr().String(), inside: inside, stop: func() {
		once.Do(func() {
			cancel()
			<-done
			reg.Close()
			server.CloseClientConnections()
			server.Close()
			inside.CloseClientConnections()
			inside.Close()
			f.Close()
		})
	}}
	s.t.Cleanup(r.stop)
	s.until("brain "+name+" is healthy", func() bool {
		status, _ := call(s.t, http.MethodGet, r.url+"/healthz")
		return status == 200
	})
	return r
}

func (s *site) until(what string, ok func() bool) {
	s.t.Helper()
	testkit.Until(s.t, what, ok)
}

func call(t *testing.T, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := asRouter()
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// ticket signs a ticket for a new session.
func (s *site) ticket(app string, version uint64) (token, session string) {
	session = ticket.NewSession()
	token, _, err := s.signer.Sign(ticket.Claims{Session: session, App: app, Version: version, Sites: []string{"dc1"}})
	if err != nil {
		s.t.Fatal(err)
	}
	return token, session
}

// ready places children as seats that are idle at once.
func (s *site) ready(child brain.Child) { s.seat(child.App, child.ID, child.Alloc, wire.SeatIdle) }

func (s *site) at(alloc string) *seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seats[alloc]
}

func (s *site) published(app string) func() wire.App {
	var mu sync.Mutex
	var last wire.App
	s.fleet.WatchApps(s.ctx, func(apps map[string]wire.App) {
		mu.Lock()
		defer mu.Unlock()
		last = apps[app]
	})
	return func() wire.App {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}
