package reach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// result is the result of a check.
type result struct {
	url       string
	took      time.Duration // the round trip; 0 where it could not be measured
	unhealthy bool
	health    health // what the router said
	err       error  // why the check was missed
}

// health is the answer of GET /healthz, as far as it is of use here.
type health struct {
	Status     string    `json:"status"`
	Site       string    `json:"site"`
	Facts      string    `json:"facts"` // the version of the site's facts, if the router tells them
	StaleSince time.Time `json:"stale_since"`
	// Changes is a wire.SiteFacts: what changed since the version that was sent.
	Changes json.RawMessage `json:"changes"`
}

// maxHealth is the longest answer to a check that is read.
const maxHealth = 64 << 10

func (r result) missed() bool { return r.err != nil }

// client sends single requests to routers.
type client struct {
	kept, fresh *http.Transport // with a connection that is kept open, and without
}

func newClient() *client {
	dial := (&net.Dialer{Timeout: maxTimeout}).DialContext
	return &client{
		// Two, so that what is long does not close the connection of the checks.
		kept:  &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, DisableCompression: true},
		fresh: &http.Transport{DialContext: dial, DisableKeepAlives: true, DisableCompression: true},
	}
}

func (c *client) close() {
	c.kept.CloseIdleConnections()
	c.fresh.CloseIdleConnections()
}

// check checks one router, on the kept connection or on a new one. With a token, the
// router says the version of its site's facts, and what changed since the version have.
func (c *client) check(ctx context.Context, base, token, have string, timeout time.Duration, keep bool) result {
	out := result{url: base}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// The transport calls these from its own goroutines.
	var sent, heard atomic.Int64
	start := time.Now()
	trace := &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { sent.Store(int64(time.Since(start))) },
		GotFirstResponseByte: func() { heard.Store(int64(time.Since(start))) },
	}
	address := strings.TrimRight(base, "/") + "/healthz"
	if have != "" {
		address += "?have=" + url.QueryEscape(have)
	}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet, address, nil)
	if err != nil {
		out.err = fmt.Errorf("check router: %w", err)
		return out
	}
	authorize(req, token)
	if have != "" {
		req.Header.Set("Accept-Encoding", "gzip")
	}
	transport := c.fresh
	if keep {
		transport = c.kept
	}
	res, err := transport.RoundTrip(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		out.unhealthy = true // the node answers, no router on it does
		return out
	case err != nil:
		out.err = fmt.Errorf("check router: %w", err)
		return out
	}
	defer res.Body.Close()
	b := buffers.Get().(*buffer)
	defer b.keep()
	text, err := b.read(res, maxHealth)
	problem := strings.HasPrefix(res.Header.Get("Content-Type"), wire.ProblemType)
	switch {
	case err != nil:
		out.err = fmt.Errorf("check router: read answer: %w", err)
		return out
	case res.StatusCode >= http.StatusInternalServerError && !problem:
		// A router's own errors are problems: this one is of a proxy without a router.
		out.err = fmt.Errorf("check router: status %s", res.Status)
		return out
	}
	if res.StatusCode == http.StatusOK && json.Unmarshal(text, &out.health) != nil {
		out.health = health{}
	}
	out.unhealthy = out.health.Status != "ok"
	if s, h := sent.Load(), heard.Load(); s > 0 && h > s {
		out.took = time.Duration(h - s)
	}
	return out
}
