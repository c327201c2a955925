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

// State is what Nomad stores of a task, and gives to RecoverTask.
type State struct {
	Dir       string    `codec:"dir"` // the seat's run directory
	PID       int       `codec:"pid"` // of the keeper; of the stream host in seats of builds without keepers
	StartTime uint64    `codec:"start_time"`
	Nonce     string    `codec:"nonce"`
	Started   time.Time `codec:"started"`
}

func (s *State) process() procID { return procID{s.PID, s.StartTime} }

// A task is one seat, from its start or recovery to DestroyTask.
type task struct {
	cfg        *drivers.TaskConfig
	state      *State
	spec       *wire.Spec
	group      cgroup
	control    *controlClient
	streamHost *watch // of State.PID; nil where that process had ended before recovery
	events     *events
	log        hclog.Logger

	done    chan struct{} // closed after the three below are set
	end     wire.End
	exit    *drivers.ExitResult
	endedAt time.Time

	mu sync.Mutex
	// killed is why the driver killed the stream host, which then cannot tell.
	killed *wire.End
	// reported is the reason for the end that the stream host gave in an event.
	reported string
	read     int // Seq of the last event read
	// adopted is whether the run directory has the file of that name.
	adopted bool
}

// seqFile holds the Seq of the last event that Nomad has received.
const seqFile = "events.seq"

func newTask(cfg *drivers.TaskConfig, state *State, spec *wire.Spec, streamHost *watch, ev *events, log hclog.Logger) *task {
	t := &task{
		cfg: cfg, state: state, spec: spec, streamHost: streamHost, events: ev,
		group:   taskCgroup(cfg),
		control: newControlClient(state.Dir),
		log:     log.With("alloc", cfg.AllocID, "task", cfg.Name),
		done:    make(chan struct{}),
	}
	if b, err := os.ReadFile(filepath.Join(state.Dir, seqFile)); err == nil {
		t.read, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	return t
}

// run follows the seat until it ends. When ctx ends first, the seat continues.
func (t *task) run(ctx context.Context) {
	defer t.control.close()
	if t.streamHost != nil {
		defer t.streamHost.close()
		followed := make(chan struct{})
		go func() {
			defer close(followed)
			t.follow(ctx)
		}()
		stop := context.AfterFunc(ctx, t.streamHost.close)
		err := t.streamHost.wait()
		stop()
		// The event stream ends with the stream host: its last events are read now.
		<-followed
		if err != nil || ctx.Err() != nil {
			return
		}
	}
	t.finish(ctx)
}

// finish kills what is left of the seat and then reports how it ended.
func (t *task) finish(ctx context.Context) {
	end, err := readExit(t.state.Dir, t.state.Nonce)
	if err != nil {
		t.mu.Lock()
		killed := t.killed
		t.mu.Unlock()
		if killed != nil {
			end = *killed
		} else {
			end = wire.End{Reason: wire.ReasonError, Code: wire.CodeStreamHostDied, Detail: "the stream host died" + logEnd(t.state.Dir)}
		}
	}
	releaseLogCollector(t.spec.Stdout, t.spec.Stderr)
	oom := end.Failed() && t.group.oomKills() > 0
	if oom && err != nil {
		end = t.spec.Memory.Explain(end, 0) // the stream host could not
	}
	oom = oom && (err != nil || end.Code == wire.CodeMemory) // a program that the kernel ended hours ago ended no seat
	if err := endSeat(ctx, t.spec, t.group); err != nil {
		t.log.Error("cannot end all of the seat", "error", err)
	}
	if end.Failed() {
		t.log.Error("seat failed", "end", end.String(), "run_dir", t.state.Dir)
	} else {
		t.log.Info("seat ended", "end", end.String())
	}
	t.end, t.exit, t.endedAt = end, exitResult(end, oom), time.Now()
	t.mu.Lock()
	reported := t.reported == string(end.Reason)
	t.mu.Unlock()
	if !reported {
		t.emit(t.endedAt, end.String(), endAnnotations(end), func() {})
	}
	close(t.done)
}

// exitResult translates an end for Nomad.
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

// follow passes each event of the stream host on once, until the stream host ends.
func (t *task) follow(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gone := make(chan struct{})
	go func() {
		t.streamHost.wait()
		close(gone)
		// Its last events can still be read from the stream. A child of it may
		// keep the stream open for longer.
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
				t.log.Debug("retrying to follow events", "error", err)
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
		t.reported = r
	}
	t.mu.Unlock()
	t.emit(e.Time, e.Message, e.Annotations, func() {
		if err := writeFile(filepath.Join(t.state.Dir, seqFile), []byte(strconv.Itoa(e.Seq))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.log.Warn("cannot store which event was delivered last", "error", err)
		}
	})
}

func (t *task) emit(at time.Time, message string, annotations map[string]string, delivered func()) {
	t.events.emit(&drivers.TaskEvent{
		TaskID: t.cfg.ID, TaskName: t.cfg.Name, AllocID: t.cfg.AllocID,
		Timestamp: at, Message: message, Annotations: annotations,
	}, delivered)
}

// running reports whether the seat has not ended yet.
func (t *task) running() bool {
	select {
	case <-t.done:
		return false
	default:
		return true
	}
}

// stopSlack is how long a stream host may take, after the app's timeout, to
// write how the seat ended.
const stopSlack = 3 * time.Second

// stop returns when the seat has ended. It asks the stream host first, and kills
// after the timeout.
func (t *task) stop(ctx context.Context, timeout time.Duration, signal string) error {
	if !t.running() {
		return nil
	}
	req := wire.StopRequest{Reason: wire.ReasonDrained, Signal: signal, TimeoutMS: timeout.Milliseconds()}
	if err := t.control.stop(ctx, req); err != nil {
		t.log.Warn("cannot ask the stream host to stop: sending SIGTERM", "error", err)
		if t.streamHost != nil {
			t.streamHost.signal(unix.SIGTERM)
		}
	}
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(timeout + stopSlack):
	}
	return t.kill(ctx, fmt.Sprintf("the seat did not end within %s and was killed", short(timeout)))
}

// kill ends the seat without asking, and returns when it has ended.
func (t *task) kill(ctx context.Context, why string) error {
	t.mu.Lock()
	t.killed = &wire.End{Reason: wire.ReasonDrained, Detail: why}
	t.mu.Unlock()
	if err := killFamily(ctx, markOf(t.spec), t.group); err != nil {
		return err
	}
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(killTimeout):
		return fmt.Errorf("stream host %d still runs %s after SIGKILL", t.state.PID, short(killTimeout))
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
		s.State, s.CompletedAt, s.ExitResult = drivers.TaskStateExited, t.endedAt, t.exit.Copy()
		s.DriverAttributes["end"] = t.end.String()
	}
	return s
}
