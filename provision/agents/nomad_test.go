package agents

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestNotReady: a node is not ready, and the launch hook of its group not completed, while Nomad cannot
// give it work or does not count it as a voter. A running Nomad says the opposite in TestBareMachines.
func TestNotReady(t *testing.T) {
	id := filepath.Join(t.TempDir(), "client-id")
	testkit.Must(t, os.WriteFile(id, []byte("node-1\n"), 0o600))
	node := func(status, drivers string) string {
		return `{"ID": "node-1", "Status": "` + status + `", "StatusDescription": "no heartbeat", "Drivers": {` + drivers + `}}`
	}
	servers := `{"Servers": [{"Name": "a.site", "Healthy": true, "Voter": true}, {"Name": "b.site", "Healthy": true, "Voter": false}, {"Name": "c.site"}]}`
	for _, c := range []struct {
		name   string
		status int
		answer string
		server string // the name of this server; empty: look at the node
		want   string
	}{
		{"no leader", 500, "No cluster leader", "", "ask Nomad for this node: "},
		{"starting", 200, node("initializing", ""), "", "Nomad says that the node is initializing: no heartbeat"},
		{"without the driver", 200, node("ready", ""), "", "does not find the driver stream"},
		{"not detected", 200, node("ready", `"stream": {"Detected": false, "Healthy": true}`), "", "does not find the driver stream"},
		{"an unhealthy driver", 200, node("ready", `"stream": {"Detected": true, "HealthDescription": "x264enc is missing"}`), "", "the driver stream is not healthy: x264enc is missing"},
		{"a healthy driver", 200, node("ready", `"stream": {"Detected": true, "Healthy": true}, "docker": {}`), "", ""},
		{"a voter", 200, servers, "a.site", ""},
		{"a voter beside a sick server", 429, servers, "a.site", ""},
		{"no vote yet", 200, servers, "b.site", "give this one no vote yet"},
		{"a sick server", 429, servers, "c.site", "Nomad's servers find this one unhealthy"},
		{"a stranger", 200, servers, "d.site", "do not know this one yet"},
		{"no answer about servers", 500, "No cluster leader", "a.site", "ask Nomad for its servers' health: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if want := map[bool]string{true: "/v1/node/node-1", false: "/v1/operator/autopilot/health"}[c.server == ""]; r.URL.Path != want {
					t.Errorf("it asks %s", r.URL)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.answer))
			}))
			defer s.Close()
			n := Nomad{Address: s.URL, IDFile: id}
			look := func() error { return n.Ready(t.Context(), "stream") }
			if c.server != "" {
				look = func() error { return n.Voter(t.Context(), "token", c.server) }
			}
			err := look()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
