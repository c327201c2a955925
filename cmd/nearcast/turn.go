package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/internal/answer"
	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/logs"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/provision/cli"
	"github.com/nearcast/nearcast/turn"
)

// turnFlags are the flags of "nearcast turn".
type turnFlags struct {
	listen, internal             string
	tlsListen, tlsCert, tlsKey   string
	secret, previous, realm      string
	relayIP, externalIP          string
	ports                        string
	perName, relays, rate, conns int
	maxAge                       time.Duration
	loopback                     bool
	consul, consulToken          string
}

func turnCommand() *cobra.Command {
	var f turnFlags
	cmd := &cobra.Command{
		Use:   "turn",
		Short: "Run a TURN server: relays for people whose network blocks UDP",
		Long: `Run a TURN server of a site. People whose network lets no UDP out reach seats
through it, by UDP, TCP or TLS. Browsers get its URLs and credentials from the
brain: give brains the same secret, and the URLs as --turn.

It relays to the seats of its site and nowhere else: to the addresses and UDP
ports that its nodes tell in Consul. While Consul does not answer, the last view counts.

To change the secret, set --previous-secret to the old one and --secret to the
new one, give brains the new one, and remove the old one 10 minutes later.

Each flag can also be set in the environment: --secret is NEARCAST_SECRET, and
so on. Use the environment for secrets: everybody on the machine can read a
command line.`,
		Example: `  nearcast turn --listen 10.0.1.5:3478 --external-ip 203.0.113.5 --relay-ports 21000-21999
  nearcast turn --listen 10.0.1.5:3478 --tls-listen 10.0.1.6:443 --tls-cert turn.pem --tls-key turn.pem`,
		Args:    cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnv(cmd) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runTURN(cmd.Context(), f, logs.New(os.Stderr, "turn"))
		},
	}
	cli.Service(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:3478", "address to serve on, by UDP and TCP")
	flags.StringVar(&f.tlsListen, "tls-listen", "", "address to serve on by TLS, usually port 443, for networks that let out nothing else, or 5349; needs --tls-cert and --tls-key")
	flags.StringVar(&f.tlsCert, "tls-cert", "", "file with the certificate for TLS, PEM; it is read again when it changes")
	flags.StringVar(&f.tlsKey, "tls-key", "", "file with its private key, PEM; may be the same file")
	flags.StringVar(&f.internal, "internal-listen", "127.0.0.1:8092", "address for the site's own processes: metrics and /healthz; nobody else may reach it")
	flags.StringVar(&f.secret, "secret", "", "secret shared with the brains (their --turn-secret)")
	flags.StringVar(&f.previous, "previous-secret", "", "secret before, accepted too while it changes")
	flags.StringVar(&f.realm, "realm", "nearcast", "realm of the passwords: the cluster's name")
	flags.StringVar(&f.relayIP, "relay-ip", "", "IPv4 address of this node for relays (default that of --listen)")
	flags.StringVar(&f.externalIP, "external-ip", "", "IPv4 address at which seats reach the relays, if no interface of this node has it (default --relay-ip)")
	flags.StringVar(&f.ports, "relay-ports", "21000-21999", "UDP ports that seats reach: one for each relay")
	flags.IntVar(&f.perName, "relays-per-person", 16, "relays of one name and password: a browser asks for one for each of its networks and each URL, and again when it connects again")
	flags.IntVar(&f.relays, "max-relays", 1000, "relays in all")
	flags.IntVar(&f.rate, "relay-rate", 5_000_000, "bytes a second of a relay in each direction; more are dropped")
	flags.IntVar(&f.conns, "max-connections", 1000, "connections by TCP and TLS without a relay, and as many with one; a new one ends the oldest without")
	flags.DurationVar(&f.maxAge, "max-relay-age", 12*time.Hour, "how long a relay may go on after its name and password have expired: as long as a session may last")
	flags.BoolVar(&f.loopback, "allow-loopback", false, "relay to seats on loopback addresses too, as at a site on one machine")
	flags.StringVar(&f.consul, "consul", "127.0.0.1:8500", "address of the local Consul agent")
	flags.StringVar(&f.consulToken, "consul-token", "", "Consul ACL token, if Consul needs one")
	return cmd
}

