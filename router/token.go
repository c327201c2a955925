package router

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// launcher is who launches: with a launch token, by a login, or anonymously.
type launcher struct {
	ticket.Launch                   // zero without a launch token
	login         ticket.LoginToken // zero without a login
}

func (l launcher) loggedIn() bool  { return l.login.Subject != "" }
func (l launcher) anonymous() bool { return l.Key == "" && !l.loggedIn() }

// subject is by whose name launches are counted, hashed; empty where there is none.
func (l launcher) subject() string {
	switch {
	case l.loggedIn():
		return l.login.Subject
	case l.Subject != "":
		return ticket.HashSubject(l.Key, l.Subject)
	}
	return ""
}

// checkToken is what a request's launch token or login token says; the zero value where a public
// app is asked for without one. A token that is there has to hold, for public apps
// too: else a customer would not notice that their limits are not in force.
func (r *Router) checkToken(req *http.Request, table *siteTable, app string, launching bool) (launcher, error) {
	token, ok := bearer(req)
	access := table.app(app).access
	if !ok {
		switch {
		case req.Header.Get(echo.HeaderAuthorization) != "":
			return launcher{}, problem(wire.ProblemLaunchToken, "", "The header Authorization cannot be read; send: Authorization: Bearer <launch token>.")
		case access == wire.AccessLogin:
			return launcher{}, r.needsLogin(app)
		case access == wire.AccessSigned:
			return launcher{}, problem(wire.ProblemLaunchToken, "",
				"The app %q needs a launch token, and the request has none. The server of the page's owner makes one, with a key from nearcast key create; send it as: Authorization: Bearer <launch token>.", app)
		}
		return launcher{}, nil
	}
	// The keys are those of now, not those that the table was made with.
	launch, err := r.verifyLauncher(token)
	switch {
	case errors.Is(err, errLoginOver):
		return launcher{}, problem(wire.ProblemLogin, "", "The login token has expired; the player's page gets another one, or the person logs in again.")
	case err == nil && launch.loggedIn():
		return launch, launch.permitsLogin(app, access)
	case err == nil && launching:
		err = launch.Permits(app, req.Header.Get(echo.HeaderOrigin))
	case err == nil:
		err = launch.PermitsApp(app)
	}
	switch {
	case errors.Is(err, ticket.ErrLaunchExpired):
		return launcher{}, problem(wire.ProblemLaunchOver, "", "%s. The page that it came from has to get a new one.", upperFirst(err.Error()))
	case err != nil:
		return launcher{}, problem(wire.ProblemLaunchToken, "", "%s.", upperFirst(err.Error()))
	}
	return launch, nil
}

// errLoginOver is a login token that has expired.
var errLoginOver = errors.New("the login token has expired")

// verifyLauncher reads a token. Launch tokens and login tokens are signed with different keys, which they
// name: so one is never taken for the other.
func (r *Router) verifyLauncher(token string) (launcher, error) {
	launch, err := r.cfg.View.Snapshot().LaunchKeys.Verify(token, time.Now())
	if !errors.Is(err, ticket.ErrLaunchKey) {
		return launcher{Launch: launch}, err
	}
	switch login, found := r.cfg.Verifier.VerifyLoginToken(token); {
	case found == nil:
		return launcher{login: login}, nil
	case errors.Is(found, ticket.ErrExpired):
		return launcher{}, errLoginOver
	}
	return launcher{}, err
}

func upperFirst(s string) string {
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		return string(s[0]-'a'+'A') + s[1:]
	}
	return s
}

// narrow adds to what a person prefers what their launch token demands.
func (t *siteTable) narrow(p *wire.Preferences, launch launcher) error {
	sites := launch.Sites
	if len(launch.Residency) > 0 {
		if len(p.Residency) == 0 {
			p.Residency = launch.Residency
		} else {
			// Both have to hold, and placement takes one list of jurisdictions.
			sites = t.sitesIn(launch.Residency, sites)
		}
	}
	switch {
	case len(launch.Sites) == 0 && sites == nil:
		return nil
	case len(p.Allow) > 0:
		sites = intersect(sites, p.Allow)
	}
	if len(sites) == 0 {
		return problem(wire.ProblemNoSite, "/preferences", "The launch token allows none of the sites that the request asks for.")
	}
	p.Allow = sites
	return nil
}

// sitesIn are the sites that lie in one of the jurisdictions, among those named, or
// among all where none is. It is never nil.
func (t *siteTable) sitesIn(residency, among []string) []string {
	in := []string{}
	for i := range t.view.Sites {
		s := &t.view.Sites[i]
		if (len(among) == 0 || slices.Contains(among, s.Name)) && len(intersect(s.Info.Residency, residency)) > 0 {
			in = append(in, s.Name)
		}
	}
	return in
}

func intersect(a, b []string) []string {
	var both []string
	for _, s := range a {
		if slices.Contains(b, s) {
			both = append(both, s)
		}
	}
	return both
}

// carry puts into a ticket what is known of who launches.
func (r *Router) carry(claims *ticket.Claims, launch launcher) {
	claims.Subject = launch.subject()
	if launch.loggedIn() {
		claims.MaxSessions = r.cfg.Login.Sessions
		return
	}
	if ticket.ValidCustomer(launch.Customer) { // a key may have been registered without one
		claims.Customer = launch.Customer
	}
	claims.MaxSessions, claims.MaxDuration = launch.MaxSessions, launch.MaxDuration
	claims.Meta = launch.Meta
}
