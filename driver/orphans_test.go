package driver

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins/drivers"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/unixuser"
)

// startArg makes this binary a plugin that starts one task and is killed by the
// stream host before that answers.
const startArg = "start-and-die"

type startOrder struct {
	Alloc, AllocDir, RunDir, Keys string
	Env                           map[string]string
}

func startAndDie(order string) {
	var o startOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		panic(err)
	}
	self, _ := os.Executable()
	d := New(context.Background(), hclog.NewNullLogger())
	d.notSet = nil
	d.settings = settings{streamHost: self, seatKeeper: self, users: userRange{unixuser.Seats.Min, 100}, allow: allowed{networks: []string{"none"}}, runDir: o.RunDir, ticketKeys: o.Keys, orphanGrace: time.Hour}
	o.Env["FAKE"] = "parricide"
	cfg := job("sleep 1000", o.Env)
	cfg.AllocID, cfg.AllocDir = o.Alloc, o.AllocDir
	_, _, err := d.StartTask(cfg)
	fmt.Fprintln(os.Stderr, "the plugin still runs:", err)
	os.Exit(1)
}

// orphaned lets a plugin die inside StartTask, and returns the seat that it leaves.
func (b *bench) orphaned(env map[string]string) (cfg *drivers.TaskConfig, dir, nonce string) {
	b.t.Helper()
	cfg = job("sleep 1000", nil)
	b.t.Cleanup(b.MkAllocDir(cfg, false))
	os.Chmod(filepath.Dir(cfg.AllocDir), 0o755)
	if env == nil {
		env = map[string]string{}
	}
	order, err := json.Marshal(startOrder{cfg.AllocID, cfg.AllocDir, b.runDir, filepath.Join(filepath.Dir(b.runDir), "keys.pem"), env})
	if err != nil {
		b.t.Fatal(err)
	}
	self, _ := os.Executable()
	cmd := exec.CommandContext(b.t.Context(), self, startArg, string(order))
	out, err := cmd.CombinedOutput()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != unix.SIGKILL {
		b.t.Fatalf("the plugin ended by itself: %v\n%s", err, out)
	}
	dir = filepath.Join(b.runDir, seatDir(cfg.AllocID, cfg.Name))
	spec, err := readSpec(dir)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { killFamily(context.Background(), markOf(spec), cgroup{}) })
	if n := seatProcesses(b.t, spec.Nonce); n == 0 {
		b.t.Fatal("nothing was started")
	}
	return cfg, dir, spec.Nonce
}

func TestOrphanIsEnded(t *testing.T) {
	b := newBench(t, `orphan_grace = "1s"`)
	_, dir, nonce := b.orphaned(nil)
	eventually(t, "the orphan ends and its directory goes", func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err) && seatProcesses(t, nonce) == 0
	})
}

// overdue is what a plugin knows of seats that it saw first long ago.
func (b *bench) overdue() map[string]orphan {
	b.t.Helper()
	known := map[string]orphan{}
	// The driver's own first sweep may run now and hold the lock.
	eventually(b.t, "seats are suspected", func() bool {
		if err := b.driver.sweep(b.runDir, time.Hour, known); err != nil {
			b.t.Fatal(err)
		}
		return len(known) > 0
	})
	for dir, o := range known {
		known[dir] = orphan{o.nonce, o.since.Add(-2 * time.Hour)}
	}
	return known
}

