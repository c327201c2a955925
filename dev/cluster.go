package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	nomad "github.com/hashicorp/nomad/api"
	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/dev/netns"
	"github.com/nearcast/nearcast/internal/ticket"
)

// Site is the name of the site of a cluster that is not part of a planet.
const Site = "local"

// Options say what to run and where.
type Options struct {
	// Dir is where everything the cluster writes goes.
	Dir string
	// Bin holds nearcast, stream-host, testapp and plugins/nomad-driver-stream,
	// as "make build" puts them.
	Bin string
	// Root is the source tree, for sample jobs and pins; empty is the module
	// around the working directory or around Bin.
	Root string
	// Apps are the sample apps to register; nil is all, empty is none.
	Apps []string
	// Vars are values for variables of the sample apps' jobs: {"warm": "2"}. A
	// job that does not declare one does without.
	Vars map[string]string
	// Ports to listen on; the zero value is PortsFrom(DefaultPort).
	Ports Ports
	// Log gets a line for everything that happens; nil is silence.
	Log io.Writer
}

// location is where in the world a cluster's site is.
type location struct {
	site string
	host string    // the address that everything listens on
	ns   *netns.NS // where everything runs; nil is the caller's
	keys string    // folder of the routers' ticket keys
	// peers are the hosts of the planet's other sites.
	peers []string
	log   *slog.Logger // nil is one for Options.Log
}

// alone is the location of a site that knows no other.
func alone(dir string) location {
	return location{site: Site, host: "127.0.0.1", keys: filepath.Join(dir, "keys")}
}

// Cluster is a running site.
type Cluster struct {
	Site          string
	Dir           string
	URL           string // of the router: the page to open
	BrainURL      string // ws://…/v1/connect
	ConsulAddress string // host:port
	NomadAddress  string // host:port
	S3Endpoint    string // http://…
	Ports         Ports

	at                location
	root, bin, runDir string
	jobs              []string // files of the sample apps to register
	vars              map[string]string
	http              *http.Client // reaches the site's own servers
	tools             map[string]string
	s3Key             s3Key
	nomad             *nomad.Client
	logger            *slog.Logger
	unlock            func()
	displays          *os.File // the mount namespace of a planet's seats

	saving  sync.Mutex
	mu      sync.Mutex
	parts   []part // in the order of their start
	closing sync.Once
	closed  error
}

// ErrAlreadyRunning says that a cluster runs in the folder; its state is there.
var ErrAlreadyRunning = errors.New("a dev cluster already runs here")

// Start brings a cluster up: servers, keys, content, apps. It returns when all
// of them serve; seats may still be starting, see WaitIdle. ctx bounds the
// start only; Close ends the cluster. What a killed cluster left in the folder
// is ended first.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	return startAt(ctx, o, alone(dir))
}

func startAt(ctx context.Context, o Options, at location) (*Cluster, error) {
	c, err := prepare(ctx, o, at)
	if err != nil {
		return nil, err
	}
	if err := c.up(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// prepare does all that comes before the first child: folders, the lock, the
// sweep, the tools, the ports.
func prepare(ctx context.Context, o Options, at location) (_ *Cluster, err error) {
	c := &Cluster{Site: at.site, Ports: o.Ports, at: at, vars: o.Vars, http: probes, logger: at.log}
	if c.logger == nil {
		c.logger = newLogger(o.Log)
	}
	if at.ns != nil {
		c.http = &http.Client{Transport: at.ns.Transport()}
	}
	if c.Ports == (Ports{}) {
		c.Ports = PortsFrom(DefaultPort)
	}
	if c.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	if c.bin, err = filepath.Abs(o.Bin); err != nil {
		return nil, err
	}
	if c.root, err = findRoot(o.Root, c.bin); err != nil {
		return nil, err
	}
	if c.jobs, err = c.chooseSamples(o.Apps); err != nil {
		return nil, err
	}
	for _, name := range []string{"nearcast", "stream-host", filepath.Join("plugins", "nomad-driver-stream")} {
		if _, err := os.Stat(filepath.Join(c.bin, name)); err != nil {
			return nil, fmt.Errorf("find the binaries: %w; run make build", err)
		}
	}
	c.runDir = runDir(c.Dir)
	c.URL = "http://" + c.address(c.Ports.Router)
	c.BrainURL = "ws://" + c.address(c.Ports.Brain) + "/v1/connect"
	c.ConsulAddress, c.NomadAddress = local(c.Ports.Consul), local(c.Ports.Nomad)
	c.S3Endpoint = "http://" + c.address(c.Ports.S3)

	for _, dir := range []string{"log", "cache"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, dir), 0o755); err != nil {
			return nil, fmt.Errorf("make the cluster's folder: %w", err)
		}
	}
	if c.unlock, err = lockDir(c.Dir); errors.Is(err, errLocked) {
		return nil, ErrAlreadyRunning
	} else if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.unlock()
		}
	}()
	if err := makePrivate(c.runDir); err != nil {
		return nil, fmt.Errorf("make the run directory: %w", err)
	}
	if err := sweepAll(ctx, c.Dir, c.runDir, c.logger); err != nil {
		return nil, fmt.Errorf("end what an earlier run left: %w", err)
	}
	if c.tools, err = Tools(ctx, c.root, orDiscard(o.Log)); err != nil {
		return nil, err
	}
	if at.ns == nil { // nobody else is in a namespace of its own
		if err := c.Ports.check(); err != nil {
			return nil, err
		}
	}
	return c, c.keys()
}

