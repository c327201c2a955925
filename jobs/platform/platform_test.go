package platform_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestUnderPolicies publishes an app and plays it at a site whose parts are Nomad
// jobs, with Consul and Nomad denying what is not allowed.
func TestUnderPolicies(t *testing.T) {
	s := newSite(t)
	turn, autoscaler := newTURN(s), newAutoscaler(s)

	s.sub("every job is valid", func(t *testing.T) {
		pools, _ := filepath.Glob("../pools/*.hcl")
		for _, pool := range pools {
			s.nomad("node", "pool", "apply", pool)
		}
		files, err := filepath.Glob("../*.nomad.hcl")
		own, err2 := filepath.Glob("*.nomad.hcl")
		if files = append(files, own...); err != nil || err2 != nil || len(files) < 7 {
			t.Fatalf("jobs: %q, %v, %v", files, err, err2)
		}
		for _, file := range files {
			s.nomad("job", "validate", file)
			// 1 means that the plan would start something.
			if out, code := s.try("nomad", "job", "plan", file); code > 1 {
				t.Errorf("plan %s: %s", file, out)
			}
		}
	})

	s.nomad("var", "put", "nomad/jobs/router", "ticket_key=@"+s.path("keys/ticket-key.pem"),
		"ticket_keys=@"+s.path("keys/ticket-keys.pem"))
	s.nomad("var", "put", "nomad/jobs/brain", "ticket_keys=@"+s.path("keys/ticket-keys.pem"), "turn_secret="+string(turn.secret))
	turn.start(s)
	s.run("router")
	s.run("brain", "--turn="+turn.url)
	autoscaler.start(s)
	router := s.address("router")

	s.sub("a seat is kept warm, and the router knows", func(t *testing.T) {
		s.nomad("job", "run", "-detach", "-var=name=app", "-var=testapp="+s.path("bin/testapp"), "../../e2e/jobs/testapp.nomad.hcl")
		s.until("the app has an idle seat", func() error {
			var apps wire.AppsResponse
			if err := s.get(router+"/v1/apps", &apps); err != nil {
				return err
			}
			for _, app := range apps.Apps {
				if app.ID == "app" && app.Sites["dc1"].Idle == 1 {
					return nil
				}
			}
			return fmt.Errorf("apps: %+v", apps.Apps)
		})
	})

	s.sub("the autoscaler requests the first node", func(t *testing.T) { autoscaler.keepsWarm(s, t) })

	var servers []wire.ICEServer // of the grant
	s.sub("a person gets it", func(t *testing.T) {
		launched := s.launch(router)
		ws, _, err := websocket.Dial(s.ctx, launched.BrainURL, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		if err := wsjson.Write(s.ctx, ws, wire.Message{Type: wire.MsgHello, Ticket: launched.Ticket}); err != nil {
			t.Fatal(err)
		}
		for {
			var m wire.Message
			if err := wsjson.Read(s.ctx, ws, &m); err != nil {
				t.Fatal(err)
			}
			if m.Type == wire.MsgGranted {
				servers = m.Grant.ICEServers
				break
			}
			if m.Type == wire.MsgRefused || m.Type == wire.MsgEnded {
				t.Fatalf("%s: %+v %+v", m.Type, m.Problem, m.End)
			}
		}
		if err := wsjson.Write(s.ctx, ws, wire.Message{Type: wire.MsgLeave}); err != nil {
			t.Fatal(err)
		}
	})

	s.sub("packets go through TURN", func(t *testing.T) { turn.relaysTo(s, t, servers) })
	s.sub("the autoscaler requests nodes for people", func(t *testing.T) { autoscaler.scales(s, t) })

	s.sub("what is not allowed is refused", func(t *testing.T) {
		routerConsul := s.secret("router", "consul_token")
		brainConsul := s.secret("brain", "consul_token")
		brainNomad := s.variable("brain", "NOMAD_TOKEN")
		service := func(name string) string { return fmt.Sprintf(`{"Name":%q,"ID":"intruder"}`, name) }
		consul, nomad := "http://"+s.consulAddress, "http://"+s.nomadAddress
		for _, c := range append(autoscaler.calls(s), []call{
			{"router publishes an app", routerConsul, "PUT", consul + "/v1/kv/nearcast/apps/fake", "{}", 403},
			{"router marks a ticket", routerConsul, "PUT", consul + "/v1/kv/nearcast/tickets/x", "{}", 403},
			{"router poses as a brain", routerConsul, "PUT", consul + "/v1/agent/service/register", service(wire.BrainService), 403},
			{"router registers a launch key", routerConsul, "PUT", consul + "/v1/kv/nearcast/launch-keys/x", "{}", 403},
			{"brain registers a launch key", brainConsul, "PUT", consul + "/v1/kv/nearcast/launch-keys/x", "{}", 403},
			{"router registers an API key", routerConsul, "PUT", consul + "/v1/kv/nearcast/api-keys/x", "{}", 403},
			{"router reads API keys", routerConsul, "GET", consul + "/v1/kv/nearcast/api-keys/x", "", 404},
			{"brain registers an API key", brainConsul, "PUT", consul + "/v1/kv/nearcast/api-keys/x", "{}", 403},
			{"brain reads API keys", brainConsul, "GET", consul + "/v1/kv/nearcast/api-keys/x", "", 403},
			{"router reads webhooks", routerConsul, "GET", consul + "/v1/kv/nearcast/webhooks/x", "", 403},
			{"router reads how webhooks go", routerConsul, "GET", consul + "/v1/kv/nearcast/webhook-states/x", "", 403},
			{"brain registers a webhook", brainConsul, "PUT", consul + "/v1/kv/nearcast/webhooks/x", "{}", 403},
			{"brain reads webhooks", brainConsul, "GET", consul + "/v1/kv/nearcast/webhooks/x", "", 404},
			{"brain says how a webhook goes", brainConsul, "PUT", consul + "/v1/kv/nearcast/webhook-states/x", "{}", 200},
			{"seat reads webhooks", s.seatToken, "GET", consul + "/v1/kv/nearcast/webhooks/x", "", 403},
			{"anybody reads webhooks", "", "GET", consul + "/v1/kv/nearcast/webhooks/x", "", 403},
			{"anybody registers an API key", "", "PUT", consul + "/v1/kv/nearcast/api-keys/x", "{}", 403},
			{"anybody registers a launch key", "", "PUT", consul + "/v1/kv/nearcast/launch-keys/x", "{}", 403},
			{"router reads the apps", routerConsul, "GET", consul + "/v1/kv/nearcast/apps/?keys", "", 200},
			{"brain poses as a router", brainConsul, "PUT", consul + "/v1/agent/service/register", service(wire.RouterService), 403},
			{"brain poses as a node", brainConsul, "PUT", consul + "/v1/agent/service/register", service(wire.NodeService), 403},
			{"brain writes another key", brainConsul, "PUT", consul + "/v1/kv/other", "x", 403},
			{"brain makes policies", brainConsul, "PUT", consul + "/v1/acl/policy", `{"Name":"mine"}`, 403},
			{"seat publishes an app", s.seatToken, "PUT", consul + "/v1/kv/nearcast/apps/fake", "{}", 403},
			{"seat poses as a node", s.seatToken, "PUT", consul + "/v1/agent/service/register", service(wire.NodeService), 403},
			{"driver poses as the autoscaler", s.driverToken, "PUT", consul + "/v1/agent/service/register", service(wire.AutoscalerService), 403},
			{"brain poses as the autoscaler", brainConsul, "PUT", consul + "/v1/agent/service/register", service(wire.AutoscalerService), 403},
			{"driver poses as a brain", s.driverToken, "PUT", consul + "/v1/agent/service/register", service(wire.BrainService), 403},
			{"driver publishes an app", s.driverToken, "PUT", consul + "/v1/kv/nearcast/apps/fake", "{}", 403},
			{"seat poses as a brain", s.seatToken, "PUT", consul + "/v1/agent/service/register", service(wire.BrainService), 403},
			{"anybody reads the apps, as other sites do", "", "GET", consul + "/v1/kv/nearcast/apps/?keys", "", 200},
			{"anybody reads the used tickets", "", "GET", consul + "/v1/kv/nearcast/tickets/?recurse", "", 404},
			{"anybody writes", "", "PUT", consul + "/v1/kv/nearcast/apps/fake", "{}", 403},
			{"brain reads the jobs", brainNomad, "GET", nomad + "/v1/jobs", "", 200},
			{"brain runs a job", brainNomad, "PUT", nomad + "/v1/jobs", intruder, 403},
			{"brain reads the ticket key", brainNomad, "GET", nomad + "/v1/var/nomad/jobs/router", "", 403},
			{"brain drains nodes", brainNomad, "GET", nomad + "/v1/nodes", "", 403},
			{"anybody reads the jobs", "", "GET", nomad + "/v1/jobs", "", 403},
		}...) {
			req, err := http.NewRequestWithContext(s.ctx, c.method, c.url, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.token != "" {
				req.Header.Set("Authorization", "Bearer "+c.token)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != c.want {
				t.Errorf("%s: %s, want %d: %s", c.who, res.Status, c.want, text)
			}
		}
	})

	s.sub("a new version replaces the old, a bad one does not", func(t *testing.T) {
		s.run("router", "--frame-ancestor=https://shop.example")
		s.until("the new version serves", func() error {
			router = s.address("router")
			res, err := http.Get(router + "/play/app")
			if err != nil {
				return err
			}
			defer res.Body.Close()
			if policy := res.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "shop.example") {
				return fmt.Errorf("policy %q", policy)
			}
			return nil
		})
		out, code := s.try("nomad", s.args("router", "--no-such-option")...)
		if code == 0 {
			t.Errorf("a router that exits at once was deployed: %s", out)
		}
		if err := s.get(router+"/v1/apps", &wire.AppsResponse{}); err != nil {
			t.Errorf("the old version does not serve: %v", err)
		}
	})
}

// intruder is a job that only a publisher may run.
const intruder = `{"Job":{"ID":"mine","Name":"mine","Type":"batch","Datacenters":["*"],"TaskGroups":[{"Name":"g","Tasks":[{"Name":"t","Driver":"raw_exec","Config":{"command":"/bin/true"}}]}]}}`

// call is a request to an API with a token, and the status that must come back.
type call struct {
	who, token, method, url, body string
	want                          int // status
}

// sub runs a subtest that the site's own failures count in.
func (s *site) sub(name string, fn func(t *testing.T)) {
	outer := s.t
	defer func() { s.t = outer }()
	outer.Run(name, func(t *testing.T) {
		s.t = t
		fn(t)
	})
}

// launch presses Play.
func (s *site) launch(router string) wire.LaunchResponse {
	s.t.Helper()
	body, _ := json.Marshal(wire.LaunchRequest{App: "app"})
	res, err := http.Post(router+"/v1/sessions", "application/json", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var launched wire.LaunchResponse
	if err := json.NewDecoder(res.Body).Decode(&launched); err != nil || res.StatusCode != http.StatusCreated {
		s.t.Fatalf("launch: %s, %v", res.Status, err)
	}
	return launched
}

// secret reads a file of a task's secrets.
func (s *site) secret(job, name string) string {
	s.t.Helper()
	files, err := filepath.Glob(s.path("data/alloc/*/" + job + "/secrets/" + name))
	if err != nil || len(files) != 1 {
		s.t.Fatalf("%s of %s: %q, %v", name, job, files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// variable reads a variable of the process of a part of nearcast.
func (s *site) variable(part, name string) string {
	s.t.Helper()
	return s.environ(s.path("bin/nearcast")+"\x00"+part+"\x00", name)
}

// environ reads an environment variable of the process with that start of its command line.
func (s *site) environ(command, name string) string {
	s.t.Helper()
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range commands {
		text, _ := os.ReadFile(file)
		if !strings.HasPrefix(string(text), command) {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "environ"))
		for kv := range strings.SplitSeq(string(environ), "\x00") {
			if value, ok := strings.CutPrefix(kv, name+"="); ok {
				return value
			}
		}
	}
	s.t.Fatalf("no process of %q has %s", command, name)
	return ""
}

// run runs a platform job and waits until its deployment has succeeded.
func (s *site) run(job string, options ...string) {
	s.t.Helper()
	s.nomad(s.args(job, options...)...)
}

func (s *site) args(job string, more ...string) []string {
	options, _ := json.Marshal(append([]string{"--consul=" + s.consulAddress}, more...))
	return []string{"job", "run", "-var=driver=raw_exec", "-var=node_pool=default", "-var=count=1",
		"-var=binary=" + s.path("bin/nearcast"), "-var=options=" + string(options), job + ".nomad.hcl"}
}

// address is where a part's only instance is reached.
func (s *site) address(service string) string {
	s.t.Helper()
	var list []struct {
		Address string
		Port    int
	}
	s.until(service+" is registered once", func() error {
		list = nil
		if err := s.nomadGet("/v1/service/"+service, &list); err != nil {
			return err
		}
		if len(list) != 1 {
			return fmt.Errorf("%d instances", len(list))
		}
		return nil
	})
	return fmt.Sprintf("http://%s:%d", list[0].Address, list[0].Port)
}

// until waits for ok with a deadline for busy machines.
func (s *site) until(what string, ok func() error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	testkit.Retry(ctx, s.t, what, ok)
}
