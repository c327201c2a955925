package router

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// listTimeout bounds a list over all sites. It has a cursor where some were not asked by then.
const listTimeout = 10 * time.Second

// listing is a request for a list of sessions that its caller may make.
type listing struct {
	query    url.Values // for brains, but for after and limit
	asked    url.Values // as the caller wrote it, for routers
	token    string
	operator bool
	sites    []string // in order, empty for all
	site     string   // where to go on, with after
	after    string
	limit    int
}

// listSessions serves wire.SessionsPath: site by site, until the limit is reached.
func (r *Router) listSessions(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	table, err := r.siteTable()
	if err != nil {
		return err
	}
	l, err := r.mayList(c, table)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), listTimeout)
	defer cancel()
	out, asked := wire.SessionList{Sessions: []wire.SessionView{}}, false
	for i := range table.view.Sites {
		s := &table.view.Sites[i]
		if s.Name < l.site || len(l.sites) > 0 && !slices.Contains(l.sites, s.Name) {
			continue
		}
		if len(out.Sessions) == l.limit {
			out.Cursor = cursorAt(s.Name, "")
			break
		}
		after := ""
		if s.Name == l.site {
			after = l.after
		}
		if end, _ := ctx.Deadline(); asked && time.Until(end) < askTimeout {
			out.Cursor = cursorAt(s.Name, after) // the next request goes on there
			break
		}
		asked = true
		part, err := r.listAt(ctx, l, s, after, l.limit-len(out.Sessions))
		if err != nil {
			r.log.Warn("a site does not list its sessions", "site", s.Name, "error", err)
			out.Missing = append(out.Missing, s.Name)
			continue
		}
		out.Sessions = append(out.Sessions, part.Sessions...)
		out.Missing = append(out.Missing, part.Missing...)
		if part.More && len(part.Sessions) > 0 {
			out.Cursor = cursorAt(s.Name, part.Sessions[len(part.Sessions)-1].Session)
			break
		}
	}
	if !l.operator {
		for i := range out.Sessions {
			forCustomer(&out.Sessions[i])
		}
	}
	return c.JSON(http.StatusOK, out)
}

