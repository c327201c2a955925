package autoscaler

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// drainedBy is what the target writes into the meta of a node's drain.
const drainedBy = "nomad-autoscaler"

// begunTogether is within what time the target begins the drains of the nodes that it removes at once.
const begunTogether = 5 * time.Second

// maxNodes is how many bytes of Nomad's list of nodes are read.
const maxNodes = 64 << 20

// drains asks Nomad which nodes the target drains. It is one request, for which this program does not carry
// Nomad's client.
type drains struct {
	url, token string
	http       *http.Client
}

// newDrains takes the settings of the autoscaler's own connection to Nomad, which it adds to a plugin's,
// and the environment of a Nomad task.
func newDrains(config map[string]string) *drains {
	address := cmp.Or(config["nomad_address"], os.Getenv("NOMAD_ADDR"), "http://127.0.0.1:4646")
	d := &drains{url: strings.TrimSuffix(address, "/") + "/v1/nodes?stale", token: cmp.Or(config["nomad_token"], os.Getenv("NOMAD_TOKEN"))}
	transport := &http.Transport{Proxy: nil, IdleConnTimeout: time.Minute}
	if socket, ok := strings.CutPrefix(address, "unix://"); ok {
		d.url = "http://nomad/v1/nodes?stale"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
	}
	d.http = &http.Client{Timeout: within, Transport: transport}
	return d
}

func (d *drains) close() {
	if d != nil {
		d.http.CloseIdleConnections()
	}
}

// node is what is read of Nomad's list.
type node struct {
	NodeClass, Status, SchedulingEligibility string
	Drain                                    bool
	LastDrain                                *struct {
		StartedAt, UpdatedAt time.Time
		Meta                 map[string]string
	}
}

// endsWithin is within what time the target ends a node whose drain is complete.
const endsWithin = 3 * time.Minute

// of is how many nodes of a class the target drains, or did, and has not ended. Its group still counts them, and
// they take no people. taking is how many do.
func (d *drains) of(class string, now time.Time) (ending, taking int, err error) {
	req, err := http.NewRequest(http.MethodGet, d.url, nil)
	if err != nil {
		return 0, 0, fmt.Errorf("ask Nomad for nodes that drain: %w", err)
	}
	req.Header.Set("X-Nomad-Token", d.token)
	res, err := d.http.Do(req)
	if err != nil {
		return 0, 0, fmt.Errorf("ask Nomad for nodes that drain: %w", err)
	}
	answer := io.LimitReader(res.Body, maxNodes)
	defer func() {
		io.Copy(io.Discard, answer)
		res.Body.Close()
	}()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer, 500))
		return 0, 0, fmt.Errorf("ask Nomad for nodes that drain: %s: %s", res.Status, text)
	}
	var nodes []node
	if err := json.NewDecoder(answer).Decode(&nodes); err != nil {
		return 0, 0, fmt.Errorf("read Nomad's list of nodes: %w", err)
	}
	for _, one := range nodes {
		if one.NodeClass == class && one.Status == "ready" && one.SchedulingEligibility == "eligible" {
			taking++
		}
	}
	return draining(nodes, class, now), taking, nil
}

func draining(nodes []node, class string, now time.Time) (n int) {
	var ours []node
	for _, one := range nodes {
		if one.NodeClass == class && one.Status == "ready" && one.SchedulingEligibility == "ineligible" &&
			one.LastDrain != nil && one.LastDrain.Meta["drained_by"] == drainedBy {
			ours = append(ours, one)
		}
	}
	for _, one := range ours {
		// It still drains, or the autoscaler was stopped meanwhile and forgot it: nobody ends it.
		if now.Sub(one.LastDrain.UpdatedAt) > endsWithin {
			n++
			continue
		}
		for _, other := range ours {
			// The target ends nodes whose drain is complete only when all drains are that it began with it. Before
			// that, they count too. A node that ends drains itself, with other meta.
			if other.Drain && one.LastDrain.StartedAt.Sub(other.LastDrain.StartedAt).Abs() <= begunTogether {
				n++
				break
			}
		}
	}
	return n
}
