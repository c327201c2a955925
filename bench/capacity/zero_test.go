package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/jobs/platform"
)

// zero is a site with a real brain, and nodes that run real seats: all is real but EC2.
type zero struct {
	*live
	t      *testing.T
	bin    string
	signer *ticket.Signer
	brain  string // host:port
}

// From no node at all: one person presses Play, waits for a machine, and has a seat on it. People of a pool that
// has its most nodes, which are full, are not left to wait for one.
func TestPersonFromZero(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("Nomad's clients need root: NO NODE WAS STARTED")
	}
	for _, tool := range []string{"consul", "nomad", "nomad-autoscaler"} {
		testkit.Tool(t, tool)
	}
	z := newZero(t)
	people, full := z.pool("people", 0), z.pool("full", 1)
	z.fill(full)
	testkit.Must(t, z.startPlatformAutoscaler(map[string]map[string]any{
		"people": {"group": "people", "min": 0, "max": 1, "seats": z.seats, "jobs": "people"},
		"full":   {"group": "full", "min": 1, "max": 1, "seats": z.seats, "jobs": "full"},
	}))
	began := time.Now()
	z.startBrain()
	z.app("full")
	z.app("people")

	// The first one waits until the autoscaler has told that the pool has its most nodes. Without its word, a brain
	// has people wait until it is 45 s old.
	for range 2 {
		if end := z.play("full").until(wire.MsgEnded).End; end.Code != wire.CodeNoCapacity {
			t.Errorf("in the full pool: ended with %+v", end)
		}
	}
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("people of the full pool were told so %v after the brain's start", took)
	}

	p := z.play("people")
	for {
		q := p.until(wire.MsgQueued).Queue
		if q.Machine {
			if q.Position != 1 || q.EstimateMS < 200_000 || q.EstimateMS > 250_000 {
				t.Errorf("the person is told %+v; a node takes %v", q, z.ready)
			}
			break
		}
	}
	grant := p.until(wire.MsgGranted).Grant
	t.Logf("from no node to a seat in %v", time.Since(p.came))
	z.until("Nomad has the seat on the new node", func() error { // which hears of it later than the brain
		a, _, err := z.nomad.Allocations().Info(grant.Seat, nil)
		if err == nil && (a.ClientStatus != api.AllocClientStatusRunning || a.NodeName != "i-people-1" || !strings.HasPrefix(a.JobID, "people/dispatch-")) {
			err = fmt.Errorf("the seat of %s is %s on %s", a.JobID, a.ClientStatus, a.NodeName)
		}
		return err
	})
	for _, g := range []*group{people, full} {
		g.mu.Lock()
		if g.desired != 1 || len(g.instances) != 1 || len(g.readyIn) != 1 {
			t.Errorf("the group %s is to have %d nodes, and has %d, of which %d became ready", g.name, g.desired, len(g.instances), len(g.readyIn))
		}
		g.mu.Unlock()
	}
	testkit.Must(t, wsjson.Write(t.Context(), p.ws, wire.Message{Type: wire.MsgLeave}))
	p.until(wire.MsgEnded)
	testkit.Must(t, z.check())
}

// newZero starts Consul, a Nomad server and the stand-in for Auto Scaling.
func newZero(t *testing.T) *zero {
	bin, err := filepath.Abs("../../bin")
	testkit.Must(t, err)
	for _, name := range []string{"nearcast", "seat-keeper", "stream-host", "testapp", "plugins/nomad-driver-stream"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			t.Skipf("run make build: %v: NO NODE WAS STARTED", err)
		}
	}
	// Short: there are sockets below it. Apps run as other users.
	dir, err := os.MkdirTemp("/tmp", "rp")
	testkit.Must(t, err)
	testkit.Must(t, os.Chmod(dir, 0o755))
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	z := &zero{t: t, bin: bin, live: &live{ctx: ctx, dir: dir, quiet: quiet(), realOptions: realOptions{factor: 240},
		site: site{seats: 2, ready: 4 * time.Minute}}}
	t.Cleanup(func() {
		z.end(stop)
		nothingLeft(t, dir)
		if t.Failed() {
			t.Logf("what the servers left is kept in %s", dir)
		} else {
			testkit.Must(t, os.RemoveAll(dir))
		}
	})
	private, public := testkit.TicketKeys(t, filepath.Join(dir, "keys"))
	z.signer, err = ticket.LoadSigner(private, "test")
	testkit.Must(t, err)
	z.streams = func(node string) string {
		return fmt.Sprintf(`
plugin_dir = %q
plugin "nomad-driver-stream" {
  config {
    stream_host = %q
    run_dir     = %q
    ticket_keys = %q
    cache { dir = %q }
    consul { address = %q }
    listen {
      api      = "127.0.0.1"
      loopback = true
    }
  }
}
`, filepath.Join(bin, "plugins"), filepath.Join(bin, "stream-host"), filepath.Join(dir, "run-"+node), public, filepath.Join(dir, "cache-"+node), z.consul)
	}
	testkit.Must(t, z.startConsul(ctx))
	testkit.Must(t, z.startNomad(ctx))
	_, err = z.nomad.Namespaces().Register(&api.Namespace{Name: "apps"}, nil)
	testkit.Must(t, err)
	aws, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	z.aws = "http://" + aws.Addr().String()
	z.serve(ctx, aws, http.HandlerFunc(z.serveAWS))
	return z
}

// pool makes a node pool and its group, with one node at most, and waits until its first nodes take seats.
func (z *zero) pool(name string, first int) *group {
	z.t.Helper()
	testkit.Must(z.t, z.registerJob(z.ctx, name))
	g := &group{live: z.live, name: name, max: 1, crowd: newCrowd(z.live, name), first: first}
	z.groups = append(z.groups, g)
	g.mu.Lock()
	g.want(z.ctx, first, 0)
	g.mu.Unlock()
	return g
}

