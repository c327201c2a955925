package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/brain/consul"
	"github.com/nearcast/nearcast/brain/events"
	"github.com/nearcast/nearcast/brain/nomad"
	"github.com/nearcast/nearcast/internal/answer"
	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/logs"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/trace"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/provision/cli"
)

// brainFlags are the flags of "nearcast brain".
type brainFlags struct {
	listen, internal, url string
	site, name            string
	consul, consulToken   string
	nomad, nomadToken     string
	namespace             string
	ticketKeys            string
	residency, gpu        []string
	perNetwork            int
	sharedAgent           string
	defaultAccess         string
	trustedProxies        []string
	turn                  []string
	turnSecret            string
	events                string
	privateWebhooks       bool
}

func brainCommand() *cobra.Command {
	var f brainFlags
	cmd := &cobra.Command{
		Use:   "brain",
		Short: "The session broker of a site",
		Long: `Broker the sessions of a site. People connect to a brain by WebSocket; it claims
seats for them and keeps each app's warm pool.

A brain stores nothing, but for events that wait for webhooks (--events). Run two or more at each site. One of them is the leader,
and another takes over when it dies. This interrupts no stream.

--residency, --gpu and --default-access are of the site, not the brain. Give all
brains of a site the same values.

Each flag can also be set in the environment: --nomad-token is
NEARCAST_NOMAD_TOKEN, and so on. Use the environment for secrets: everybody on
the machine can read a command line. The variables of OpenTelemetry, such as
OTEL_EXPORTER_OTLP_ENDPOINT, say where traces of launches go (default nowhere).`,
		Example: `  nearcast brain --listen 0.0.0.0:8081 --url wss://brain.eu.play.example/v1/connect --ticket-keys /etc/nearcast/ticket-keys.pem`,
		Args:    cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnv(cmd) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runBrain(cmd.Context(), f, logs.New(os.Stderr, "brain"))
		},
	}
	cli.Service(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8081", "address to serve on")
	flags.StringVar(&f.internal, "internal-listen", "127.0.0.1:8091", "address for the site's own processes, by HTTPS: routers and brains ask there, and it has the metrics; nobody else may reach it")
	flags.StringVar(&f.url, "url", "", "URL at which browsers reach this brain, wss://host[:port]/v1/connect (default ws://<listen>/v1/connect)")
	flags.StringVar(&f.site, "site", "", "site, a Consul datacenter (default: the Consul agent's own)")
	flags.StringVar(&f.name, "name", "", "unique name of this brain at the site (default <hostname>-<port>)")
	flags.StringVar(&f.consul, "consul", "127.0.0.1:8500", "address of the local Consul agent")
	flags.StringVar(&f.consulToken, "consul-token", "", "Consul ACL token, if Consul needs one")
	flags.StringVar(&f.nomad, "nomad", "127.0.0.1:4646", "address of the Nomad API of the site's region")
	flags.StringVar(&f.nomadToken, "nomad-token", "", "Nomad ACL token with the rights to list, dispatch and stop the apps' jobs")
	flags.StringVar(&f.namespace, "namespace", "apps", "Nomad namespace of the apps' jobs; acl/apply.sh makes it")
	flags.StringVar(&f.ticketKeys, "ticket-keys", ticket.PublicKeysFile, "file with the routers' public keys; nearcast ticket-key makes it")
	flags.StringVar(&f.defaultAccess, "default-access", string(wire.AccessSigned), "who may launch an app whose job has no meta access: signed (those with a launch token) or public (everybody)")
	flags.StringSliceVar(&f.residency, "residency", nil, "jurisdictions of the site, such as eu,de; people can ask for one")
	flags.StringSliceVar(&f.gpu, "gpu", nil, "GPU classes of the site's nodes, such as nvidia-l4; people can ask for one")
	flags.StringSliceVar(&f.trustedProxies, "trusted-proxy", nil, "networks of proxies in front of the brain, such as 10.0.1.0/24: their X-Forwarded-For is believed, and nobody else's")
	flags.StringVar(&f.sharedAgent, "shared-consul-agent", "", "name of a Consul agent with which nodes of any name register, as at a site on one machine; without it, a seat counts only if its node's Consul agent has the name of its Nomad node")
	flags.StringSliceVar(&f.turn, "turn", nil, "TURN server of the site for browsers, turn:host:port[?transport=tcp] or turns:host:port; can be repeated; see nearcast turn")
	flags.StringVar(&f.turnSecret, "turn-secret", "", "secret shared with the TURN servers; each person gets a name and a password made from it, good for ten minutes")
	flags.StringVar(&f.events, "events", "", "where the leader keeps events for webhooks until they are delivered: s3://bucket/prefix[?endpoint=URL&region=NAME], or a folder; all brains of the site need the same place; without it there are no webhooks")
	flags.BoolVar(&f.privateWebhooks, "private-webhooks", false, "webhooks may be at http:// and at addresses that are not public; for development: who registers a webhook, or runs its server, can then reach what the brain can reach")
	flags.IntVar(&f.perNetwork, "max-sessions-network", brain.DefaultPerNetwork, "sessions of one app that the people of an IPv4 /24 or IPv6 /48 may have at once at this site without a launch token; 0: no limit")
	return cmd
}

