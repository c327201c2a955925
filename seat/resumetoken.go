package seat

import (
	"crypto/rand"
	"errors"

	"github.com/golang-jwt/jwt/v5"
)

// resumeTokens signs and checks resume tokens: HS256 JWTs with a secret that
// only this process knows. A token carries no expiry: it is valid as long as its
// session holds the seat, which the state machine knows.
type resumeTokens struct {
	secret    [32]byte
	seat, app string
}

// resumeClaims are readable without the secret: the brain finds the seat by Seat.
type resumeClaims struct {
	jwt.RegisteredClaims
	Session string `json:"sid"`
	Seat    string `json:"seat"`
	App     string `json:"app"`
}

var errResumeToken = errors.New("resume token is not valid")

func newResumeTokens(seat, app string) *resumeTokens {
	r := &resumeTokens{seat: seat, app: app}
	rand.Read(r.secret[:]) // never fails; see its documentation
	return r
}

func (r *resumeTokens) sign(session string) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodHS256, resumeClaims{Session: session, Seat: r.seat, App: r.app}).
		SignedString(r.secret[:])
}

// session returns the session of a valid token. Its errors never quote the token.
func (r *resumeTokens) session(token string) (string, error) {
	var c resumeClaims
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithStrictDecoding()).
		ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return r.secret[:], nil })
	if err != nil || c.Session == "" || c.Seat != r.seat || c.App != r.app {
		return "", errResumeToken
	}
	return c.Session, nil
}

// isResumeToken tells a resume token from a ticket by its algorithm alone. It
// does not check it: each kind has a check of its own.
func isResumeToken(token string) bool {
	t, _, err := jwt.NewParser().ParseUnverified(token, &resumeClaims{})
	return err == nil && t.Method.Alg() == jwt.SigningMethodHS256.Alg()
}
