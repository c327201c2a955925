// Package login sends a person to an OpenID Connect provider, and takes what the provider says of
// them when they come back: the code flow with PKCE, state and nonce.
//
//	provider, err := login.New(login.Config{Issuer: "https://login.example", Redirect: "https://play.example/login/callback", …})
//
//	err = provider.Begin(rw, req, login.Attempt{Next: "/play/viewer"}) // the person goes to the provider
//	…
//	attempt, person, err := provider.Finish(rw, req)                   // and is back; err may be a Refused
//
// It stores nothing. What an attempt needs is in a cookie of the browser that began it, good for ten
// minutes and once: so one process may begin what another one of the same address finishes. Who a
// person is to the caller, and for how long, is the caller's. A browser that changes its own cookie
// deceives itself alone: the state is compared with the address that the provider sent the person to,
// nonce and verifier with what the provider has, and Next is for the caller to check again.
package login

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Config says which provider it is, and as whom it knows us.
type Config struct {
	Issuer, ClientID, ClientSecret string
	// Redirect is where the provider sends people back to. It has to know that.
	Redirect string
	Scopes   []string // beside openid and profile
	// Claim is the claim of the ID token that has a person's groups: a list, or a text.
	Claim string
	// Now is for tests; nil is time.Now.
	Now func() time.Time
}

// Person is who has come back.
type Person struct {
	Subject string // the provider's, which never changes
	Name    string // for people; it may be empty
	Groups  []string
}

// Refused is an error that the person is told. Why is for the log.
type Refused struct {
	Kind RefusedKind
	Why  string
}

// RefusedKind is what a person can do about it.
type RefusedKind int

const (
	// Late: the attempt is over, or began in another browser.
	Late RefusedKind = iota
	// Foreign: the state or the ID token is of another attempt.
	Foreign
	// Denied: the provider says no.
	Denied
)

func (e Refused) Error() string { return e.Why }

// Provider is an OpenID Connect provider. It may be used by many goroutines at once.
type Provider struct {
	cfg     Config
	cookies Cookies

	http   *http.Client
	asking chan struct{} // a place for each code that is exchanged

	mu       sync.Mutex
	provider *oidc.Provider // nil until it has answered
	failed   error          // how it failed to answer, at asked
	asked    time.Time
}

const (
	// timeout bounds each request to the provider.
	timeout = 10 * time.Second
	// askAgain is how long a provider that did not answer is left alone: those who wait meanwhile
	// would otherwise ask one after the other.
	askAgain = 2 * time.Second
	// lasts is how long a person may take at the provider.
	lasts = 10 * time.Minute
	// maxAttempt bounds the cookie of an attempt, in bytes: browsers drop one above 4 KiB, its name and
	// attributes included.
	maxAttempt = 3900
	// maxAttempts is how many attempts a browser keeps. Every page can have it begin more of them, and
	// with some more of their cookies no request would be taken any more.
	maxAttempts = 4
	// maxAsking is how many codes are exchanged at once. The others wait.
	maxAsking = 32
)

// ErrLong is an Attempt that no cookie has room for.
var ErrLong = errors.New("the address to come back to is too long")

// New makes a Provider. It asks the provider when the first person comes, so that the caller starts
// without it.
func New(cfg Config) (*Provider, error) {
	if cfg.Issuer == "" || cfg.ClientID == "" || cfg.Claim == "" {
		return nil, errors.New("issuer, client id and the claim of groups are required")
	}
	return &Provider{cfg: cfg, cookies: CookiesOf(cfg.Redirect), http: &http.Client{Timeout: timeout}, asking: make(chan struct{}, maxAsking)}, nil
}

// client is the provider's configuration.
func (p *Provider) client() (*oidc.Provider, *oauth2.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.provider == nil {
		if p.failed != nil && time.Since(p.asked) < askAgain {
			return nil, nil, p.failed
		}
		// The provider keeps the context for its keys, so it is not that of a request.
		found, err := oidc.NewProvider(oidc.ClientContext(context.Background(), p.http), p.cfg.Issuer)
		if err != nil {
			p.failed, p.asked = fmt.Errorf("ask the provider %s: %w", p.cfg.Issuer, err), time.Now()
			return nil, nil, p.failed
		}
		p.provider = found
	}
	return p.provider, &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: p.provider.Endpoint(), RedirectURL: p.cfg.Redirect,
		Scopes: append([]string{oidc.ScopeOpenID, "profile"}, p.cfg.Scopes...),
	}, nil
}

// Attempt is a login that has begun.
type Attempt struct {
	// Next is kept for the caller: where the person goes then.
	Next string
	// Tag is kept, too, and comes back where nothing else of the attempt is left: with Late. Everybody
	// can write one.
	Tag string
	// Anew has the provider ask for a password, also if it knows the person still.
	Anew bool
}

// begun is what the browser keeps of an attempt, in a cookie of its own.
type begun struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Next     string `json:"next"`
}

const attemptPrefix = "login-"

// attemptCookie tells attempts apart that begin in two windows at once.
func attemptCookie(state string) string { return attemptPrefix + state[:min(8, len(state))] }

