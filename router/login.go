package router

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/login"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// LoginConfig says who knows the people that apps with access = "login" are for.
type LoginConfig struct {
	// Issuer is the OpenID Connect provider, which has to know URL + wire.LoginCallbackPath. Empty is none:
	// then such apps need a launch token.
	Issuer, ClientID, ClientSecret string
	Scopes                         []string
	// Claim is the claim of the ID token that has a person's groups.
	Claim string
	// Lasts is how long a login lasts; 0 is DefaultLoginLasts, and ticket.MaxLoginTTL is the most.
	Lasts time.Duration
	// Sessions is how many sessions of one app a person may have at once; 0 is no limit.
	Sessions int
}

const (
	// DefaultLoginLasts is a working day.
	DefaultLoginLasts = 8 * time.Hour
	// DefaultLoginSessions leaves room for a second window, and for a session that was lost.
	DefaultLoginSessions = 3
)

// people is the login of a router. What it knows of a person is in a cookie of theirs, signed as
// tickets are: each router of these sites may read it, and none has to remember it.
//
// The API stays without cookies. The player's own page exchanges the cookie for a login token, which is
// good for one app and some minutes, and sends that as pages of others send a launch token.
type people struct {
	*login.Provider
	cookies login.Cookies
	lasts   time.Duration
}

const loginCookie = "login"

func newPeople(cfg LoginConfig, base string) (*people, error) {
	u, err := url.Parse(base)
	switch {
	case cfg.Issuer == "":
		return nil, nil
	case err != nil || u.Scheme != "https" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("login: people's browsers have to reach the router by https, not %s", base)
	case cfg.Lasts < 0 || cfg.Lasts > ticket.MaxLoginTTL || cfg.Lasts > 0 && cfg.Lasts < time.Minute:
		return nil, fmt.Errorf("login: it has to last 1m to %s, not %s", ticket.MaxLoginTTL, cfg.Lasts)
	case cfg.Sessions < 0:
		return nil, errors.New("login: a person has 0 sessions or more")
	case cfg.Lasts == 0:
		cfg.Lasts = DefaultLoginLasts
	}
	provider, err := login.New(login.Config{Issuer: cfg.Issuer, ClientID: cfg.ClientID, ClientSecret: cfg.ClientSecret,
		Redirect: base + wire.LoginCallbackPath, Scopes: cfg.Scopes, Claim: cfg.Claim})
	if err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	return &people{provider, login.CookiesOf(base), cfg.Lasts}, nil
}

func loopback(name string) bool {
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.IsLoopback()
}