// fill has others take all seats of a group's first node.
func (z *zero) fill(g *group) {
	z.t.Helper()
	for range z.seats {
		g.crowd.add(z.ctx, time.Hour, true, false)
	}
	z.until("the first node is full", func() error {
		allocs, _, err := z.nomad.Allocations().List(&api.QueryOptions{Filter: `ClientStatus == "running"`})
		if err == nil && len(allocs) != z.seats {
			err = errors.Join(fmt.Errorf("%d seats run", len(allocs)), z.check())
		}
		return err
	})
}

// startPlatformAutoscaler runs nomad-autoscaler with the files that jobs/platform gives it.
func (z *zero) startPlatformAutoscaler(pools map[string]map[string]any) error {
	text, err := json.Marshal(pools) // which is HCL, too
	if err != nil {
		return err
	}
	job, err := z.nomad.Jobs().ParseHCLOpts(&api.JobsParseRequest{JobHCL: platform.Source("autoscaler"),
		Variables: fmt.Sprintf("acl = false\nconsul = %q\nplugins = %q\ninterval = \"1s\"\npools = %s\n", z.consul, z.pluginDir(), text)})
	if err != nil {
		return err
	}
	p, err := freePorts(1)
	if err != nil {
		return err
	}
	env := map[string]string{"NOMAD_IP_http": "127.0.0.1", "NOMAD_PORT_http": fmt.Sprint(p[0]), "NOMAD_TASK_DIR": z.dir, "NOMAD_REGION": "global"}
	files := map[string]string{}
	for _, t := range job.TaskGroups[0].Tasks[0].Templates {
		parsed, err := template.New("").Funcs(template.FuncMap{"env": func(name string) string { return env[name] }}).Parse(*t.EmbeddedTmpl)
		if err != nil {
			return err
		}
		var b strings.Builder
		if err := parsed.Execute(&b, nil); err != nil {
			return err
		}
		files[strings.TrimPrefix(*t.DestPath, "local/")] = b.String()
	}
	return z.runAutoscaler(files)
}

func (z *zero) startBrain() {
	z.t.Helper()
	p, err := freePorts(2)
	testkit.Must(z.t, err)
	z.brain = fmt.Sprintf("127.0.0.1:%d", p[0])
	s, err := spawn(z.dir, "brain", nil, filepath.Join(z.bin, "nearcast"), "brain", "--listen="+z.brain, fmt.Sprintf("--internal-listen=127.0.0.1:%d", p[1]),
		"--consul="+z.consul, "--nomad="+strings.TrimPrefix(z.nomadAddress, "http://"), "--shared-consul-agent=site",
		"--ticket-keys="+filepath.Join(z.dir, "keys", ticket.PublicKeysFile))
	testkit.Must(z.t, err)
	// The autoscaler is to be the last, which ends first.
	z.servers = append([]*server{s}, z.servers...)
}

// app registers the test app, and waits until the brain offers it.
func (z *zero) app(pool string) {
	z.t.Helper()
	text, err := os.ReadFile("../../e2e/jobs/testapp.nomad.hcl")
	testkit.Must(z.t, err)
	job, err := z.nomad.Jobs().ParseHCLOpts(&api.JobsParseRequest{JobHCL: string(text),
		Variables: fmt.Sprintf("name = %q\ntestapp = %q\nwarm = \"0\"\nstart_timeout = \"30s\"\n", pool, filepath.Join(z.bin, "testapp"))})
	testkit.Must(z.t, err)
	job.NodePool = &pool
	_, _, err = z.nomad.Jobs().Register(job, &api.WriteOptions{Namespace: "apps"})
	testkit.Must(z.t, err)
	z.until("the brain offers "+pool, func() error {
		text, err := fetch(z.ctx, "http://"+z.consul+"/v1/kv/nearcast/apps/"+pool+"?raw")
		if err == nil && !strings.Contains(string(text), `"`+pool+`"`) {
			err = errors.Join(fmt.Errorf("Consul has %q", text), z.check())
		}
		return err
	})
}

func (z *zero) until(what string, try func() error) {
	z.t.Helper()
	testkit.Must(z.t, wait(z.ctx, time.Minute, what, try))
}

// visitor is a person at the brain.
type visitor struct {
	*zero
	ws   *websocket.Conn
	came time.Time
}

// play presses Play.
func (z *zero) play(app string) *visitor {
	z.t.Helper()
	token, _, err := z.signer.Sign(ticket.Claims{Session: ticket.NewSession(), App: app, Sites: []string{"dc1"}})
	testkit.Must(z.t, err)
	ws, _, err := websocket.Dial(z.ctx, "ws://"+z.brain+"/v1/connect", nil)
	testkit.Must(z.t, err)
	z.t.Cleanup(func() { ws.CloseNow() })
	testkit.Must(z.t, wsjson.Write(z.ctx, ws, wire.Message{Type: wire.MsgHello, Ticket: token}))
	return &visitor{z, ws, time.Now()}
}

// until is the next message of a type. Nobody is refused or ended before.
func (v *visitor) until(want wire.MessageType) wire.Message {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, time.Minute)
	defer cancel()
	for {
		var m wire.Message
		if err := wsjson.Read(ctx, v.ws, &m); err != nil {
			v.t.Fatalf("no %s came: %v; %v", want, err, v.check())
		}
		if m.Type == want {
			return m
		}
		if m.Type == wire.MsgRefused || m.Type == wire.MsgEnded {
			v.t.Fatalf("%s came in place of %s: %+v %+v", m.Type, want, m.Problem, m.End)
		}
	}
}
