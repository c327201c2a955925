package router

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/facts"
)

// teller tells the routers of other sites what this site is and has. Apps that need a
// launch token are among it, so nobody else learns it.
type teller struct {
	facts *facts.Teller
	asked *facts.Checker

	mu sync.Mutex
	of *Site // the first of the list of sites that facts have
}

// tells is the version of the own site's facts for a router that asks; empty for
// everybody else.
func (r *Router) tells(c echo.Context, view Snapshot) string {
	if _, sent := c.Request().Header[echo.HeaderAuthorization]; !sent {
		return ""
	}
	if r.isRouter(c) != nil {
		c.Response().Header().Del(echo.HeaderRetryAfter) // of the token, not of this answer
		return ""
	}
	return r.told(view).Version()
}

// isRouter says why the caller is no router of these sites, nil for one. To check a new
// token costs, so a network may have so many checked as it may send other requests.
func (r *Router) isRouter(c echo.Context) error {
	token, ok := bearer(c.Request())
	switch {
	case !ok:
		return problem(wire.ProblemTicket, "", "Only routers of these sites learn this. GET /v1/sites and GET /v1/apps are for everybody.")
	case r.teller.asked.Remembers(token):
		return nil
	}
	if err := r.requests.take(c); err != nil {
		return err
	}
	if !r.teller.asked.Check(token) {
		return problem(wire.ProblemTicket, "", "This token is not one of a router of these sites, for this site, now.")
	}
	return nil
}

// told has the facts of a view. A list of sites does not change once it was handed out, so it
// is enough to compare where it is.
func (r *Router) told(view Snapshot) *facts.Teller {
	t := &r.teller
	s, ok := view.Site(r.cfg.Site)
	if !ok {
		return t.facts
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if of := &view.Sites[0]; of != t.of {
		t.facts.Set(s.Apps, s.Brains, s.Routers, s.Info)
		t.of = of
	}
	return t.facts
}

// getFacts tells a router of another site what changed at this one.
func (r *Router) getFacts(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	if err := r.isRouter(c); err != nil {
		return err
	}
	view, err := r.current(time.Now())
	if err != nil {
		return err
	}
	zip := zips(c)
	teller, have := r.told(view), c.QueryParam("have")
	if c.QueryParam("distances") == "" {
		answer, err := teller.Answer(have, zip)
		if err != nil {
			return err
		}
		return send(c, answer)
	}
	out := teller.Since(have)
	out.Distances = r.measured(view)
	answer, err := facts.Encode(out, zip)
	if err != nil {
		return err
	}
	return send(c, answer)
}

// zips reports whether the caller takes compressed answers.
func zips(c echo.Context) bool {
	return strings.Contains(c.Request().Header.Get(echo.HeaderAcceptEncoding), "gzip")
}

// send sends facts to a router.
func send(c echo.Context, a facts.Answer) error {
	h := c.Response().Header()
	h.Set(echo.HeaderVary, echo.HeaderAcceptEncoding)
	if a.Zipped {
		h.Set(echo.HeaderContentEncoding, "gzip")
	}
	h.Set(echo.HeaderContentLength, strconv.Itoa(len(a.Body)))
	return c.JSONBlob(http.StatusOK, a.Body)
}

// measured are the distances from this site that its routers measured themselves.
func (r *Router) measured(view Snapshot) map[string]wire.Distance {
	out := map[string]wire.Distance{}
	s, _ := view.Site(r.cfg.Site)
	for to, d := range s.Distances {
		if d.Measured && d.Untrusted == "" {
			out[to] = d
		}
	}
	return out
}
