package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins/drivers"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// A task is one seat as the driver holds it.
type task struct {
	cfg     *drivers.TaskConfig
	state   *State
	spec    *wire.Spec
	group   cgroup
	control *control
	host    *watch // nil where the stream host had ended before we came
	events  *events
	log     hclog.Logger

	done chan struct{} // closed after the three below are set
	end  wire.End
	exit *drivers.ExitResult
	at   time.Time

	mu sync.Mutex
	// killed is why we killed the stream host, if we did: it then cannot say.
	killed *wire.End
	// told is the reason that the stream host gave in an event of its own.
	told string
	read int // Seq of the last event read
	// adopted is whether the run directory is marked so.
	adopted bool
}

// seqFile remembers the last event that Nomad got.
const seqFile = "events.seq"

func newTask(cfg *drivers.TaskConfig, state *State, spec *wire.Spec, host *watch, ev *events, log hclog.Logger) *task {
	t := &task{
		cfg: cfg, state: state, spec: spec, host: host, events: ev,
		group:   taskCgroup(cfg),
		control: newControl(state.Dir),
		log:     log.With("alloc", cfg.AllocID, "task", cfg.Name),
		done:    make(chan struct{}),
	}
	if b, err := os.ReadFile(filepath.Join(state.Dir, seqFile)); err == nil {
		t.read, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	return t
}

// run stays with the seat until its end, or until ctx ends: then the seat goes
// on without us.
func (t *task) run(ctx context.Context) {
	defer t.control.close()
	if t.host != nil {
		defer t.host.close()
		followed := make(chan struct{})
		go func() {
			defer close(followed)
			t.follow(ctx)
		}()
		stop := context.AfterFunc(ctx, t.host.close)
		err := t.host.wait()
		stop()
		// The stream ends with the stream host; what it said last is read by then.
		<-followed
		if err != nil || ctx.Err() != nil {
			return
		}
	}
	t.finish(ctx)
}

// finish says how the seat ended, after nothing of it is left.
func (t *task) finish(ctx context.Context) {
	end, err := readExit(t.state.Dir, t.state.Nonce)
	if err != nil {
		t.mu.Lock()
		killed := t.killed
		t.mu.Unlock()
		if killed != nil {
			end = *killed
		} else {
			end = wire.End{Reason: wire.ReasonError, Code: wire.CodeStreamHostDied, Detail: "the stream host vanished" + lastWords(t.state.Dir)}
		}
	}
	touchLogs(t.spec.Stdout, t.spec.Stderr)
	oom := end.Failed() && t.group.oomKills() > 0
	if err := killFamily(ctx, t.state.Nonce, t.group); err != nil {
		t.log.Error("kill what is left of seat", "error", err)
	}
	if end.Failed() {
		t.log.Error("seat failed", "end", end.String(), "run_dir", t.state.Dir)
	} else {
		t.log.Info("seat ended", "end", end.String())
	}
	t.end, t.exit, t.at = end, exitResult(end, oom), time.Now()
	t.mu.Lock()
	told := t.told == string(end.Reason)
	t.mu.Unlock()
	if !told {
		t.emit(t.at, end.String(), endAnnotations(end), func() {})
	}
	close(t.done)
}

// exitResult is an end in Nomad's terms.
func exitResult(end wire.End, oom bool) *drivers.ExitResult {
	if !end.Failed() {
		return &drivers.ExitResult{}
	}
	r := &drivers.ExitResult{ExitCode: 1, Err: errors.New(end.String()), OOMKilled: oom}
	if end.Reason == wire.ReasonAppExited {
		r.Signal = end.Signal
		if end.ExitCode != 0 {
			r.ExitCode = end.ExitCode
		}
	}
	return r
}

func endAnnotations(end wire.End) map[string]string {
	a := map[string]string{"reason": string(end.Reason)}
	if end.Code != "" {
		a["code"] = end.Code
	}
	return a
}

// follow passes the stream host's events on, each once, until the host is gone.
func (t *task) follow(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gone := make(chan struct{})
	go func() {
		t.host.wait()
		close(gone)
		// What it wrote before can be read to the end of the stream; but a
		// child of it may hold the stream open.
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Second):
			cancel()
		}
	}()
	for {
		err := t.control.events(ctx, t.read, t.pass)
		select {
		case <-gone:
			return
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
			if err != nil {
				t.log.Debug("follow events again", "error", err)
			}
		}
	}
}

func (t *task) pass(e wire.StreamHostEvent) {
	if e.Seq <= t.read {
		return
	}
	t.read = e.Seq
	t.mu.Lock()
	if r := e.Annotations["reason"]; r != "" {
		t.told = r
	}
	t.mu.Unlock()
	t.emit(e.Time, e.Message, e.Annotations, func() {
		if err := writeFile(filepath.Join(t.state.Dir, seqFile), []byte(strconv.Itoa(e.Seq))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.log.Warn("remember event", "error", err)
		}
	})
}

func (t *task) emit(at time.Time, message string, annotations map[string]string, delivered func()) {
	t.events.emit(&drivers.TaskEvent{
		TaskID: t.cfg.ID, TaskName: t.cfg.Name, AllocID: t.cfg.AllocID,
		Timestamp: at, Message: message, Annotations: annotations,
	}, delivered)
}

// running reports whether the seat has not ended.
func (t *task) running() bool {
	select {
	case <-t.done:
		return false
	default:
		return true
	}
}

// stopSlack is what a stream host gets beyond the app's timeout to say its end.
const stopSlack = 3 * time.Second

// stop ends the seat, in order if that can be, and returns when it has ended.
func (t *task) stop(ctx context.Context, timeout time.Duration, signal string) error {
	if !t.running() {
		return nil
	}
	req := wire.StopRequest{Reason: wire.ReasonDrained, Signal: signal, TimeoutMS: timeout.Milliseconds()}
	if err := t.control.stop(ctx, req); err != nil {
		t.log.Warn("stop in order", "error", err)
		if t.host != nil {
			t.host.signal(unix.SIGTERM)
		}
	}
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(timeout + stopSlack):
	}
	return t.kill(ctx, fmt.Sprintf("it did not end within %s and was killed", short(timeout)))
}

// kill ends the seat at once and returns when it has ended.
func (t *task) kill(ctx context.Context, why string) error {
	t.mu.Lock()
	t.killed = &wire.End{Reason: wire.ReasonDrained, Detail: why}
	t.mu.Unlock()
	if err := killFamily(ctx, t.state.Nonce, t.group); err != nil {
		return err
	}
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(killTimeout):
		return fmt.Errorf("stream host %d survives SIGKILL", t.state.PID)
	}
}

func (t *task) status() *drivers.TaskStatus {
	s := &drivers.TaskStatus{
		ID: t.cfg.ID, Name: t.cfg.Name,
		State:            drivers.TaskStateRunning,
		StartedAt:        t.state.Started,
		DriverAttributes: map[string]string{"pid": strconv.Itoa(t.state.PID), "run_dir": t.state.Dir},
	}
	if !t.running() {
		s.State, s.CompletedAt, s.ExitResult = drivers.TaskStateExited, t.at, t.exit.Copy()
		s.DriverAttributes["end"] = t.end.String()
	}
	return s
}
