package reach

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/facts"
)

// factsTimeout bounds a request for a site's facts.
const factsTimeout = 5 * time.Second

// decoding makes hostile answers take memory one after the other, not all at once.
var decoding sync.Mutex

func authorize(req *http.Request, token string) {
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
}

// facts asks a router of a site for what changed since the version have, and for the
// distances that it has measured.
func (c *client) facts(ctx context.Context, base, site, token, have string, distances bool) (wire.SiteFacts, error) {
	ctx, cancel := context.WithTimeout(ctx, factsTimeout)
	defer cancel()
	query := url.Values{}
	if have != "" {
		query.Set("have", have)
	}
	if distances {
		query.Set("distances", "1")
	}
	address := strings.TrimRight(base, "/") + wire.FactsPath
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return wire.SiteFacts{}, fmt.Errorf("ask for facts: %w", err)
	}
	authorize(req, token)
	req.Header.Set("Accept-Encoding", "gzip")
	res, err := c.kept.RoundTrip(req)
	if err != nil {
		return wire.SiteFacts{}, fmt.Errorf("ask for facts: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, res.Body, 4<<10) // so that the connection can be used again
		return wire.SiteFacts{}, fmt.Errorf("ask for facts: status %s", res.Status)
	}
	b := buffers.Get().(*buffer)
	defer b.keep()
	text, err := b.read(res, facts.MaxText)
	switch {
	case err != nil:
		return wire.SiteFacts{}, fmt.Errorf("ask for facts: %w", err)
	case len(text) > facts.MaxText:
		return wire.SiteFacts{}, fmt.Errorf("ask for facts: the answer is longer than %d bytes", facts.MaxText)
	}
	decoding.Lock()
	defer decoding.Unlock()
	return facts.Read(site, text)
}

// buffer is what an answer is read with. It is used again, as it is larger than most
// answers.
type buffer struct {
	text bytes.Buffer
	z    gzip.Reader
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// read reads an answer, which may be compressed, up to a byte more than most. The text is
// good until the buffer is used again.
func (b *buffer) read(res *http.Response, most int64) ([]byte, error) {
	b.text.Reset()
	body := io.Reader(res.Body)
	if res.Header.Get("Content-Encoding") == "gzip" {
		if err := b.z.Reset(io.LimitReader(body, most)); err != nil {
			return nil, fmt.Errorf("uncompress: %w", err)
		}
		body = &b.z
	}
	if _, err := b.text.ReadFrom(io.LimitReader(body, most+1)); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return b.text.Bytes(), nil
}

// keep gives a buffer back, unless one long answer has made it large.
func (b *buffer) keep() {
	if b.text.Cap() <= 64<<10 {
		buffers.Put(b)
	}
}

// version is that of the facts that are known; empty where none are. Monitor.mu is held.
func (s *site) version() string {
	if s.state.Facts == nil {
		return ""
	}
	return s.state.Facts.Version
}

// changes takes the changes that came with a check. What is wrong with them is not said: then
// the site is asked for its facts.
func (m *Monitor) changes(s *site, got result) {
	if len(got.health.Changes) == 0 {
		return
	}
	answer, err := facts.Read(s.name, got.health.Changes)
	if err != nil || answer.Since == "" || answer.Version != got.health.Facts {
		return
	}
	m.mu.Lock()
	next, err := s.state.Facts.With(answer)
	if err == nil {
		s.state.Facts, s.state.FactsAt = next, time.Now()
	}
	m.mu.Unlock()
	if err == nil {
		m.cfg.Changed(s.name)
	}
}

// learn takes what a check says of a site's facts, and asks for them where they
// changed and the check did not say how, or where it is time for distances. It does not
// delay the next check.
func (m *Monitor) learn(ctx context.Context, s *site, got result) {
	version := got.health.Facts
	if got.missed() || version == "" || got.health.Site != s.name {
		return
	}
	m.changes(s, got)
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	have := s.version()
	if have == version {
		s.state.FactsAt = now
	}
	every := max(distancesEvery, time.Duration(len(m.sites))*distancesEach)
	if len(s.state.Distances) < len(m.sites) && len(m.sites) <= wire.MaxRace {
		every = distancesSoon // it has just started, as perhaps all have
	}
	distances := !got.unhealthy && now.Sub(s.requested) >= every
	if s.asking || have == version && !distances || ctx.Err() != nil {
		return
	}
	s.asking = true
	if distances {
		s.requested = now
	}
	token := m.cfg.Token(s.name)
	m.wg.Go(func() {
		answer, err := m.client.facts(ctx, got.url, s.name, token, have, distances)
		m.told(s, answer, distances, err)
	})
}

// told takes the answer to a question for facts.
func (m *Monitor) told(s *site, answer wire.SiteFacts, distances bool, err error) {
	now, changed := time.Now(), false
	m.mu.Lock()
	s.asking = false
	was := s.state.Facts
	if err == nil {
		next, wrong := was.With(answer)
		switch err = wrong; {
		case wrong != nil:
			s.state.Facts = nil // ask for everything next time
		default:
			changed = was == nil || was.Version != next.Version
			s.state.Facts, s.state.FactsAt = next, now
			if distances {
				s.state.Distances, s.state.DistancesAt = answer.Distances, now
			}
		}
	}
	first := err != nil && !s.untold
	s.untold = err != nil
	m.mu.Unlock()
	if first {
		m.cfg.Log.Warn("a site's router does not tell what the site has; reading it from consul", "site", s.name, "error", err)
	}
	if changed {
		m.cfg.Changed(s.name)
	}
}

// Grace is how long facts count without being told again.
func (m *Monitor) Grace() time.Duration { return 3*m.interval() + 2*time.Second }
