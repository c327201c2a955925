package main

import (
	"context"
	"errors"
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
	"github.com/nearcast/nearcast/brain/nomad"
	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// brainFlags are the flags of "nearcast brain".
type brainFlags struct {
	listen, url, site, name string
	consul, consulToken     string
	nomad, nomadToken       string
	ticketKeys              string
	residency, gpu          []string
}

func brainCommand() *cobra.Command {
	var f brainFlags
	cmd := &cobra.Command{
		Use:   "brain",
		Short: "The session broker of a site",
		Long: `Broker the sessions of a site: people reach it by WebSocket, it claims seats for
them and keeps each app's warm pool.

A brain keeps nothing. Run two or more at each site; one of them keeps the pool,
and another takes over when it dies. No stream is interrupted by that.

--residency and --gpu are said of the site, not of the brain: give all brains of
a site the same.

Every flag can also be given in the environment: --nomad-token is
NEARCAST_NOMAD_TOKEN, and so on. Use that for secrets, which a command line shows
to everybody on the machine.`,
		Example: `  nearcast brain --listen 0.0.0.0:8081 --url wss://brain.eu.play.example/v1/connect --ticket-keys /etc/nearcast/ticket-keys.pem`,
		Args:    cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnv(cmd) },
		RunE:    func(cmd *cobra.Command, _ []string) error { return runBrain(cmd.Context(), f, slog.Default()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8081", "address to serve on")
	flags.StringVar(&f.url, "url", "", "where browsers reach this brain, wss://host[:port]/v1/connect (default ws://<listen>/v1/connect)")
	flags.StringVar(&f.site, "site", "", "the site, a Consul datacenter (default the agent's own)")
	flags.StringVar(&f.name, "name", "", "name among the site's brains (default <hostname>-<port>)")
	flags.StringVar(&f.consul, "consul", "127.0.0.1:8500", "the local Consul agent")
	flags.StringVar(&f.consulToken, "consul-token", "", "Consul ACL token, if Consul asks for one")
	flags.StringVar(&f.nomad, "nomad", "127.0.0.1:4646", "the Nomad API of the site's region")
	flags.StringVar(&f.nomadToken, "nomad-token", "", "Nomad ACL token that may list, dispatch and stop the apps' jobs")
	flags.StringVar(&f.ticketKeys, "ticket-keys", ticket.PublicKeysFile, "public keys of the routers; nearcast ticket-key makes them")
	flags.StringSliceVar(&f.residency, "residency", nil, "jurisdictions the site lies in, such as eu,de; people may ask for one")
	flags.StringSliceVar(&f.gpu, "gpu", nil, "classes of GPU that the site's stream hosts have, such as nvidia-l4; people may ask for one")
	return cmd
}

func runBrain(ctx context.Context, f brainFlags, log *slog.Logger) error {
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listen (--listen): %w", err)
	}
	defer listener.Close()
	me, err := f.identity(listener.Addr().(*net.TCPAddr))
	if err != nil {
		return err
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
	cluster, err := nomad.Open(nomad.Config{Address: f.nomad, Token: f.nomadToken, Log: log})
	if err != nil {
		return fmt.Errorf("--nomad: %w", err)
	}
	defer cluster.Close()
	if me.Site = f.site; me.Site == "" {
		if me.Site, err = askSite(ctx, registry, log); err != nil {
			return err
		}
	}
	// What runs outlives ctx by a moment: people are sent to other brains while
	// this one is off the list already.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	registration, err := registry.RegisterInstance(running, wire.BrainService, me)
	if err != nil {
		return err
	}
	defer registration.Close()

	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	b, err := brain.New(brain.Config{
		ID: me.ID, Site: me.Site, Residency: words(f.residency), GPU: words(f.gpu), Fleet: consul.Fleet{Fleet: registry, Holder: registration}, Nomad: cluster,
		Verifier: verifier, Log: log, Metrics: metrics,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.Handle("/", b.Handler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}

	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	all.Go(func() { b.Run(running) })
	failed := make(chan error, 1)
	all.Go(func() { failed <- server.Serve(listener) })
	log.Info("brain ready", "url", me.URL, "listen", listener.Addr().String(), "site", me.Site, "name", me.ID)
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	registration.Close()
	closing, cancel := context.WithTimeout(running, 10*time.Second)
	defer cancel()
	if err := b.Shutdown(closing); err != nil {
		log.Warn("some people did not let go", "error", err)
	}
	server.Shutdown(closing)
	return ctx.Err()
}

// words are the words of a list as they are compared: in small letters, each
// once, in order.
func words(list []string) []string {
	var out []string
	for _, word := range list {
		if word = strings.ToLower(strings.TrimSpace(word)); word != "" {
			out = append(out, word)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// identity is how this brain is called and reached.
func (f brainFlags) identity(bound *net.TCPAddr) (wire.Instance, error) {
	port, host := fmt.Sprint(bound.Port), bound.IP.String()
	if bound.IP.IsUnspecified() {
		host = "" // the agent's own, in Consul
		if f.url == "" {
			return wire.Instance{}, errors.New("--url is needed: --listen names every address of this machine, and none that a browser could use")
		}
	}
	me := wire.Instance{ID: f.name, URL: f.url, Address: net.JoinHostPort(host, port)}
	if me.URL == "" {
		me.URL = "ws://" + me.Address
	}
	u, err := url.Parse(me.URL)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return wire.Instance{}, fmt.Errorf("--url %q has to be ws:// or wss:// and a host", me.URL)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/connect"
	}
	me.URL = u.String()
	if me.ID == "" {
		machine, err := os.Hostname()
		if err != nil {
			return wire.Instance{}, fmt.Errorf("--name is needed, for this machine has none: %w", err)
		}
		me.ID = machine + "-" + port
	}
	return me, nil
}
