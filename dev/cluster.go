package dev

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	nomad "github.com/hashicorp/nomad/api"
	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/internal/ticket"
)

// Site is the name of a dev cluster's one site.
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
	// Ports to listen on; the zero value is PortsFrom(DefaultPort).
	Ports Ports
	// Log gets a line for everything that happens; nil is silence.
	Log io.Writer
}

// Cluster is a running site.
type Cluster struct {
	Dir           string
	URL           string // of the router: the page to open
	BrainURL      string // ws://…/v1/connect
	ConsulAddress string // host:port
	NomadAddress  string // host:port
	S3Endpoint    string // http://…
	Ports         Ports

	root, bin, runDir string
	jobs              []string // files of the sample apps to register
	tools             map[string]string
	s3Key             s3Key
	nomad             *nomad.Client
	logger            *slog.Logger
	unlock            func()

	saving    sync.Mutex
	mu        sync.Mutex
	processes []*process // in the order of their start
	closing   sync.Once
	closed    error
}

// ErrAlreadyRunning says that a cluster runs in the folder; its state is there.
var ErrAlreadyRunning = errors.New("a dev cluster already runs here")

// Start brings a cluster up: servers, keys, content, apps. It returns when all
// of them serve; seats may still be starting, see WaitIdle. ctx bounds the
// start only; Close ends the cluster. What a killed cluster left in the folder
// is ended first.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	c, err := prepare(ctx, o)
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
func prepare(ctx context.Context, o Options) (_ *Cluster, err error) {
	c := &Cluster{Ports: o.Ports, logger: newLogger(o.Log)}
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
	c.URL = "http://" + local(c.Ports.Router)
	c.BrainURL = "ws://" + local(c.Ports.Brain) + "/v1/connect"
	c.ConsulAddress, c.NomadAddress = local(c.Ports.Consul), local(c.Ports.Nomad)
	c.S3Endpoint = "http://" + local(c.Ports.S3)

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
	if err := sweep(ctx, c.Dir, c.runDir, c.logger); err != nil {
		return nil, fmt.Errorf("end what an earlier run left: %w", err)
	}
	if c.tools, err = Tools(ctx, c.root, orDiscard(o.Log)); err != nil {
		return nil, err
	}
	if err := c.Ports.check(); err != nil {
		return nil, err
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
		if err := c.Wait(ctx, "nomad"); err != nil {
			return err
		}
		// An app is published when its content is there, or its first seat fails.
		select {
		case <-uploaded:
			return c.runSamples(ctx, c.jobs)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	steps.Go(func() error {
		if err := c.Wait(ctx, "consul"); err != nil {
			return err
		}
		c.start(c.router())
		return c.Wait(ctx, "router")
	})
	steps.Go(func() error {
		for _, name := range []string{"consul", "nomad-server"} {
			if err := c.Wait(ctx, name); err != nil {
				return err
			}
		}
		c.start(c.brain())
		return c.Wait(ctx, "brain")
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

func (c *Cluster) start(s service) {
	p := startProcess(s, c.logger, c.save)
	c.mu.Lock()
	c.processes = append(c.processes, p)
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
		Ports: c.Ports, URL: c.URL, Tools: c.tools,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.processes {
		status, _ := p.snapshot()
		s.Processes = append(s.Processes, status)
	}
	return s
}

func (c *Cluster) process(name string) (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.processes {
		if p.name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no process %q in this cluster", name)
}

// Wait returns when a process serves: "consul", "nomad-server", "nomad" (the
// client, where seats run), "s3", "router" or "brain".
func (c *Cluster) Wait(ctx context.Context, name string) error {
	p, err := c.process(name)
	if err != nil {
		return err
	}
	return p.wait(ctx)
}

// Signal sends a signal to a process: SIGKILL to see it heal, SIGSTOP to see it hang.
func (c *Cluster) Signal(name string, signal syscall.Signal) error {
	p, err := c.process(name)
	if err != nil {
		return err
	}
	return p.kill(signal)
}

// Kill ends a process as kill -9 does and returns once it is known to be dead.
// It is started again at once; Wait for that.
func (c *Cluster) Kill(ctx context.Context, name string) error {
	p, err := c.process(name)
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
func (c *Cluster) TicketKey() string { return filepath.Join(c.Dir, "keys", ticket.PrivateKeyFile) }

// LogFile is where a process writes.
func (c *Cluster) LogFile(name string) string { return filepath.Join(c.Dir, "log", name+".log") }

// Close ends seats, then servers, then whatever should not be there any more.
func (c *Cluster) Close() error {
	c.closing.Do(func() { c.closed = c.down() })
	return c.closed
}

func (c *Cluster) down() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defer c.unlock()
	var problems []error
	// The brain first, or it would replace every seat that ends.
	c.stopProcess("brain")
	if c.status("nomad").State == StateReady && c.status("nomad-server").State == StateReady {
		seats, cancel := context.WithTimeout(ctx, 15*time.Second)
		n, err := c.stopSeats(seats)
		cancel()
		if err != nil {
			c.logger.Warn("seats do not end when asked; ending their processes", "error", err)
		} else if n > 0 {
			c.logger.Info("seats stopped", "jobs", n)
		}
	}
	for _, name := range []string{"router", "nomad", "nomad-server", "s3", "consul"} {
		c.stopProcess(name)
	}
	problems = append(problems, sweep(ctx, c.Dir, c.runDir, c.logger))
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("stop the cluster: %w", err)
	}
	return removeState(c.Dir, c.runDir)
}

func (c *Cluster) stopProcess(name string) {
	p, err := c.process(name)
	if err != nil {
		return // never started
	}
	p.stop()
	c.logger.Info(name + " stopped")
}

func (c *Cluster) status(name string) (s ProcessStatus) {
	if p, err := c.process(name); err == nil {
		s, _ = p.snapshot()
	}
	return s
}

// Down stops the cluster in dir, wherever it runs: through its supervisor if
// that lives, else by ending what it left. It returns ErrNotRunning where there
// is nothing to stop.
func Down(ctx context.Context, dir string, log io.Writer) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	logger := newLogger(log)
	state, err := ReadState(dir)
	if err != nil {
		return err
	}
	if state.Running() {
		logger.Info("stopping the dev cluster", "pid", state.PID, "dir", dir)
		if err := syscall.Kill(state.PID, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop process %d: %w", state.PID, err)
		}
		deadline := time.After(75 * time.Second)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for state.Running() {
			select {
			case <-tick.C:
			case <-deadline:
				logger.Warn("it does not stop; killing it", "pid", state.PID)
				syscall.Kill(state.PID, syscall.SIGKILL)
				deadline = nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	} else {
		logger.Info("the cluster's supervisor was killed; ending what it left", "dir", dir)
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := sweep(ctx, dir, state.RunDir, logger); err != nil {
		return fmt.Errorf("stop the cluster: %w", err)
	}
	return removeState(dir, state.RunDir)
}

// removeState takes away what a stopped cluster needs no more. Data and logs stay.
func removeState(dir, runDir string) error {
	var problems []error
	for _, path := range []string{filepath.Join(dir, stateFile), runDir} {
		if err := os.RemoveAll(path); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// environ is the environment of every child: this process's, without settings
// that belong to other clusters, with the mark and with what is added.
func (c *Cluster) environ(add ...string) []string {
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
	return append(append(env, markEnv+"="+c.Dir), add...)
}

// runDir is where the driver keeps its sockets: in the cluster's folder, or,
// where that path would leave no room for a socket's name (107 bytes in all),
// in a short one made from it.
func runDir(dir string) string {
	if in := filepath.Join(dir, "run"); len(in) <= 64 {
		return in
	}
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join("/tmp", "nearcast-"+hex.EncodeToString(sum[:6]))
}

// makePrivate makes a folder that is this user's alone, and refuses one that
// somebody else put there: below /tmp anybody could have.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to somebody else; remove it", dir)
	}
	return os.Chmod(dir, 0o700)
}

// findRoot finds the source tree: as told, around the working directory, or
// around the binaries.
func findRoot(told, bin string) (string, error) {
	if told != "" {
		return filepath.Abs(told)
	}
	cwd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for _, from := range []string{cwd, bin} {
		for dir := from; filepath.IsAbs(dir); dir = filepath.Dir(dir) {
			text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			if err == nil && strings.HasPrefix(string(text), "module github.com/nearcast/nearcast\n") {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", errors.New("find the source tree: run this inside a checkout")
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
