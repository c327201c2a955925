package router

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// observe counts and logs a request. What is logged is the route's pattern,
// never the URL: it may hold a session's id, and its query could hold anything.
func (r *Router) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		if err := next(c); err != nil {
			c.Error(err) // answers now, so that the status is known here
		}
		took := time.Since(start)
		route, status := c.Path(), c.Response().Status
		if route == "" {
			route = "none"
		}
		method := c.Request().Method
		r.metrics.request(route, method, status, took)
		level := slog.LevelDebug
		switch {
		case status >= 500:
			level = slog.LevelWarn
		case strings.HasPrefix(route, "/v1/sessions"):
			level = slog.LevelInfo
		}
		r.log.LogAttrs(context.Background(), level, "request",
			slog.String("method", method), slog.String("route", route), slog.Int("status", status),
			slog.Duration("took", took.Round(time.Microsecond)), slog.String("remote", c.RealIP()))
		return nil
	}
}

// headers sets what every answer carries, and answers preflights.
func (r *Router) headers(next echo.HandlerFunc) echo.HandlerFunc {
	csp := r.contentSecurityPolicy()
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", csp)
		// There are no cookies, and so nothing that a page of another origin
		// could do in a visitor's name.
		h.Set(echo.HeaderAccessControlAllowOrigin, "*")
		h.Set(echo.HeaderAccessControlExposeHeaders, "Location, Retry-After")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		req := c.Request()
		if req.Method == http.MethodOptions && req.Header.Get(echo.HeaderAccessControlRequestMethod) != "" {
			h.Set(echo.HeaderAccessControlAllowMethods, "GET, HEAD, POST, DELETE")
			h.Set(echo.HeaderAccessControlAllowHeaders, "Authorization, Content-Type")
			h.Set(echo.HeaderAccessControlMaxAge, "7200")
			return c.NoContent(http.StatusNoContent)
		}
		return next(c)
	}
}

// contentSecurityPolicy lets pages run what this router serves, show pictures
// from anywhere, and speak to routers and brains of all sites.
func (r *Router) contentSecurityPolicy() string {
	connect := "'self' https: wss:"
	if strings.HasPrefix(r.cfg.URL, "http:") {
		connect += " http: ws:"
	}
	frames := "'none'"
	if len(r.cfg.FrameAncestors) > 0 {
		frames = strings.Join(r.cfg.FrameAncestors, " ")
	}
	return strings.Join([]string{
		"default-src 'self'", "img-src 'self' data: https: http:", "media-src 'self' blob: mediastream:",
		"connect-src " + connect, "object-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors " + frames,
	}, "; ")
}

// recover turns a panic into a 500, and logs where it came from.
func (r *Router) recover(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			switch x := recover(); x {
			case nil:
			case http.ErrAbortHandler:
				panic(x) // net/http's own way to drop a connection
			default:
				err = fmt.Errorf("panic: %v\n%s", x, debug.Stack())
			}
		}()
		return next(c)
	}
}
