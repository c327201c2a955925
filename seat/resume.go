package seat

import (
	"crypto/rand"
	"errors"

	"github.com/golang-jwt/jwt/v5"
)

// resumer makes and checks resume tokens: HS256 JWTs under a secret that is as
// old as this process. A token needs no expiry of its own: it is good as long
// as its session holds the seat, which the seat asks itself.
type resumer struct {
	secret    [32]byte
	seat, app string
}

// resumeClaims are readable by anybody who has the token: the brain finds the
// way by Seat.
type resumeClaims struct {
	jwt.RegisteredClaims
	Session string `json:"sid"`
	Seat    string `json:"seat"`
	App     string `json:"app"`
}

var errForged = errors.New("resume token is not valid")

func newResumer(seat, app string) *resumer {
	r := &resumer{seat: seat, app: app}
	rand.Read(r.secret[:]) // never fails; see its documentation
	return r
}

func (r *resumer) sign(session string) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodHS256, resumeClaims{Session: session, Seat: r.seat, App: r.app}).
		SignedString(r.secret[:])
}

// session is whose token it is. Its errors never quote the token.
func (r *resumer) session(token string) (string, error) {
	var c resumeClaims
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithStrictDecoding()).
		ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return r.secret[:], nil })
	if err != nil || c.Session == "" || c.Seat != r.seat || c.App != r.app {
		return "", errForged
	}
	return c.Session, nil
}

// looksResumed tells a resume token from a ticket by its algorithm alone; who
// it is good for is checked afterwards, by the one check that fits.
func looksResumed(token string) bool {
	t, _, err := jwt.NewParser().ParseUnverified(token, &resumeClaims{})
	return err == nil && t.Method.Alg() == jwt.SigningMethodHS256.Alg()
}
