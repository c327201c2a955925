package cloud_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/pion/turn/v5"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/provision/nodetest"
)

// rotatedJobs are the jobs of the platform whose secrets no node has in a file: a router, a brain, a TURN
// server and the console, as Nomad runs them at a site.
type rotatedJobs struct {
	*walk
	server                *nodetest.Node
	turn, router, console string // addresses
	login                 string // of people, to the console
	old, new              string // the secret that is rotated
	began                 map[string]time.Time
}

func newRotatedJobs(w *walk, server, edge *nodetest.Node) *rotatedJobs {
	w.t.Helper()
	ports := testkit.Ports(w.t, 12)
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	j := &rotatedJobs{walk: w, server: server, turn: at(0), router: at(1), console: at(2), login: uuid.NewString(), began: map[string]time.Time{}}
	turnSecret, operators := strings.Repeat("turn", 8), strings.Repeat("operators", 4)
	for path, set := range map[string]map[string]string{
		"turn": {"secret": turnSecret}, "brain": {"turn_secret": turnSecret}, "router": {"operator_token": operators},
		"console": {"router_token": operators, "token": j.login},
	} {
		items := w.variable(server, path)
		if items == nil {
			items = map[string]string{}
		}
		for item, value := range set {
			items[item] = value
		}
		testkit.Must(w.t, w.nomad(server, "PUT", "/v1/var/nomad/jobs/"+path, map[string]any{"Path": "nomad/jobs/" + path, "Items": items}, nil))
	}
	consul := fmt.Sprintf("options = [\"--consul=%s:8500\"", edge.Address)
	w.register(server, "turn", fmt.Sprintf("count = 1\nport = %d\nrelay_ports = \"%d-%d\"\n%s, \"--allow-loopback\"]", ports[0], ports[4], ports[11], consul))
	w.register(server, "router", fmt.Sprintf("count = 1\nport = %d\nurl = \"http://%s\"\n%s]", ports[1], j.router, consul))
	w.register(server, "brain", fmt.Sprintf("count = 1\nport = %d\n%s]", ports[3], consul))
	w.register(server, "console", fmt.Sprintf("port = %d\nurl = \"http://%s\"\noptions = [\"--consul=%[3]s:8500\", \"--nomad=%[3]s:4646\", \"--token-role=viewer\"]", ports[2], j.console, server.Address))
	return j
}

// variable is nil where there is none.
func (w *walk) variable(server *nodetest.Node, path string) map[string]string {
	w.t.Helper()
	var has struct{ Items map[string]string }
	if err := w.nomad(server, "GET", "/v1/var/nomad/jobs/"+path, nil, &has); err != nil && !nodetest.IsRefused(err, http.StatusNotFound) {
		w.t.Fatal(err)
	}
	return has.Items
}

// before looks at the old secret, which is in use.
func (j *rotatedJobs) before(name string) {
	j.t.Helper()
	if name == "turn" {
		j.old = j.variable(j.server, "turn")["secret"]
		j.retry("the TURN server relays", func() error { return j.relays(j.old) })
	} else {
		j.old = j.variable(j.server, "router")["operator_token"]
		j.retry("router and console know the operators' token", func() error { return errors.Join(j.lists(j.old), j.shows()) })
	}
	j.retry("the jobs run", func() (err error) {
		for _, job := range []string{"turn", "brain", "router", "console"} {
			if j.began[job], err = j.started(job); err != nil {
				return err
			}
		}
		return nil
	})
}

// during looks at both, while both have to be good.
func (j *rotatedJobs) during(name string) {
	j.t.Helper()
	if name == "turn" {
		has, brain := j.variable(j.server, "turn"), j.variable(j.server, "brain")
		if j.new = has["secret"]; j.new == j.old || has["previous"] != j.old || brain["turn_secret"] != j.new {
			j.t.Errorf("the TURN server is told %q, and the brain %q; the old secret is %q", has, brain["turn_secret"], j.old)
		}
		j.retry("the TURN server takes names of both secrets", func() error { return errors.Join(j.relays(j.old), j.relays(j.new)) })
		if err := j.relays("another secret"); !refusedRelay(err) {
			j.t.Errorf("a relay by a stranger's secret: %v", err)
		}
		j.retry("the brain has the new one", func() error { return j.anew("brain") })
		return
	}
	has, console := j.variable(j.server, "router")["operator_token"], j.variable(j.server, "console")["router_token"]
	j.new, _, _ = strings.Cut(has, "\n")
	if has != j.new+"\n"+j.old || j.new == j.old || console != j.new {
		j.t.Errorf("routers are told %q, and the console %q; the old token is %q", has, console, j.old)
	}
	j.retry("the router takes both tokens", func() error { return errors.Join(j.lists(j.old), j.lists(j.new)) })
	j.retry("the console uses the new one", func() error { return errors.Join(j.anew("console"), j.shows()) })
}

