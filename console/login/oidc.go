package login

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/time/rate"

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
	// Now is for tests; nil is time.Now.
	Now func() time.Time
}

// OIDC is the login by OpenID Connect: the code flow with PKCE, state and nonce.
type OIDC struct {
	cfg OIDCConfig

	failures *rate.Limiter // of those that are noted

	mu       sync.Mutex
	provider *oidc.Provider // nil until it has answered
	failed   error          // how it failed to answer, at asked
	asked    time.Time
}

// providerTimeout bounds each request to the provider.
const providerTimeout = 10 * time.Second

// askAgain is how long a provider that did not answer is left alone: those who wait meanwhile would
// otherwise ask one after the other.
const askAgain = 2 * time.Second

// NewOIDC makes the login. It asks the provider when the first person comes, so that the console
// starts without it.
func NewOIDC(cfg OIDCConfig) (*OIDC, error) {
	switch {
	case cfg.Issuer == "" || cfg.ClientID == "" || cfg.Claim == "":
		return nil, errors.New("issuer, client id and the claim of groups are required")
	case len(cfg.Roles[wire.RoleViewer])+len(cfg.Roles[wire.RoleOperator])+len(cfg.Roles[wire.RoleAdmin]) == 0:
		return nil, errors.New("no group has a role: nobody could log in")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	// Everybody who reaches the console can make a login fail: that is not to fill the audit log.
	return &OIDC{cfg: cfg, failures: rate.NewLimiter(rate.Every(time.Second), 10)}, nil
}

// client is the provider's configuration. The provider keeps the context for its keys, so it is
// not that of a request.
func (o *OIDC) client() (*oidc.Provider, *oauth2.Config, context.Context, error) {
	ctx := oidc.ClientContext(context.Background(), &http.Client{Timeout: providerTimeout})
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.provider == nil {
		if o.failed != nil && time.Since(o.asked) < askAgain {
			return nil, nil, nil, o.failed
		}
		p, err := oidc.NewProvider(ctx, o.cfg.Issuer)
		if err != nil {
			o.failed, o.asked = fmt.Errorf("ask the provider %s: %w", o.cfg.Issuer, err), time.Now()
			return nil, nil, nil, o.failed
		}
		o.provider = p
	}
	return o.provider, &oauth2.Config{
		ClientID: o.cfg.ClientID, ClientSecret: o.cfg.ClientSecret, Endpoint: o.provider.Endpoint(),
		RedirectURL: strings.TrimRight(o.cfg.URL, "/") + "/console/callback",
		Scopes:      append([]string{oidc.ScopeOpenID, "profile"}, o.cfg.Scopes...),
	}, ctx, nil
}

// begun is what the browser keeps of a login that has begun, in a cookie of its own. The callback
// has to come with the same state, and the ID token with the same nonce.
type begun struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Next     string `json:"next"`
}

// beginLasts is how long a person may take at the provider.
const beginLasts = 10 * time.Minute

// beginCookie tells logins apart that begin in two windows at once.
func beginCookie(state string) string { return "login-" + state[:min(8, len(state))] }

// Begin sends the person to the provider.
func (o *OIDC) Begin(s *Sessions) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		_, conf, _, err := o.client()
		if err != nil {
			o.cfg.Log.Warn("cannot begin a login", "error", err)
			page{Next: next(r), Wrong: "The login provider does not answer. Try again in a moment."}.write(rw, http.StatusBadGateway)
			return
		}
		b := begun{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Next: next(r)}
		text, err := json.Marshal(b)
		if err != nil {
			panic(err) // texts
		}
		http.SetCookie(rw, s.cookie(beginCookie(b.State), base64.RawURLEncoding.EncodeToString(text), beginLasts))
		rw.Header().Set("Cache-Control", "no-store")
		http.Redirect(rw, r, conf.AuthCodeURL(b.State, oidc.Nonce(b.Nonce), oauth2.S256ChallengeOption(b.Verifier)), http.StatusFound)
	}
}

