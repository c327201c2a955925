package reach

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
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
	err       error // why the check was missed
}

func (r result) missed() bool { return r.err != nil }

// client sends single requests to routers.
type client struct {
	kept, fresh *http.Transport // with a connection that is kept open, and without
}

func newClient() *client {
	dial := (&net.Dialer{Timeout: maxTimeout}).DialContext
	return &client{
		kept:  &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, DisableCompression: true},
		fresh: &http.Transport{DialContext: dial, DisableKeepAlives: true, DisableCompression: true},
	}
}

func (c *client) close() {
	c.kept.CloseIdleConnections()
	c.fresh.CloseIdleConnections()
}

// check checks one router, on the kept connection or on a new one.
func (c *client) check(ctx context.Context, base string, timeout time.Duration, keep bool) result {
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
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet, strings.TrimRight(base, "/")+"/healthz", nil)
	if err != nil {
		out.err = fmt.Errorf("check router: %w", err)
		return out
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
	text, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
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
	out.unhealthy = res.StatusCode != http.StatusOK || !bytes.Contains(text, []byte(`"ok"`))
	if s, h := sent.Load(), heard.Load(); s > 0 && h > s {
		out.took = time.Duration(h - s)
	}
	return out
}

const (
	// distancesTimeout bounds a request for a router's distances.
	distancesTimeout = 5 * time.Second
	// distancesLargest is more than the answer of GET /v1/sites for a thousand sites.
	distancesLargest = 4 << 20
)

// distances asks a router of a site for the distances that it has measured.
func (c *client) distances(ctx context.Context, base, site string) (map[string]wire.Distance, error) {
	ctx, cancel := context.WithTimeout(ctx, distancesTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+"/v1/sites", nil)
	if err != nil {
		return nil, fmt.Errorf("get distances: %w", err)
	}
	res, err := c.fresh.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("get distances: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get distances: status %s", res.Status)
	}
	var sites wire.SitesResponse
	if err := json.NewDecoder(io.LimitReader(res.Body, distancesLargest)).Decode(&sites); err != nil {
		return nil, fmt.Errorf("get distances: decode answer: %w", err)
	}
	if sites.Entry != site {
		return nil, fmt.Errorf("get distances: the router is at %q, not at %q", sites.Entry, site)
	}
	out := map[string]wire.Distance{}
	for _, s := range sites.Sites {
		if s.Site != site {
			continue
		}
		for other, d := range s.Distances {
			if d.Measured && d.Untrusted == "" && d.RTTMS > 0 && d.RTTMS <= wire.MaxRTTMS && d.ErrorMS >= 0 {
				out[other] = d
			}
		}
	}
	return out, nil
}
