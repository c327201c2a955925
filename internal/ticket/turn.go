package ticket

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
)

// TURNFor is how long a name and password for TURN are good.
const TURNFor = 10 * time.Minute

// TURNSecret is what brains and TURN servers share. Brains make a name and a password from
// it for each grant, so that a TURN server needs no list of names:
//
//	name, password := secret.Credentials(time.Now().Add(ticket.TURNFor))
//	name == "1800000600:6f1c9a52:f3b1…"  // until when; which secret; chance
//
// The name has nothing of the person or the session. The form is that of TURN's REST API,
// so that other TURN servers can check it too.
type TURNSecret string

// Credentials are good until a moment.
func (s TURNSecret) Credentials(until time.Time) (name, password string) {
	name = strconv.FormatInt(until.Unix(), 10) + ":" + s.ID() + ":" + strings.ToLower(rand.Text())
	return name, s.Password(name)
}

// Password belongs to a name.
func (s TURNSecret) Password(name string) string {
	// TURN's REST API demands SHA-1; as an HMAC it is still safe.
	mac := hmac.New(sha1.New, []byte(s))
	mac.Write([]byte(name))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// ID names a secret without giving it away: during a change there are two.
func (s TURNSecret) ID() string {
	mac := hmac.New(sha256.New, []byte(s))
	mac.Write([]byte("nearcast turn secret"))
	return hex.EncodeToString(mac.Sum(nil)[:4])
}

// ForChecks makes names for relays that carry nothing. A page gets one without a session, to
// find out whether its person's network lets it reach a TURN server. It is another secret, so
// that a TURN server that knows of no such relays refuses the names.
func (s TURNSecret) ForChecks() TURNSecret {
	mac := hmac.New(sha256.New, []byte(s))
	mac.Write([]byte("nearcast turn secret for checks"))
	return TURNSecret(hex.EncodeToString(mac.Sum(nil)))
}

var errTURNName = errors.New("not a name that a brain made")

// ReadTURNName reads until when a name is good, and by which secret.
func ReadTURNName(name string) (until time.Time, secret string, err error) {
	parts := strings.Split(name, ":")
	if len(parts) != 3 || len(parts[2]) < 20 || len(name) > 128 {
		return time.Time{}, "", errTURNName
	}
	seconds, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return time.Time{}, "", errTURNName
	}
	return time.Unix(seconds, 0), parts[1], nil
}
