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

// answer is what a question brought.
type answer struct {
	url   string
	took  time.Duration // the round trip; 0 where it could not be measured
	blind bool
	err   error // why it missed
}

func (a answer) missed() bool { return a.err != nil }

// asker puts single questions.
type asker struct {
	kept, fresh *http.Transport
}

func newAsker() *asker {
	dial := (&net.Dialer{Timeout: mostPatient}).DialContext
	return &asker{
		kept:  &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, DisableCompression: true},
		fresh: &http.Transport{DialContext: dial, DisableKeepAlives: true, DisableCompression: true},
	}
}

func (a *asker) close() {
	a.kept.CloseIdleConnections()
	a.fresh.CloseIdleConnections()
}

// ask puts one question, on the connection that is kept for it or on a new one.
func (a *asker) ask(ctx context.Context, base string, wait time.Duration, keep bool) answer {
	out := answer{url: base}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	// Sending and hearing happen on other goroutines.
	var sent, heard atomic.Int64
	start := time.Now()
	trace := &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { sent.Store(int64(time.Since(start))) },
		GotFirstResponseByte: func() { heard.Store(int64(time.Since(start))) },
	}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet, strings.TrimRight(base, "/")+"/healthz", nil)
	if err != nil {
		out.err = fmt.Errorf("ask a router: %w", err)
		return out
	}
	transport := a.fresh
	if keep {
		transport = a.kept
	}
	res, err := transport.RoundTrip(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		out.blind = true // nobody there says that the site sees itself
		return out
	case err != nil:
		out.err = fmt.Errorf("ask a router: %w", err)
		return out
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	ours := strings.HasPrefix(res.Header.Get("Content-Type"), wire.ProblemType)
	switch {
	case err != nil:
		out.err = fmt.Errorf("read a router's answer: %w", err)
		return out
	case res.StatusCode >= http.StatusInternalServerError && !ours:
		// A proxy in front of routers that are not there.
		out.err = fmt.Errorf("a router's answer is %s", res.Status)
		return out
	}
	out.blind = res.StatusCode != http.StatusOK || !bytes.Contains(text, []byte(`"ok"`))
	if s, h := sent.Load(), heard.Load(); s > 0 && h > s {
		out.took = time.Duration(h - s)
	}
	return out
}

const (
	// rowPatience is how long a router may take to say what it has measured.
	rowPatience = 5 * time.Second
	// rowLargest is more than GET /v1/sites says of a thousand sites.
	rowLargest = 4 << 20
)

// row asks a router of a site for what it has measured itself.
func (a *asker) row(ctx context.Context, base, site string) (map[string]wire.Distance, error) {
	ctx, cancel := context.WithTimeout(ctx, rowPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+"/v1/sites", nil)
	if err != nil {
		return nil, fmt.Errorf("ask a router for its row: %w", err)
	}
	res, err := a.fresh.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask a router for its row: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask a router for its row: it answered %s", res.Status)
	}
	var said wire.SitesResponse
	if err := json.NewDecoder(io.LimitReader(res.Body, rowLargest)).Decode(&said); err != nil {
		return nil, fmt.Errorf("decode a router's row: %w", err)
	}
	if said.Entry != site {
		return nil, fmt.Errorf("ask a router for its row: it is of %q, not of %q", said.Entry, site)
	}
	row := map[string]wire.Distance{}
	for _, s := range said.Sites {
		if s.Site != site {
			continue
		}
		for other, d := range s.Distances {
			if d.Measured && d.Untrusted == "" && d.RTTMS > 0 && d.RTTMS <= wire.MaxRTTMS && d.ErrorMS >= 0 {
				row[other] = d
			}
		}
	}
	return row, nil
}
