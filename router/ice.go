package router

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// ICE names the STUN and TURN servers that help browser and seat to connect. Most
// people on most networks need none, because seats have public addresses.
type ICE struct {
	STUN []string // stun:host[:port]
	TURN []string // turn:host[:port][?transport=udp|tcp], turns:…
	// TURNSecret is shared with the TURN servers. Each session gets its own
	// credentials, made from it (coturn's use-auth-secret).
	TURNSecret string
	// TURNUsername and TURNPassword are used without a TURNSecret. Every browser
	// sees them.
	TURNUsername, TURNPassword string
}

// turnTTL is longer than any session: a TURN server checks the credentials again
// whenever an allocation is refreshed.
const turnTTL = 24 * time.Hour

func (ice ICE) check() error {
	for _, u := range ice.STUN {
		if !hasScheme(u, "stun:", "stuns:") {
			return fmt.Errorf("STUN server %q must have the form stun:host[:port]", u)
		}
	}
	for _, u := range ice.TURN {
		if !hasScheme(u, "turn:", "turns:") {
			return fmt.Errorf("TURN server %q must have the form turn:host[:port]", u)
		}
	}
	if len(ice.TURN) > 0 && ice.TURNSecret == "" && (ice.TURNUsername == "" || ice.TURNPassword == "") {
		return errors.New("TURN servers need a secret, or a user name and a password: browsers refuse them otherwise")
	}
	return nil
}

func hasScheme(u string, schemes ...string) bool {
	return slices.ContainsFunc(schemes, func(s string) bool {
		host, ok := strings.CutPrefix(u, s)
		return ok && host != "" && !strings.HasPrefix(host, "/")
	})
}

// servers are the ICE servers for one session.
func (ice ICE) servers(session string, now time.Time) []wire.ICEServer {
	out := []wire.ICEServer{} // a list in JSON, never null
	if len(ice.STUN) > 0 {
		out = append(out, wire.ICEServer{URLs: ice.STUN})
	}
	if len(ice.TURN) > 0 {
		s := wire.ICEServer{URLs: ice.TURN, Username: ice.TURNUsername, Credential: ice.TURNPassword}
		if ice.TURNSecret != "" {
			s.Username = strconv.FormatInt(now.Add(turnTTL).Unix(), 10) + ":" + session
			// The TURN REST API demands SHA-1; as an HMAC it is still safe.
			mac := hmac.New(sha1.New, []byte(ice.TURNSecret))
			mac.Write([]byte(s.Username))
			s.Credential = base64.StdEncoding.EncodeToString(mac.Sum(nil))
		}
		out = append(out, s)
	}
	return out
}