// up starts the servers in the order in which they need each other.
func (c *Cluster) up(ctx context.Context) error {
	consul, err := c.consul()
	if err != nil {
		return fmt.Errorf("configure consul: %w", err)
	}
	s3, err := c.s3Server()
	if err != nil {
		return fmt.Errorf("configure s3: %w", err)
	}
	server, err := c.nomadServer()
	if err != nil {
		return fmt.Errorf("configure the Nomad server: %w", err)
	}
	client, err := c.nomadClient()
	if err != nil {
		return fmt.Errorf("configure the Nomad client: %w", err)
	}
	// The Nomad server waits for nobody: it finds Consul when it is there.
	for _, s := range []service{consul, s3, server} {
		c.start(s)
	}

	steps, ctx := errgroup.WithContext(ctx)
	uploaded := make(chan struct{})
	steps.Go(func() error {
		for _, name := range []string{"nomad-server", "consul"} {
			if err := c.Wait(ctx, name); err != nil {
				return err
			}
		}
		c.start(client)
		if err := c.publishKeys(ctx); err != nil {
			return err
		}
		if err := c.Wait(ctx, "nomad"); err != nil {
			return err
		}
		for _, job := range []platformJob{c.router(), c.brain()} {
			if err := job.run(ctx, c); err != nil {
				return err
			}
		}
		// An app is published when its content is there, or its first seat fails.
		select {
		case <-uploaded:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := c.runSamples(ctx, c.jobs); err != nil {
			return err
		}
		for _, name := range []string{"router", "brain"} {
			if err := c.Wait(ctx, name); err != nil {
				return err
			}
		}
		return nil
	})
	steps.Go(func() error {
		if err := c.Wait(ctx, "s3"); err != nil {
			return err
		}
		err := c.uploadSamples(ctx)
		if err == nil {
			close(uploaded)
		}
		return err
	})
	return steps.Wait()
}

// address is host:port of one of the site's servers.
func (c *Cluster) address(port int) string { return net.JoinHostPort(c.at.host, strconv.Itoa(port)) }

func (c *Cluster) start(s service) {
	s.ns = c.at.ns
	c.add(startProcess(s, c.logger, c.save))
}

func (c *Cluster) add(p part) {
	c.mu.Lock()
	c.parts = append(c.parts, p)
	c.mu.Unlock()
	c.save()
}

// save writes the state file. A cluster whose state cannot be written still
// works, and is swept by its mark.
func (c *Cluster) save() {
	c.saving.Lock()
	defer c.saving.Unlock()
	if err := writeState(c.State()); err != nil {
		c.logger.Warn("state is not written", "error", err)
	}
}

// State is the cluster as "dev status" shows it.
func (c *Cluster) State() State {
	started, _ := startTicks(os.Getpid())
	s := State{
		PID: os.Getpid(), Started: started, Dir: c.Dir, RunDir: c.runDir,
		Site: c.Site, Host: c.at.host, Ports: c.Ports, URL: c.URL, Tools: c.tools,
	}
	if c.at.ns != nil {
		s.Namespace = c.at.ns.Path()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.parts {
		status, _ := p.snapshot()
		s.Processes = append(s.Processes, status)
	}
	return s
}

func (c *Cluster) part(name string) (part, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.parts {
		if status, _ := p.snapshot(); status.Name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no part %q in this cluster", name)
}

// Wait returns when a process serves: "consul", "nomad-server", "nomad" (the
// client, where seats run), "s3", "router" or "brain".
func (c *Cluster) Wait(ctx context.Context, name string) error {
	p, err := c.part(name)
	if err != nil {
		return err
	}
	return p.wait(ctx)
}

// Signal sends a signal to a process: SIGKILL to see it heal, SIGSTOP to see it hang.
func (c *Cluster) Signal(name string, signal syscall.Signal) error {
	p, err := c.part(name)
	if err != nil {
		return err
	}
	return p.kill(signal)
}

// Kill ends a process as kill -9 does and returns once it is known to be dead.
// It is started again at once; Wait for that.
func (c *Cluster) Kill(ctx context.Context, name string) error {
	p, err := c.part(name)
	if err != nil {
		return err
	}
	before, _ := p.snapshot()
	if err := p.kill(syscall.SIGKILL); err != nil {
		return err
	}
	for {
		now, changed := p.snapshot()
		if now.PID != before.PID || now.Started != before.Started {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to die: %w", name, ctx.Err())
		}
	}
}

// Nomad is a client of the cluster's Nomad.
func (c *Cluster) Nomad() *nomad.Client { return c.nomad }

// TicketKey is the routers' private key, for tests that make their own tickets.
func (c *Cluster) TicketKey() string { return filepath.Join(c.at.keys, ticket.PrivateKeyFile) }

// LogFile is where a process writes.
func (c *Cluster) LogFile(name string) string { return filepath.Join(c.Dir, "log", name+".log") }

// environ is the environment of every child: this process's, without settings
// that belong to other clusters, with the mark and with what is added.
func (c *Cluster) environ(add ...string) []string { return append(markedEnviron(c.Dir), add...) }

func markedEnviron(dir string) []string {
	var env []string
	for _, kv := range os.Environ() {
		foreign := false
		// A Nomad agent does not even start with AWS_CA_BUNDLE set.
		for _, prefix := range []string{"AWS_", "CONSUL_", "NOMAD_", "VAULT_", "NEARCAST_"} {
			foreign = foreign || strings.HasPrefix(kv, prefix)
		}
		if !foreign {
			env = append(env, kv)
		}
	}
	return append(env, markEnv+"="+dir)
}
