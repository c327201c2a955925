package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/facts"
)

const homeSite = "home"

// world is the router, its Consul, and all other sites.
type world struct {
	o       options
	dir     string
	sites   []*site
	proxy   *http.Server
	agent   *exec.Cmd
	router  *exec.Cmd
	url     string
	fleet   *fleet.Fleet
	brain   *fleet.InstanceRegistration
	signer  *ticket.Signer
	clients *http.Client

	bytesRouters, bytesConsul         atomic.Int64
	asksRouters, asksConsul, answered atomic.Int64
	blocking, blockingPeak            atomic.Int64
}

func newWorld(ctx context.Context, o options) (w *world, err error) {
	w = &world{o: o, clients: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.dir, err = os.MkdirTemp("", "bench-sites"); err != nil {
		return w, err
	}
	for i := range o.sites {
		s, err := w.newSite(i)
		if err != nil {
			return w, err
		}
		w.sites = append(w.sites, s)
	}
	agent, err := w.startConsul(ctx)
	if err != nil {
		return w, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return w, err
	}
	w.proxy = &http.Server{Handler: w.consul(agent), ReadHeaderTimeout: time.Minute}
	go w.proxy.Serve(l)
	if w.fleet, err = fleet.Open(fleet.Config{Address: agent}); err != nil {
		return w, err
	}
	if w.brain, err = w.fleet.RegisterInstance(ctx, wire.BrainService, wire.Instance{ID: "brain", Site: homeSite, URL: "wss://brain.home.example/v1/connect", Address: "127.0.0.1:9"}); err != nil {
		return w, err
	}
	for _, a := range apps(o.apps) {
		if err := w.fleet.PublishApp(ctx, a); err != nil {
			return w, err
		}
	}
	return w, w.startRouter(l.Addr().String())
}

// start runs a program that ends with this one.
func (w *world) start(name string, args ...string) (*exec.Cmd, error) {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if w.o.log != "" {
		f, err := os.OpenFile(w.o.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		cmd.Stdout, cmd.Stderr = f, f
	}
	cmd.Env = append(os.Environ(), "GOGC=40") // as in jobs/platform/router.nomad.hcl
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return cmd, nil
}

// ports are free ones of loopback; they may be taken before they are used.
func ports(n int) (out []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		out = append(out, port)
	}
	return out, nil
}

func (w *world) startConsul(ctx context.Context) (address string, err error) {
	tool, err := testkit.FindTool("consul")
	if err != nil {
		return "", err
	}
	p, err := ports(4)
	if err != nil {
		return "", err
	}
	if w.agent, err = w.start(tool, "agent", "-dev", "-datacenter="+homeSite, "-node=home", "-bind=127.0.0.1", "-http-port="+p[0],
		"-server-port="+p[1], "-serf-lan-port="+p[2], "-serf-wan-port="+p[3], "-grpc-port=-1", "-grpc-tls-port=-1", "-dns-port=-1", "-log-level=warn"); err != nil {
		return "", err
	}
	address = "127.0.0.1:" + p[0]
	return address, w.until(ctx, "consul is ready", func() bool {
		text, err := w.get(ctx, "http://"+address+"/v1/health/node/home")
		return err == nil && strings.Contains(text, "serfHealth")
	})
}

func (w *world) startRouter(consul string) error {
	if err := ticket.GenerateKeys(w.dir); err != nil {
		return err
	}
	key := filepath.Join(w.dir, ticket.PrivateKeyFile)
	var err error
	if w.signer, err = ticket.LoadSigner(key, "others"); err != nil {
		return err
	}
	p, err := ports(2)
	if err != nil {
		return err
	}
	w.url = "http://127.0.0.1:" + p[0]
	w.router, err = w.start(w.o.nearcast, "router", "--listen", "127.0.0.1:"+p[0], "--internal-listen", "127.0.0.1:"+p[1],
		"--consul", consul, "--site", homeSite, "--ticket-key", key, "--launch-rate", "0")
	return err
}

func (w *world) close() {
	for _, cmd := range []*exec.Cmd{w.router, w.agent} {
		if cmd != nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	if w.brain != nil {
		w.brain.Close()
	}
	if w.proxy != nil {
		w.proxy.Close()
	}
	for _, s := range w.sites {
		s.server.Close()
	}
	os.RemoveAll(w.dir)
}

func (w *world) site(name string) *site {
	for _, s := range w.sites {
		if s.name == name {
			return s
		}
	}
	return nil
}

func (w *world) get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := w.clients.Do(req)
	if err != nil {
		return "", err
	}
	return body(res)
}

func (w *world) until(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, fmt.Errorf("not within two minutes: %s", what))
	defer cancel()
	for !ok() {
		if sleep(ctx, 100*time.Millisecond) != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// marks are the idle seats of the mark at each site, as the router knows them.
func (w *world) marks(ctx context.Context) (map[string]wire.Capacity, error) {
	text, err := w.get(ctx, w.url+"/v1/apps/"+markApp)
	if err != nil {
		return nil, err
	}
	var view wire.AppView
	err = json.Unmarshal([]byte(text), &view)
	return view.Sites, err
}

// await returns when the router knows the apps of all sites.
func (w *world) await(ctx context.Context) error {
	return w.until(ctx, "the router knows all sites", func() bool {
		known, err := w.marks(ctx)
		return err == nil && len(known) == len(w.sites)+1
	})
}

// change changes capacity at all sites, each in its own time of the second.
func (w *world) change(ctx context.Context) {
	each := time.NewTicker(time.Second / time.Duration(len(w.sites)))
	defer each.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-each.C:
			w.sites[i%len(w.sites)].some()
		}
		if i%len(w.sites) == 0 { // and at home
			for n, a := range apps(w.o.apps) {
				if a.Capacity.Busy = i / len(w.sites) % 50; n == fmt.Sprintf("app-%03d", 1+i/len(w.sites)%(w.o.apps-1)) {
					_ = w.fleet.PublishApp(ctx, a)
				}
			}
		}
	}
}

