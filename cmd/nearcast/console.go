package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	brainnomad "github.com/nearcast/nearcast/brain/nomad"
	"github.com/nearcast/nearcast/console"
	"github.com/nearcast/nearcast/console/consul"
	"github.com/nearcast/nearcast/console/login"
	"github.com/nearcast/nearcast/console/nomad"
	"github.com/nearcast/nearcast/console/routers"
	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/provision/cli"
	"github.com/nearcast/nearcast/web"
)

// consoleFlags are the flags of "nearcast console".
type consoleFlags struct {
	listen, url, site          string
	consul, consulToken        string
	nomad, namespace           string
	viewer, operator, admin    string // tokens of Nomad
	routerToken                string
	issuer, clientID, secret   string
	scopes                     []string
	claim                      string
	viewers, operators, admins []string // groups
	token, tokenRole           string
	lasts, refresh             time.Duration
	audit                      string
	places                     []string
}

func consoleCommand() *cobra.Command {
	var f consoleFlags
	cmd := &cobra.Command{
		Use:   "console",
		Short: "Run the operators' console",
		Long: `Run the console: a page for those who run the sites. It shows sites, apps, nodes and
sessions live, says why a person is where they are, and ends sessions, drains nodes,
scales, publishes and rolls back apps. One console at one site shows all sites.

People log in by OpenID Connect (--oidc-issuer), and their groups say their role: viewer,
operator or admin. Without a provider, --token is a token that gives --token-role.

It belongs on the private network: put it behind TLS (--url https://…), or reach it through
a tunnel (--url http://localhost:PORT). Nomad sees each role with a token of its own.

Every flag can also be set by an environment variable: --router-token by
NEARCAST_ROUTER_TOKEN, and so on. Use variables for secrets: all users of a node can
see command lines.`,
		Example: `  NEARCAST_TOKEN=$(openssl rand -hex 32) nearcast console --url http://localhost:8070
  nearcast console --url https://console.play.example --oidc-issuer https://login.example \
    --oidc-client-id nearcast --operators streaming-oncall --admins streaming-leads`,
		Args:    cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnv(cmd) },
		RunE:    func(cmd *cobra.Command, _ []string) error { return runConsole(cmd.Context(), f, slog.Default()) },
	}
	cli.Service(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8070", "address to serve on, by HTTP; nobody but a proxy or tunnel is to reach it")
	flags.StringVar(&f.url, "url", "", "URL for browsers, https://host[:port]; http for localhost alone (default http://<listen>)")
	flags.StringVar(&f.site, "site", "", "the site, which is a Consul datacenter (default that of the agent)")
	flags.StringVar(&f.consul, "consul", "127.0.0.1:8500", "address of the local Consul agent")
	flags.StringVar(&f.consulToken, "consul-token", "", "Consul ACL token; for the nodes of other sites it has to be a global one")
	flags.StringVar(&f.nomad, "nomad", "127.0.0.1:4646", "address of the local Nomad agent")
	flags.StringVar(&f.namespace, "namespace", "apps", "namespace of the apps")
	flags.StringVar(&f.viewer, "nomad-viewer-token", "", "Nomad ACL token of the role viewer (acl/nomad/console-viewer.hcl)")
	flags.StringVar(&f.operator, "nomad-operator-token", "", "Nomad ACL token of the role operator (acl/nomad/console-operator.hcl)")
	flags.StringVar(&f.admin, "nomad-admin-token", "", "Nomad ACL token of the role admin (acl/nomad/console-admin.hcl)")
	flags.StringVar(&f.routerToken, "router-token", "", "the operators' token of the routers (their --operator-token-file)")
	flags.StringVar(&f.issuer, "oidc-issuer", "", "OpenID Connect provider, https://…; it has to know <url>/console/callback")
	flags.StringVar(&f.clientID, "oidc-client-id", "", "the console's client id at the provider")
	flags.StringVar(&f.secret, "oidc-client-secret", "", "the console's client secret")
	flags.StringSliceVar(&f.scopes, "oidc-scope", nil, "more scopes to ask for, such as groups; can be repeated")
	flags.StringVar(&f.claim, "oidc-claim", "groups", "claim of the ID token that has a person's groups")
	flags.StringSliceVar(&f.viewers, "viewers", nil, "group whose people are viewers; can be repeated")
	flags.StringSliceVar(&f.operators, "operators", nil, "group whose people are operators; can be repeated")
	flags.StringSliceVar(&f.admins, "admins", nil, "group whose people are admins; can be repeated")
	flags.StringVar(&f.token, "token", "", "token to log in with, where there is no provider (openssl rand -hex 32)")
	flags.StringVar(&f.tokenRole, "token-role", string(wire.RoleOperator), "role of --token: viewer, operator or admin")
	flags.DurationVar(&f.lasts, "login-lasts", 8*time.Hour, "how long a login lasts")
	flags.DurationVar(&f.refresh, "refresh", 2*time.Second, "how often facts are read while somebody looks")
	flags.StringVar(&f.audit, "audit-log", "-", "file to which the audit log is appended; - is the standard output")
	flags.StringArrayVar(&f.places, "place", nil, "where a site is, SITE=LATITUDE,LONGITUDE[,NAME], for the map; can be repeated (default: AWS regions)")
	return cmd
}