// listAt lists a site's sessions, by its brains or by one of its routers.
func (r *Router) listAt(ctx context.Context, l listing, s *Site, after string, limit int) (wire.SessionList, error) {
	if s.Name == r.cfg.Site {
		return r.listBrains(ctx, l, s, after, limit)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	there, ok := pick(s.Routers, r.cfg.Chance)
	if !ok || !s.Reach.SilentSince.IsZero() {
		return wire.SessionList{}, errors.New("no healthy router")
	}
	q := maps.Clone(l.asked)
	q.Set("limit", strconv.Itoa(limit))
	q.Del("site")
	q.Del("cursor")
	if after != "" {
		q.Set("cursor", cursorAt(s.Name, after))
	}
	list, err := r.fetchList(ctx, r.inside, strings.TrimRight(there.URL, "/"), q, l.token)
	list.More = list.Cursor != ""
	if len(list.Sessions) > limit { // more than was asked for
		list.Sessions, list.More = list.Sessions[:limit], true
	}
	for i := range list.Sessions {
		list.Sessions[i].Site = s.Name // whatever it says
	}
	return list, err
}

// listBrains asks all brains of this site: each knows its seats, and the people who wait at it.
func (r *Router) listBrains(ctx context.Context, l listing, s *Site, after string, limit int) (out wire.SessionList, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	q := maps.Clone(l.query)
	q.Set("limit", strconv.Itoa(limit))
	if after != "" {
		q.Set("after", after)
	}
	type answer struct {
		list wire.SessionList
		err  error
	}
	answers := make(chan answer, len(s.Brains))
	asked := 0
	for _, b := range s.Brains {
		if !b.Healthy || b.Internal == "" {
			continue
		}
		asked++
		go func() {
			list, err := r.fetchList(ctx, r.brains.To(b.Key), "https://"+b.Internal, q, "")
			if err != nil {
				err = fmt.Errorf("ask brain %s: %w", b.ID, err)
			}
			answers <- answer{list, err}
		}()
	}
	if asked == 0 && len(s.Apps) > 0 {
		return out, errors.New("no healthy brain")
	}
	byID := map[string]wire.SessionView{}
	for range asked {
		a := <-answers
		if a.err != nil {
			// The seats of the site are in the answers of the others, who waits at this one is not.
			r.log.Warn("a brain does not list its sessions", "error", a.err)
			out.Missing, err = []string{s.Name}, a.err
			asked--
			continue
		}
		out.More = out.More || a.list.More
		for _, v := range a.list.Sessions {
			// Who waited at one brain a moment ago may have a seat by now.
			if before, twice := byID[v.Session]; !twice || before.State == wire.StateWaiting {
				byID[v.Session] = v
			}
		}
	}
	if asked == 0 && err != nil {
		return wire.SessionList{}, err
	}
	for _, v := range byID {
		v.Site = s.Name
		out.Sessions = append(out.Sessions, v)
	}
	slices.SortFunc(out.Sessions, func(a, b wire.SessionView) int { return strings.Compare(a.Session, b.Session) })
	if len(out.Sessions) > limit {
		out.Sessions, out.More = out.Sessions[:limit], true
	}
	return out, nil
}

// maxList bounds the answer of a brain or router in bytes: a session has about 1,200.
const maxList = 2 << 20

func (r *Router) fetchList(ctx context.Context, client *http.Client, base string, q url.Values, token string) (list wire.SessionList, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+wire.SessionsPath+"?"+q.Encode(), nil)
	if err != nil {
		return list, err
	}
	req.Header.Set(forwardedHeader, r.cfg.Site)
	if token != "" {
		req.Header.Set(echo.HeaderAuthorization, "Bearer "+token)
	}
	res, err := client.Do(req)
	var of *url.Error
	if errors.As(err, &of) {
		return list, of.Err // without the URL, which may have a subject
	}
	if err != nil {
		return list, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return list, fmt.Errorf("status %s", res.Status)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxList)).Decode(&list); err != nil {
		return list, fmt.Errorf("decode answer: %w", err)
	}
	if len(list.Sessions) > wire.MaxSessions {
		return list, errors.New("it lists more sessions than were asked for")
	}
	return list, nil
}

// mayList checks the caller's token and query.
func (r *Router) mayList(c echo.Context, table *siteTable) (listing, error) {
	l := listing{asked: c.QueryParams(), limit: wire.DefaultSessions}
	key, operator, err := r.caller(c, ticket.ScopeReadSessions)
	if err != nil {
		return l, err
	}
	l.operator = operator
	l.token, _ = bearer(c.Request())
	customer := c.QueryParam("customer")
	if !operator {
		if customer != "" && customer != key.Customer {
			return l, problem(wire.ProblemForbidden, "", "The API key is for sessions of %s alone.", key.Customer)
		}
		customer = key.Customer
	}
	if err := checkQuery(l.asked); err != nil {
		return l, err
	}
	if given := c.QueryParam("limit"); given != "" {
		if l.limit, err = strconv.Atoi(given); err != nil || l.limit < 1 || l.limit > wire.MaxSessions {
			return l, problem(wire.ProblemInvalid, "", "limit has to be 1 to %d, not %.20q.", wire.MaxSessions, given)
		}
	}
	if l.site, l.after, err = readCursor(c.QueryParam("cursor")); err != nil {
		return l, problem(wire.ProblemInvalid, "", "cursor is not one that this list gave: %v.", err)
	}
	for _, state := range l.asked["state"] {
		if state != wire.StateWaiting && !wire.SeatState(state).Busy() {
			return l, problem(wire.ProblemInvalid, "", "A session's state is waiting, claimed, streaming or detached, not %.20q.", state)
		}
	}
	for _, name := range l.asked["site"] {
		if _, known := table.index[name]; !known {
			return l, problem(wire.ProblemUnknownSite, "", "There is no site %.64q.", name)
		}
	}
	l.sites = l.asked["site"]
	if c.Request().Header.Get(forwardedHeader) != "" {
		l.sites = []string{r.cfg.Site}
	}
	if !operator {
		if err := r.keys.take(c, key.ID); err != nil {
			return l, err
		}
	}
	l.query = url.Values{"state": l.asked["state"]}
	for name, value := range map[string]string{"app": c.QueryParam("app"), "customer": customer} {
		if value != "" {
			l.query.Set(name, value)
		}
	}
	if subject := c.QueryParam("subject"); subject != "" {
		if l.query["subject"], err = r.hashesOf(customer, subject); err != nil {
			return l, err
		}
	}
	return l, nil
}

