// Package router is the front door of Nearcast: an HTTP service, at every site,
// that says which apps there are, lets a browser measure its way to each site,
// places a session, and serves the player.
//
// It is stateless. All it knows of the world is a View that others keep; all
// it promises is written in tickets, which brains and seats check without
// asking back. So any router may be killed, replaced or joined by others at any
// moment, and a router that has lost sight of the world goes on with what it
// saw last and says so.
//
//	GET    /v1/apps                    what can be played, with its room by site
//	GET    /v1/sites                   where, with a beacon each, and how far apart
//	POST   /v1/probes                  which sites to measure next, where they are many
//	GET    /v1/beacon                  nothing, quickly: measure your round trip against it
//	POST   /v1/sessions                place a session: a ticket and where to take it
//	GET    /v1/sessions/{id}           what has become of it
//	DELETE /v1/sessions/{id}           end it
//	POST   /v1/sessions/{id}/ticket    more time for one who waits
//	GET    /v1/openapi.yaml            all of this, exactly
//	GET    /problems/{kind}            what an error means
//	GET    /healthz, /metrics          for those who operate it
//	GET    /, /play/{app}, …           pages
//
// Every error is an RFC 9457 problem (wire.Problem). Nothing here uses cookies,
// so pages of any origin may use the API.
//
//	r, err := router.New(router.Config{Site: "eu-west-1", URL: "https://eu.play.example", View: view, …})
//	defer r.Close()
//	err = r.Serve(ctx, listener) // until ctx ends, and then what was begun
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
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/ticket"
)

// Config is what a router needs. Site, URL, View, Signer and Verifier are required.
type Config struct {
	// Site is where this router is.
	Site string
	// URL is where browsers reach it, "https://eu.play.example", without a path.
	URL string
	// View is the world as others keep it.
	View View
	// Signer issues tickets; Verifier checks those that are to be renewed, which
	// another router may have issued.
	Signer   *ticket.Signer
	Verifier *ticket.Verifier
	// ICE names the STUN and TURN servers that browsers use.
	ICE ICE
	// Web holds the pages: index.html, play.html and what they load. nil serves
	// the API alone.
	Web fs.FS
	// MaxStale is how long the router serves from what it saw last once the
	// world is out of sight; 0 is MaxStale, the constant.
	MaxStale time.Duration
	// FrameAncestors are the origins whose pages may frame the player; none by default.
	FrameAncestors []string
	// Log gets a line for each request of the API; nil is slog.Default().
	Log *slog.Logger
	// Chance gives numbers in [0, 1) for choices among equals; nil is math/rand.
	Chance func() float64
}

// Router is an http.Handler. It may be used by many goroutines at once.
type Router struct {
	cfg     Config
	log     *slog.Logger
	echo    *echo.Echo
	metrics *metrics
	brains  *http.Client
	pages   *pages
	advisor *advisor
	last    atomic.Pointer[world] // what was computed of the view of late
}

// New makes a router. It starts nothing.
func New(cfg Config) (*Router, error) {
	if cfg.Site == "" || cfg.View == nil || cfg.Signer == nil || cfg.Verifier == nil {
		return nil, errors.New("new router: Site, View, Signer and Verifier are required")
	}
	base, err := url.Parse(cfg.URL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" ||
		strings.Trim(base.Path, "/") != "" || base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, fmt.Errorf("new router: URL %q is not of the form https://host[:port]", cfg.URL)
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
		cfg: cfg, log: cfg.Log, advisor: newAdvisor(),
		brains: &http.Client{
			Timeout: askTimeout,
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: askTimeout}).DialContext,
				MaxIdleConnsPerHost: 4,
				IdleConnTimeout:     time.Minute,
			},
			// A brain that redirects is not a brain.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
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
	// Only proxies in private networks are believed about whom they speak for.
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
		// Otherwise the pages' pattern would answer these, with 404.
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

// Close lets go of connections to brains. Requests in flight are not waited for.
func (r *Router) Close() {
	r.brains.CloseIdleConnections()
	r.advisor.wg.Wait()
}

// drainTime is how long requests in flight have when Serve ends.
const drainTime = 3 * time.Second

// Serve serves on l until ctx ends; then it takes no more requests, finishes
// those in flight and returns nil. It closes l.
func (r *Router) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: r,
		// Nothing that a browser asks of a router is large or slow.
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
		err = fmt.Errorf("shut down with requests in flight: %w", err)
	}
	<-served
	return err
}
