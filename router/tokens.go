package router

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// minOperatorToken is the length of an operator's token at least, in bytes.
const minOperatorToken = 32

// operators knows the operators' token. It is a secret of the sites, not a token of
// Consul or Nomad: to check one of those, a router would need a right to look into
// them, and every guess of a stranger would be a request to them.
type operators struct {
	sum [sha256.Size]byte
	set bool
}

func newOperators(token string) (operators, error) {
	if token == "" {
		return operators{}, nil
	}
	if len(token) < minOperatorToken {
		return operators{}, errors.New("the operators' token is too short: make one with openssl rand -hex 32")
	}
	return operators{sum: sha256.Sum256([]byte(token)), set: true}, nil
}

// is compares in constant time.
func (o operators) is(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return o.set && subtle.ConstantTimeCompare(sum[:], o.sum[:]) == 1
}

// bearer is the token of a request.
func bearer(req *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(req.Header.Get(echo.HeaderAuthorization), " ")
	token = strings.TrimSpace(token)
	return token, ok && token != "" && strings.EqualFold(scheme, "Bearer")
}
