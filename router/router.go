// Package router is the HTTP service of a site that browsers call first: it lists
// the apps, lets a browser measure its round trip to each site, places sessions,
// and serves the player.
//
// It is stateless. It reads the state of all sites from a View, and writes what it
// decides into tickets, which brains and seats check on their own. So routers may
// be killed, replaced and added at any time. A router whose Consul does not
// answer serves from its last view, and says so.
//
//	GET    /v1/apps                    the public apps, with their capacity at each site
//	GET    /v1/apps/{app}              one app; a signed one with a launch token
//	GET    /v1/sites                   the sites, with their beacons and distances
//	POST   /v1/probes                  the sites to probe next, where there are many
//	GET    /v1/beacon                  an empty answer, to measure the round trip with
//	POST   /v1/sessions                place a session: a ticket, and the brain to send it to
//	GET    /v1/sessions/{id}           the state of a session
//	DELETE /v1/sessions/{id}           end a session
//	GET    /v1/sessions/{id}/placement how a session was placed, for operators
//	POST   /v1/sessions/{id}/still     a still of what the person sees, for operators
//	POST   /v1/sessions/{id}/ticket    renew the ticket of a person that waits
//	GET    /v1/facts                   what this site has, for routers of other sites alone
//	GET    /login                      log a person in at the provider; /login/callback
//	POST   /login/token                what the player's page launches with, for the person's login
//	POST   /login/out                  log them out
//	GET    /v1/openapi.yaml            the description of this API
//	GET    /problems/{kind}            the meaning of an error
//	GET    /healthz                    for load balancers and routers of other sites
//	GET    /, /play/{app}, /check, …   pages
//
// An app is public, or signed: then a launch needs a launch token (package ticket),
// signed with a key that stands in Consul. Or it asks for a login: then a launch needs a login token,
// which the player's own page gets for a person's login, or a launch token. The strictest of all sites
// counts.
//
// Internal is another handler, for a listener that only the site's own processes and
// operators reach: it serves /metrics.
//
// Every error is an RFC 9457 problem (wire.Problem). The API has no cookies, so
// pages of any origin may use it: the one of a login is read by /login alone.
//
//	r, err := router.New(router.Config{Site: "eu-west-1", URL: "https://eu.play.example", View: view, …})
//	defer r.Close()
//	err = r.Serve(ctx, public, internal) // listeners; until ctx ends and the requests in flight are done
package router

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"github.com/nearcast/nearcast/internal/answer"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/trace"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/facts"
	"github.com/nearcast/nearcast/router/placement/prefix"
)

// Config is what a router needs. Site, URL, View, Signer and Verifier are required.
type Config struct {
	// Site is the router's own site.
	Site string
	// URL is where browsers reach the router, "https://eu.play.example", without a path.
	URL string
	// View is what is known of all sites.
	View View
	// Signer signs tickets. Verifier checks tickets that are to be renewed: another
	// router may have signed them.
	Signer   *ticket.Signer
	Verifier *ticket.Verifier
	// ICE names the STUN servers that browsers use.
	ICE ICE
	// Web has the pages: index.html, play.html, check.html and what they load. With nil, only
	// the API is served.
	Web fs.FS
	// MaxStale is how long the router serves from its last view while Consul does
	// not answer; 0 is MaxStale, the constant.
	MaxStale time.Duration
	// FrameAncestors are the origins whose pages may frame the player; by default none.
	FrameAncestors []string
	// Limits bound what the callers of one network may ask; the zero value does not.
	Limits Limits
	// TrustedProxies are the proxies whose X-Forwarded-For is believed; by default
	// none, and a caller is who connected.
	TrustedProxies []netip.Prefix
	// OperatorToken may read and end all sessions; empty is none. All sites have the
	// same, as routers pass it on.
	OperatorToken string
	// Login says who knows the people of apps that ask for a login; by default nobody.
	Login LoginConfig
	// Identity is the router's own key, by which brains know it; nil is a new one, which
	// no brain knows.
	Identity *identity.Identity
	// Trace makes the spans of launches; nil makes none.
	Trace *trace.Tracer
	// Log gets a message for each request of the API; nil is slog.Default().
	Log *slog.Logger
	// Chance gives numbers in [0, 1) for choices between equals; nil is math/rand.
	Chance func() float64
}

