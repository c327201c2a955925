package ticket

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// askAudience + the name of a site is the audience of an Ask.
const askAudience = "nearcast-facts/"

// Ask signs that a router of these sites asks the routers of one site for their facts.
// It is a JWT like a ticket, with iss, iat, exp and an audience of its own: it is good
// at that site alone, for nothing else, and for TTL.
func (s *Signer) Ask(site string) (token string, expires time.Time, err error) {
	issued := s.now().UTC().Truncate(time.Second)
	expires = issued.Add(TTL)
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{
		Issuer: s.issuer, Audience: jwt.ClaimStrings{askAudience + site},
		IssuedAt: jwt.NewNumericDate(issued), ExpiresAt: jwt.NewNumericDate(expires),
	})
	t.Header["kid"] = s.kid
	if token, err = t.SignedString(s.key); err != nil {
		return "", time.Time{}, fmt.Errorf("sign a router's question: %w", err)
	}
	return token, expires, nil
}

// VerifyAsk checks a token that Ask made for a site, and says until when it is good.
// Its error is ErrForged or ErrExpired.
func (v *Verifier) VerifyAsk(token, site string) (expires time.Time, err error) {
	var claims jwt.RegisteredClaims
	switch parse(token, askAudience+site, v.now, &claims, func(kid string) (key ed25519.PublicKey, ok bool) {
		key, _, ok = v.key(kid)
		return key, ok
	}) {
	case sound:
	case expired:
		return time.Time{}, ErrExpired
	default:
		return time.Time{}, ErrForged
	}
	if claims.IssuedAt == nil || claims.ExpiresAt.Sub(claims.IssuedAt.Time) > TTL || !strings.HasPrefix(claims.Issuer, issuerPrefix) {
		return time.Time{}, ErrForged
	}
	return claims.ExpiresAt.Time, nil
}
