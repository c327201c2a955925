package ticket

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Signer issues tickets. It is safe for concurrent use.
type Signer struct {
	key    ed25519.PrivateKey
	kid    string
	issuer string
	now    func() time.Time
}

// NewSigner signs with key; issuer is the router's name, which its tickets carry.
func NewSigner(key ed25519.PrivateKey, issuer string) *Signer {
	return &Signer{
		key:    key,
		kid:    keyID(key.Public().(ed25519.PublicKey)),
		issuer: issuerPrefix + issuer,
		now:    time.Now,
	}
}

// LoadSigner reads an Ed25519 private key (PKCS #8 in PEM), as GenerateKeys
// and "openssl genpkey -algorithm ed25519" write it.
func LoadSigner(path, issuer string) (*Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read ticket key: %w", err)
	}
	block, _ := pem.Decode(text)
	key, err := privateKey(block)
	if err != nil {
		return nil, fmt.Errorf("ticket key %s: %w; make one with: nearcast ticket-key DIR", path, err)
	}
	return NewSigner(key, issuer), nil
}

// Public is the key that checks this signer's tickets.
func (s *Signer) Public() ed25519.PublicKey { return s.key.Public().(ed25519.PublicKey) }

// payload is the ticket's JSON.
type payload struct {
	jwt.RegisteredClaims
	App     string           `json:"app"`
	Version uint64           `json:"ver"`
	Sites   []string         `json:"sites"`
	First   *jwt.NumericDate `json:"first"`
	// Millis are the milliseconds of First, which is in whole seconds: people wait in
	// the order in which they came.
	Millis int64 `json:"ms,omitempty"`

	User     string            `json:"usr,omitempty"`
	Network  string            `json:"net,omitempty"`
	Customer string            `json:"cus,omitempty"`
	Sessions int               `json:"max,omitempty"`
	Seconds  int64             `json:"dur,omitempty"`
	Params   map[string]string `json:"params,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
	Trace    string            `json:"trc,omitempty"`
}

// Sign issues a ticket for c and says until when it is good. Where they are
// zero, Issued becomes now, Expires Issued + TTL and First Issued.
func (s *Signer) Sign(c Claims) (token string, expires time.Time, err error) {
	if c.Issued.IsZero() {
		c.Issued = s.now()
	}
	if c.First.IsZero() {
		c.First = c.Issued
	}
	c.Issued = c.Issued.UTC().Truncate(time.Second)
	if c.Expires.IsZero() {
		c.Expires = c.Issued.Add(TTL)
	}
	c.Expires = c.Expires.UTC().Truncate(time.Second)
	if err := c.check(); err != nil {
		return "", time.Time{}, fmt.Errorf("sign ticket: %w", err)
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, payload{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    s.issuer,
			Subject:   c.Session,
			Audience:  jwt.ClaimStrings{audience},
			ExpiresAt: jwt.NewNumericDate(c.Expires),
			IssuedAt:  jwt.NewNumericDate(c.Issued),
		},
		App: c.App, Version: c.Version, Sites: c.Sites,
		First: jwt.NewNumericDate(c.First), Millis: int64(c.First.Nanosecond()) / 1e6,
		User: c.Subject, Network: c.Network, Customer: c.Customer, Sessions: c.MaxSessions,
		Seconds: int64(c.MaxDuration / time.Second), Params: c.Params, Meta: c.Meta, Trace: c.Trace,
	})
	t.Header["kid"] = s.kid
	token, err = t.SignedString(s.key)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign ticket: %w", err)
	}
	if len(token) > MaxToken {
		return "", time.Time{}, fmt.Errorf("sign ticket: %d bytes are more than the %d that will be read; name fewer sites or send less in params", len(token), MaxToken)
	}
	return token, c.Expires, nil
}

// Renew issues a ticket with the claims c and more time. It takes claims that
// Verify returned, and fails with ErrWaited after MaxWait; no ticket outlives
// MaxWait.
func (s *Signer) Renew(c Claims) (token string, expires time.Time, err error) {
	end := c.First.Add(MaxWait)
	c.Issued = s.now()
	if !c.Issued.Before(end) {
		return "", time.Time{}, ErrWaited
	}
	c.Expires = c.Issued.Add(TTL)
	if c.Expires.After(end) {
		c.Expires = end
	}
	if c.First.After(c.Issued) {
		c.First = c.Issued // of a router whose clock is ahead of this one's
	}
	return s.Sign(c)
}

// check says what is wrong with claims. Sign and Verify both use it.
func (c Claims) check() error {
	switch {
	case !ValidSession(c.Session):
		return errors.New("it names no session")
	case c.App == "":
		return errors.New("it names no app")
	case len(c.Sites) == 0:
		return errors.New("it names no site")
	case c.Expires.Before(c.Issued):
		return errors.New("it ends before it begins")
	case c.Expires.Sub(c.Issued) > TTL:
		return fmt.Errorf("it is good for more than %s", TTL)
	case c.First.Truncate(time.Second).After(c.Issued):
		return errors.New("it was renewed before it was issued")
	}
	return c.checkTerms()
}
