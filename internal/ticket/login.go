package ticket

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// MaxLoginTTL is the longest that a login may last.
	MaxLoginTTL = 24 * time.Hour
	// LoginTokenTTL is how long a login token is good.
	LoginTokenTTL = 5 * time.Minute
	// MaxLogin is the longest signed login in bytes: browsers drop a cookie of more than 4 KiB, its
	// name included.
	MaxLogin = 3900
	// MaxLoginGroups is how many groups a login names at most.
	MaxLoginGroups = 100
)

const (
	maxProvider        = 255
	loginAudience      = "nearcast-login"
	loginTokenAudience = "nearcast-login-token"
)

// Login is what a router says of a person whom the provider knows, to itself and to the other
// routers: the person's browser keeps it, and no other part takes it. It is a JWT like a ticket, with
// an audience of its own.
type Login struct {
	// Provider is the issuer that knows the person: to another one, the same subject is somebody else.
	Provider string
	// Subject is the provider's name of the person.
	Subject string
	Name    string // for people
	// Groups are those of the person that an app named when they logged in, as HashGroup gives them.
	Groups  []string
	Expires time.Time
}

// HashGroup is a group in a login. A browser need not know what the groups of an app are called, and
// hashes are short.
func HashGroup(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// LoginToken is a router's statement that a person who has logged in may launch one app. The page gets
// it for the login, and sends it in the place of a launch token. It is good at each router.
type LoginToken struct {
	App     string
	Subject string // as HashSubject gives it
	Expires time.Time
}

// loginFields is the JSON of both.
type loginFields struct {
	jwt.RegisteredClaims
	Provider string   `json:"provider,omitempty"`
	Name     string   `json:"name,omitempty"`
	Groups   []string `json:"groups,omitempty"`
	App      string   `json:"app,omitempty"`
}

// SignLogin signs a login. Groups that no cookie has room for are left out, the last ones first.
func (s *Signer) SignLogin(l Login) (string, error) {
	if err := l.check(s.now()); err != nil {
		return "", fmt.Errorf("sign login: %w", err)
	}
	for {
		token, err := s.signLogin(loginAudience, l.Expires, loginFields{
			RegisteredClaims: jwt.RegisteredClaims{Subject: l.Subject}, Provider: l.Provider, Name: l.Name, Groups: l.Groups})
		switch {
		case err != nil || len(token) <= MaxLogin:
			return token, err
		case len(l.Groups) == 0:
			return "", errors.New("sign login: no cookie has room for its subject and name")
		}
		l.Groups = l.Groups[:len(l.Groups)-1]
	}
}

// VerifyLogin checks a login. Its error is ErrForged or ErrExpired.
func (v *Verifier) VerifyLogin(token string) (Login, error) {
	f, err := v.readLogin(token, loginAudience, MaxLoginTTL)
	if err != nil {
		return Login{}, err
	}
	l := Login{Provider: f.Provider, Subject: f.Subject, Name: f.Name, Groups: f.Groups, Expires: f.ExpiresAt.UTC()}
	if l.check(l.Expires) != nil {
		return Login{}, ErrForged
	}
	return l, nil
}

// SignLoginToken signs that a person may launch an app, and says until when that is good: for
// LoginTokenTTL, and not longer than the login.
func (s *Signer) SignLoginToken(app string, subject string, login Login) (token string, expires time.Time, err error) {
	expires = s.now().Add(LoginTokenTTL).UTC().Truncate(time.Second)
	if login.Expires.Before(expires) {
		expires = login.Expires
	}
	token, err = s.signLogin(loginTokenAudience, expires, loginFields{RegisteredClaims: jwt.RegisteredClaims{Subject: subject}, App: app})
	return token, expires, err
}

// VerifyLoginToken checks a login token. Its error is ErrForged or ErrExpired.
func (v *Verifier) VerifyLoginToken(token string) (LoginToken, error) {
	f, err := v.readLogin(token, loginTokenAudience, LoginTokenTTL)
	if err != nil {
		return LoginToken{}, err
	}
	if f.App == "" || f.Subject == "" || len(f.Subject) > 64 || !isHex(f.Subject) {
		return LoginToken{}, ErrForged
	}
	return LoginToken{App: f.App, Subject: f.Subject, Expires: f.ExpiresAt.UTC()}, nil
}

func (l Login) check(now time.Time) error {
	switch {
	case l.Provider == "" || len(l.Provider) > maxProvider:
		return fmt.Errorf("its provider has to have 1 to %d bytes", maxProvider)
	case l.Subject == "" || len(l.Subject) > maxSubject:
		return fmt.Errorf("its subject has to have 1 to %d bytes", maxSubject)
	case len(l.Groups) > MaxLoginGroups:
		return fmt.Errorf("%d groups are more than %d", len(l.Groups), MaxLoginGroups)
	case slices.Contains(l.Groups, ""):
		return errors.New("a group has no name")
	case l.Expires.Sub(now) > MaxLoginTTL:
		return fmt.Errorf("it lasts longer than %s", MaxLoginTTL)
	}
	return nil
}

func (s *Signer) signLogin(audience string, expires time.Time, f loginFields) (string, error) {
	f.Issuer, f.Audience = s.issuer, jwt.ClaimStrings{audience}
	f.IssuedAt, f.ExpiresAt = jwt.NewNumericDate(s.now().UTC().Truncate(time.Second)), jwt.NewNumericDate(expires)
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, f)
	t.Header["kid"] = s.kid
	token, err := t.SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("sign login: %w", err)
	}
	return token, nil
}

func (v *Verifier) readLogin(token, audience string, most time.Duration) (f loginFields, err error) {
	switch parse(token, audience, v.now, &f, func(kid string) (key ed25519.PublicKey, ok bool) {
		key, _, ok = v.key(kid)
		return key, ok
	}) {
	case sound:
	case expired:
		return f, ErrExpired
	default:
		return f, ErrForged
	}
	if f.IssuedAt == nil || f.ExpiresAt.Sub(f.IssuedAt.Time) > most+time.Second || !strings.HasPrefix(f.Issuer, issuerPrefix) {
		return f, ErrForged
	}
	return f, nil
}
