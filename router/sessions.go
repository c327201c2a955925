package router

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// A router keeps no sessions. It asks the brains of its own site, at their internal
// listeners: each knows the seats of its site and the people that wait in its queues.
// About a session of another site it asks a router there, at the URL that browsers
// use: sites have no other path to each other.
//
// Which site that is stands in the session's id. A page whose first site failed goes
// on at another site of its ticket, under the same id: a router of that site knows the
// session too, because each looks at its own site as well.

const (
	// askTimeout bounds a request to a brain or a router. Both answer from memory.
	askTimeout = 3 * time.Second
	// forwardedHeader names the site of the router that a request comes from. Such a
	// request is not forwarded again.
	forwardedHeader = "Nearcast-Forwarded"
)

// errUnknown is returned where the session is not known.
var errUnknown = errors.New("the session is not known")

func (r *Router) getSession(c echo.Context) error {
	view, q, err := r.ask(c)
	if err != nil {
		return err
	}
	if !q.operator {
		forCustomer(&view)
	}
	if !q.operator && q.customer == "" { // a person, for whom the customer's names are not, and whose page measures itself
		view.Customer, view.Subject, view.Meta, view.Measured, view.Quality = "", "", nil, nil, nil
	}
	return c.JSON(http.StatusOK, view)
}

// forCustomer takes what says how a site is run out of a view. What the customer's people have of
// their sessions stays.
func forCustomer(view *wire.SessionView) {
	view.Node, view.Stills = "", ""
	if view.Measured != nil {
		m := *view.Measured
		m.Encoder, m.Preset = "", ""
		view.Measured = &m
	}
}

func (r *Router) deleteSession(c echo.Context) error {
	_, q, err := r.ask(c)
	if err != nil {
		return err
	}
	if q.operator || q.customer != "" {
		r.log.Info("a session is ended", "session", q.session, "by", cmp.Or(q.by, "operator"), "customer", q.customer)
	}
	return c.NoContent(http.StatusNoContent)
}

// question is a request about a session that its caller may make.
type question struct {
	method, session string
	// bearer is what a brain must check before it answers: a resume token. It is empty
	// where this router has checked the caller's token itself.
	bearer string
	// token is the caller's token, for the routers of other sites.
	token string
	// customer is whose session it has to be, for an API key; empty for all.
	customer string
	operator bool
	by       string   // the id of the API key
	sites    []string // to ask, in order
	likely   int      // the first so many of them mostly have it
}

// ask sends a request about a session to the site that has it, and gives the answer,
// which is empty for DELETE.
func (r *Router) ask(c echo.Context) (none wire.SessionView, q question, err error) {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	if !ticket.ValidSession(c.Param("id")) {
		return none, q, problem(wire.ProblemNotFound, "", "There is no such session.")
	}
	if q, err = r.mayAsk(c); err != nil {
		return none, q, err
	}
	view, err := r.askSites(c, q)
	return view, q, err
}

// askSites sends a question to the sites that it names, in turn.
func (r *Router) askSites(c echo.Context, q question) (none wire.SessionView, err error) {
	table, err := r.siteTable()
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), listTimeout)
	defer cancel()
	failed := false
	for at, name := range q.sites {
		i, ok := table.index[name]
		if !ok {
			continue // it was removed, and its sessions with it
		}
		var view wire.SessionView
		if name == r.cfg.Site {
			view, err = r.askBrains(ctx, q, &table.view.Sites[i])
		} else {
			view, err = r.askRouter(ctx, q, &table.view.Sites[i])
		}
		var p wire.Problem
		switch {
		case err == nil:
			return view, nil
		case errors.As(err, &p):
			return none, p
		case !errors.Is(err, errUnknown):
			failed = failed || at < q.likely
			r.log.Warn("a site does not say whether it has a session", "site", name, "error", err)
		}
	}
	if failed {
		return none, problem(wire.ProblemUnavailable, "", "The site of this session does not answer; try again in a moment.")
	}
	return none, problem(wire.ProblemNotFound, "", "There is no such session, or it has ended.")
}

// mayAsk checks the caller's token.
func (r *Router) mayAsk(c echo.Context) (question, error) {
	id := c.Param("id")
	q := question{method: c.Request().Method, session: id}
	token, ok := bearer(c.Request())
	if !ok {
		return q, problem(wire.ProblemTicket, "", "Send the session's ticket or resume token, an API key, or an operator's token, as: Authorization: Bearer <token>.")
	}
	q.token = token
	if ticket.IsAPIKey(token) {
		scope := ticket.ScopeReadSessions
		if q.method == http.MethodDelete {
			scope = ticket.ScopeEndSessions
		}
		key, _, err := r.caller(c, scope)
		if err != nil {
			return q, err
		}
		q.customer, q.by = key.Customer, key.ID
		return r.toAsk(c, q), nil
	}
	claims, err := r.cfg.Verifier.VerifySession(token)
	resumed, _ := ticket.ReadResume(token)
	switch {
	case r.operators.is(token):
		q.operator = true
	case err == nil && claims.Session != id:
		return q, problem(wire.ProblemForbidden, "", "The ticket is for another session.")
	case err == nil:
	case errors.Is(err, ticket.ErrExpired):
		return q, problem(wire.ProblemTicket, "", "The ticket has expired long ago; send the session's resume token.")
	case resumed == "":
		return q, problem(wire.ProblemTicket, "", "This is no ticket of these sites, no resume token and no operator's token.")
	case resumed != id:
		return q, problem(wire.ProblemForbidden, "", "The resume token is for another session.")
	default:
		q.bearer = token
	}
	return r.toAsk(c, q), nil
}

