package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/logs"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/trace"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/provision/cli"
	"github.com/nearcast/nearcast/router"
	"github.com/nearcast/nearcast/router/consul"
	"github.com/nearcast/nearcast/router/facts"
	"github.com/nearcast/nearcast/web"
)

// routerFlags are the flags of "nearcast router".
type routerFlags struct {
	listen, internal, url string
	site, name            string
	consul, consulToken   string
	ticketKey, ticketKeys string
	stun                  []string
	frameAncestors        []string
	maxStale              time.Duration
	launchRate            float64
	launchBurst           int
	trustedProxies        []string
	operatorToken         string
	login                 loginFlags
}

func routerCommand() *cobra.Command {
	var f routerFlags
	cmd := &cobra.Command{
		Use:   "router",
		Short: "Run a router: REST API, beacon and player",
		Long: `Run a router of a site. It serves what browsers call first: the REST API that
places sessions, the beacon for measuring round trips, and the player.

A router stores nothing, so a site may have any number of them. Each registers
itself in Consul, and reads apps and brains of its site from there. While Consul
does not answer, it serves from its last view for --max-stale. What other sites
have, it asks their routers, at the URLs for browsers.

Every flag can also be set by an environment variable: --ticket-key by
NEARCAST_TICKET_KEY, and so on. Use variables for secrets: all users of a node can
see command lines. The variables of OpenTelemetry, such as
OTEL_EXPORTER_OTLP_ENDPOINT, say where traces of launches go (default nowhere).`,
		Example: `  nearcast ticket-key /etc/nearcast
  nearcast router --listen 0.0.0.0:8080 --url https://eu.play.example --ticket-key /etc/nearcast/ticket-key.pem
  nearcast router … --oidc-issuer https://login.example --oidc-client-id nearcast --oidc-client-secret-file /etc/nearcast/oidc.secret`,
		Args:    cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnv(cmd) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runRouter(cmd.Context(), f, logs.New(os.Stderr, "router"))
		},
	}
	cli.Service(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8080", "address to serve on")
	flags.StringVar(&f.internal, "internal-listen", "127.0.0.1:8090", "address for the site's own processes, by HTTPS: metrics; nobody else may reach it")
	flags.StringVar(&f.url, "url", "", "URL for browsers, https://host[:port]; browsers on other machines need https (default http://<listen>)")
	flags.StringVar(&f.site, "site", "", "the site, which is a Consul datacenter (default that of the agent)")
	flags.StringVar(&f.name, "name", "", "name in Consul and in the tickets that it signs, unique at the site (default <hostname>-<port>)")
	flags.StringVar(&f.consul, "consul", "127.0.0.1:8500", "address of the local Consul agent")
	flags.StringVar(&f.consulToken, "consul-token", "", "Consul ACL token, if Consul needs one")
	flags.StringVar(&f.ticketKey, "ticket-key", ticket.PrivateKeyFile, "file with the private key that signs tickets; nearcast ticket-key makes one")
	flags.StringVar(&f.ticketKeys, "ticket-keys", "", "file with the public keys of all routers, to renew each other's tickets (default "+ticket.PublicKeysFile+" in the directory of --ticket-key)")
	flags.StringSliceVar(&f.stun, "stun", nil, "STUN server for browsers, stun:host:port; can be repeated")
	flags.StringSliceVar(&f.frameAncestors, "frame-ancestor", nil, "origin whose pages may frame the player; can be repeated (default none)")
	flags.DurationVar(&f.maxStale, "max-stale", router.MaxStale, "how long to serve from the last view while Consul does not answer")
	flags.Float64Var(&f.launchRate, "launch-rate", router.DefaultLaunches.PerSecond, "launches a second without a launch token, of one IPv4 address or IPv6 /64; four times as many of a /24 or /48, and 20 times as many other requests; 0: no limit")
	flags.IntVar(&f.launchBurst, "launch-burst", router.DefaultLaunches.Burst, "as many of them at once")
	flags.StringSliceVar(&f.trustedProxies, "trusted-proxy", nil, "network of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/24; can be repeated (default none: behind a load balancer that hides addresses, all people count as one)")
	flags.StringVar(&f.operatorToken, "operator-token-file", "", "file with the token with which operators read and end any session, the same at all sites; while it is replaced, two, each on a line; an empty file is none (make a token with: openssl rand -hex 32)")
	f.login.add(flags)
	return cmd
}

