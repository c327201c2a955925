package ticket

import (
	"crypto/ed25519"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"time"
)

// Verifier checks tickets against the routers' public keys. It is safe for
// concurrent use.
type Verifier struct {
	path string // "" when the keys never change
	now  func() time.Time

	mu      sync.Mutex
	keys    map[string]ed25519.PublicKey
	stamp   os.FileInfo // of path when it was read last
	settled bool        // stamp is old enough that any later write shows in it
	failure error       // of the last attempt to read path
}

// NewVerifier checks against keys, for good.
func NewVerifier(keys ...ed25519.PublicKey) *Verifier {
	v := &Verifier{now: time.Now, keys: make(map[string]ed25519.PublicKey, len(keys))}
	for _, k := range keys {
		v.keys[keyID(k)] = k
	}
	return v
}

// LoadVerifier checks against the keys in a file of concatenated PEM blocks
// PUBLIC KEY. The file is read again when it has changed, which Verify looks
// for: so keys are rotated by replacing the file. While the file is missing or
// cannot be parsed, the keys read last stay in force.
func LoadVerifier(path string) (*Verifier, error) {
	v := &Verifier{path: path, now: time.Now}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.reload(); v.failure != nil {
		return nil, v.failure
	}
	return v, nil
}

// settleTime is more than the resolution of any file system's clock. A file
// written less than this ago may be written again without a change of stamp.
const settleTime = 2 * time.Second

// reload reads the keys again if the file may have changed.
func (v *Verifier) reload() {
	if v.path == "" {
		return
	}
	stamp, err := os.Stat(v.path)
	if err != nil {
		v.failure = fmt.Errorf("read ticket keys: %w", err)
		return
	}
	if v.settled && v.failure == nil && os.SameFile(stamp, v.stamp) &&
		stamp.ModTime().Equal(v.stamp.ModTime()) && stamp.Size() == v.stamp.Size() {
		return
	}
	keys, err := readPublicKeys(v.path)
	if v.failure = err; err != nil {
		return
	}
	v.keys, v.stamp = keys, stamp
	v.settled = time.Since(stamp.ModTime()) > settleTime
}

// key finds the key a token names.
func (v *Verifier) key(kid string) (key ed25519.PublicKey, failure error, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reload()
	key, ok = v.keys[kid]
	return key, v.failure, ok
}

// Verify checks a token and gives what it says. The error is ErrExpired for a
// good ticket that is too old, and otherwise ErrForged.
func (v *Verifier) Verify(token string) (Claims, error) {
	c, err := v.read(token)
	if err != nil {
		return Claims{}, err
	}
	return c, nil
}

// read is Verify, and gives the claims with ErrExpired too.
func (v *Verifier) read(token string) (Claims, error) {
	var p payload
	var keyFile error // why keys could not be read, if that is so
	fault := parse(token, audience, v.now, &p, func(kid string) (key ed25519.PublicKey, ok bool) {
		key, keyFile, ok = v.key(kid)
		return key, ok
	})
	switch fault {
	case sound, expired: // decided below, after all other checks: a token with two faults is forged
	case tooLarge:
		return Claims{}, fmt.Errorf("%w: it is longer than %d bytes", ErrForged, MaxToken)
	case unknownKey:
		if keyFile != nil {
			return Claims{}, fmt.Errorf("%w: its key is unknown, and %w", ErrForged, keyFile)
		}
		return Claims{}, fmt.Errorf("%w: its key is unknown", ErrForged)
	case malformed:
		return Claims{}, fmt.Errorf("%w: it is malformed", ErrForged)
	case wrongSignature:
		return Claims{}, fmt.Errorf("%w: its signature is wrong", ErrForged)
	case wrongAudience:
		return Claims{}, fmt.Errorf("%w: it is for another audience", ErrForged)
	case inFuture:
		return Claims{}, fmt.Errorf("%w: it was issued in the future; compare the clocks", ErrForged)
	case missingClaim:
		return Claims{}, fmt.Errorf("%w: a claim is missing", ErrForged)
	default:
		return Claims{}, fmt.Errorf("%w: its claims are wrong", ErrForged)
	}

	if !strings.HasPrefix(p.Issuer, issuerPrefix) {
		return Claims{}, fmt.Errorf("%w: it is from another issuer", ErrForged)
	}
	if p.IssuedAt == nil || p.ExpiresAt == nil || p.First == nil {
		return Claims{}, fmt.Errorf("%w: a claim is missing", ErrForged)
	}
	c := Claims{
		Session: p.Subject, App: p.App, Version: p.Version, Sites: p.Sites,
		Issued: p.IssuedAt.UTC(), Expires: p.ExpiresAt.UTC(), First: p.First.UTC(),
		Subject: p.User, Network: p.Network, Customer: p.Customer, MaxSessions: p.Sessions,
		Params: p.Params, Meta: p.Meta, Trace: p.Trace,
	}
	if p.Seconds < 0 || p.Seconds > math.MaxInt64/int64(time.Second) {
		return Claims{}, fmt.Errorf("%w: its longest duration is out of range", ErrForged)
	}
	if p.Millis < 0 || p.Millis > 999 {
		return Claims{}, fmt.Errorf("%w: its first issue is out of range", ErrForged)
	}
	c.First = c.First.Truncate(time.Second).Add(time.Duration(p.Millis) * time.Millisecond)
	c.MaxDuration = time.Duration(p.Seconds) * time.Second
	if err := c.check(); err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrForged, err)
	}
	if fault == expired {
		return c, fmt.Errorf("%w since %s", ErrExpired, c.Expires.Format(time.RFC3339))
	}
	return c, nil
}