func runConsole(ctx context.Context, f consoleFlags, log *slog.Logger) error {
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listen (--listen): %w", err)
	}
	defer listener.Close()
	if f.url == "" {
		f.url = "http://" + listener.Addr().String()
	}
	f.url = strings.TrimRight(f.url, "/")
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
	places, err := placesOf(f.places)
	if err != nil {
		return err
	}
	audit, err := console.AuditFile(f.audit)
	if err != nil {
		return fmt.Errorf("--audit-log: %w", err)
	}
	method, err := f.login(audit.Login(log), log)
	if err != nil {
		return err
	}
	client, err := nomad.Open(nomad.Config{Address: f.nomad, Namespace: f.namespace, Check: brainnomad.JobProblems, Tokens: map[wire.ConsoleRole]string{
		wire.RoleViewer: f.viewer, wire.RoleOperator: f.operator, wire.RoleAdmin: f.admin,
	}})
	if err != nil {
		return fmt.Errorf("--nomad: %w", err)
	}
	defer client.Close()
	ask := routers.New(routers.Config{Site: f.site, Token: f.routerToken, Find: func(ctx context.Context) ([]wire.Instance, error) {
		return registry.Instances(ctx, wire.RouterService)
	}})
	defer ask.Close()
	c, err := console.New(console.Config{
		Site: f.site, URL: f.url, Routers: ask, Catalog: consul.New(registry, f.site), Nomad: client, Login: method, Audit: audit,
		Sessions: login.NewSessions(login.SessionsConfig{URL: f.url, Lasts: f.lasts}),
		Web:      web.FS, Places: places, Refresh: f.refresh, Log: log,
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); c.Watch(ctx) }()
	defer func() { stop(); <-watched }()
	log.Info("console ready", "url", f.url+wire.ConsolePath, "listen", listener.Addr().String(), "site", f.site)
	return c.Serve(ctx, listener)
}

