package ticket

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
)

// An API key is what a customer's server sends to a router to read and end the customer's
// sessions: "nck_", the key's id, "_", and 256 random bits. Routers have only its SHA-256.
// Operators register it (nearcast apikey create).

// Scopes of API keys.
const (
	ScopeReadSessions = "sessions:read"
	ScopeEndSessions  = "sessions:end"
)

// Scopes are all there are.
var Scopes = []string{ScopeReadSessions, ScopeEndSessions}

const (
	apiKeyPrefix = "nck_"
	apiKeyID     = 8  // bytes
	apiKeySecret = 32 // bytes
)

// ErrAPIKey is any API key that is not registered: its form or its secret is wrong, or it was revoked.
var ErrAPIKey = errors.New("the API key is unknown or was revoked")

// APIKey is a registered API key.
type APIKey struct {
	ID       string
	Customer string // whose sessions it may read
	Scopes   []string
	sum      []byte
}

// May reports whether the key has a scope.
func (k APIKey) May(scope string) bool { return slices.Contains(k.Scopes, scope) }

// APIKeys are the registered API keys by their ID.
type APIKeys map[string]APIKey

// NewAPIKey makes a key. id and sum, the SHA-256 of the whole key in hex, are for the registry.
func NewAPIKey() (key, id, sum string) {
	b := make([]byte, apiKeyID+apiKeySecret)
	rand.Read(b) // never fails; see its documentation
	id = hex.EncodeToString(b[:apiKeyID])
	key = apiKeyPrefix + id + "_" + base64.RawURLEncoding.EncodeToString(b[apiKeyID:])
	s := sha256.Sum256([]byte(key))
	return key, id, hex.EncodeToString(s[:])
}

// ParseAPIKey reads a registered key.
func ParseAPIKey(id, customer, sum string, scopes []string) (APIKey, error) {
	s, err := hex.DecodeString(sum)
	switch {
	case !ValidAPIKeyID(id):
		return APIKey{}, errors.New("API key: its id is malformed")
	case !ValidCustomer(customer):
		return APIKey{}, errors.New("API key: its customer is malformed")
	case err != nil || len(s) != sha256.Size:
		return APIKey{}, errors.New("API key: its hash is malformed")
	}
	return APIKey{ID: id, Customer: customer, Scopes: scopes, sum: s}, nil
}

// IsAPIKey reports whether a token has the form of an API key.
func IsAPIKey(token string) bool { return strings.HasPrefix(token, apiKeyPrefix) }

// ValidAPIKeyID reports whether id has the form of a key's ID.
func ValidAPIKeyID(id string) bool { return len(id) == 2*apiKeyID && isHex(id) }

// Verify finds the key that a token is. It fails with ErrAPIKey.
func (keys APIKeys) Verify(token string) (APIKey, error) {
	id, _, _ := strings.Cut(strings.TrimPrefix(token, apiKeyPrefix), "_")
	key, known := keys[id]
	s := sha256.Sum256([]byte(token))
	if !known || subtle.ConstantTimeCompare(s[:], key.sum) != 1 {
		return APIKey{}, ErrAPIKey
	}
	return key, nil
}
