package ticket

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// fault is why a token does not hold, as far as signature and registered claims
// say it.
type fault int

const (
	sound fault = iota
	tooLarge
	malformed
	unknownKey
	wrongSignature
	wrongAudience
	inFuture
	missingClaim
	expired // and nothing else is wrong
	wrongClaims
)

// parse checks the signature of a token and its aud, exp, iat and nbf, and reads
// its claims. All tokens of Nearcast are parsed here: Ed25519 is pinned, not read
// from the token. The library's errors may quote what they could not parse, so they
// are never returned.
func parse(token, audience string, now func() time.Time, claims jwt.Claims, key func(kid string) (ed25519.PublicKey, bool)) fault {
	if len(token) > MaxToken {
		return tooLarge
	}
	// Decoders of base64 skip line breaks: the same signature could be written in many ways.
	if strings.ContainsAny(token, "\r\n") {
		return malformed
	}
	known := true
	_, err := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithAudience(audience),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(Leeway),
		jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(now),
	).ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		// An extension that must be understood, and is not (RFC 7515, 4.1.11).
		if _, critical := t.Header["crit"]; critical {
			return nil, jwt.ErrTokenUnverifiable
		}
		kid, _ := t.Header["kid"].(string)
		var k ed25519.PublicKey
		if k, known = key(kid); !known {
			return nil, jwt.ErrTokenUnverifiable
		}
		return k, nil
	})
	switch {
	case err == nil:
		return sound
	case !known:
		return unknownKey
	case errors.Is(err, jwt.ErrTokenMalformed):
		return malformed
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return wrongSignature
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return wrongAudience
	case errors.Is(err, jwt.ErrTokenUsedBeforeIssued), errors.Is(err, jwt.ErrTokenNotValidYet):
		return inFuture
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return missingClaim
	case errors.Is(err, jwt.ErrTokenExpired):
		return expired
	}
	return wrongClaims
}
