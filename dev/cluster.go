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
	"sync"

	nomad "github.com/hashicorp/nomad/api"
	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/dev/setup"
)

// Site is the name of the site of a cluster without a planet.
const Site = "local"

// AppsNamespace is Nomad's namespace of the apps' jobs, as at every site. Router and
// brain are in the namespace default.
const AppsNamespace = "apps"

// Options say what to run and where.
type Options struct {
	// Dir is the folder that the cluster writes into.
	Dir string
	// Bin holds nearcast, seat-keeper, stream-host, testapp and plugins/nomad-driver-stream,
	// as "make build" puts them.
	Bin string
	// Root is the source tree, for sample jobs and pinned versions. Empty is the
	// module around the working directory or around Bin.
	Root string
	// Apps are the sample apps to register; nil is all, empty is none.
	Apps []string
	// Vars are values for variables of the sample apps' jobs: {"warm": "2"}. Jobs
	// that do not declare such a variable ignore it.
	Vars map[string]string
	// Ports to listen on; the zero value is PortsFrom(DefaultPort).
	Ports Ports
	// Console runs the operators' console, too. Not at the sites of a planet: a browser sends its
	// cookie by https or to loopback alone.
	Console bool
	// Router are options of the router, such as a login provider's: "--oidc-issuer=…".
	Router []string
	// Log gets a line for each thing that happens; nil is no log.
	Log io.Writer
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

	at          Location
	folder      *Folder
	root, bin   string
	jobs        []string // files of the sample apps to register
	withConsole bool
	vars        map[string]string
	routerArgs  []string
	http        *http.Client // reaches the site's own servers
	tools       map[string]string
	s3Key       s3Key
	nomad       *nomad.Client // of the namespace default
	apps        *nomad.Client
	logger      *slog.Logger

	mu      sync.Mutex
	parts   []part // in the order of their start
	closing sync.Once
	closed  error
}

// Start brings a cluster up: servers, keys, content, apps. It returns when all of
// them serve. Seats may still be starting: see WaitIdle. ctx bounds the start only;
// Close ends the cluster. What a killed cluster left in the folder is ended first.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	return StartAt(ctx, o, alone(dir))
}

// StartAt is Start for a site at a location: a site of a planet.
func StartAt(ctx context.Context, o Options, at Location) (*Cluster, error) {
	c, err := prepare(ctx, o, at)
	if err != nil {
		return nil, err
	}
	if err := c.up(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// prepare does what comes before the first child process: folders, the lock, the
// tools, the ports, the keys.
func prepare(ctx context.Context, o Options, at Location) (_ *Cluster, err error) {
	c := &Cluster{Site: at.Site, Ports: o.Ports, at: at, vars: o.Vars, routerArgs: o.Router, withConsole: o.Console, http: at.client(), logger: at.Log}
	if c.logger == nil {
		c.logger = NewLogger(o.Log)
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
	if c.root, err = setup.Root(o.Root, c.bin); err != nil {
		return nil, err
	}
	if c.jobs, err = c.chooseSamples(o.Apps); err != nil {
		return nil, err
	}
	for _, name := range []string{"nearcast", "seat-keeper", "stream-host", filepath.Join("plugins", "nomad-driver-stream")} {
		if _, err := os.Stat(filepath.Join(c.bin, name)); err != nil {
			return nil, fmt.Errorf("find the binaries: %w; run make build", err)
		}
	}
	c.URL = "http://" + c.address(c.Ports.Router)
	c.BrainURL = "ws://" + c.address(c.Ports.Brain) + "/v1/connect"
	c.ConsulAddress, c.NomadAddress = local(c.Ports.Consul), local(c.Ports.Nomad)
	c.S3Endpoint = "http://" + c.address(c.Ports.S3)

	if c.folder, err = TakeFolder(ctx, c.Dir, c.logger); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.folder.Release(context.WithoutCancel(ctx)))
		}
	}()
	for _, dir := range []string{"log", "cache"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, dir), 0o755); err != nil {
			return nil, fmt.Errorf("make the cluster's folder: %w", err)
		}
	}
	if c.tools, err = setup.Tools(ctx, c.root, o.Log); err != nil {
		return nil, err
	}
	if at.Network == nil { // in a network of its own nothing else listens
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
	// The Nomad server needs nothing to start: it finds Consul when Consul serves.
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
		if err := c.makeNamespace(ctx); err != nil {
			return err
		}
		if err := c.Wait(ctx, "nomad"); err != nil {
			return err
		}
		platform := []platformJob{c.router(), c.brain()}
		if c.withConsole {
			platform = append(platform, c.console())
		}
		for _, job := range platform {
			if err := job.run(ctx, c); err != nil {
				return err
			}
		}
		// The content comes before the apps, or their first seats fail.
		select {
		case <-uploaded:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := c.runSamples(ctx, c.jobs); err != nil {
			return err
		}
		for _, job := range platform {
			if err := c.Wait(ctx, job.name); err != nil {
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
func (c *Cluster) address(port int) string { return net.JoinHostPort(c.at.Address, strconv.Itoa(port)) }

// save writes the state file.
func (c *Cluster) save() { c.folder.Save(c.State) }

// State is the cluster as "dev status" shows it.
func (c *Cluster) State() State {
	s := State{Site: c.Site, Address: c.at.Address, Ports: c.Ports, URL: c.URL, Tools: c.tools}
	if c.at.Network != nil {
		s.Namespace = c.at.Network.Path()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.parts {
		status, _ := p.snapshot()
		s.Processes = append(s.Processes, status)
	}
	return s
}

// Nomad is a client of the cluster's Nomad, in the namespace of the apps.
func (c *Cluster) Nomad() *nomad.Client { return c.apps }

// LogFile is the file that a process logs to.
func (c *Cluster) LogFile(name string) string { return filepath.Join(c.Dir, "log", name+".log") }
