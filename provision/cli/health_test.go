package cli

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/awsapi"
	"github.com/nearcast/nearcast/provision/awsapi/awstest"
	"github.com/nearcast/nearcast/provision/nodetest"
	"github.com/nearcast/nearcast/provision/secrets"
)

// fakeAgents stand for the agents of a node.
type fakeAgents struct {
	consul, nomad         *httptest.Server
	consulLed, nomadLed   atomic.Bool
	driver, status        atomic.Value // what Nomad says of the driver, and of the node
	address, secrets, env string
	values                provision.Values
}

func newAgents(t *testing.T, n int, more string) *fakeAgents {
	t.Helper()
	a := &fakeAgents{address: nodetest.Network(n)}
	a.consulLed.Store(true)
	a.nomadLed.Store(true)
	a.driver.Store(`{"Detected": true, "Healthy": true}`)
	a.status.Store("ready")
	serve := func(port string, led *atomic.Bool) *httptest.Server {
		l, err := net.Listen("tcp", a.address+":"+port)
		testkit.Must(t, err)
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/v1/status/leader":
				if led.Load() {
					_, _ = w.Write([]byte(`"10.0.0.1:8300"`))
				} else {
					http.Error(w, "No known Consul servers", http.StatusInternalServerError)
				}
			case "/v1/acl/login":
				_, _ = w.Write([]byte(`{"SecretID": "token"}`))
			case "/v1/node/node-1":
				_, _ = w.Write([]byte(`{"ID": "node-1", "Status": "` + a.status.Load().(string) + `", "Drivers": {"stream": ` + a.driver.Load().(string) + `}}`))
			default:
				w.WriteHeader(http.StatusForbidden) // an agent that answers lives
			}
		}))
		s.Listener.Close()
		s.Listener = l
		s.Start()
		t.Cleanup(s.Close)
		return s
	}
	a.consul, a.nomad = serve("8500", &a.consulLed), serve("4646", &a.nomadLed)
	keys := t.TempDir()
	_, err := secrets.Make(secrets.Config{Dir: keys, Sites: []string{"site-a"}})
	testkit.Must(t, err)
	a.secrets = filepath.Join(keys, "site-a", "stream")
	a.env = filepath.Join(t.TempDir(), "provision.env")
	testkit.Must(t, os.WriteFile(a.env, []byte("NEARCAST_ROLE='stream'\nNEARCAST_SITE='"+awstest.Region+"'\nNEARCAST_JOIN='10.0.0.1'\nNEARCAST_HTTP='"+a.address+"'\n"+more), 0o600))
	a.values, _, err = provision.LoadEnv(a.env)
	testkit.Must(t, err)
	a.values = a.values.WithDefaults()
	a.values.Paths.NomadData = t.TempDir()
	testkit.Must(t, os.Mkdir(filepath.Join(a.values.Paths.NomadData, "client"), 0o700))
	testkit.Must(t, os.WriteFile(filepath.Join(a.values.Paths.NomadData, "client", "client-id"), []byte("node-1"), 0o600))
	return a
}

// TestAlive: what is dead, and what is no fault of this node.
func TestAlive(t *testing.T) {
	down := func(s *httptest.Server) { s.Listener.Close(); s.Close() }
	for i, c := range []struct {
		name    string
		spoil   func(*fakeAgents)
		stopped string
		dead    string // Part and unit
		hold    string
		unknown bool
	}{
		{"well", func(*fakeAgents) {}, "", "", "", false},
		{"Nomad's servers do not know the node as ready", func(a *fakeAgents) { a.status.Store("initializing") }, "", "", "", true},
		{"the secrets are not there", func(a *fakeAgents) { a.secrets = "none" }, "", "", "", true},
		{"the site has no leader", func(a *fakeAgents) { a.consulLed.Store(false); a.nomadLed.Store(false) }, "", "", "", false},
		{"Nomad is dead", func(a *fakeAgents) { down(a.nomad) }, "", "Nomad nomad", "", false},
		{"Consul is dead", func(a *fakeAgents) { down(a.consul) }, "", "Consul consul", "", false},
		{"both", func(a *fakeAgents) { down(a.consul); down(a.nomad) }, "", "Consul consul, Nomad nomad", "", false},
		{"Nomad was stopped", func(a *fakeAgents) { down(a.nomad) }, "nomad", "Nomad nomad", "somebody has stopped nomad", false},
		{"Nomad is dead, and Consul has no leader", func(a *fakeAgents) { down(a.nomad); a.consulLed.Store(false) }, "", "Nomad nomad", "the site's Consul has no leader", false},
		{"Consul is dead, and Nomad has no leader", func(a *fakeAgents) { down(a.consul); a.nomadLed.Store(false) }, "", "Consul consul", "the site's Nomad has no leader", false},
		{"the driver is sick", func(a *fakeAgents) { a.driver.Store(`{"Detected": true, "HealthDescription": "no GPU"}`) }, "", "driver nomad", "", false},
		{"the driver is gone", func(a *fakeAgents) { a.driver.Store(`{}`) }, "", "driver nomad", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAgents(t, 30+i, "")
			c.spoil(a)
			seen := alive(t.Context(), a.values, a.secrets, nil, func(_ context.Context, unit string) bool { return unit == c.stopped })
			var dead []string
			for _, f := range seen.Dead {
				dead = append(dead, f.Part+" "+f.Unit)
			}
			if strings.Join(dead, ", ") != c.dead || seen.Hold != c.hold || (seen.Unknown != "") != c.unknown {
				t.Errorf("dead %q, hold %q: %+v", dead, seen.Hold, seen.Dead)
			}
		})
	}
}