// Router is an http.Handler. It may be used by many goroutines at once.
type Router struct {
	cfg       Config
	log       *slog.Logger
	echo      *echo.Echo
	public    http.Handler
	metrics   *metrics
	brains    *identity.Clients // of this site
	inside    *http.Client      // to routers of other sites
	operators operators
	pages     *pages
	people    *people // nil without a provider
	models    models
	prefixes  *prefix.Store
	teller    teller
	launches  *limiter
	logins    *limiter
	requests  *limiter
	subjects  callers
	keys      callers // API keys
	latest    atomic.Pointer[siteTable]
	memory    sync.Pool // of *launchMemory
	placed    placements

	loginFailures *rate.Limiter // of those that are logged
	unserved      sync.Map      // apps that ask for a login that is not there, and were logged
}

// New makes a router. It starts nothing.
func New(cfg Config) (*Router, error) {
	if cfg.Site == "" || cfg.View == nil || cfg.Signer == nil || cfg.Verifier == nil {
		return nil, errors.New("new router: Site, View, Signer and Verifier are required")
	}
	base, err := url.Parse(cfg.URL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" ||
		strings.Trim(base.Path, "/") != "" || base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, fmt.Errorf("new router: URL %q must have the form https://host[:port]", cfg.URL)
	}
	cfg.URL = origin(base)
	if err := cfg.ICE.check(); err != nil {
		return nil, fmt.Errorf("new router: %w", err)
	}
	if err := cfg.Limits.check(); err != nil {
		return nil, fmt.Errorf("new router: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Chance == nil {
		cfg.Chance = rand.Float64
	}
	if cfg.MaxStale <= 0 {
		cfg.MaxStale = MaxStale
	}
	if cfg.Identity == nil {
		if cfg.Identity, err = identity.New(); err != nil {
			return nil, fmt.Errorf("new router: %w", err)
		}
	}
	r := &Router{
		cfg: cfg, log: cfg.Log, brains: cfg.Identity.Clients(askTimeout),
		inside: &http.Client{
			Timeout: askTimeout,
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: askTimeout}).DialContext,
				MaxIdleConnsPerHost: 4,
				IdleConnTimeout:     time.Minute,
			},
			// Routers do not redirect.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if r.people, err = newPeople(cfg.Login, cfg.URL); err != nil {
		return nil, fmt.Errorf("new router: %w", err)
	}
	r.loginFailures = rate.NewLimiter(rate.Every(time.Second), 10)
	if r.operators, err = newOperators(cfg.OperatorToken); err != nil {
		return nil, fmt.Errorf("new router: %w", err)
	}
	r.teller.facts, r.teller.asked = facts.NewTeller(cfg.Site), facts.NewChecker(cfg.Site, cfg.Verifier)
	r.memory.New = func() any { return new(launchMemory) }
	r.prefixes = prefix.New(prefix.Config{Between: r.models.between})
	r.metrics = newMetrics(r)
	r.launches = newLimiter("launch", cfg.Limits.Launches, r.metrics.limited)
	r.logins = newLimiter("login", cfg.Limits.Launches, r.metrics.limited)
	r.requests = newLimiter("request", cfg.Limits.Requests, r.metrics.limited)
	r.subjects = callers{kind: "launch", what: "subject", why: "The subject of your launch token, or of your login, has launched too often.",
		limited: r.metrics.limited, buckets: buckets[string]{limit: cfg.Limits.Launches}}
	r.keys = callers{kind: "list", what: "key", why: "Sessions are listed too often with this API key.",
		limited: r.metrics.limited, buckets: buckets[string]{limit: listRate}}
	if cfg.Web != nil {
		r.pages = newPages(cfg.Web)
	}
	r.echo = r.routes()
	r.public = r.headers(answer.Problems(r.echo))
	return r, nil
}

