package login

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/nearcast/nearcast/internal/login"
	"github.com/nearcast/nearcast/internal/wire"
)

// OIDCConfig says which provider logs people in, and which of its groups have which role.
type OIDCConfig struct {
	Issuer, ClientID, ClientSecret string
	// URL is where browsers reach the console. The provider has to know URL + /console/callback.
	URL    string
	Scopes []string // beside openid and profile
	// Claim is the claim of the ID token that has the person's groups: a list, or a text.
	Claim string
	// Roles are the groups of each role. Who is in several has the highest; who is in none does not
	// get in.
	Roles map[wire.ConsoleRole][]string
	Noted Noted
	Log   *slog.Logger
}

// OIDC is the login by OpenID Connect (package internal/login), with the roles of the console.
type OIDC struct {
	cfg      OIDCConfig
	provider *login.Provider
	failures *rate.Limiter // of those that are noted
}

// NewOIDC makes the login. It asks the provider when the first person comes, so that the console
// starts without it.
func NewOIDC(cfg OIDCConfig) (*OIDC, error) {
	provider, err := login.New(login.Config{Issuer: cfg.Issuer, ClientID: cfg.ClientID, ClientSecret: cfg.ClientSecret,
		Redirect: strings.TrimRight(cfg.URL, "/") + "/console/callback", Scopes: cfg.Scopes, Claim: cfg.Claim})
	if err != nil {
		return nil, err
	}
	if len(cfg.Roles[wire.RoleViewer])+len(cfg.Roles[wire.RoleOperator])+len(cfg.Roles[wire.RoleAdmin]) == 0 {
		return nil, errors.New("no group has a role: nobody could log in")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	// Everybody who reaches the console can make a login fail: that is not to fill the audit log.
	return &OIDC{cfg: cfg, provider: provider, failures: rate.NewLimiter(rate.Every(time.Second), 10)}, nil
}

// Begin sends the person to the provider.
func (o *OIDC) Begin(*Sessions) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		if err := o.provider.Begin(rw, r, login.Attempt{Next: next(r)}); err != nil {
			o.cfg.Log.Warn("cannot begin a login", "error", err)
			page{Next: next(r), Wrong: "The login provider does not answer. Try again in a moment."}.write(rw, http.StatusBadGateway)
		}
	}
}

// Finish takes what the provider says.
func (o *OIDC) Finish(s *Sessions) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		attempt, who, err := o.provider.Finish(rw, r)
		p := Person{Subject: who.Subject, Name: who.Name}
		if err == nil {
			p.Role, err = o.role(who)
		}
		if err == nil {
			s.Start(rw, p)
			o.cfg.Noted(r, p, "")
			enter(rw, r, nextOf(attempt.Next))
			return
		}
		if o.failures.Allow() {
			o.cfg.Log.Warn("a login failed", "error", err)
			o.cfg.Noted(r, p, login.Short(err.Error(), 500)) // a provider's answer may be in it
		}
		status, say := said(err)
		page{Next: wire.ConsolePath, Wrong: say}.write(rw, status)
	}
}

// errNoRole is a person whom the provider knows, and the console does not.
var errNoRole = errors.New("has no role")

// said is what the person reads of an error.
func said(err error) (status int, say string) {
	var no login.Refused
	switch {
	case errors.Is(err, errNoRole):
		return http.StatusForbidden, "You are in none of the groups that may use this console. Ask those who run it."
	case !errors.As(err, &no):
		return http.StatusBadGateway, "The login did not work: the log of the console says why. Try again."
	case no.Kind == login.Denied:
		return http.StatusForbidden, "The login provider refused the login."
	case no.Kind == login.Late:
		return http.StatusBadRequest, "This login took too long, began in another browser, or your browser keeps no cookies of this console: allow them. Begin again."
	}
	return http.StatusBadRequest, "This login began elsewhere. Begin again."
}

// role is the highest role that one of a person's groups has.
func (o *OIDC) role(who login.Person) (found wire.ConsoleRole, err error) {
	for _, role := range []wire.ConsoleRole{wire.RoleViewer, wire.RoleOperator, wire.RoleAdmin} {
		if slices.ContainsFunc(o.cfg.Roles[role], func(g string) bool { return slices.Contains(who.Groups, g) }) {
			found = role
		}
	}
	if found == "" {
		return "", fmt.Errorf("none of the claim %s %w", o.cfg.Claim, errNoRole)
	}
	return found, nil
}