// after looks whether the old one is withdrawn.
func (j *rotatedJobs) after(name string) {
	j.t.Helper()
	if name == "turn" {
		if has := j.variable(j.server, "turn"); has["secret"] != j.new || has["previous"] != "" {
			j.t.Errorf("the TURN server is told %q", has)
		}
		j.retry("the TURN server takes names of the new secret alone", func() error {
			if err := j.relays(j.old); !refusedRelay(err) {
				return fmt.Errorf("by the old one: %v", err)
			}
			return j.relays(j.new)
		})
		return
	}
	if has := j.variable(j.server, "router")["operator_token"]; has != j.new {
		j.t.Errorf("routers are told %q", has)
	}
	j.retry("the router takes the new token alone", func() error {
		if err := j.lists(j.old); err == nil || err.Error() != "401 Unauthorized" {
			return fmt.Errorf("the old one: %v", err)
		}
		return errors.Join(j.lists(j.new), j.shows())
	})
}

func (j *rotatedJobs) retry(what string, try func() error) {
	j.t.Helper()
	nodetest.Eventually(j.t, j.ctx, what, try)
}

// started is when the task of a job began last. Nomad makes another allocation of one that failed at its
// start: that one counts which runs.
func (j *rotatedJobs) started(job string) (time.Time, error) {
	allocs, err := j.allocs(j.server, job)
	if err != nil {
		return time.Time{}, err
	}
	var running, others []alloc
	for _, a := range allocs {
		if a.ClientStatus == "running" {
			running = append(running, a)
		} else {
			others = append(others, a)
		}
	}
	if len(running) != 1 {
		return time.Time{}, fmt.Errorf("of %s run %+v; others are %+v", job, running, others)
	}
	return running[0].TaskStates[job].StartedAt, nil
}

func (j *rotatedJobs) anew(job string) error {
	at, err := j.started(job)
	if err == nil && !at.After(j.began[job]) {
		err = fmt.Errorf("%s runs since %s", job, at)
	}
	return err
}

// relays takes a relay with a name of a secret, as a browser does with one of the brain.
func (j *rotatedJobs) relays(secret string) error {
	name, password := ticket.TURNSecret(secret).Credentials(time.Now().Add(ticket.TURNFor))
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer conn.Close()
	client, err := turn.NewClient(&turn.ClientConfig{TURNServerAddr: j.turn, Conn: conn, Username: name, Password: password})
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Listen(); err != nil {
		return err
	}
	relay, err := client.Allocate()
	if err != nil {
		return err
	}
	return relay.Close()
}

// refusedRelay is false where the server does not answer.
func refusedRelay(err error) bool { return err != nil && strings.Contains(err.Error(), "error 401") }

// lists asks the router for all sessions, as an operator.
func (j *rotatedJobs) lists(token string) error {
	req, err := http.NewRequestWithContext(j.ctx, http.MethodGet, "http://"+j.router+wire.SessionsPath, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return answers(http.DefaultClient, req, http.StatusOK)
}

// shows has the console ask a router for a session that there is not.
func (j *rotatedJobs) shows() error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	base := "http://" + j.console
	res, err := browser.PostForm(base+wire.ConsoleLoginPath, url.Values{"token": {j.login}})
	if err != nil {
		return err
	}
	res.Body.Close()
	req, err := http.NewRequestWithContext(j.ctx, http.MethodGet, base+"/console/api/sessions/"+ticket.NewSessionAt("site-a"), nil)
	if err != nil {
		return err
	}
	return answers(browser, req, http.StatusNotFound)
}

// answers returns the status as an error unless it is the one.
func answers(client *http.Client, req *http.Request, want int) error {
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != want {
		return errors.New(res.Status)
	}
	return nil
}
