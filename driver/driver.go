package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/shared/hclspec"
)

// Driver is the plugin. It may be killed at any moment and loses nothing.
type Driver struct {
	ctx    context.Context // of the plugin process
	log    hclog.Logger
	events *events
	probe  *prober
	stats  cpuInfo

	sweeping sync.Once

	mu       sync.Mutex
	settings settings
	// notSet is why settings cannot be used.
	notSet error
	tasks  map[string]*task // by task id
	turns  map[string]*turn // by run directory
}

var (
	_ drivers.DriverPlugin               = (*Driver)(nil)
	_ drivers.ExecTaskStreamingRawDriver = (*Driver)(nil)
)

// New makes a driver that lives as long as ctx; seats live on.
func New(ctx context.Context, log hclog.Logger) *Driver {
	return &Driver{
		ctx:    ctx,
		log:    log.Named(Name),
		events: newEvents(),
		probe:  newProber(),
		notSet: errors.New("the driver was not configured yet"),
		tasks:  map[string]*task{},
		turns:  map[string]*turn{},
	}
}

// PluginInfo tells Nomad the plugin's name and version.
func (*Driver) PluginInfo() (*base.PluginInfoResponse, error) { return info, nil }

// ConfigSchema is the plugin's config in the agent.
func (*Driver) ConfigSchema() (*hclspec.Spec, error) { return configSpec, nil }

// TaskConfigSchema is a task's config in a job.
func (*Driver) TaskConfigSchema() (*hclspec.Spec, error) { return taskConfigSpec, nil }

// Capabilities tells Nomad what the driver can do.
func (*Driver) Capabilities() (*drivers.Capabilities, error) { return capabilities, nil }

