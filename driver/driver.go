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

	"github.com/nearcast/nearcast/internal/wire"
)

// Driver is the plugin. Nothing is lost when it is killed.
type Driver struct {
	ctx    context.Context // of the plugin process
	log    hclog.Logger
	events *events
	prints *fingerprinter
	disk   *cacheDisk

	sweeping  sync.Once
	registrar registrarOnce
	mu        sync.Mutex
	settings  settings
	// notSet is why settings cannot be used yet.
	notSet error
	cpu    cpuInfo
	tasks  map[string]*task // by task id
	turns  map[string]*turn // by run directory
}

var (
	_ drivers.DriverPlugin               = (*Driver)(nil)
	_ drivers.ExecTaskStreamingRawDriver = (*Driver)(nil)
)

// New makes a driver that works until ctx ends. Its seats continue after that.
func New(ctx context.Context, log hclog.Logger) *Driver {
	return &Driver{
		ctx:    ctx,
		log:    log.Named(Name),
		events: newEvents(),
		prints: newFingerprinter(),
		disk:   newCacheDisk(),
		notSet: errors.New("the driver is not configured yet"),
		tasks:  map[string]*task{},
		turns:  map[string]*turn{},
	}
}

// PluginInfo is the plugin's name and version.
func (*Driver) PluginInfo() (*base.PluginInfoResponse, error) { return info, nil }

// ConfigSchema is the schema of the plugin's config in the agent.
func (*Driver) ConfigSchema() (*hclspec.Spec, error) { return configSpec, nil }

// TaskConfigSchema is the schema of a task's config in a job.
func (*Driver) TaskConfigSchema() (*hclspec.Spec, error) { return taskConfigSpec, nil }

// Capabilities is what the driver can do.
func (*Driver) Capabilities() (*drivers.Capabilities, error) { return capabilities, nil }

