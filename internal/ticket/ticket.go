// Package ticket signs and checks tickets: a router's statement that a session
// of an app may be served at some sites, in order of preference.
//
// A ticket is a JWT signed with Ed25519 (RFC 8037), and nothing else is
// accepted: the algorithm is pinned, not read from the token. Its claims are
//
//	iss    "nearcast-router/" + the router's name
//	aud    "nearcast-seat"
//	sub    the session, as NewSession makes them
//	iat    when this ticket was issued
//	exp    iat + TTL at most
//	app    the app's id
//	ver    the version that was asked for; 0 is the newest that the site has
//	sites  where the session may run, best first
//	first  when the session's first ticket was issued; a renewal keeps it
//
// and its header's kid names the key: the first 8 bytes, in hex, of the SHA-256
// of the raw public key. Times are whole seconds. Checking allows Leeway for
// clocks that disagree.
//
// A ticket does not say whether it was used before: the brain knows that (Consul's
// check-and-set), and the seat (its own session).
//
//	signer, err := ticket.LoadSigner("ticket-key.pem", "eu-west-1")
//	token, expires, err := signer.Sign(ticket.Claims{
//		Session: ticket.NewSession(), App: "cad-viewer", Version: 3,
//		Sites: []string{"eu-west-1", "us-east-1"},
//	})
//	…
//	verifier, err := ticket.LoadVerifier("ticket-keys.pem")
//	claims, err := verifier.Verify(token)
//	switch {
//	case errors.Is(err, ticket.ErrExpired): // ask for another
//	case err != nil:                        // refuse
//	}
//
// A ticket is a credential: no error of this package quotes one.
package ticket

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"strings"
	"time"
)

const (
	// TTL is how long a ticket is good, from its issue.
	TTL = 60 * time.Second
	// MaxWait is how long a session's ticket may be renewed, from its first issue.
	MaxWait = time.Hour
	// Leeway is how far the clocks of signer and verifier may disagree: a ticket
	// is taken this long after its expiry and this long before its issue. Router
	// and seat may be at different sites, each with its own clocks. It is less than
	// TTL: those that mark tickets as used rely on that.
	Leeway = 30 * time.Second
	// MaxToken is the largest token that is looked at, in bytes.
	MaxToken = 8 << 10
)

const (
	issuerPrefix = "nearcast-router/"
	audience     = "nearcast-seat"
)

var (
	// ErrForged is any token that no router of ours can have issued for this reader
	// now: malformed, signed with an unknown key or another algorithm, for another
	// audience, or issued in the future.
	ErrForged = errors.New("ticket is not valid")
	// ErrExpired is a token that was good and is too old. Only a token whose
	// signature holds is ever called expired.
	ErrExpired = errors.New("ticket is expired")
	// ErrWaited refuses a renewal more than MaxWait after the first issue.
	ErrWaited = errors.New("ticket was renewed for too long")
)

// Claims is what a ticket says.
type Claims struct {
	Session string
	App     string
	Version uint64 // as asked for; 0 is the newest that the site has
	Sites   []string
	// Issued, Expires and First are filled in by Sign where they are zero.
	Issued, Expires time.Time
	// First is when the session's first ticket was issued.
	First time.Time
}

// Allows reports whether the ticket names the site.
func (c Claims) Allows(site string) bool {
	for _, s := range c.Sites {
		if s == site {
			return true
		}
	}
	return false
}

var sessionText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const sessionPrefix = "s-"

// NewSession makes a session id: "s-" and 128 random bits in lower-case base32.
func NewSession() string {
	var b [16]byte
	rand.Read(b[:]) // never fails; see its documentation
	return sessionPrefix + sessionText.EncodeToString(b[:])
}

// ValidSession reports whether id has the form that NewSession gives, so that a
// path or a key made of it cannot be anything else.
func ValidSession(id string) bool {
	text, ok := strings.CutPrefix(id, sessionPrefix)
	if !ok || len(text) != 26 {
		return false
	}
	for i := 0; i < len(text); i++ {
		if c := text[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}
