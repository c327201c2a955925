package router

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// minOperatorToken is the length of an operator's token at least, in bytes.
const minOperatorToken = 32

// maxOperatorTokens are good at once: while one is replaced, the old and the new one.
const maxOperatorTokens = 2

// operators knows the operators' token. It is a secret of the sites, not a token of
// Consul or Nomad: to check one of those, a router would need a right to look into
// them, and every guess of a stranger would be a request to them.
type operators [][sha256.Size]byte

// newOperators takes one token, or while it is rotated two, each on a line.
func newOperators(tokens string) (all operators, err error) {
	for _, token := range strings.Fields(tokens) {
		if len(token) < minOperatorToken {
			return nil, errors.New("the operators' token is too short: make one with openssl rand -hex 32")
		}
		all = append(all, sha256.Sum256([]byte(token)))
	}
	if len(all) > maxOperatorTokens {
		return nil, fmt.Errorf("there are %d operators' tokens: at most %d are good at once, each on a line", len(all), maxOperatorTokens)
	}
	return all, nil
}

// is compares in constant time.
func (o operators) is(token string) bool {
	sum := sha256.Sum256([]byte(token))
	good := 0
	for _, one := range o {
		good |= subtle.ConstantTimeCompare(sum[:], one[:])
	}
	return good == 1
}

// bearer is the token of a request.
func bearer(req *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(req.Header.Get(echo.HeaderAuthorization), " ")
	token = strings.TrimSpace(token)
	return token, ok && token != "" && strings.EqualFold(scheme, "Bearer")
}