// origin is an URL's, as browsers write it in Origin.
func origin(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if at := u.Scheme + u.Port(); at == "https443" || at == "http80" {
		host = strings.TrimSuffix(host, ":"+u.Port())
	}
	return u.Scheme + "://" + host
}

func (r *Router) routes() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = r.fail
	e.IPExtractor = extractor(r.cfg.TrustedProxies)
	e.Use(r.observe, r.recover)

	get := func(path string, h echo.HandlerFunc) {
		e.GET(path, h)
		e.HEAD(path, h)
	}
	get("/v1/apps", r.limited(r.getApps))
	get("/v1/apps/:app", r.limited(r.getApp))
	get("/v1/sites", r.limited(r.getSites))
	get("/v1/beacon", r.getBeacon)
	e.POST("/v1/probes", r.limited(r.postProbes))
	get("/v1/openapi.yaml", r.getOpenAPI)
	get(wire.FactsPath, r.getFacts)
	e.GET(wire.SessionsPath, r.limited(r.listSessions))
	e.POST(wire.SessionsPath, r.postSession)
	e.GET("/v1/sessions/:id", r.limited(r.getSession))
	e.DELETE("/v1/sessions/:id", r.limited(r.deleteSession))
	e.POST("/v1/sessions/:id/ticket", r.limited(r.postTicket))
	e.GET("/v1/sessions/:id"+wire.PlacementPath, r.limited(r.getPlacement))
	get(wire.LoginPath, r.limited(r.getLogin))
	get(wire.LoginCallbackPath, r.limited(r.getLoginCallback))
	e.POST(wire.LoginTokenPath, r.limited(r.postLoginToken))
	e.POST(wire.LogoutPath, r.limited(r.postLogout))
	e.POST("/v1/sessions/:id"+wire.StillPath, r.limited(r.postStill))
	get("/problems/:kind", r.getProblem)
	get("/healthz", r.getHealth)
	if r.pages != nil {
		get("/", r.page("index.html"))
		get("/play/:app", r.page("play.html"))
		get("/check", r.page("check.html"))
		get("/favicon.ico", r.page("assets/favicon.svg"))
		get("/*", r.getFile)
		// Else the pattern of the pages would answer these with 404.
		get("/v1/probes", onlyPost)
		get("/v1/sessions/:id/ticket", onlyPost)
		get(wire.LoginTokenPath, onlyPost)
		get(wire.LogoutPath, onlyPost)
	}
	return e
}

func onlyPost(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderAllow, "OPTIONS, POST")
	return echo.ErrMethodNotAllowed
}

// ServeHTTP serves one request of the public.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.public.ServeHTTP(w, req) }

// Internal serves what only the site's own processes and operators ask: /metrics and
// /healthz.
func (r *Router) Internal() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", r.metrics.handler())
	mux.Handle("GET /healthz", r.echo)
	return answer.Problems(mux)
}

// Close closes the connections to brains and routers. It does not wait for requests.
func (r *Router) Close() {
	r.brains.Close()
	r.inside.CloseIdleConnections()
	r.models.wait()
}

// drainTime is how long Serve waits for requests in flight when it ends.
const drainTime = 3 * time.Second

// Serve serves until ctx ends: the public on one listener, and Internal on the other
// if it is not nil. Then it accepts no more requests, finishes those in flight and
// returns nil. It closes the listeners.
func (r *Router) Serve(ctx context.Context, public, internal net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var inside error
	var all sync.WaitGroup
	if internal != nil {
		all.Go(func() {
			defer stop()
			inside = r.serve(ctx, internal, r.Internal())
		})
	}
	err := r.serve(ctx, public, r)
	stop()
	all.Wait()
	return errors.Join(err, inside)
}

func (r *Router) serve(ctx context.Context, l net.Listener, handler http.Handler) error {
	srv := &http.Server{
		Handler: handler,
		// No request to a router is large or slow.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    answer.ReadHeader,
		ErrorLog:          slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
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