// TestHealth: the command on a stream node whose Nomad dies. A stand-in for systemctl has no
// power to mend it. While a person plays, the group hears nothing.
func TestHealth(t *testing.T) {
	cloud := awstest.New(t)
	me, other := awsapi.Member{Instance: "i-0123456789abcdef0", State: "InService", Healthy: true}, awsapi.Member{Instance: "i-2", State: "InService", Healthy: true}
	cloud.Group("prod-stream", 2, me, other)
	for _, line := range cloud.Environment() {
		name, value, _ := strings.Cut(line, "=")
		t.Setenv(name, value)
	}
	dir, run := t.TempDir(), testkit.ShortDir(t)
	calls := filepath.Join(dir, "calls")
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "systemctl"), []byte("#!/bin/sh\necho \"$*\" >>"+calls+"\n[ $1 != show ] || echo activating\n"), 0o700))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	a := newAgents(t, 50, "NEARCAST_ASG='prod-stream'\n")
	state := atomic.Value{}
	state.Store("streaming")
	testkit.Must(t, os.Mkdir(filepath.Join(run, "seat"), 0o700))
	l, err := net.Listen("unix", filepath.Join(run, "seat", wire.ControlSocket))
	testkit.Must(t, err)
	asked := atomic.Int64{}
	seat := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte(`{"state": "` + state.Load().(string) + `"}`))
	})}
	served := make(chan error, 1)
	go func() { served <- seat.Serve(l) }()
	t.Cleanup(func() { seat.Close(); <-served })

	mark := filepath.Join(dir, "dead")
	testkit.Must(t, os.WriteFile(mark, nil, 0o600)) // of an earlier process
	ctx, cancel := context.WithCancel(t.Context())
	cmd := Command()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs([]string{"health", "--env", a.env, "--secrets", a.secrets, "--run-dir", run, "--nomad-data", a.values.Paths.NomadData, "--mark", mark, "--dead", "60ms", "--spread", "1ms", "--young", "0", "--poll", "5ms", "--imds", cloud.URL})
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	there := func() bool { _, err := os.Stat(mark); return err == nil }
	testkit.Until(t, "the node is well", func() bool { return !there() })
	a.nomad.Close()
	testkit.Until(t, "seats are asked", func() bool { return asked.Load() > 5 })
	if actions, _ := cloud.Actions(); len(actions) > 0 || there() {
		t.Errorf("while a person plays, the group hears %v", actions)
	}
	state.Store("idle")
	testkit.Until(t, "the node is given up", there)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	actions, _ := cloud.Actions()
	if len(actions) != 1 || actions[0].Get("Action") != "SetInstanceHealth" || actions[0].Get("InstanceId") != me.Instance || actions[0].Get("HealthStatus") != "Unhealthy" {
		t.Errorf("the group heard %v", actions)
	}
	if said, err := os.ReadFile(calls); err != nil || strings.Count(string(said), "restart nomad\n") != 2 || !strings.Contains(string(said), "show --property=ActiveState --value nomad\n") {
		t.Errorf("systemctl got %q, %v", said, err)
	}
	// Not on servers, and not without a group.
	for _, line := range []string{"", "NEARCAST_ROLE='server'\nNEARCAST_ASG='prod-server'\n"} {
		testkit.Must(t, os.WriteFile(a.env, []byte("NEARCAST_ROLE='edge'\nNEARCAST_SITE='site-a'\nNEARCAST_JOIN='10.0.0.1'\n"+line), 0o600))
		if err := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return cmd.ExecuteContext(ctx)
		}(); err == nil || !strings.Contains(err.Error(), "edge and stream nodes") {
			t.Errorf("%q: it ended with %v", line, err)
		}
	}
}