// getLogin sends a person to the provider, to come back to the page of the app.
func (r *Router) getLogin(c echo.Context) error {
	// Browsers leave a \ in a query as it is.
	app, query := c.QueryParam("app"), strings.ReplaceAll(c.QueryParam("query"), `\`, "%5C")
	table, err := r.siteTable()
	if err != nil {
		return err
	}
	if err := r.asksLogin(table, app); err != nil {
		return err
	}
	next := playPage(app, query)
	if !isPlayPage(next) {
		return problem(wire.ProblemInvalid, "", "query has to be the query of an address, as it stands in one.")
	}
	attempt := login.Attempt{Next: next, Tag: url.PathEscape(app), Anew: c.QueryParam("anew") != ""}
	err = r.people.Begin(c.Response(), c.Request(), attempt)
	if errors.Is(err, login.ErrLong) { // the page remembers a long query itself
		attempt.Next = playPage(app, "")
		err = r.people.Begin(c.Response(), c.Request(), attempt)
	}
	if err != nil {
		r.log.Warn("cannot begin a login", "error", err)
		return r.back(c, next, "failed")
	}
	return nil
}

// getLoginCallback takes what the provider says of a person, and brings them back to the app. What
// went wrong is in the fragment: the page says it in the person's language.
func (r *Router) getLoginCallback(c echo.Context) error {
	if r.people == nil {
		return noProvider()
	}
	// Each asks the provider. Who has to wait may load the page again: the code is good still.
	if err := r.logins.take(c); err != nil {
		return err
	}
	table, err := r.siteTable()
	if err != nil {
		return err
	}
	attempt, person, err := r.people.Finish(c.Response(), c.Request())
	app, _ := url.PathUnescape(attempt.Tag)
	next := attempt.Next // of the browser's cookie
	switch {
	case isPlayPage(next):
	case table.app(app).known:
		next = playPage(app, "") // the state alone is left
	default:
		return problem(wire.ProblemLogin, "", "This login took too long, or began in another browser. Go back to the app, and begin again.")
	}
	if err == nil {
		err = r.logIn(c, table, app, person)
	}
	var no login.Refused
	switch {
	case err == nil:
		return r.back(c, next, "")
	case r.loginFailures.Allow(): // everybody can make a login fail
		r.log.Warn("a login failed", "error", login.Short(err.Error(), 500))
	}
	switch {
	case errors.As(err, &no) && no.Kind == login.Denied:
		return r.back(c, next, "denied")
	case errors.As(err, &no):
		return r.back(c, next, "late")
	}
	return r.back(c, next, "failed")
}

// logIn gives the person's browser a login. Of their groups it has those that an app names, those of
// the app that they are about to play first.
func (r *Router) logIn(c echo.Context, table *siteTable, app string, p login.Person) error {
	l := ticket.Login{Provider: r.cfg.Login.Issuer, Subject: p.Subject, Name: p.Name, Expires: time.Now().Add(r.people.lasts).UTC().Truncate(time.Second)}
	left := map[string]bool{}
	for _, group := range p.Groups {
		left[group] = true
	}
	add := func(of wire.AppLogin) {
		for _, group := range of.Groups {
			if left[group] && len(l.Groups) < ticket.MaxLoginGroups {
				delete(left, group)
				l.Groups = append(l.Groups, ticket.HashGroup(group))
			}
		}
	}
	for _, of := range table.app(app).logins {
		add(of)
	}
	for i := range table.view.Sites {
		for _, app := range table.view.Sites[i].Apps {
			add(app.Login)
		}
	}
	token, err := r.cfg.Signer.SignLogin(l)
	if err != nil {
		return err
	}
	r.setLogin(c, token, r.people.lasts)
	r.log.Info("a person logged in", "app", app, "subject", r.hashPerson(p.Subject))
	return nil
}

// setLogin sets the cookie. No request of another site needs it, not even a link.
func (r *Router) setLogin(c echo.Context, value string, lasts time.Duration) {
	cookie := r.people.cookies.Make(loginCookie, value, lasts)
	cookie.SameSite = http.SameSiteStrictMode
	c.SetCookie(cookie)
}

// hashPerson is a person in tickets, lists and events. The same person of another provider is another.
func (r *Router) hashPerson(subject string) string {
	return ticket.HashSubject("login:"+r.cfg.Login.Issuer, subject)
}

// postLoginToken gives the player's own page a login token for an app.
func (r *Router) postLoginToken(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	table, err := r.siteTable()
	if err != nil {
		return err
	}
	app := c.QueryParam("app")
	if err := r.asksLogin(table, app); err != nil {
		return err
	}
	if err := r.ownPage(c); err != nil {
		return err
	}
	cookie, err := c.Cookie(r.people.cookies.Name(loginCookie))
	if err != nil {
		return r.needsLogin(app)
	}
	person, err := r.cfg.Verifier.VerifyLogin(cookie.Value)
	if err != nil || person.Provider != r.cfg.Login.Issuer {
		return r.needsLogin(app)
	}
	if !table.app(app).admits(person) {
		return problem(wire.ProblemLoginGroups, "", "%s has logged in, and is none of those for whom the app %q is.", orSubject(person), app)
	}
	token, expires, err := r.cfg.Signer.SignLoginToken(app, r.hashPerson(person.Subject), person)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, wire.PersonToken{Token: token, Expires: expires, Name: orSubject(person)})
}

func orSubject(p ticket.Login) string {
	if p.Name != "" {
		return p.Name
	}
	return p.Subject
}

// postLogout takes the login out of the browser. What was signed of it stays good until its end: a
// copy of the cookie too.
func (r *Router) postLogout(c echo.Context) error {
	if r.people == nil {
		return noProvider()
	}
	if err := r.ownPage(c); err != nil {
		return err
	}
	r.setLogin(c, "", 0)
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.NoContent(http.StatusNoContent)
}

// ownPage refuses pages of other origins. SameSite keeps the cookie from other sites; this keeps it
// from other origins of the same site.
func (r *Router) ownPage(c echo.Context) error {
	if c.Request().Header.Get(echo.HeaderOrigin) != r.cfg.URL {
		return problem(wire.ProblemLogin, "", "Only the player's own page at %s may ask for this.", r.cfg.URL)
	}
	return nil
}

// asksLogin says why no login helps with an app.
func (r *Router) asksLogin(table *siteTable, app string) error {
	switch a := table.app(app); {
	case !a.known:
		return unknownApp(app)
	case a.access == wire.AccessSigned:
		return problem(wire.ProblemLaunchToken, "", "The app %q needs a launch token; a login is not enough.", app)
	case r.people == nil:
		return noProvider()
	}
	return nil
}

func noProvider() error {
	return problem(wire.ProblemLaunchToken, "", "The routers of this site have no login provider (--oidc-issuer); with a launch token the app can be launched.")
}

// needsLogin is the problem of who has not logged in.
func (r *Router) needsLogin(app string) error {
	if r.people == nil {
		return noProvider()
	}
	return problem(wire.ProblemLogin, "", "The app %q needs a login: send the person to its page at %s/play/%s, or the request with a launch token.", app, r.cfg.URL, url.PathEscape(app))
}

// permitsLogin says why a login token does not launch an app.
func (l launcher) permitsLogin(app string, access wire.Access) error {
	switch {
	case l.login.App != app:
		return problem(wire.ProblemLogin, "", "The login token is for another app.")
	case access == wire.AccessSigned:
		return problem(wire.ProblemLaunchToken, "", "The app %q needs a launch token; a login is not enough.", app)
	}
	return nil
}

// admits reports whether each site with the app lets a person in.
func (a *appSites) admits(p ticket.Login) bool {
	for _, of := range a.logins {
		in := len(of.Groups)+len(of.Subjects) == 0 || slices.Contains(of.Subjects, p.Subject) ||
			slices.ContainsFunc(of.Groups, func(g string) bool { return slices.Contains(p.Groups, ticket.HashGroup(g)) })
		if !in {
			return false
		}
	}
	return true
}

// playPage is the page of an app, with the query that it had.
func playPage(app, query string) string {
	if query != "" {
		query = "?" + query
	}
	return "/play/" + url.PathEscape(app) + query
}

// isPlayPage reports whether an address is that of a page of an app here, and nothing else.
func isPlayPage(to string) bool {
	odd := strings.ContainsFunc(to, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune("\\#\"<>", c) })
	u, err := url.Parse(to)
	return !odd && err == nil && u.Host == "" && strings.HasPrefix(to, "/play/") && strings.HasPrefix(u.Path, "/play/")
}

// back brings the person back to the page that they came from.
func (r *Router) back(c echo.Context, next, trouble string) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	if trouble != "" {
		next += "#login=" + trouble
	}
	return c.Redirect(http.StatusSeeOther, next)
}
