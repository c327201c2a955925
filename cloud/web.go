package cloud

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// Internet asks as people do, by HTTP and TLS.
type Internet struct{}

// webTime ends a question to a router or its load balancer.
const webTime = 8 * time.Second

// Sites implements Web.
func (Internet) Sites(ctx context.Context, routerURL string) (sites wire.SitesResponse, err error) {
	ctx, cancel := context.WithTimeout(ctx, webTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(routerURL, "/")+"/v1/sites?distances=all", nil)
	if err != nil {
		return sites, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return sites, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return sites, fmt.Errorf("GET %s: %s", req.URL, res.Status)
	}
	const most = 16 << 20
	if err := json.NewDecoder(io.LimitReader(res.Body, most)).Decode(&sites); err != nil {
		return sites, fmt.Errorf("GET %s: %w", req.URL, err)
	}
	return sites, nil
}

// Expires implements Web. A certificate that is not good now is an error. Of several ways to an
// authority it is the one that lasts: servers send old ones along.
func (Internet) Expires(ctx context.Context, at string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, webTime)
	defer cancel()
	address, err := tlsAddress(at)
	if err != nil {
		return time.Time{}, err
	}
	conn, err := (&tls.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return time.Time{}, err
	}
	defer conn.Close()
	return lasts(conn.(*tls.Conn).ConnectionState().VerifiedChains), nil
}

func lasts(chains [][]*x509.Certificate) (best time.Time) {
	for _, chain := range chains {
		until := chain[0].NotAfter
		for _, c := range chain {
			if c.NotAfter.Before(until) {
				until = c.NotAfter
			}
		}
		if until.After(best) {
			best = until
		}
	}
	return best
}

// tlsAddress is host:port of https://, wss:// and turns: URLs.
func tlsAddress(at string) (string, error) {
	if rest, ok := strings.CutPrefix(at, "turns:"); ok {
		rest, _, _ = strings.Cut(rest, "?")
		if _, _, err := net.SplitHostPort(rest); err != nil {
			rest = net.JoinHostPort(rest, "5349")
		}
		return rest, nil
	}
	u, err := url.Parse(at)
	if err != nil {
		return "", err
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}
