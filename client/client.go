// Package client asks routers for what a customer's server needs: sessions, apps and sites. Most of
// it is generated from the routers' OpenAPI document (router/openapi.yaml) by oapi-codegen: make
// client writes it anew, and a test holds that it was.
//
//	c, err := client.New("https://play.example", apiKey)
//	for session, err := range c.Sessions(ctx, client.ListSessionsParams{App: new("cad-viewer")}) {
//		if err != nil {
//			return err // a Problem says what to do
//		}
//		fmt.Println(session.Session, session.State)
//	}
//	answer, err := c.EndSessionWithResponse(ctx, id)
//	if err == nil {
//		err = client.Check(answer)
//	}
//
// Event is what webhooks bring; check their signatures by a library of Standard Webhooks before.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"
)

//go:generate go tool -modfile=../dev/tools/oapi-codegen/go.mod oapi-codegen -config generate.yaml -o client.gen.go ../router/openapi.yaml

// timeout is how long a request may take, unless an option brings a client of HTTP.
const timeout = 30 * time.Second

// New makes a client of the router at an URL. key is an API key or an operator's token; without one,
// only what is public can be asked for.
func New(router, key string, options ...ClientOption) (*ClientWithResponses, error) {
	u, err := url.Parse(router)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the router must be an URL, such as https://play.example, not %q", router)
	}
	options = append([]ClientOption{WithHTTPClient(&http.Client{Timeout: timeout})}, options...)
	if key != "" {
		options = append(options, WithRequestEditorFn(func(_ context.Context, req *http.Request) error {
			req.Header.Set("Authorization", "Bearer "+key)
			return nil
		}))
	}
	return NewClientWithResponses(router, options...)
}

// Error says what is wrong, and what to do.
func (p Problem) Error() string {
	text := p.Title
	if p.Detail != nil {
		text += ": " + *p.Detail
	}
	if p.Field != nil {
		text += " (" + *p.Field + ")"
	}
	return text
}

// Answer is what every request of this package returns.
type Answer interface {
	StatusCode() int
	GetBody() []byte
}

// Check gives the Problem of an answer that has one, and nil where the request was done.
func Check(a Answer) error {
	status := a.StatusCode()
	if status >= 200 && status < 300 {
		return nil
	}
	var p Problem
	if json.Unmarshal(a.GetBody(), &p) == nil && p.Title != "" {
		return p
	}
	return fmt.Errorf("the router answered %d %s", status, http.StatusText(status))
}

// ErrMissing is the last error of Sessions where sites did not answer in full. All others are there.
var ErrMissing = errors.New("the list is not whole")

// Sessions walks through all sessions that which asks for, page by page.
func (c *ClientWithResponses) Sessions(ctx context.Context, which ListSessionsParams) iter.Seq2[SessionView, error] {
	return func(yield func(SessionView, error) bool) {
		missing := map[string]bool{}
		var sites []string
		for {
			answer, err := c.ListSessionsWithResponse(ctx, &which)
			if err == nil {
				err = Check(answer)
			}
			if err == nil && answer.JSON200 == nil {
				err = errors.New("the router's answer is no list of sessions")
			}
			if err != nil {
				yield(SessionView{}, err)
				return
			}
			for _, session := range answer.JSON200.Sessions {
				if !yield(session, nil) {
					return
				}
			}
			if answer.JSON200.Missing != nil {
				for _, site := range *answer.JSON200.Missing {
					if !missing[site] {
						missing[site] = true
						sites = append(sites, site)
					}
				}
			}
			next := answer.JSON200.Cursor
			if next == nil || *next == "" || which.Cursor != nil && *next == *which.Cursor {
				break
			}
			which.Cursor = next
		}
		if len(sites) > 0 {
			yield(SessionView{}, fmt.Errorf("%w: %s did not answer in full", ErrMissing, strings.Join(sites, ", ")))
		}
	}
}