// SetConfig checks and takes the plugin's config.
func (d *Driver) SetConfig(c *base.Config) error {
	if len(c.PluginConfig) == 0 {
		return nil // Nomad only wants to know who we are
	}
	var config Config
	if err := base.MsgPackDecode(c.PluginConfig, &config); err != nil {
		return fmt.Errorf("decode plugin config: %w", err)
	}
	s, err := config.check(os.Geteuid() == 0)
	if err != nil {
		return fmt.Errorf("plugin config: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settings, d.notSet = s, nil
	compute := c.AgentConfig.Compute() // of a nil AgentConfig too
	d.stats = cpuInfo{mhz: float64(compute.TotalCompute), cores: compute.NumCores}
	d.sweeping.Do(func() { go d.watchOrphans(s.runDir, s.orphanGrace) })
	return nil
}

func (d *Driver) config() (settings, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.settings, d.notSet
}

func (d *Driver) task(id string) (*task, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t, ok := d.tasks[id]; ok {
		return t, nil
	}
	return nil, drivers.ErrTaskNotFound
}

// A turn is the right to work on one run directory.
type turn struct {
	sync.Mutex
	users int // that have it or wait for it
}

// one lets only one start, recovery or removal work on a run directory.
func (d *Driver) one(runDir string) (unlock func()) {
	d.mu.Lock()
	t := d.turns[runDir]
	if t == nil {
		t = new(turn)
		d.turns[runDir] = t
	}
	t.users++
	d.mu.Unlock()
	t.Lock()
	return func() {
		t.Unlock()
		d.mu.Lock()
		defer d.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(d.turns, runDir)
		}
	}
}

func (d *Driver) keep(t *task) {
	d.mu.Lock()
	d.tasks[t.cfg.ID] = t
	d.mu.Unlock()
	go t.run(d.ctx)
}

// StartTask starts a seat, after it ended what an earlier start left. It
// returns when the stream host answers; the app may need minutes more, of which
// task events tell.
func (d *Driver) StartTask(cfg *drivers.TaskConfig) (_ *drivers.TaskHandle, _ *drivers.DriverNetwork, err error) {
	defer func() {
		if err != nil {
			touchLogs(cfg.StdoutPath, cfg.StderrPath)
		}
	}()
	s, err := d.config()
	if err != nil {
		return nil, nil, err
	}
	if _, err := d.task(cfg.ID); err == nil {
		return nil, nil, fmt.Errorf("task %s was started already", cfg.ID)
	}
	hostPath, err := s.findHost()
	if err != nil {
		return nil, nil, err
	}
	environ := os.Environ()
	spec, err := newSpec(s, cfg, environ)
	if err != nil {
		return nil, nil, err
	}
	defer d.one(spec.RunDir)()
	group := taskCgroup(cfg)
	if err := reap(d.ctx, spec.RunDir, group); err != nil {
		return nil, nil, fmt.Errorf("end what an earlier start left: %w", err)
	}
	if err := group.limit(cfg.Resources); err != nil {
		d.log.Warn("limit the seat's resources", "alloc", cfg.AllocID, "error", err)
	}
	state, host, err := launch(d.ctx, hostPath, spec, cfg, environ)
	if err != nil {
		return nil, nil, err
	}
	handle := drivers.NewTaskHandle(handleVersion)
	handle.Config = cfg
	handle.State = drivers.TaskStateRunning
	if err := handle.SetDriverState(state); err != nil {
		host.close()
		return nil, nil, errors.Join(fmt.Errorf("encode task state: %w", err), reap(d.ctx, spec.RunDir, group))
	}
	d.log.Info("seat started", "alloc", cfg.AllocID, "app", spec.App, "version", spec.Version, "pid", state.PID)
	d.keep(newTask(cfg, state, spec, host, d.events, d.log))
	return handle, nil, nil
}

// RecoverTask takes hold of a seat that an earlier plugin process started.
func (d *Driver) RecoverTask(handle *drivers.TaskHandle) error {
	if handle == nil || handle.Config == nil {
		return errors.New("recover task: there is no handle")
	}
	cfg := handle.Config
	if _, err := d.task(cfg.ID); err == nil {
		return nil // this process has it
	}
	if handle.Version != handleVersion {
		return fmt.Errorf("recover task: its state has version %d, and this driver knows %d", handle.Version, handleVersion)
	}
	var state State
	if err := handle.GetDriverState(&state); err != nil {
		return fmt.Errorf("decode task state: %w", err)
	}
	defer d.one(state.Dir)()
	t, err := d.recover(cfg, &state)
	if err != nil {
		// Nobody will hold what may be left of it.
		return errors.Join(fmt.Errorf("recover task: %w", err), killFamily(d.ctx, state.Nonce, taskCgroup(cfg)))
	}
	t.adopt()
	d.keep(t)
	return nil
}

func (d *Driver) recover(cfg *drivers.TaskConfig, state *State) (*task, error) {
	spec, err := readSpec(state.Dir)
	if err != nil {
		return nil, err
	}
	if spec.Nonce != state.Nonce {
		return nil, errors.New("its run directory is of another start")
	}
	host, err := watchProcess(state.process())
	if err != nil {
		// It ended while no plugin watched. Its last word counts.
		if _, exitErr := readExit(state.Dir, state.Nonce); exitErr != nil {
			return nil, fmt.Errorf("its stream host is gone and left no word (%w)", errors.Join(err, exitErr))
		}
		return newTask(cfg, state, spec, nil, d.events, d.log), nil
	}
	t := newTask(cfg, state, spec, host, d.events, d.log)
	status, err := t.control.status(d.ctx)
	switch {
	case err == nil && status.Nonce != state.Nonce:
		host.close()
		return nil, errors.New("another stream host serves its control socket")
	case err != nil && !marked(state.PID, state.Nonce):
		host.close()
		return nil, fmt.Errorf("its stream host does not answer: %w", err)
	case err != nil:
		// It is the process that was started, as its environment proves, but
		// the machine is too busy for it to answer. A person may be at play.
		t.log.Warn("recovered a seat whose stream host does not answer yet", "error", err)
	}
	return t, nil
}

// WaitTask yields the task's end, once. Its channel is never closed without a
// result: that panics the agent. The agent waits for a task only after it
// stored its handle.
func (d *Driver) WaitTask(ctx context.Context, id string) (<-chan *drivers.ExitResult, error) {
	t, err := d.task(id)
	if err != nil {
		return nil, err
	}
	t.adopt()
	out := make(chan *drivers.ExitResult, 1)
	go func() {
		select {
		case <-t.done:
			out <- t.exit.Copy()
		case <-ctx.Done():
		case <-d.ctx.Done():
		}
	}()
	return out, nil
}

// StopTask ends a seat in order, and by force when the timeout is over. A task
// that is not known is stopped: the error for it does not survive gRPC, so the
// agent would try again and again.
func (d *Driver) StopTask(id string, timeout time.Duration, signal string) error {
	t, err := d.task(id)
	if err != nil {
		return nil
	}
	if signal != "" {
		if _, err := signalNumber(signal); err != nil {
			d.log.Warn("stop with SIGTERM", "alloc", t.cfg.AllocID, "error", err)
			signal = ""
		}
	}
	return t.stop(d.ctx, timeout, signal)
}

// DestroyTask forgets a task and removes its run directory.
func (d *Driver) DestroyTask(id string, force bool) error {
	t, err := d.task(id)
	if err != nil {
		return d.destroyUnknown(id)
	}
	if t.running() {
		if !force {
			return errors.New("cannot destroy a running task")
		}
		if err := t.kill(d.ctx, "it was destroyed"); err != nil {
			return err
		}
	}
	defer d.one(t.state.Dir)()
	d.mu.Lock()
	delete(d.tasks, id)
	d.mu.Unlock()
	if spec, err := readSpec(t.state.Dir); err == nil && spec.Nonce != t.state.Nonce {
		return nil // the directory is of a later start by now
	}
	return removeRunDir(t.state.Dir)
}

// destroyUnknown ends what there may be of a task that could not be recovered.
// Ids are alloc/task/random, and the random part changes with each start.
func (d *Driver) destroyUnknown(id string) error {
	parts := strings.Split(id, "/")
	s, err := d.config()
	if err != nil || len(parts) != 3 {
		return nil
	}
	dir := filepath.Join(s.runDir, seatDir(parts[0], parts[1]))
	defer d.one(dir)()
	if d.holds(dir) {
		return nil // a later start, which is known
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return reap(d.ctx, dir, cgroup{})
}

// InspectTask tells how a task is.
func (d *Driver) InspectTask(id string) (*drivers.TaskStatus, error) {
	t, err := d.task(id)
	if err != nil {
		return nil, err
	}
	return t.status(), nil
}

// TaskStats yields what a seat uses, all its processes together.
func (d *Driver) TaskStats(ctx context.Context, id string, interval time.Duration) (<-chan *drivers.TaskResourceUsage, error) {
	t, err := d.task(id)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	meter := &meter{nonce: t.state.Nonce, group: t.group, cpu: d.stats}
	d.mu.Unlock()
	return meter.follow(ctx, t.done, max(interval, 100*time.Millisecond)), nil
}

// TaskEvents yields the events of all seats, each once.
func (d *Driver) TaskEvents(ctx context.Context) (<-chan *drivers.TaskEvent, error) {
	return d.events.follow(ctx), nil
}

// SignalTask sends a signal to the app.
func (d *Driver) SignalTask(id, name string) error {
	t, err := d.task(id)
	if err != nil {
		return err
	}
	n, err := signalNumber(name)
	if err != nil {
		return err
	}
	return t.control.signal(d.ctx, signalName(n))
}

// Fingerprint tells, again and again, what this machine can do.
func (d *Driver) Fingerprint(ctx context.Context) (<-chan *drivers.Fingerprint, error) {
	out := make(chan *drivers.Fingerprint)
	go d.fingerprint(ctx, out)
	return out, nil
}
