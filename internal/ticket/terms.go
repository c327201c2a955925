package ticket

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of what a launch may carry. They leave room for everything else in a
// token of MaxToken bytes, in which base64 makes four bytes of three.
const (
	MaxCustomer    = 64      // bytes of the name of a launch key
	MaxPairs       = 16      // parameters, and likewise entries of Meta
	MaxPairName    = 64      // bytes of a name
	MaxParam       = 1 << 10 // bytes of a parameter's value
	MaxParamsTotal = 4 << 10 // bytes of all names and values of Params
	MaxMeta        = 256     // bytes of a value of Meta
	MaxMetaTotal   = 1 << 10 // bytes of all names and values of Meta
)

// HashSubject is the Subject of a ticket: one subject of one customer's key has
// one hash, and the subjects of two keys are never the same.
func HashSubject(kid, subject string) string {
	sum := sha256.Sum256([]byte(kid + "\x00" + subject))
	return hex.EncodeToString(sum[:16])
}

// ValidCustomer reports whether a customer may be called so: 1 to MaxCustomer letters, digits,
// dots, _ and -.
func ValidCustomer(name string) bool {
	return name != "" && len(name) <= MaxCustomer && strings.Trim(name, pairName) == ""
}

// checkTerms says what is wrong with the terms on which a session is played.
func (c Claims) checkTerms() error {
	switch {
	case len(c.Subject) > 64 || !isHex(c.Subject):
		return errors.New("its subject is not hashed")
	case len(c.Network) > 64 || !isHex(c.Network):
		return errors.New("its network is not hashed")
	case c.Customer != "" && !ValidCustomer(c.Customer):
		return errors.New("its customer has not the form of a key's name")
	case c.MaxSessions < 0:
		return errors.New("it allows fewer than no sessions")
	case c.MaxDuration < 0 || c.MaxDuration%time.Second != 0:
		return errors.New("its longest duration is not in whole seconds")
	}
	return checkPairs(c.Params, c.Meta)
}

// CheckMeta says what is wrong with the metadata of a session.
func CheckMeta(meta map[string]string) error { return checkMap(meta, MaxMeta, MaxMetaTotal) }

// checkPairs says what is wrong with the parameters and the metadata of a token.
func checkPairs(params, meta map[string]string) error {
	if err := checkMap(params, MaxParam, MaxParamsTotal); err != nil {
		return fmt.Errorf("params: %w", err)
	}
	if err := CheckMeta(meta); err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	return nil
}

func checkMap(pairs map[string]string, maxValue, maxTotal int) error {
	if len(pairs) > MaxPairs {
		return fmt.Errorf("%d names are more than %d", len(pairs), MaxPairs)
	}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		value := pairs[name]
		if name == "" || len(name) > MaxPairName || strings.Trim(name, pairName) != "" {
			return fmt.Errorf("a name has to have 1 to %d letters, digits, dots, _ and -", MaxPairName)
		}
		// A value becomes a variable of an environment, which cannot hold a NUL.
		if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
			return fmt.Errorf("the value of %s is not text", name)
		}
		if len(value) > maxValue {
			return fmt.Errorf("the value of %s has %d bytes, more than %d", name, len(value), maxValue)
		}
		total += len(name) + len(value)
	}
	if total > maxTotal {
		return fmt.Errorf("%d bytes are more than %d in all", total, maxTotal)
	}
	return nil
}

// pairName is what names of parameters and metadata are made of.
const pairName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
