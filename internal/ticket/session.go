package ticket

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"strings"
	"time"
)

// A session's id is "s-", the site that was chosen for it, "-", and 128 random bits in
// lower-case base32: s-eu-west-1-mfrggzdfmztwq2lknnwg23tpoa. So a router
// that is asked about a session knows which site to ask. The id is no secret: see
// VerifySession. It has only what Consul takes in keys and in names of datacenters, so
// it is safe in a path.

var sessionText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const (
	sessionPrefix = "s-"
	sessionRandom = 26 // characters of base32
	maxSite       = 64
)

// NewSessionAt makes a session id that names a site.
func NewSessionAt(site string) string {
	if site != "" {
		site += "-"
	}
	var b [16]byte
	rand.Read(b[:]) // never fails; see its documentation
	return sessionPrefix + site + sessionText.EncodeToString(b[:])
}

// NewSession makes a session id that names no site, as earlier releases did. Such ids
// are good everywhere.
func NewSession() string { return NewSessionAt("") }

// ValidSession reports whether id has the form that NewSessionAt gives, so that a
// path or a key made of it cannot be anything else.
func ValidSession(id string) bool {
	_, ok := cutSession(id)
	return ok
}

// SiteOf is the site that a session's id names; empty where it names none.
func SiteOf(id string) string {
	site, _ := cutSession(id)
	return site
}

func cutSession(id string) (site string, ok bool) {
	text, ok := strings.CutPrefix(id, sessionPrefix)
	at := len(text) - sessionRandom
	if !ok || at < 0 || at == 1 {
		return "", false
	}
	for _, c := range []byte(text[at:]) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return "", false
		}
	}
	if at == 0 {
		return "", true
	}
	site, ok = strings.CutSuffix(text[:at], "-")
	if !ok || len(site) > maxSite {
		return "", false
	}
	for _, c := range []byte(site) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return "", false
		}
	}
	return site, true
}

// SessionFor is how long a ticket proves after its expiry whose session it is: as long
// as the longest session that has a limit (max_duration, see docs/DRIVER.md).
const SessionFor = 168 * time.Hour

// VerifySession checks a ticket as the proof that its bearer may read and end its
// session. For that, a ticket may have expired: a session lasts longer than its
// ticket. Nothing else takes such a ticket.
func (v *Verifier) VerifySession(token string) (Claims, error) {
	c, err := v.read(token)
	if errors.Is(err, ErrExpired) && v.now().Before(c.Expires.Add(SessionFor)) {
		return c, nil
	}
	if err != nil {
		return Claims{}, err
	}
	return c, nil
}
