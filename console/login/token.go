package login

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/nearcast/nearcast/internal/wire"
)

// Method is a way to log in: handlers of /console/login, GET and POST, and of /console/callback.
type Method interface {
	Begin(s *Sessions) http.HandlerFunc
	Finish(s *Sessions) http.HandlerFunc
}

// Noted is told of each login that was tried. why is empty where it went well.
type Noted func(r *http.Request, p Person, why string)

// minToken is the length of a token at least.
const minToken = 32

// Token is the login of a site without a provider: who has the token has its role.
type Token struct {
	sum   [sha256.Size]byte
	role  wire.ConsoleRole
	noted Noted
	tries *rate.Limiter
}

// NewToken takes the token, and the role that it gives.
func NewToken(token string, role wire.ConsoleRole, noted Noted) (*Token, error) {
	if len(token) < minToken {
		return nil, errors.New("the token is too short: make one with openssl rand -hex 32")
	}
	return &Token{sum: sha256.Sum256([]byte(token)), role: role, noted: noted, tries: rate.NewLimiter(rate.Every(time.Second), 10)}, nil
}

// Begin shows the form.
func (t *Token) Begin(*Sessions) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		page{Form: true, Next: next(r)}.write(rw, http.StatusOK)
	}
}

// maxForm bounds the form in bytes.
const maxForm = 8 << 10

// Finish takes it.
func (t *Token) Finish(s *Sessions) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(rw, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			page{Form: true, Next: wire.ConsolePath, Wrong: "This form is too large, or broken."}.write(rw, http.StatusBadRequest)
			return
		}
		if !t.tries.Allow() {
			page{Form: true, Next: next(r), Wrong: "Too many tries. Wait a few seconds."}.write(rw, http.StatusTooManyRequests)
			return
		}
		sum := sha256.Sum256([]byte(strings.TrimSpace(r.PostFormValue("token"))))
		if subtle.ConstantTimeCompare(sum[:], t.sum[:]) != 1 {
			t.noted(r, Person{Subject: "token"}, "wrong token")
			page{Form: true, Next: next(r), Wrong: "This is not the console's token."}.write(rw, http.StatusUnauthorized)
			return
		}
		p := Person{Subject: "token", Name: string(t.role), Role: t.role}
		s.Start(rw, p)
		t.noted(r, p, "")
		enter(rw, r, next(r))
	}
}
