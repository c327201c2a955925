// Package console is the service of the operators' page: one process at a site, on its private
// network, that shows all sites and acts on them.
//
// Where its facts come from. It asks only what operators may ask anyway, over the paths that sites
// have to each other already, so there is nothing new between them:
//
//	sites, round trips, sessions   a router of its own site, with the operators' token: it asks the
//	                               routers of the other sites                    (console/routers)
//	apps, capacity, nodes' load    Consul, each site by its datacenter           (console/consul)
//	nodes, versions, failures      Nomad, each site by its region                (console/nomad)
//
// It asks while somebody looks, and for half a minute after, every few seconds; browsers ask nothing
// again: what changes is told on one stream of events (wire.ConsoleEvent). All that it holds is
// bounded, and lost without harm.
//
// Who may do what. A person logs in (console/login) and has a role. The table needs says which role an
// action needs, and for Nomad each role has a token of its own with a policy of its own
// (acl/nomad/console-*.hcl), so Nomad refuses what the console might forget to. Each action is in the
// audit log, before it is tried and after.
//
//	c, err := console.New(console.Config{Site: "eu-west-1", URL: "https://console.example", Routers: …})
//	go c.Watch(ctx)                   // reads facts while somebody looks
//	err = c.Serve(ctx, listener)
package console

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nearcast/nearcast/console/login"
	"github.com/nearcast/nearcast/internal/answer"
	"github.com/nearcast/nearcast/internal/wire"
)

// Routers ask routers of the own site.
type Routers interface {
	// Sites are all sites with their round trips.
	Sites(ctx context.Context) ([]wire.SiteView, error)
	// Sessions are all sessions of all sites, and missing the sites that did not answer.
	Sessions(ctx context.Context) (all []wire.SessionView, missing []string, err error)
	Session(ctx context.Context, id string) (wire.SessionView, error)
	End(ctx context.Context, id string) error
	// Still is a still of what the person of a session sees, for a role that may look.
	Still(ctx context.Context, id string, role wire.ConsoleRole) (wire.Still, error)
	// Placement is how a session was placed; nil where no router remembers it.
	Placement(ctx context.Context, id string) (*wire.ConsolePlacement, error)
}

// Catalog is what Consul has of a site.
type Catalog interface {
	Apps(ctx context.Context, site string) (map[string]wire.App, error)
	Nodes(ctx context.Context, site string) ([]wire.Node, error)
}

// Failure is how a seat failed.
type Failure struct {
	At  time.Time
	Why string
}

// Job is what Nomad has of an app.
type Job struct {
	Pool     string
	Failure  Failure
	Versions []wire.ConsoleVersion // only of one that was asked for
}

// Nomad reads and changes the Nomad region of each site. Changes are made with the token of the
// role. Errors that the person may read are wire.Problem.
type Nomad interface {
	Nodes(ctx context.Context, site string) ([]wire.ConsoleNode, error)
	Jobs(ctx context.Context, site string) (map[string]Job, error)
	Job(ctx context.Context, site, app string) (Job, error)
	Order(ctx context.Context, role wire.ConsoleRole, site, node string, order wire.ConsoleNodeOrder) error
	Scale(ctx context.Context, role wire.ConsoleRole, site, app string, to wire.ConsoleScale) (wire.ConsolePublished, error)
	Revert(ctx context.Context, role wire.ConsoleRole, site, app string, to wire.ConsoleRevert) (wire.ConsolePublished, error)
	Publish(ctx context.Context, role wire.ConsoleRole, site string, job wire.ConsolePublish) (wire.ConsolePublished, error)
}

// Place says where a site is.
type Place struct {
	Name     string
	Lat, Lon float64
}

// Config is what a console needs. All but Places, Refresh and Log is required.
type Config struct {
	Site string
	// URL is where browsers reach it: http for loopback alone.
	URL     string
	Routers Routers
	Catalog Catalog
	Nomad   Nomad
	// Sessions are the logins, and Login how people log in.
	Sessions *login.Sessions
	Login    login.Method
	Audit    *Audit
	Web      fs.FS
	Places   map[string]Place
	// Refresh is how often facts are read while somebody looks; by default 2 s.
	Refresh time.Duration
	Log     *slog.Logger
}

// Console serves the page and its API.
type Console struct {
	cfg     Config
	log     *slog.Logger
	hub     *hub
	handler http.Handler
}