// checkQuery refuses what a caller may have meant otherwise: a filter that is unknown, empty or given
// twice would show more sessions than they think.
func checkQuery(q url.Values) error {
	for name, values := range q {
		most := map[string]int{"app": 1, "subject": 1, "customer": 1, "limit": 1, "cursor": 1, "state": 4, "site": maxListSites}[name]
		switch {
		case most == 0:
			return problem(wire.ProblemInvalid, "", "The query has %.40q; known are app, state, subject, customer, site, limit and cursor.", name)
		case slices.Contains(values, ""):
			return problem(wire.ProblemInvalid, "", "The query has %s without a value. Leave it out to list all.", name)
		case len(values) > most:
			return problem(wire.ProblemInvalid, "", "The query has %s %d times; %d is the most.", name, len(values), most)
		}
	}
	return nil
}

// maxListSites is how many sites a query may name.
const maxListSites = 100

// hashesOf are the hashes of a subject for each launch key of its customer, or of all and of a login. Where there
// is none, nobody has launched for the subject.
func (r *Router) hashesOf(customer, subject string) ([]string, error) {
	hashes := []string{}
	if customer == "" && r.people != nil {
		hashes = append(hashes, r.hashPerson(subject)) // who has logged in is no customer's
	}
	for id, key := range r.cfg.View.Snapshot().LaunchKeys {
		if customer == "" || key.Name == customer {
			hashes = append(hashes, ticket.HashSubject(id, subject))
		}
	}
	switch {
	case len(hashes) > wire.MaxSubjectHashes && customer == "":
		return nil, problem(wire.ProblemInvalid, "", "There are %d launch keys: name the customer, too.", len(hashes))
	case len(hashes) > wire.MaxSubjectHashes:
		return nil, problem(wire.ProblemInvalid, "", "%s has %d launch keys; a subject is looked for with %d at most. Revoke keys that are not used.", customer, len(hashes), wire.MaxSubjectHashes)
	case len(hashes) == 0:
		hashes = append(hashes, "none")
	}
	return hashes, nil
}

// caller is who asks about sessions that are not their own: an operator, or a customer's server
// with an API key that has the scope.
func (r *Router) caller(c echo.Context, scope string) (key ticket.APIKey, operator bool, err error) {
	token, ok := bearer(c.Request())
	switch {
	case !ok:
		return key, false, problem(wire.ProblemAPIKey, "", "Send an API key or an operator's token, as: Authorization: Bearer <key>.")
	case r.operators.is(token):
		return key, true, nil
	}
	if key, err = r.cfg.View.Snapshot().APIKeys.Verify(token); err != nil {
		return key, false, problem(wire.ProblemAPIKey, "", "%s.", upperFirst(err.Error()))
	}
	if !key.May(scope) {
		return key, false, problem(wire.ProblemForbidden, "", "The API key %s has not the scope %s.", key.ID, scope)
	}
	return key, false, nil
}

// A cursor is a site and the last session of it that was listed.
func cursorAt(site, session string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(site + "/" + session))
}

func readCursor(cursor string) (site, after string, err error) {
	if cursor == "" {
		return "", "", nil
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return "", "", errors.New("it is not base64")
	}
	site, after, ok := strings.Cut(string(text), "/")
	if !ok || site == "" || after != "" && !ticket.ValidSession(after) {
		return "", "", errors.New("it names no site and session")
	}
	return site, after, nil
}