// SetConfig checks the plugin's config and uses it from now on.
func (d *Driver) SetConfig(c *base.Config) error {
	if len(c.PluginConfig) == 0 {
		return nil // Nomad asks only for the plugin's name and version
	}
	var config Config
	if err := base.MsgPackDecode(c.PluginConfig, &config); err != nil {
		return fmt.Errorf("decode plugin config: %w", err)
	}
	s, err := config.check(os.Geteuid() == 0)
	if err != nil {
		return fmt.Errorf("plugin config: %w", err)
	}
	if why := s.notIsolated(); why != "" {
		d.log.Warn(why)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settings, d.notSet = s, nil
	compute := c.AgentConfig.Compute() // works on a nil AgentConfig
	d.cpu = cpuInfo{mhz: float64(compute.TotalCompute), cores: compute.NumCores}
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
	users int // how many hold it or wait for it
}

// lockRunDir allows one start, recovery or removal at a time in a run directory.
func (d *Driver) lockRunDir(runDir string) (unlock func()) {
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

// StartTask ends what an earlier start of the task left, and starts a seat. It
// returns when the stream host answers. The app may take minutes more; task
// events report its progress.
func (d *Driver) StartTask(cfg *drivers.TaskConfig) (_ *drivers.TaskHandle, _ *drivers.DriverNetwork, err error) {
	defer func() {
		if err != nil {
			releaseLogCollector(cfg.StdoutPath, cfg.StderrPath)
		}
	}()
	s, err := d.config()
	if err != nil {
		return nil, nil, err
	}
	if _, err := d.task(cfg.ID); err == nil {
		return nil, nil, fmt.Errorf("task %s is already started", cfg.ID)
	}
	streamHostPath, err := s.findStreamHost()
	if err != nil {
		return nil, nil, err
	}
	keeperPath, err := s.findSeatKeeper()
	if err != nil {
		return nil, nil, err
	}
	runDir := filepath.Join(s.runDir, seatDir(cfg.AllocID, cfg.Name))
	defer d.lockRunDir(runDir)()
	group := taskCgroup(cfg)
	if err := reap(d.ctx, runDir, group); err != nil {
		return nil, nil, fmt.Errorf("end what an earlier start left: %w", err)
	}
	environ := os.Environ()
	var users seatUsers
	release := func() {}
	if os.Geteuid() == 0 {
		if users, release, err = s.users.take(s.runDir); err != nil {
			return nil, nil, err
		}
	}
	spec, err := newSpec(s, cfg, users, environ)
	if err == nil {
		spec.StreamHost, spec.SeatKeeper = streamHostPath, keeperPath
		if err := group.prepare(spec, cfg.Resources); err != nil {
			d.log.Warn("cannot limit the seat's resources", "seat", cfg.AllocID, "error", err)
		}
		err = writeSpec(spec)
	}
	release()
	if err != nil {
		return nil, nil, err
	}
	state, w, err := launch(d.ctx, spec, cfg, environ)
	if err != nil {
		return nil, nil, err
	}
	handle := drivers.NewTaskHandle(handleVersion)
	handle.Config = cfg
	handle.State = drivers.TaskStateRunning
	if err := handle.SetDriverState(state); err != nil {
		w.close()
		return nil, nil, errors.Join(fmt.Errorf("encode task state: %w", err), reap(d.ctx, spec.RunDir, group))
	}
	d.log.Info("seat started", "seat", cfg.AllocID, "app", spec.App, "version", spec.Version, "pid", state.PID)
	d.keep(newTask(cfg, state, spec, w, d.events, d.log))
	return handle, nil, nil
}

// RecoverTask finds a seat again that an earlier plugin process started.
func (d *Driver) RecoverTask(handle *drivers.TaskHandle) error {
	if handle == nil || handle.Config == nil {
		return errors.New("recover task: Nomad gave no handle")
	}
	cfg := handle.Config
	if _, err := d.task(cfg.ID); err == nil {
		return nil // this process holds it
	}
	if handle.Version != handleVersion {
		return fmt.Errorf("recover task: its state has version %d; this driver reads version %d", handle.Version, handleVersion)
	}
	var state State
	if err := handle.GetDriverState(&state); err != nil {
		return fmt.Errorf("decode task state: %w", err)
	}
	defer d.lockRunDir(state.Dir)()
	t, err := d.recover(cfg, &state)
	if err != nil {
		// Nothing else will end what may be left of it.
		left := &wire.Spec{Nonce: state.Nonce}
		if spec, err := readSpec(state.Dir); err == nil && spec.Nonce == state.Nonce {
			left = spec
		}
		return errors.Join(fmt.Errorf("recover task: %w", err), endSeat(d.ctx, left, taskCgroup(cfg)))
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
		return nil, errors.New("its run directory belongs to another start")
	}
	// A stream host that ended while no plugin process ran, or ends just now, has
	// written how the seat ended.
	ended := func(why error) (*task, error) {
		if _, err := readExit(state.Dir, state.Nonce); err != nil {
			return nil, fmt.Errorf("its stream host died: %w", errors.Join(why, err))
		}
		return newTask(cfg, state, spec, nil, d.events, d.log), nil
	}
	w, err := watchProcess(state.process())
	if err != nil {
		return ended(err)
	}
	t := newTask(cfg, state, spec, w, d.events, d.log)
	status, err := t.control.status(d.ctx)
	switch {
	case err == nil && status.Nonce != state.Nonce:
		w.close()
		return nil, errors.New("another stream host serves its control socket")
	case err != nil && !marked(state.PID, state.Nonce):
		w.close()
		return ended(err)
	case err != nil:
		// Its environment proves that this is the process that was started. The
		// node is too busy for it to answer, and a person may use the seat.
		t.log.Warn("recovered a seat whose stream host does not answer yet", "error", err)
	}
	return t, nil
}

// WaitTask sends one result when the task has ended. It never closes the channel
// without a result: the agent would panic. The agent waits for a task only after
// it has stored the task's handle.
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

// StopTask asks the seat to end, and kills it after the timeout. An unknown task
// counts as stopped: the agent cannot see that error through gRPC, and would
// retry for ever.
func (d *Driver) StopTask(id string, timeout time.Duration, signal string) error {
	t, err := d.task(id)
	if err != nil {
		return nil
	}
	if signal != "" {
		if signal, err = signalName(signal); err != nil {
			d.log.Warn("stopping with SIGTERM instead", "seat", t.cfg.AllocID, "error", err)
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
			return errors.New("cannot destroy a running task without force")
		}
		if err := t.kill(d.ctx, "the task was destroyed"); err != nil {
			return err
		}
	}
	defer d.lockRunDir(t.state.Dir)()
	d.mu.Lock()
	delete(d.tasks, id)
	d.mu.Unlock()
	if spec, err := readSpec(t.state.Dir); err == nil && spec.Nonce != t.state.Nonce {
		return nil // the directory belongs to a later start now
	}
	return removeRunDir(t.state.Dir)
}

// destroyUnknown ends what may be left of a task that was not recovered. A task's
// id is alloc/task/random, and the random part changes with each start.
func (d *Driver) destroyUnknown(id string) error {
	parts := strings.Split(id, "/")
	s, err := d.config()
	if err != nil || len(parts) != 3 {
		return nil
	}
	dir := filepath.Join(s.runDir, seatDir(parts[0], parts[1]))
	defer d.lockRunDir(dir)()
	if d.holds(dir) {
		return nil // a later start of the task
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return reap(d.ctx, dir, cgroup{})
}

// InspectTask is a task's state.
func (d *Driver) InspectTask(id string) (*drivers.TaskStatus, error) {
	t, err := d.task(id)
	if err != nil {
		return nil, err
	}
	return t.status(), nil
}

// TaskStats sends what all processes of a seat use together.
func (d *Driver) TaskStats(ctx context.Context, id string, interval time.Duration) (<-chan *drivers.TaskResourceUsage, error) {
	t, err := d.task(id)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	meter := &meter{nonce: t.state.Nonce, group: t.group, cpu: d.cpu}
	d.mu.Unlock()
	return meter.follow(ctx, t.done, max(interval, 100*time.Millisecond)), nil
}

// TaskEvents sends the events of all seats, each once.
func (d *Driver) TaskEvents(ctx context.Context) (<-chan *drivers.TaskEvent, error) {
	return d.events.follow(ctx), nil
}

// SignalTask sends a signal to the app.
func (d *Driver) SignalTask(id, signal string) error {
	t, err := d.task(id)
	if err != nil {
		return err
	}
	name, err := signalName(signal)
	if err != nil {
		return err
	}
	return t.control.signal(d.ctx, name)
}

// Fingerprint sends what this node can do, at once and then periodically.
func (d *Driver) Fingerprint(ctx context.Context) (<-chan *drivers.Fingerprint, error) {
	d.startRegistrar()
	out := make(chan *drivers.Fingerprint)
	go d.fingerprint(ctx, out)
	return out, nil
}
