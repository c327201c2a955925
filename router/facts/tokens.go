package facts

import (
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
)

// Tokens are what a router proves with that it is a router of these sites. They are
// signed with the key of its tickets, which the routers of all sites can check. It may be
// used by many goroutines at once.
type Tokens struct {
	signer *ticket.Signer
	now    func() time.Time

	mu   sync.Mutex
	made map[string]token // by site
}

type token struct {
	text    string
	expires time.Time
}

// NewTokens signs with a router's key.
func NewTokens(signer *ticket.Signer) *Tokens {
	return &Tokens{signer: signer, now: time.Now, made: map[string]token{}}
}

// For is a token for the routers of a site. It is made anew when half its time is over.
func (t *Tokens) For(site string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if have, ok := t.made[site]; ok && now.Before(have.expires.Add(-ticket.TTL/2)) {
		return have.text
	}
	text, expires, err := t.signer.Ask(site)
	if err != nil {
		return "" // then the site tells nothing, and its router says so
	}
	t.made[site] = token{text, expires}
	return text
}

// maxChecked is how many tokens a Checker remembers.
const maxChecked = 4096

// Checker checks the tokens of routers that ask. It remembers the good ones, since each
// router sends the same one for half a minute. It may be used by many goroutines at once.
type Checker struct {
	site     string
	verifier *ticket.Verifier
	now      func() time.Time

	mu   sync.Mutex
	good map[string]time.Time // until when
}

// NewChecker checks tokens for the routers of a site.
func NewChecker(site string, verifier *ticket.Verifier) *Checker {
	return &Checker{site: site, verifier: verifier, now: time.Now, good: map[string]time.Time{}}
}

// Remembers reports whether a token was checked before and is still good.
func (c *Checker) Remembers(token string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.good[token]
	return ok && c.now().Before(until)
}

// Check reports whether a token is a router's, for this site.
func (c *Checker) Check(token string) bool {
	if c.Remembers(token) {
		return true
	}
	until, err := c.verifier.VerifyAsk(token, c.site)
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.good) >= maxChecked { // each is checked again, which costs a little
		clear(c.good)
	}
	c.good[token] = until
	return true
}
