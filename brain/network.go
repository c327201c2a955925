package brain

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// checkFor is how long a name and password for a check are good.
	checkFor = time.Minute
	// portsFor is how long the ports of the nodes' seats are told before they are looked up again.
	portsFor = 5 * time.Minute
	// maxPorts bounds how many ranges are told. Nodes of one site usually have the same.
	maxPorts = 4
)

// getNetwork tells a page what a network must let through. Everybody may know it: it names no
// node and no session, and its credentials are for relays that carry nothing.
func (b *Broker) getNetwork(rw http.ResponseWriter, _ *http.Request) {
	// A router serves the page, which is of another origin.
	rw.Header().Set("Access-Control-Allow-Origin", "*")
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(wire.Network{Site: b.cfg.Site, ICEServers: b.cfg.TURN.forChecks(), MediaPorts: b.state.mediaPorts(b.state.now())})
}

// forChecks are the TURN servers of one check, one for each URL.
func (t TURN) forChecks() []wire.ICEServer {
	servers := []wire.ICEServer{} // a list in JSON, never null
	if len(t.URLs) == 0 {
		return servers
	}
	name, password := t.Secret.ForChecks().Credentials(time.Now().Add(checkFor))
	for _, u := range t.URLs {
		servers = append(servers, wire.ICEServer{URLs: []string{u}, Username: name, Credential: password})
	}
	return servers
}

// mediaPorts are the ports at which seats take media. Where they are old, they are looked up
// for those who ask next.
func (st *state) mediaPorts(now time.Time) []string {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ports.wanted = len(st.ports.ranges) == 0 || now.Sub(st.ports.at) > portsFor
	return append([]string{}, st.ports.ranges...)
}

// ports are those of the nodes' seats.
type ports struct {
	ranges []string // such as "20000-20999"
	at     time.Time
	wanted bool // somebody has asked since they became old
}

// portsOf are the ranges of ports of nodes, each once.
func portsOf(nodes []wire.Node) (ranges []string) {
	for _, n := range nodes {
		for _, at := range n.Media {
			_, span, err := net.SplitHostPort(at)
			var low, high uint16
			if _, bad := fmt.Sscanf(span, "%d-%d", &low, &high); err != nil || bad != nil || !n.Healthy {
				continue
			}
			if span = fmt.Sprintf("%d-%d", low, high); !slices.Contains(ranges, span) {
				ranges = append(ranges, span)
			}
		}
	}
	slices.Sort(ranges)
	return ranges[:min(len(ranges), maxPorts)]
}