// New makes a console. It starts nothing.
func New(cfg Config) (*Console, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "":
		return nil, fmt.Errorf("new console: URL %q must have the form https://host[:port]", cfg.URL)
	case u.Scheme == "http" && !loopback(u.Hostname()) || u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("new console: URL %q has to be https: over http the cookie could be read on the way; http is for localhost alone", cfg.URL)
	case cfg.Site == "" || cfg.Routers == nil || cfg.Catalog == nil || cfg.Nomad == nil || cfg.Sessions == nil || cfg.Login == nil || cfg.Audit == nil || cfg.Web == nil:
		return nil, errors.New("new console: Site, Routers, Catalog, Nomad, Sessions, Login, Audit and Web are required")
	}
	if cfg.Refresh <= 0 {
		cfg.Refresh = 2 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	c := &Console{cfg: cfg, log: cfg.Log, hub: newHub()}
	c.handler = c.routes(u)
	return c, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c *Console) routes(u *url.URL) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.ConsoleMePath, c.person(wire.RoleViewer, c.getMe))
	mux.HandleFunc("GET "+wire.ConsoleEventsPath, c.person(wire.RoleViewer, c.getEvents))
	mux.HandleFunc("GET /console/api/sessions/{id}", c.person(wire.RoleViewer, c.getSession))
	mux.HandleFunc("GET /console/api/apps/{site}/{app}", c.person(wire.RoleViewer, c.getApp))
	mux.HandleFunc("GET "+wire.ConsoleAuditPath, c.person(wire.RoleOperator, c.getAudit))
	mux.HandleFunc("DELETE /console/api/sessions/{id}", c.action(c.endSession))
	mux.HandleFunc("POST /console/api/sessions/{id}"+wire.StillPath, c.action(c.lookAt))
	mux.HandleFunc("POST /console/api/nodes/{site}/{node}", c.action(c.orderNode))
	mux.HandleFunc("POST /console/api/apps/{site}/{app}/scale", c.action(c.scaleApp))
	mux.HandleFunc("POST /console/api/apps/{site}/{app}/revert", c.action(c.revertApp))
	mux.HandleFunc("POST /console/api/apps/{site}", c.action(c.publishApp))
	begin, finish := c.cfg.Login.Begin(c.cfg.Sessions), c.cfg.Login.Finish(c.cfg.Sessions)
	mux.HandleFunc("GET "+wire.ConsoleLoginPath, begin)
	mux.HandleFunc("POST "+wire.ConsoleLoginPath, finish)
	mux.HandleFunc("GET /console/callback", finish)
	mux.HandleFunc("GET "+wire.ConsoleEnteredPath, c.cfg.Sessions.Entered)
	mux.HandleFunc("POST "+wire.ConsoleLogoutPath, c.logout)
	mux.HandleFunc("GET "+wire.ConsoleLogoutPath, login.LoggedOut)
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { rw.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /{$}", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, wire.ConsolePath, http.StatusFound)
	})
	mux.HandleFunc("GET /console", c.page)
	mux.HandleFunc("GET /console/{$}", c.page)
	mux.HandleFunc("GET /assets/", c.asset)
	// A page of another origin cannot make a browser act, whatever its cookie says.
	guarded := http.NewCrossOriginProtection()
	guarded.SetDenyHandler(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		answer.Write(rw, problem(wire.ConsoleProblemCSRF, http.StatusForbidden, "The request comes from another origin", "Use the console's own page."))
	}))
	return c.headers(u, answer.Problems(guarded.Handler(mux)))
}

// headers sets the security headers of every answer. A request for another name is refused: a page
// that has its name lead to this address would be the console's origin otherwise.
func (c *Console) headers(u *url.URL, next http.Handler) http.Handler {
	// Browsers leave out the port that a scheme has anyway.
	host := strings.TrimSuffix(u.Host, map[string]string{"http": ":80", "https": ":443"}[u.Scheme])
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if u.Scheme == "https" {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if !strings.EqualFold(r.Host, host) && r.URL.Path != "/healthz" {
			answer.Write(rw, problem(wire.ProblemNotFound, http.StatusMisdirectedRequest, "This console has another address", "Open "+c.cfg.URL+"."))
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// ServeHTTP serves one request.
func (c *Console) ServeHTTP(rw http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(rw, r) }

// drainTime is how long Serve waits for requests in flight when it ends.
const drainTime = 3 * time.Second

func (c *Console) server() *http.Server {
	return &http.Server{
		Handler:           c,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      time.Minute, // streams set their own
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    answer.ReadHeader,
		ErrorLog:          slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
}

// Serve serves until ctx ends. It closes the listener.
func (c *Console) Serve(ctx context.Context, l net.Listener) error {
	srv := c.server()
	srv.RegisterOnShutdown(c.hub.close)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	err := srv.Shutdown(drain)
	if err != nil {
		srv.Close()
		err = fmt.Errorf("finish requests in flight: %w", err)
	}
	<-served
	return err
}

func problem(kind string, status int, title, detail string) wire.Problem {
	return wire.Problem{Type: kind, Title: title, Status: status, Detail: detail}
}