func runBrain(ctx context.Context, f brainFlags, log *slog.Logger) error {
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listen (--listen): %w", err)
	}
	defer listener.Close()
	internal, err := net.Listen("tcp", f.internal)
	if err != nil {
		return fmt.Errorf("listen (--internal-listen): %w", err)
	}
	defer internal.Close()
	me, err := f.identity(listener.Addr().(*net.TCPAddr))
	if err != nil {
		return err
	}
	access := wire.Access(f.defaultAccess)
	if access != wire.AccessPublic && access != wire.AccessSigned {
		return fmt.Errorf("--default-access must be %s or %s, not %q", wire.AccessSigned, wire.AccessPublic, f.defaultAccess)
	}
	me.Internal = internalAddress(internal)
	key, err := identity.New()
	if err != nil {
		return err
	}
	me.Key = key.Key()
	proxies, err := guard.ParseProxies(f.trustedProxies)
	if err != nil {
		return fmt.Errorf("--trusted-proxy: %w", err)
	}
	verifier, err := ticket.LoadVerifier(f.ticketKeys)
	if err != nil {
		return fmt.Errorf("--ticket-keys: %w", err)
	}
	registry, err := fleet.Open(fleet.Config{Address: f.consul, Token: f.consulToken, Log: log})
	if err != nil {
		return fmt.Errorf("--consul: %w", err)
	}
	defer registry.Close()
	cluster, err := nomad.Open(nomad.Config{Address: f.nomad, Token: f.nomadToken, Namespace: f.namespace,
		DefaultAccess: access, Log: log})
	if err != nil {
		return fmt.Errorf("--nomad: %w", err)
	}
	defer cluster.Close()
	if me.Site = f.site; me.Site == "" {
		if me.Site, err = askSite(ctx, registry, log); err != nil {
			return err
		}
	}
	logs.Set(log, "site", me.Site)
	tracer, err := trace.FromEnv("brain", log, "site", me.Site)
	if err != nil {
		return err
	}
	defer tracer.Close()
	// The brain runs a moment longer than ctx: it is deregistered first, then it
	// sends people to other brains.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	registration, err := registry.RegisterInstance(running, wire.BrainService, me)
	if err != nil {
		return err
	}
	defer registration.Close()

	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	consulFleet := consul.Fleet{Fleet: registry, Holder: registration}
	told, err := f.webhooks(me, consulFleet, log, metrics)
	if err != nil {
		return err
	}
	b, err := brain.New(brain.Config{
		Events: told,
		ID:     me.ID, Site: me.Site, Residency: normalised(f.residency), GPU: normalised(f.gpu), PerNetwork: f.perNetwork, SharedAgent: f.sharedAgent,
		Identity: key, Peers: registry.Peers(wire.BrainService, wire.RouterService, wire.NodeService, wire.AutoscalerService),
		TURN:  brain.TURN{URLs: f.turn, Secret: ticket.TURNSecret(f.turnSecret)},
		Fleet: consulFleet, Nomad: cluster, Room: registration.SetRoom,
		Verifier: verifier, Log: log, Trace: tracer, Metrics: metrics, TrustedProxies: proxies,
	})
	if err != nil {
		return err
	}
	newServer := func(handler http.Handler) *http.Server {
		return &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
			MaxHeaderBytes: answer.ReadHeader, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.Handle("/", b.Internal())
	server, inside := newServer(b.Handler()), newServer(mux)
	b.Guard().Attach(server)

	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	all.Go(func() { b.Run(running) })
	failed := make(chan error, 2)
	all.Go(func() { failed <- server.Serve(b.Guard().Listener(listener)) })
	all.Go(func() { failed <- inside.Serve(tls.NewListener(internal, key.Open())) })
	defer inside.Close()
	log.Info("brain ready", "url", me.URL, "listen", listener.Addr().String(), "internal", internal.Addr().String(), "site", me.Site, "name", me.ID)
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	registration.Close()
	closing, cancel := context.WithTimeout(running, 10*time.Second)
	defer cancel()
	if err := b.Shutdown(closing); err != nil {
		log.Warn("some connections did not close in time", "error", err)
	}
	server.Shutdown(closing)
	return ctx.Err()
}

// webhooks is who tells customers' servers of events.
func (f brainFlags) webhooks(me wire.Instance, registry consul.Fleet, log *slog.Logger, metrics prometheus.Registerer) (brain.Events, error) {
	cfg := events.Config{Site: me.Site, Brain: me.ID, Registry: registry, Private: f.privateWebhooks, Log: log, Metrics: metrics}
	if f.events == "" {
		return events.NewNone(cfg), nil
	}
	store, err := events.OpenStore(f.events)
	if err != nil {
		return nil, fmt.Errorf("--events: %w", err)
	}
	cfg.Store = store
	return events.New(cfg), nil
}

// normalised is a list in the form in which lists are compared: in lower case,
// sorted, without duplicates.
func normalised(list []string) []string {
	var out []string
	for _, value := range list {
		if value = strings.ToLower(strings.TrimSpace(value)); value != "" {
			out = append(out, value)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// identity is this brain's name and addresses.
func (f brainFlags) identity(bound *net.TCPAddr) (wire.Instance, error) {
	address, err := instanceAddress(bound, f.url)
	if err != nil {
		return wire.Instance{}, err
	}
	name, err := instanceName(f.name, bound)
	if err != nil {
		return wire.Instance{}, err
	}
	me := wire.Instance{ID: name, URL: cmp.Or(f.url, "ws://"+address), Address: address}
	u, err := url.Parse(me.URL)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return wire.Instance{}, fmt.Errorf("--url must be ws:// or wss:// and a host, not %q", me.URL)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/connect"
	}
	me.URL = u.String()
	return me, nil
}