func TestSweepLeavesWhatIsNoOrphan(t *testing.T) {
	dir := testkit.ShortDir(t)
	first := benchAt(t, dir, "")
	// Nomad waited for this one, so it has the handle and may recover it at any time.
	adoptedCfg := job("sleep 1000", nil)
	waited := stateOf(t, first.start(adoptedCfg))
	if _, err := first.WaitTask(t.Context(), adoptedCfg.ID); err != nil {
		t.Fatal(err)
	}
	// Of this one Nomad only stored the handle.
	recoveredCfg := job("sleep 1000", nil)
	handle := first.start(recoveredCfg)
	first.crash()

	second := benchAt(t, dir, "")
	for _, s := range []State{waited, stateOf(t, handle)} {
		t.Cleanup(func() { killFamily(context.Background(), mark{nonce: s.Nonce}, cgroup{}) })
	}
	_, played, playedNonce := second.orphaned(map[string]string{"FAKE_STATE": "streaming"})
	_, orphan, orphanNonce := second.orphaned(nil)
	known := second.overdue()
	if known[played].nonce == "" || known[orphan].nonce == "" || known[stateOf(t, handle).Dir].nonce == "" {
		t.Fatalf("only %v are suspected", known)
	}
	if known[waited.Dir].nonce != "" {
		t.Error("a seat for which Nomad waited is suspected")
	}
	// Between two sweeps one is recovered, and another is started.
	if err := second.RecoverTask(handle); err != nil {
		t.Fatal(err)
	}
	held := stateOf(t, second.start(job("sleep 1000", nil)))
	if err := second.driver.endOrphan(stateOf(t, handle).Dir, known[stateOf(t, handle).Dir]); err != nil {
		t.Error(err)
	}
	if err := second.driver.sweep(second.runDir, time.Hour, known); err != nil {
		t.Error(err)
	}
	for what, nonce := range map[string]string{
		"Nomad waited for": waited.Nonce, "was recovered": stateOf(t, handle).Nonce,
		"a person uses": playedNonce, "this plugin started": held.Nonce,
	} {
		if seatProcesses(t, nonce) == 0 {
			t.Errorf("ended the seat that %s", what)
		}
	}
	if n := seatProcesses(t, orphanNonce); n != 0 {
		t.Errorf("%d processes of the orphan are left", n)
	}
	// A recovered seat stays adopted after the plugin has ended.
	second.crash()
	third := benchAt(t, dir, "")
	if len(third.overdue()) != 2 { // the one that a person uses, and the one just started
		t.Errorf("suspects %v", third.overdue())
	}
}

// After an orphan the same task starts again, with the same run directory.
func TestSweepLeavesTheNextStart(t *testing.T) {
	b := newBench(t, "")
	cfg, dir, old := b.orphaned(nil)
	known := b.overdue()
	now := stateOf(t, b.start(cfg))
	if now.Dir != dir || now.Nonce == old {
		t.Fatalf("started as %+v", now)
	}
	b.driver.mu.Lock()
	b.driver.tasks = map[string]*task{} // as another plugin's
	b.driver.mu.Unlock()
	t.Cleanup(func() { killFamily(context.Background(), mark{nonce: now.Nonce}, cgroup{}) })
	if err := b.driver.sweep(b.runDir, time.Hour, known); err != nil {
		t.Fatal(err)
	}
	if seatProcesses(t, now.Nonce) == 0 || seatProcesses(t, old) != 0 {
		t.Error("the wrong start was ended")
	}
}

// Nomad's log collector waits for a writer, also where no app starts.
func TestLogsAreAlwaysOpened(t *testing.T) {
	b := newBench(t, "")
	for name, c := range map[string]struct {
		script string
		env    map[string]string
		bad    bool
	}{
		"the stream host refuses": {"true", map[string]string{"FAKE": "refuse"}, false},
		"the config is bad":       {"true", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := job(c.script, c.env)
			if c.bad {
				bad := validTask()
				bad.Display.FPS = 500
				cfg.EncodeConcreteDriverConfig(bad)
			}
			dir := t.TempDir()
			cfg.StdoutPath, cfg.StderrPath = filepath.Join(dir, "out"), filepath.Join(dir, "err")
			collected := make(chan error, 2)
			for _, path := range []string{cfg.StdoutPath, cfg.StderrPath} {
				if err := unix.Mkfifo(path, 0o600); err != nil {
					t.Fatal(err)
				}
				go func() {
					_, err := os.ReadFile(path)
					collected <- err
				}()
			}
			// The collectors wait in open before the task starts.
			eventually(t, "two collectors wait", func() bool { return waitingForWriters() >= 2 })
			if _, err := b.tryStart(cfg); (err != nil) != c.bad {
				t.Fatal(err)
			}
			for range 2 {
				select {
				case err := <-collected:
					if err != nil {
						t.Error(err)
					}
				case <-time.After(60 * time.Second):
					t.Fatal("a log FIFO is never opened")
				}
			}
		})
	}
}

// waitingForWriters is the number of this process's threads that wait to open a FIFO.
func waitingForWriters() (n int) {
	tasks, _ := filepath.Glob("/proc/self/task/*/wchan")
	for _, path := range tasks {
		if b, err := os.ReadFile(path); err == nil && string(b) == "wait_for_partner" {
			n++
		}
	}
	return n
}
