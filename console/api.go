package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nearcast/nearcast/console/login"
	"github.com/nearcast/nearcast/internal/answer"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// ranks order the roles: each may do what those before it may.
var ranks = []wire.ConsoleRole{wire.RoleViewer, wire.RoleOperator, wire.RoleAdmin}

// needs says which role an action needs. An app's warm and max are in its job, and who may register a
// job may change all of it: so that is for admins.
var needs = map[wire.ConsoleAct]wire.ConsoleRole{
	wire.ActEnd:     wire.RoleOperator,
	wire.ActStill:   wire.RoleOperator, // or what the app's job says
	wire.ActDrain:   wire.RoleOperator,
	wire.ActKeep:    wire.RoleOperator,
	wire.ActFree:    wire.RoleOperator,
	wire.ActScale:   wire.RoleAdmin,
	wire.ActRevert:  wire.RoleAdmin,
	wire.ActPublish: wire.RoleAdmin,
}

// may reports whether a role is enough.
func may(have, need wire.ConsoleRole) bool {
	at := slices.Index(ranks, have)
	return at >= 0 && at >= slices.Index(ranks, need)
}

// person lets who has logged in, with the role at least, through to next.
func (c *Console) person(need wire.ConsoleRole, next func(http.ResponseWriter, *http.Request, *login.Session)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "no-store")
		s, ok := c.cfg.Sessions.Of(r)
		switch {
		case !ok:
			answer.Write(rw, notLoggedIn())
		case !may(s.Role, need):
			answer.Write(rw, roleTooLow(s.Role, need))
		default:
			next(rw, r, s)
		}
	}
}

func notLoggedIn() wire.Problem {
	return problem(wire.ConsoleProblemLogin, http.StatusUnauthorized, "Log in first", "Open "+wire.ConsoleLoginPath+".")
}

func roleTooLow(have, need wire.ConsoleRole) wire.Problem {
	return problem(wire.ConsoleProblemRole, http.StatusForbidden, "Your role may not do this", "It is for the role "+string(need)+"; yours is "+string(have)+".")
}

func reply(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(v) // the caller may be gone
}

func (c *Console) getMe(rw http.ResponseWriter, _ *http.Request, s *login.Session) {
	me := wire.ConsoleMe{Name: s.Name, Role: s.Role, Until: s.Until, CSRF: s.CSRF, Site: c.cfg.Site, Actions: []wire.ConsoleAct{}}
	for act, need := range needs {
		if may(s.Role, need) {
			me.Actions = append(me.Actions, act)
		}
	}
	slices.Sort(me.Actions)
	reply(rw, me)
}

func (c *Console) getAudit(rw http.ResponseWriter, _ *http.Request, _ *login.Session) {
	reply(rw, wire.ConsoleAudit{Actions: c.cfg.Audit.Last()})
}

// askTimeout bounds the questions of one request.
const askTimeout = 8 * time.Second

func (c *Console) getSession(rw http.ResponseWriter, r *http.Request, _ *login.Session) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	id := r.PathValue("id")
	if !ticket.ValidSession(id) {
		answer.Write(rw, noSession())
		return
	}
	view, err := c.cfg.Routers.Session(ctx, id)
	if err != nil {
		c.fail(rw, "read a session", err)
		return
	}
	view.Meta = nil
	out := wire.ConsoleSession{Session: view}
	out.Placement, err = c.cfg.Routers.Placement(ctx, id)
	switch {
	case err != nil:
		c.log.Warn("cannot read why a session is where it is", "session", id, "error", err)
		out.Unplaced = "Not all routers answer."
	case out.Placement == nil:
		out.Unplaced = "No router remembers the launch. Each keeps its last ones, and forgets them when it starts again."
	}
	reply(rw, out)
}

func (c *Console) getApp(rw http.ResponseWriter, r *http.Request, _ *login.Session) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	site, app, err := c.appOf(r)
	if err != nil {
		c.fail(rw, "read an app", err)
		return
	}
	job, err := c.cfg.Nomad.Job(ctx, site, app)
	if err != nil {
		c.fail(rw, "read an app", err)
		return
	}
	out := wire.ConsoleAppDetail{App: wire.ConsoleApp{Site: site, App: app}, Versions: job.Versions}
	if text, ok := c.hub.item(apps, site+"/"+app); ok {
		if err := json.Unmarshal(text, &out.App); err != nil {
			c.fail(rw, "read an app", err)
			return
		}
	}
	reply(rw, out)
}

// appOf is the site and app of a request's path.
func (c *Console) appOf(r *http.Request) (site, app string, err error) {
	site, app = r.PathValue("site"), r.PathValue("app")
	if err := c.knows(site); err != nil {
		return "", "", err
	}
	if strings.Contains(app, "/") || len(app) > 128 { // a child of an app is none
		return "", "", problem(wire.ProblemUnknownApp, http.StatusNotFound, "There is no such app", "An app's name has no slash.")
	}
	return site, app, nil
}

// knows refuses a site that the console has not read: its name would go into requests to Nomad.
func (c *Console) knows(site string) error {
	if _, ok := c.hub.item(sites, site); !ok && site != c.cfg.Site {
		return problem(wire.ProblemUnknownSite, http.StatusNotFound, "There is no such site", "The console knows no site of this name.")
	}
	return nil
}

func noSession() wire.Problem {
	return problem(wire.ProblemNotFound, http.StatusNotFound, "There is no such session", "It has ended, or never was.")
}

// fail answers with an error: a problem as it is, any other without its words, which are in the log.
func (c *Console) fail(rw http.ResponseWriter, verb string, err error) {
	p := c.asProblem(verb, err)
	answer.Write(rw, p)
}

func (c *Console) asProblem(verb string, err error) wire.Problem {
	var p wire.Problem
	if errors.As(err, &p) {
		return p
	}
	c.log.Warn("the console cannot "+verb, "error", err)
	if errors.Is(err, context.DeadlineExceeded) {
		return problem(wire.ProblemUnavailable, http.StatusServiceUnavailable, "The site does not answer", "Try again in a moment.")
	}
	return problem(wire.ProblemUnavailable, http.StatusBadGateway, "The site does not answer as it should", "The console's log says why.")
}
