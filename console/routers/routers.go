// Package routers asks the routers of the console's own site about sites and sessions, as an operator
// does: with the operators' token. A router asks those of the other sites. It implements
// console.Routers.
//
//	r := routers.New(routers.Config{Site: "eu-west-1", Token: token, Find: find})
//	sessions, missing, err := r.Sessions(ctx)
package routers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// Config says how to reach routers.
type Config struct {
	Site  string
	Token string // the operators'
	// Find gives the routers of the own site.
	Find func(context.Context) ([]wire.Instance, error)
}

// Routers is a console.Routers.
type Routers struct {
	cfg    Config
	client *http.Client

	mu    sync.Mutex
	sites []wire.SiteView // as they were told last
}

// timeout bounds one request. A still of another site takes the longest.
const timeout = 8 * time.Second

// New makes Routers.
func New(cfg Config) *Routers {
	return &Routers{cfg: cfg, client: &http.Client{Timeout: timeout, Transport: &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Close closes idle connections.
func (r *Routers) Close() { r.client.CloseIdleConnections() }

// maxAnswer bounds an answer in bytes: 500 sessions have some 300 KB.
const maxAnswer = 4 << 20

// own asks a healthy router of the own site, and the next one where it does not answer.
func (r *Routers) own(ctx context.Context, method, path string, body, into any) error {
	all, err := r.cfg.Find(ctx)
	if err != nil {
		return fmt.Errorf("find routers: %w", err)
	}
	err = errors.New("no healthy router at " + r.cfg.Site)
	for _, one := range all {
		if !one.Healthy || one.Address == "" {
			continue
		}
		var p wire.Problem
		if err = r.ask(ctx, method, "http://"+one.Address+path, body, into); err == nil || errors.As(err, &p) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// ask asks one router. Its error is a wire.Problem where the router refused the question.
func (r *Routers) ask(ctx context.Context, method, address string, body, into any) error {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode a question: %w", err)
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, sent)
	if err != nil {
		return fmt.Errorf("ask a router: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+r.cfg.Token)
	if sent != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := r.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask a router: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read a router's answer: %w", err)
	}
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		return errors.New("the router does not take the operators' token of the console (--router-token)")
	case res.StatusCode >= http.StatusInternalServerError:
		return fmt.Errorf("the router answers %s: %.200s", res.Status, bytes.TrimSpace(text))
	case res.StatusCode >= http.StatusBadRequest:
		var p wire.Problem
		if json.Unmarshal(text, &p) == nil && p.Status == res.StatusCode {
			return p
		}
		return fmt.Errorf("the router answers %s", res.Status)
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("decode a router's answer: %w", err)
	}
	return nil
}

// Sites implements console.Routers.
func (r *Routers) Sites(ctx context.Context) ([]wire.SiteView, error) {
	var out wire.SitesResponse
	err := r.own(ctx, http.MethodGet, "/v1/sites?distances=all", nil, &out)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		return r.sites, fmt.Errorf("list sites: %w", err)
	}
	r.sites = out.Sites
	return out.Sites, nil
}

// maxPages bounds a list of sessions: a router that never ends would be read for ever.
const maxPages = 200

// Sessions implements console.Routers.
func (r *Routers) Sessions(ctx context.Context) (all []wire.SessionView, missing []string, err error) {
	cursor := ""
	for range maxPages {
		q := url.Values{"limit": {strconv.Itoa(wire.MaxSessions)}}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		var page wire.SessionList
		if err := r.own(ctx, http.MethodGet, wire.SessionsPath+"?"+q.Encode(), nil, &page); err != nil {
			return nil, nil, fmt.Errorf("list sessions: %w", err)
		}
		all, missing = append(all, page.Sessions...), append(missing, page.Missing...)
		if page.Cursor == "" {
			return all, missing, nil
		}
		cursor = page.Cursor
	}
	return all, missing, nil
}

// Session implements console.Routers.
func (r *Routers) Session(ctx context.Context, id string) (view wire.SessionView, err error) {
	if err := r.own(ctx, http.MethodGet, wire.SessionsPath+"/"+url.PathEscape(id), nil, &view); err != nil {
		return view, fmt.Errorf("read session: %w", err)
	}
	return view, nil
}

// End implements console.Routers.
func (r *Routers) End(ctx context.Context, id string) error {
	if err := r.own(ctx, http.MethodDelete, wire.SessionsPath+"/"+url.PathEscape(id), nil, nil); err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

// Still implements console.Routers.
func (r *Routers) Still(ctx context.Context, id string, role wire.ConsoleRole) (out wire.Still, err error) {
	if err := r.own(ctx, http.MethodPost, wire.SessionsPath+"/"+url.PathEscape(id)+wire.StillPath, wire.StillRequest{Session: id, Role: role}, &out); err != nil {
		return out, fmt.Errorf("ask for a still: %w", err)
	}
	return out, nil
}

// Placement implements console.Routers. The router that a person reached remembers it, and that may
// be one of any site: one router of each is asked, which asks the others of its own.
func (r *Routers) Placement(ctx context.Context, id string) (*wire.ConsolePlacement, error) {
	path := wire.SessionsPath + "/" + url.PathEscape(id) + wire.PlacementPath
	r.mu.Lock()
	sites := r.sites
	r.mu.Unlock()
	asked := 1
	answers := make(chan error, 1+len(sites))
	found := make(chan *wire.ConsolePlacement, 1+len(sites))
	one := func(ask func(into any) error) {
		var p wire.ConsolePlacement
		err := ask(&p)
		if err == nil {
			found <- &p
			return
		}
		if problem := (wire.Problem{}); errors.As(err, &problem) && problem.Status == http.StatusNotFound {
			err = nil
		}
		answers <- err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go one(func(into any) error { return r.own(ctx, http.MethodGet, path, nil, into) })
	for _, s := range sites {
		if s.Site == r.cfg.Site || s.RouterURL == "" {
			continue
		}
		asked++
		go one(func(into any) error {
			return r.ask(ctx, http.MethodGet, strings.TrimRight(s.RouterURL, "/")+path, nil, into)
		})
	}
	var failed error
	for range asked {
		select {
		case p := <-found:
			return p, nil
		case err := <-answers:
			failed = errors.Join(failed, err)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, failed
}