// Begin sends the person to the provider. It has answered where it gives no error, which may be ErrLong.
func (p *Provider) Begin(rw http.ResponseWriter, r *http.Request, a Attempt) error {
	b := begun{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Next: a.Next}
	if a.Tag != "" {
		b.State += "." + a.Tag
	}
	cookie := p.cookies.Make(attemptCookie(b.State), b.encode(), lasts)
	if len(cookie.Name)+len(cookie.Value) > maxAttempt {
		return fmt.Errorf("begin a login: %w", ErrLong)
	}
	_, conf, err := p.client()
	if err != nil {
		return err
	}
	p.forget(rw, r)
	http.SetCookie(rw, cookie)
	rw.Header().Set("Cache-Control", "no-store")
	options := []oauth2.AuthCodeOption{oidc.Nonce(b.Nonce), oauth2.S256ChallengeOption(b.Verifier)}
	if a.Anew {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"))
	}
	http.Redirect(rw, r, conf.AuthCodeURL(b.State, options...), http.StatusFound)
	return nil
}

// encode gives a cookie's value. An address is full of &, which JSON for HTML writes in six bytes.
func (b begun) encode() string {
	var text bytes.Buffer
	to := json.NewEncoder(&text)
	to.SetEscapeHTML(false)
	if err := to.Encode(b); err != nil {
		panic(err) // texts
	}
	return base64.RawURLEncoding.EncodeToString(text.Bytes())
}

// forget takes the oldest attempts back, which browsers send first, where one more would be too many.
func (p *Provider) forget(rw http.ResponseWriter, r *http.Request) {
	var names []string
	for _, c := range r.Cookies() {
		if name, ok := strings.CutPrefix(c.Name, p.cookies.Name("")); ok && strings.HasPrefix(name, attemptPrefix) {
			names = append(names, name)
		}
	}
	for _, name := range names[:max(0, len(names)-maxAttempts+1)] {
		http.SetCookie(rw, p.cookies.Make(name, "", 0))
	}
}

// Finish takes what the provider says. It answers nothing, but takes the attempt's cookie back.
func (p *Provider) Finish(rw http.ResponseWriter, r *http.Request) (a Attempt, who Person, err error) {
	state := r.FormValue("state")
	_, a.Tag, _ = strings.Cut(state, ".")
	name := attemptCookie(state)
	cookie, err := r.Cookie(p.cookies.Name(name))
	if err != nil {
		return a, who, Refused{Late, "wrong state: no login began with it in this browser"}
	}
	http.SetCookie(rw, p.cookies.Make(name, "", 0)) // it is good once
	var b begun
	text, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil || json.Unmarshal(text, &b) != nil || subtle.ConstantTimeCompare([]byte(b.State), []byte(state)) != 1 {
		return a, who, Refused{Foreign, "wrong state"}
	}
	a.Next = b.Next
	if said := r.FormValue("error"); said != "" {
		return a, who, Refused{Denied, fmt.Sprintf("the provider says %.200q", said+": "+r.FormValue("error_description"))}
	}
	provider, conf, err := p.client()
	if err != nil {
		return a, who, err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(r.Context(), p.http), 2*timeout)
	defer cancel()
	// The cookie is the browser's: one that made it up has a code exchanged that no provider gave.
	select {
	case p.asking <- struct{}{}:
		defer func() { <-p.asking }()
	case <-ctx.Done():
		return a, who, fmt.Errorf("exchange the code: too many are exchanged: %w", ctx.Err())
	}
	token, err := conf.Exchange(ctx, r.FormValue("code"), oauth2.VerifierOption(b.Verifier))
	if err != nil {
		return a, who, fmt.Errorf("exchange the code: %w", err)
	}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return a, who, errors.New("the provider gave no ID token")
	}
	id, err := provider.Verifier(&oidc.Config{ClientID: p.cfg.ClientID, Now: p.cfg.Now}).Verify(ctx, raw)
	if err != nil {
		return a, who, fmt.Errorf("verify the ID token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(b.Nonce)) != 1 {
		return a, who, Refused{Foreign, "wrong nonce: the ID token is of another login"}
	}
	who, err = p.person(id)
	return a, who, err
}

// maxSubject is the most that OpenID Connect allows for a subject, in bytes.
const maxSubject = 255

func (p *Provider) person(id *oidc.IDToken) (Person, error) {
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return Person{}, fmt.Errorf("read the ID token: %w", err)
	}
	if id.Subject == "" || len(id.Subject) > maxSubject {
		return Person{}, fmt.Errorf("read the ID token: a subject has 1 to %d bytes, and this one has %d", maxSubject, len(id.Subject))
	}
	who := Person{Subject: id.Subject, Groups: listOf(claims[p.cfg.Claim])}
	for _, name := range []string{"name", "preferred_username", "email"} {
		if text, _ := claims[name].(string); text != "" && who.Name == "" {
			who.Name = Short(text, 100)
		}
	}
	return who, nil
}

// Short is the beginning of a text, as valid UTF-8.
func Short(text string, most int) string { return strings.ToValidUTF8(text[:min(len(text), most)], "") }

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