// config is all but where to listen.
func (f turnFlags) config(log *slog.Logger, metrics *prometheus.Registry) (turn.Config, error) {
	c := turn.Config{Realm: f.realm, Secrets: []ticket.TURNSecret{ticket.TURNSecret(f.secret)}, PerName: f.perName, Relays: f.relays,
		Rate: f.rate, MaxAge: f.maxAge, Loopback: f.loopback, Log: log, Metrics: metrics,
		// People behind one address are many where networks block UDP: offices, schools.
		Conns: guard.Limits{Unproven: f.conns, UnprovenNear: max(1, f.conns/8), UnprovenWide: max(1, f.conns/4), Proven: f.conns,
			Calm: 10 * time.Second, Busy: 2 * time.Second}}
	if f.previous != "" {
		c.Secrets = append(c.Secrets, ticket.TURNSecret(f.previous))
	}
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil {
		return c, fmt.Errorf("--listen: %w", err)
	}
	if c.RelayIP, err = netip.ParseAddr(cmp.Or(f.relayIP, host)); err != nil || c.RelayIP.IsUnspecified() {
		return c, fmt.Errorf("--relay-ip is needed: the address of this node for relays, not %q", cmp.Or(f.relayIP, host))
	}
	if f.externalIP != "" {
		if c.ExternalIP, err = netip.ParseAddr(f.externalIP); err != nil {
			return c, fmt.Errorf("--external-ip: %w", err)
		}
	}
	low, high, _ := strings.Cut(f.ports, "-")
	first, errFirst := strconv.ParseUint(low, 10, 16)
	last, errLast := strconv.ParseUint(high, 10, 16)
	if errFirst != nil || errLast != nil {
		return c, fmt.Errorf("--relay-ports must be a range such as 21000-21999, not %q", f.ports)
	}
	c.PortMin, c.PortMax = uint16(first), uint16(last)
	return c, nil
}

func (f turnFlags) open(log *slog.Logger) (l turn.Listeners, err error) {
	if l.UDP, err = net.ListenPacket("udp", f.listen); err != nil {
		return l, fmt.Errorf("listen (--listen): %w", err)
	}
	if l.TCP, err = net.Listen("tcp", f.listen); err != nil {
		return l, fmt.Errorf("listen (--listen): %w", err)
	}
	if f.tlsListen == "" {
		return l, nil
	}
	if l.Certificate, err = turn.LoadCertificate(f.tlsCert, f.tlsKey, log); err != nil {
		return l, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	if l.TLS, err = net.Listen("tcp", f.tlsListen); err != nil {
		return l, fmt.Errorf("listen (--tls-listen): %w", err)
	}
	return l, nil
}

func runTURN(ctx context.Context, f turnFlags, log *slog.Logger) error {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	cfg, err := f.config(log, metrics)
	if err != nil {
		return err
	}
	s, err := turn.New(cfg)
	if err != nil {
		return err
	}
	l, err := f.open(log)
	if err != nil {
		l.Close() // those that were opened before
		return err
	}
	defer l.Close()
	internal, err := net.Listen("tcp", f.internal)
	if err != nil {
		return fmt.Errorf("listen (--internal-listen): %w", err)
	}
	registry, err := fleet.Open(fleet.Config{Address: f.consul, Token: f.consulToken, Log: log})
	if err != nil {
		internal.Close()
		return fmt.Errorf("--consul: %w", err)
	}
	defer registry.Close()

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watch := registry.WatchNodes(ctx, s.Nodes)
	defer func() { stop(); <-watch.Done() }()
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.Ready() {
			http.Error(w, "Consul has not told the nodes yet", http.StatusServiceUnavailable)
		}
	})
	inside := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: answer.ReadHeader, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	var serving sync.WaitGroup
	serving.Go(func() { inside.Serve(internal) })
	defer serving.Wait()
	defer inside.Close()
	log.Info("turn ready", "listen", f.listen, "tls", f.tlsListen, "internal", internal.Addr().String(), "relays", cfg.RelayIP.String()+":"+f.ports)
	return s.Serve(ctx, l)
}