// login is how people log in: by the provider, or by the token.
func (f consoleFlags) login(noted login.Noted, log *slog.Logger) (login.Method, error) {
	switch {
	case f.issuer != "" && f.token != "":
		return nil, fmt.Errorf("--oidc-issuer and --token exclude each other: with a provider, a token would be a way around it")
	case f.issuer != "":
		method, err := login.NewOIDC(login.OIDCConfig{Issuer: f.issuer, ClientID: f.clientID, ClientSecret: f.secret, URL: f.url, Scopes: f.scopes, Claim: f.claim,
			Roles: map[wire.ConsoleRole][]string{wire.RoleViewer: f.viewers, wire.RoleOperator: f.operators, wire.RoleAdmin: f.admins}, Noted: noted, Log: log})
		if err != nil {
			return nil, fmt.Errorf("--oidc-issuer: %w; see --oidc-client-id, --viewers, --operators and --admins", err)
		}
		return method, nil
	case f.token == "":
		return nil, fmt.Errorf("nobody could log in: give --oidc-issuer, or NEARCAST_TOKEN with a token (openssl rand -hex 32)")
	}
	role := wire.ConsoleRole(f.tokenRole)
	if role != wire.RoleViewer && role != wire.RoleOperator && role != wire.RoleAdmin {
		return nil, fmt.Errorf("--token-role has to be viewer, operator or admin, not %q", f.tokenRole)
	}
	method, err := login.NewToken(f.token, role, noted)
	if err != nil {
		return nil, fmt.Errorf("--token: %w", err)
	}
	return method, nil
}

// placesOf reads --place. The regions of AWS are known.
func placesOf(list []string) (map[string]console.Place, error) {
	out := map[string]console.Place{}
	for _, r := range regions {
		out[r.name] = console.Place{Name: r.place, Lat: r.lat, Lon: r.lon}
	}
	for _, text := range list {
		site, at, _ := strings.Cut(text, "=")
		parts := strings.SplitN(at, ",", 3)
		if site == "" || len(parts) < 2 {
			return nil, fmt.Errorf("--place has to be SITE=LATITUDE,LONGITUDE[,NAME], not %q", text)
		}
		lat, err1 := strconv.ParseFloat(parts[0], 64)
		lon, err2 := strconv.ParseFloat(parts[1], 64)
		if err1 != nil || err2 != nil || !(lat >= -90 && lat <= 90) || !(lon >= -180 && lon <= 180) {
			return nil, fmt.Errorf("--place %s: %s,%s are no degrees of latitude and longitude", site, parts[0], parts[1])
		}
		p := console.Place{Lat: lat, Lon: lon}
		if len(parts) == 3 {
			p.Name = parts[2]
		}
		out[site] = p
	}
	return out, nil
}

// regions are those of AWS, whose names sites have there, and the cities near them.
var regions = []struct {
	name, place string
	lat, lon    float64
}{
	{"us-east-1", "Northern Virginia", 38.9, -77.5}, {"us-east-2", "Ohio", 40.0, -83.0}, {"us-west-1", "Northern California", 37.4, -122.0}, {"us-west-2", "Oregon", 45.8, -119.7},
	{"ca-central-1", "Montreal", 45.5, -73.6}, {"sa-east-1", "São Paulo", -23.5, -46.6}, {"eu-west-1", "Dublin", 53.3, -6.3}, {"eu-west-2", "London", 51.5, -0.1},
	{"eu-west-3", "Paris", 48.9, 2.4}, {"eu-central-1", "Frankfurt", 50.1, 8.7}, {"eu-central-2", "Zurich", 47.4, 8.5}, {"eu-north-1", "Stockholm", 59.3, 18.1},
	{"eu-south-1", "Milan", 45.5, 9.2}, {"eu-south-2", "Zaragoza", 41.6, -0.9}, {"me-south-1", "Bahrain", 26.1, 50.6}, {"me-central-1", "Dubai", 25.2, 55.3},
	{"af-south-1", "Cape Town", -33.9, 18.4}, {"ap-south-1", "Mumbai", 19.1, 72.9}, {"ap-southeast-1", "Singapore", 1.3, 103.8}, {"ap-southeast-2", "Sydney", -33.9, 151.2},
	{"ap-northeast-1", "Tokyo", 35.7, 139.7}, {"ap-northeast-2", "Seoul", 37.6, 127.0}, {"ap-northeast-3", "Osaka", 34.7, 135.5}, {"ap-east-1", "Hong Kong", 22.3, 114.2},
}