// Finish takes what the provider says.
func (o *OIDC) Finish(s *Sessions) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		b, p, err := o.finish(s, rw, r)
		if err == nil {
			s.Start(rw, p)
			o.cfg.Noted(r, p, "")
			http.Redirect(rw, r, b.Next, http.StatusSeeOther)
			return
		}
		if o.failures.Allow() {
			o.cfg.Log.Warn("a login failed", "error", err)
			o.cfg.Noted(r, p, short(err.Error(), 500)) // a provider's answer may be in it
		}
		var no refused
		if errors.As(err, &no) {
			page{Next: wire.ConsolePath, Wrong: no.say}.write(rw, no.status)
			return
		}
		page{Next: wire.ConsolePath, Wrong: "The login did not work: the log of the console says why. Try again."}.write(rw, http.StatusBadGateway)
	}
}

// refused is an error that the person reads.
type refused struct {
	status   int
	why, say string
}

func (e refused) Error() string { return e.why }

func (o *OIDC) finish(s *Sessions, rw http.ResponseWriter, r *http.Request) (b begun, p Person, err error) {
	state := r.FormValue("state")
	name := beginCookie(state)
	cookie, err := r.Cookie(s.cookieName(name))
	if err != nil {
		return b, p, refused{http.StatusBadRequest, "wrong state: no login began with it in this browser", "This login took too long, or began in another browser. Begin again."}
	}
	http.SetCookie(rw, s.cookie(name, "", 0)) // it is good once
	text, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil || json.Unmarshal(text, &b) != nil || subtle.ConstantTimeCompare([]byte(b.State), []byte(state)) != 1 {
		return b, p, refused{http.StatusBadRequest, "wrong state", "This login began elsewhere. Begin again."}
	}
	b.Next = next(&http.Request{Form: map[string][]string{"next": {b.Next}}})
	if said := r.FormValue("error"); said != "" {
		return b, p, refused{http.StatusForbidden, fmt.Sprintf("the provider says %.200q", said+": "+r.FormValue("error_description")), "The login provider refused the login."}
	}
	provider, conf, ctx, err := o.client()
	if err != nil {
		return b, p, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*providerTimeout)
	defer cancel()
	token, err := conf.Exchange(ctx, r.FormValue("code"), oauth2.VerifierOption(b.Verifier))
	if err != nil {
		return b, p, fmt.Errorf("exchange the code: %w", err)
	}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return b, p, errors.New("the provider gave no ID token")
	}
	id, err := provider.Verifier(&oidc.Config{ClientID: o.cfg.ClientID, Now: o.cfg.Now}).Verify(ctx, raw)
	if err != nil {
		return b, p, fmt.Errorf("verify the ID token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(b.Nonce)) != 1 {
		return b, p, refused{http.StatusBadRequest, "wrong nonce: the ID token is of another login", "The login provider answered another login. Begin again."}
	}
	p, err = o.person(id)
	return b, p, err
}

// person reads who it is, and which role they have.
func (o *OIDC) person(id *oidc.IDToken) (Person, error) {
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return Person{}, fmt.Errorf("read the ID token: %w", err)
	}
	p := Person{Subject: id.Subject}
	for _, name := range []string{"name", "preferred_username", "email"} {
		if text, _ := claims[name].(string); text != "" && p.Name == "" {
			p.Name = short(text, 100)
		}
	}
	groups := listOf(claims[o.cfg.Claim])
	for _, role := range []wire.ConsoleRole{wire.RoleViewer, wire.RoleOperator, wire.RoleAdmin} {
		if slices.ContainsFunc(o.cfg.Roles[role], func(g string) bool { return slices.Contains(groups, g) }) {
			p.Role = role
		}
	}
	if p.Role == "" {
		return p, refused{http.StatusForbidden, fmt.Sprintf("none of the claim %s has a role", o.cfg.Claim), "You are in none of the groups that may use this console. Ask those who run it."}
	}
	return p, nil
}

func short(text string, most int) string { return strings.ToValidUTF8(text[:min(len(text), most)], "") }

// listOf reads a claim that is a list of texts, or a text.
func listOf(claim any) (out []string) {
	switch c := claim.(type) {
	case string:
		return []string{c}
	case []any:
		for _, one := range c {
			if text, ok := one.(string); ok {
				out = append(out, text)
			}
		}
	}
	return out
}