// toAsk says which sites to ask.
func (r *Router) toAsk(c echo.Context, q question) question {
	if c.Request().Header.Get(forwardedHeader) != "" {
		q.sites, q.likely = []string{r.cfg.Site}, 1
		return q
	}
	if site := ticket.SiteOf(q.session); site != "" && site != r.cfg.Site {
		q.sites = append(q.sites, site)
	}
	q.sites = append(q.sites, r.cfg.Site)
	q.likely = len(q.sites)
	// A session may have gone on at another site of its ticket, and who has a list asks any router.
	if q.operator || q.customer != "" {
		for _, s := range r.cfg.View.Snapshot().Sites {
			if !slices.Contains(q.sites, s.Name) && s.Reach.SilentSince.IsZero() {
				q.sites = append(q.sites, s.Name)
			}
		}
	}
	return q
}

// askBrains asks all brains of this site at once, and takes the first answer of one
// that knows the session.
func (r *Router) askBrains(ctx context.Context, q question, s *Site) (wire.SessionView, error) {
	var none wire.SessionView
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	type answer struct {
		view wire.SessionView
		err  error
	}
	answers := make(chan answer, len(s.Brains)) // no goroutine blocks when the first answer is taken
	asked := 0
	for _, b := range s.Brains {
		if !b.Healthy || b.Internal == "" {
			continue
		}
		asked++
		go func() {
			view, err := r.askBrain(ctx, r.brains.To(b.Key), q, "https://"+b.Internal)
			if err != nil && !errors.Is(err, errUnknown) {
				err = fmt.Errorf("ask brain %s: %w", b.ID, err)
			}
			answers <- answer{view, err}
		}()
	}
	if asked == 0 {
		if len(s.Apps) > 0 {
			return none, errors.New("no healthy brain")
		}
		return none, errUnknown
	}
	result := errUnknown
	for range asked {
		a := <-answers
		var p wire.Problem
		switch {
		case a.err == nil:
			if a.view.Site == "" {
				a.view.Site = s.Name
			}
			return a.view, nil
		case errors.Is(a.err, errUnknown):
		case errors.As(a.err, &p): // the seat's own word counts more than a brain's silence
			return none, a.err
		default:
			result = a.err
		}
	}
	return none, result
}

// askBrain asks a brain. With an API key, a session of another customer is not known.
func (r *Router) askBrain(ctx context.Context, client *http.Client, q question, base string) (wire.SessionView, error) {
	if q.customer == "" {
		return r.send(ctx, client, q, base, q.bearer)
	}
	first := q
	first.method = http.MethodGet
	view, err := r.send(ctx, client, first, base, "")
	if err == nil && view.Customer != q.customer {
		err = errUnknown
	}
	if err != nil || q.method == http.MethodGet {
		return view, err
	}
	return r.send(ctx, client, q, base, "")
}

// askRouter asks a router of another site.
func (r *Router) askRouter(ctx context.Context, q question, s *Site) (wire.SessionView, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	there, ok := pick(s.Routers, r.cfg.Chance)
	if !ok {
		return wire.SessionView{}, errors.New("no healthy router")
	}
	return r.send(ctx, r.inside, q, strings.TrimRight(there.URL, "/"), q.token)
}

// send asks one process about a session. Its error is errUnknown, a wire.Problem for
// the caller, or that there is no answer.
func (r *Router) send(ctx context.Context, client *http.Client, q question, base, token string) (view wire.SessionView, err error) {
	req, err := http.NewRequestWithContext(ctx, q.method, base+"/v1/sessions/"+q.session, nil)
	if err != nil {
		return view, err
	}
	req.Header.Set(forwardedHeader, r.cfg.Site)
	if token != "" {
		req.Header.Set(echo.HeaderAuthorization, "Bearer "+token)
	}
	res, err := client.Do(req)
	var of *url.Error
	if errors.As(err, &of) {
		return view, of.Err // without the URL, which has the session
	}
	if err != nil {
		return view, err
	}
	defer func() {
		_, _ = io.CopyN(io.Discard, res.Body, wire.MaxBody) // so that the connection can be reused
		res.Body.Close()
	}()
	switch {
	case res.StatusCode == http.StatusNoContent:
		return view, nil
	case res.StatusCode == http.StatusOK:
		if err := json.NewDecoder(io.LimitReader(res.Body, wire.MaxBody)).Decode(&view); err != nil {
			return view, fmt.Errorf("decode answer: %w", err)
		}
		return view, nil
	case res.StatusCode == http.StatusNotFound, res.StatusCode == http.StatusGone:
		return view, errUnknown
	case res.StatusCode == http.StatusUnauthorized && q.customer != "":
		return view, problem(wire.ProblemAPIKey, "", "The session's site does not know this API key: register it there, too.")
	case res.StatusCode == http.StatusForbidden && q.customer != "":
		return view, problem(wire.ProblemForbidden, "", "At the session's site the API key has not this scope.")
	case res.StatusCode == http.StatusUnauthorized:
		return view, problem(wire.ProblemTicket, "", "The session's site does not take this token.")
	}
	return view, fmt.Errorf("status %s", res.Status)
}
