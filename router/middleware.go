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

// observe counts and logs a request. It logs the pattern of the route, never the
// URL: that may have a session's id, and anything in its query.
func (r *Router) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		if err := next(c); err != nil {
			c.Error(err) // answers now, so that the status is known below
		}
		took := time.Since(start)
		if held, ok := c.Get(rested).(time.Duration); ok {
			took -= held
		}
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
		case status == http.StatusTooManyRequests:
			// Metrics count these: a flood of requests must not become a flood of lines.
		case strings.HasPrefix(route, "/v1/sessions"):
			level = slog.LevelInfo
		}
		if !r.log.Enabled(context.Background(), level) {
			return nil
		}
		r.log.LogAttrs(context.Background(), level, "request",
			slog.String("method", method), slog.String("route", route), slog.Int("status", status),
			slog.Duration("took", took.Round(time.Microsecond)), slog.String("remote", c.RealIP()))
		return nil
	}
}

// headers sets the headers of every answer, and answers preflights.
func (r *Router) headers(next http.Handler) http.Handler {
	csp := r.contentSecurityPolicy()
	secure := strings.HasPrefix(r.cfg.URL, "https:")
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		h := rw.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", csp)
		if secure {
			h.Set(echo.HeaderStrictTransportSecurity, "max-age=31536000")
		}
		// Without cookies, a page of another origin cannot act as the visitor.
		h.Set(echo.HeaderAccessControlAllowOrigin, "*")
		h.Set(echo.HeaderAccessControlExposeHeaders, "Location, Retry-After")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		if req.Method == http.MethodOptions && req.Header.Get(echo.HeaderAccessControlRequestMethod) != "" {
			h.Set(echo.HeaderAccessControlAllowMethods, "GET, HEAD, POST, DELETE")
			h.Set(echo.HeaderAccessControlAllowHeaders, "Authorization, Content-Type")
			h.Set(echo.HeaderAccessControlMaxAge, "7200")
			rw.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(rw, req)
	})
}

// contentSecurityPolicy lets pages run scripts of this router, show pictures from
// anywhere, and connect to routers and brains of all sites.
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

// recover turns a panic into a 500, and logs its stack.
func (r *Router) recover(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			switch x := recover(); x {
			case nil:
			case http.ErrAbortHandler:
				panic(x) // the way of net/http to drop a connection
			default:
				err = fmt.Errorf("panic: %v\n%s", x, debug.Stack())
			}
		}()
		return next(c)
	}
}
