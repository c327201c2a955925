// Package router is the HTTP service of a site that browsers call first: it lists
// the apps, lets a browser measure its round trip to each site, places sessions,
// and serves the player.
//
// It is stateless. It reads the state of all sites from a View, and writes what it
// decides into tickets, which brains and seats check on their own. So routers may
// be killed, replaced and added at any time. A router whose Consul does not
// answer serves from its last view, and says so.
//
//	GET    /v1/apps                    the apps, with their capacity at each site
//	GET    /v1/sites                   the sites, with their beacons and distances
//	POST   /v1/probes                  the sites to probe next, where there are many
//	GET    /v1/beacon                  an empty answer, to measure the round trip with
//	POST   /v1/sessions                place a session: a ticket, and the brain to send it to
//	GET    /v1/sessions/{id}           the state of a session
//	DELETE /v1/sessions/{id}           end a session
//	POST   /v1/sessions/{id}/ticket    renew the ticket of a person that waits
//	GET    /v1/openapi.yaml            the description of this API
//	GET    /problems/{kind}            the meaning of an error
//	GET    /healthz, /metrics          for operators
//	GET    /, /play/{app}, …           pages
//
// Every error is an RFC 9457 problem (wire.Problem). There are no cookies, so
// pages of any origin may use the API.
//
//	r, err := router.New(router.Config{Site: "eu-west-1", URL: "https://eu.play.example", View: view, …})
//	defer r.Close()
//	err = r.Serve(ctx, listener) // until ctx ends and the requests in flight are done
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
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/ticket"
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
	// ICE names the STUN and TURN servers that browsers use.
	ICE ICE
	// Web has the pages: index.html, play.html and what they load. With nil, only
	// the API is served.
	Web fs.FS
	// MaxStale is how long the router serves from its last view while Consul does
	// not answer; 0 is MaxStale, the constant.
	MaxStale time.Duration
	// FrameAncestors are the origins whose pages may frame the player; by default none.
	FrameAncestors []string
	// Log gets a message for each request of the API; nil is slog.Default().
	Log *slog.Logger
	// Chance gives numbers in [0, 1) for choices between equals; nil is math/rand.
	Chance func() float64
}

// Router is an http.Handler. It may be used by many goroutines at once.
type Router struct {
	cfg      Config
	log      *slog.Logger
	echo     *echo.Echo
	metrics  *metrics
	brains   *http.Client
	pages    *pages
	models   models
	prefixes *prefix.Store
	latest   atomic.Pointer[siteTable]
	memory   sync.Pool // of *launchMemory
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
	cfg.URL = base.Scheme + "://" + base.Host
	if err := cfg.ICE.check(); err != nil {
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
	r := &Router{
		cfg: cfg, log: cfg.Log,
		brains: &http.Client{
			Timeout: askTimeout,
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: askTimeout}).DialContext,
				MaxIdleConnsPerHost: 4,
				IdleConnTimeout:     time.Minute,
			},
			// Brains do not redirect.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	r.memory.New = func() any { return new(launchMemory) }
	r.prefixes = prefix.New(prefix.Config{Between: r.models.between})
	r.metrics = newMetrics(r)
	if cfg.Web != nil {
		r.pages = newPages(cfg.Web)
	}
	r.echo = r.routes()
	return r, nil
}

func (r *Router) routes() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = r.fail
	// X-Forwarded-For counts only from proxies in private networks.
	e.IPExtractor = echo.ExtractIPFromXFFHeader()
	e.Use(r.observe, r.headers, r.recover)

	get := func(path string, h echo.HandlerFunc) {
		e.GET(path, h)
		e.HEAD(path, h)
	}
	get("/v1/apps", r.getApps)
	get("/v1/sites", r.getSites)
	get("/v1/beacon", r.getBeacon)
	e.POST("/v1/probes", r.postProbes)
	get("/v1/openapi.yaml", r.getOpenAPI)
	e.POST("/v1/sessions", r.postSession)
	e.GET("/v1/sessions/:id", r.getSession)
	e.DELETE("/v1/sessions/:id", r.deleteSession)
	e.POST("/v1/sessions/:id/ticket", r.postTicket)
	get("/problems/:kind", r.getProblem)
	get("/healthz", r.getHealth)
	get("/metrics", echo.WrapHandler(r.metrics.handler()))
	if r.pages != nil {
		get("/", r.page("index.html"))
		get("/play/:app", r.page("play.html"))
		get("/favicon.ico", r.page("assets/favicon.svg"))
		get("/*", r.getFile)
		// Else the pattern of the pages would answer these with 404.
		get("/v1/sessions", onlyPost)
		get("/v1/probes", onlyPost)
		get("/v1/sessions/:id/ticket", onlyPost)
	}
	return e
}

func onlyPost(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderAllow, "OPTIONS, POST")
	return echo.ErrMethodNotAllowed
}

// ServeHTTP serves one request.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.echo.ServeHTTP(w, req) }

// Close closes the connections to brains. It does not wait for requests.
func (r *Router) Close() {
	r.brains.CloseIdleConnections()
	r.models.wait()
}

// drainTime is how long Serve waits for requests in flight when it ends.
const drainTime = 3 * time.Second

// Serve serves on l until ctx ends. Then it accepts no more requests, finishes
// those in flight and returns nil. It closes l.
func (r *Router) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: r,
		// No request to a router is large or slow.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
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