// ask asks the router as two routers of each of the other sites do.
func (w *world) ask(ctx context.Context) {
	perSite := w.o.askers
	if perSite <= 0 {
		return
	}
	tokens := facts.NewTokens(w.signer)
	interval := max(500*time.Millisecond, time.Duration(len(w.sites))*20*time.Millisecond)
	each := time.NewTicker(interval / time.Duration(perSite*len(w.sites)))
	defer each.Stop()
	have := make([]string, perSite*len(w.sites))
	for i := 0; ; i = (i + 1) % len(have) {
		select {
		case <-ctx.Done():
			return
		case <-each.C:
		}
		w.answered.Add(1)
		var health wire.Health
		if err := w.askAs(ctx, tokens.For(homeSite), "/healthz?have="+have[i], &health); err != nil || health.Facts == "" || health.Facts == have[i] {
			continue
		}
		if c := health.Changes; c != nil && c.Since == have[i] {
			have[i] = c.Version
			continue
		}
		w.answered.Add(1)
		var of wire.SiteFacts
		if w.askAs(ctx, tokens.For(homeSite), wire.FactsPath+"?have="+have[i], &of) == nil {
			have[i] = of.Version
		}
	}
}

func (w *world) askAs(ctx context.Context, token, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := w.clients.Do(req)
	if err != nil {
		return err
	}
	text, err := body(res)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), out)
}

// told changes the mark at all sites at once, and measures until the router knows each.
func (w *world) told(ctx context.Context) ([]float64, error) {
	const mark = 77
	begun := time.Now()
	for _, s := range w.sites {
		s.set([]string{markApp}, func(c *wire.Capacity) { c.Idle = mark })
	}
	seen := map[string]float64{}
	err := w.until(ctx, "the router knows a change at each site", func() bool {
		known, err := w.marks(ctx)
		if err != nil {
			return false
		}
		for name, c := range known {
			if _, ok := seen[name]; !ok && c.Idle == mark {
				seen[name] = time.Since(begun).Seconds() * 1000
			}
		}
		return len(seen) == len(w.sites)
	})
	var out []float64
	for _, ms := range seen {
		out = append(out, ms)
	}
	return out, err
}

// reading is what was counted until a moment.
type reading struct {
	at                                time.Time
	cpu                               time.Duration
	rss, peak                         float64 // MB
	bytesRouters, bytesConsul         int64
	asksRouters, asksConsul, answered int64
}

func (w *world) read() (reading, error) {
	r := reading{at: time.Now(), bytesRouters: w.bytesRouters.Load(), bytesConsul: w.bytesConsul.Load(),
		asksRouters: w.asksRouters.Load(), asksConsul: w.asksConsul.Load(), answered: w.answered.Load()}
	proc := fmt.Sprintf("/proc/%d/", w.router.Process.Pid)
	stat, err := os.ReadFile(proc + "stat")
	if err != nil {
		return r, fmt.Errorf("the router has ended: %w", err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return r, errors.New("read the processor time of the router: too few fields")
	}
	for _, f := range fields[11:13] { // utime and stime, in hundredths of a second
		n, _ := strconv.ParseInt(f, 10, 64)
		r.cpu += time.Duration(n) * 10 * time.Millisecond
	}
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		return r, err
	}
	for line := range strings.Lines(string(status)) {
		var kb float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kb); n == 1 {
			r.rss = kb / 1000
		}
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kb); n == 1 {
			r.peak = kb / 1000
		}
	}
	return r, nil
}
