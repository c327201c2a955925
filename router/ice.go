package router

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nearcast/nearcast/internal/wire"
)

// ICE names the STUN servers that help browser and seat to connect. Most people on most
// networks need none, because seats have public addresses. TURN servers come with the grant.
type ICE struct {
	STUN []string // stun:host[:port]
}

func (ice ICE) check() error {
	for _, u := range ice.STUN {
		if !hasScheme(u, "stun:", "stuns:") {
			return fmt.Errorf("STUN server %q must have the form stun:host[:port]", u)
		}
	}
	return nil
}

func hasScheme(u string, schemes ...string) bool {
	return slices.ContainsFunc(schemes, func(s string) bool {
		host, ok := strings.CutPrefix(u, s)
		return ok && host != "" && !strings.HasPrefix(host, "/")
	})
}

// servers are the ICE servers of the launch.
func (ice ICE) servers() []wire.ICEServer {
	if len(ice.STUN) == 0 {
		return []wire.ICEServer{} // a list in JSON, never null
	}
	return []wire.ICEServer{{URLs: ice.STUN}}
}
