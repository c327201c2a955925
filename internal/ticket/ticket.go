// Package ticket signs and checks tickets: a router's statement that a session
// of an app may be served at some sites, in order of preference.
//
// A ticket is a JWT signed with Ed25519 (RFC 8037), and nothing else is
// accepted: the algorithm is pinned, not read from the token. Its claims are
//
//	iss    "nearcast-router/" + the router's name
//	aud    "nearcast-seat"
//	sub    the session, as NewSessionAt makes them
//	iat    when this ticket was issued
//	exp    iat + TTL at most
//	app    the app's id
//	ver    the version that was asked for; 0 is the newest that the site has
//	sites  where the session may run, best first
//	first  when the session's first ticket was issued; a renewal keeps it
//	ms     the milliseconds of first: people wait in the order in which they came
//
// and, each only where it says something,
//
//	usr    the subject for whom a customer launched, hashed (HashSubject); the
//	       sessions of one subject are counted by it
//	cus    the customer whose launch token it was: the name of its key
//	net    the network prefix of an anonymous launch, hashed; likewise
//	max    how many sessions the subject may have at once
//	dur    how long the session may last, in seconds
//	params what the launch sets of the app's parameters
//	meta   what the customer wants to find again in events
//	trc    where the launch's trace goes on, a W3C traceparent (package trace)
//
// and its header's kid names the key: the first 8 bytes, in hex, of the SHA-256
// of the raw public key. Other times are whole seconds. Checking allows Leeway for
// clocks that disagree.
//
// A ticket does not say whether it was used before: the brain knows that (Consul's
// check-and-set), and the seat (its own session).
//
//	signer, err := ticket.LoadSigner("ticket-key.pem", "eu-west-1")
//	token, expires, err := signer.Sign(ticket.Claims{
//		Session: ticket.NewSessionAt("eu-west-1"), App: "cad-viewer", Version: 3,
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
// # Launch tokens
//
// A launch token is a customer's statement that somebody may launch an app. The
// customer's server makes it with a key that an operator registered (LaunchKey); a
// router checks it, and says in the ticket what it allows. It is a JWT like a
// ticket, and its header's kid names the registered key. Its claims are
//
//	aud    "nearcast-launch"
//	iat    when it was issued
//	exp    iat + LaunchTTL at most
//	apps   the apps that may be launched with it
//	sub    the customer's own name of the person; optional, as all that follow
//	origins         the pages that may use it, as browsers send them in Origin
//	sites           where the session may run
//	residency       in which jurisdictions it may run
//	max_duration_s  how long a session may last
//	max_sessions    how many sessions the subject may have at once
//	params, meta    objects of strings, as in a ticket
//
// and iss, jti and nbf, as everywhere. Any other claim is refused.
//
//	token, err := ticket.Launch{Apps: []string{"cad-viewer"}, Subject: "ada"}.Sign(key)
//	…
//	launch, err := keys.Verify(token, time.Now()) // ErrLaunch… says what is wrong
//	err = launch.Permits("cad-viewer", request.Header.Get("Origin"))
//
// Tickets and launch tokens are credentials: no error of this package quotes one.
package ticket

import (
	"errors"
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

	// Subject is for whom the session is, as HashSubject gives it; empty for an
	// anonymous launch.
	Subject string
	// MaxSessions is how many sessions Subject may have at once; 0 is no limit.
	MaxSessions int
	// MaxDuration is how long the session may last, in whole seconds; 0 leaves it to
	// the app's job.
	MaxDuration time.Duration
	// Network is the hash of the network prefix that an anonymous launch came from,
	// in lower-case hex. It names no network to those without the site's salt.
	Network string
	// Customer is whose launch token it was: the name of its key. Empty for an anonymous
	// launch.
	Customer string
	Params   map[string]string // what is set of the app's parameters
	Meta     map[string]string // for events; no part of Nearcast reads it
	// Trace is the W3C traceparent of the router's span; empty where launches are not traced.
	Trace string
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