func runRouter(ctx context.Context, f routerFlags, log *slog.Logger) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()

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
	bound := listener.Addr().(*net.TCPAddr)
	address, err := instanceAddress(bound, f.url)
	if err != nil {
		return err
	}
	name, err := instanceName(f.name, bound)
	if err != nil {
		return err
	}
	baseURL := cmp.Or(strings.TrimRight(f.url, "/"), "http://"+address)
	signer, err := ticket.LoadSigner(f.ticketKey, name)
	if err != nil {
		return fmt.Errorf("--ticket-key: %w", err)
	}
	if f.ticketKeys == "" {
		f.ticketKeys = filepath.Join(filepath.Dir(f.ticketKey), ticket.PublicKeysFile)
	}
	verifier, err := ticket.LoadVerifier(f.ticketKeys)
	if err != nil {
		return fmt.Errorf("--ticket-keys: %w", err)
	}
	proxies, err := guard.ParseProxies(f.trustedProxies)
	if err != nil {
		return fmt.Errorf("--trusted-proxy: %w", err)
	}
	var operator []byte
	if f.operatorToken != "" {
		if operator, err = os.ReadFile(f.operatorToken); err != nil {
			return fmt.Errorf("--operator-token-file: %w", err)
		}
	}
	login, err := f.login.config()
	if err != nil {
		return err
	}
	key, err := identity.New()
	if err != nil {
		return err
	}
	launches := router.Rate{PerSecond: f.launchRate, Burst: f.launchBurst}
	registry, err := fleet.Open(fleet.Config{Address: f.consul, Token: f.consulToken, Log: log})
	if err != nil {
		return fmt.Errorf("--consul: %w", err)
	}
	defer registry.Close()
	if f.site == "" {
		if f.site, err = askSite(ctx, registry, log); err != nil {
			return err
		}
	}

	logs.Set(log, "site", f.site)
	tracer, err := trace.FromEnv("router", log, "site", f.site)
	if err != nil {
		return err
	}
	defer tracer.Close()
	view := consul.Watch(ctx, registry, f.site, facts.NewTokens(signer).For, log)
	defer view.Wait()
	defer stop()
	r, err := router.New(router.Config{
		Site: f.site, URL: baseURL, View: view, Identity: key, Signer: signer, Verifier: verifier,
		ICE: router.ICE{STUN: f.stun},
		Web: web.FS, FrameAncestors: f.frameAncestors, MaxStale: f.maxStale, Log: log, Trace: tracer,
		Limits: router.Limits{Launches: launches, Requests: router.RequestsOf(launches)}, TrustedProxies: proxies,
		OperatorToken: strings.TrimSpace(string(operator)), Login: login,
	})
	if err != nil {
		return err
	}
	defer r.Close()
	registration, err := registry.RegisterInstance(ctx, wire.RouterService, wire.Instance{
		ID: name, Site: f.site, URL: baseURL, Address: address, Internal: internalAddress(internal), Key: key.Key(),
	})
	if err != nil {
		return err
	}
	defer registration.Close()
	go func() {
		select {
		case <-view.Ready():
			log.Info("router ready", "url", baseURL, "listen", listener.Addr().String(), "internal", internal.Addr().String(), "site", f.site, "name", name)
		case <-ctx.Done():
		}
	}()
	return r.Serve(ctx, listener, tls.NewListener(internal, key.Open()))
}
