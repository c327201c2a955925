package app

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
)

func TestSignalReachesTheApp(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		p := run(t, sh(cfg, `trap 'echo got; exit 4' HUP; echo up; while :; do sleep 0.01; done`))
		testkit.Until(t, "trap", func() bool { return strings.Contains(output(t, cfg), "up") })
		if err := p.Signal("SIGNAL"); err == nil {
			t.Error("no error for the unknown signal SIGNAL")
		}
		testkit.Must(t, p.Signal("SIGHUP"))
		wait(t, p)
		if code, _ := p.Exit(); code != 4 {
			t.Errorf("exit %d, output %q", code, output(t, cfg))
		}
	})
}

// stubborn leaves a daemon and ignores every signal that can be ignored.
const stubborn = `setsid sh -c '(trap "" TERM HUP INT; setsid sleep 1000 & setsid sleep 1000) &' &
	trap '' TERM; echo up; while :; do sleep 0.01; done`

// daemons counts the daemons among processes.
func daemons(pids []int) (n int) {
	for _, pid := range pids {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && string(b) == "sleep\x001000\x00" {
			n++
		}
	}
	return n
}

func TestStopLeavesNoProcess(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		p := run(t, sh(cfg, stubborn))
		var pids []int
		testkit.Until(t, "daemons", func() bool { pids = p.Pids(); return daemons(pids) == 2 })
		if !slices.Contains(pids, p.PID()) || p.PID() == 0 {
			t.Errorf("Pids %v without PID %d", pids, p.PID())
		}
		testkit.Must(t, p.Freeze()) // Stop must thaw it
		testkit.Must(t, p.Stop("SIGINT", 50*time.Millisecond))
		select {
		case <-p.Done():
		default:
			t.Error("Stop returned before the end")
		}
		checkGone(t, pids)
	})
}

func TestStopLetsTheAppSave(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		p := run(t, sh(cfg, `trap 'echo saved; exit 0' TERM; echo up; sleep 1000 & wait`))
		testkit.Until(t, "trap", func() bool { return strings.Contains(output(t, cfg), "up") })
		testkit.Must(t, p.Freeze())
		testkit.Must(t, p.Stop("", 10*time.Second))
		if code, sig := p.Exit(); code != 0 || sig != 0 || !strings.Contains(output(t, cfg), "saved") {
			t.Errorf("exit %d, signal %d, output %q", code, sig, output(t, cfg))
		}
	})
}

func TestExitEndsDaemons(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		fifo := filepath.Join(cfg.Dir, "go")
		testkit.Must(t, unix.Mkfifo(fifo, 0o666))
		p := run(t, sh(cfg, `setsid sh -c 'setsid sleep 1000 & setsid sleep 1000' & read x < go; exit 5`))
		var pids []int
		testkit.Until(t, "daemons", func() bool { pids = p.Pids(); return daemons(pids) == 2 })
		testkit.Must(t, os.WriteFile(fifo, []byte("x\n"), 0))
		wait(t, p)
		if code, _ := p.Exit(); code != 5 {
			t.Errorf("exit %d", code)
		}
		checkGone(t, pids)
	})
}

func TestFreezeUsesNoProcessor(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		p := run(t, sh(cfg, `(setsid sh -c 'while :; do :; done' &) ; while :; do i=$((i+1)); done`))
		testkit.Until(t, "work", func() bool { return len(p.Pids()) >= 2 && ticks(p) > 0 })
		testkit.Must(t, p.Freeze())
		testkit.Until(t, "standstill", func() bool { return allStopped(p) })
		before := ticks(p)
		// Let time pass: run another process for a while.
		if err := exec.CommandContext(within(t), "sleep", "0.3").Run(); err != nil {
			t.Fatal(err)
		}
		if after := ticks(p); after != before {
			t.Errorf("a frozen app used %d ticks", after-before)
		}
		testkit.Must(t, p.Freeze()) // twice is harmless
		testkit.Must(t, p.Thaw())
		testkit.Until(t, "work after the thaw", func() bool { return ticks(p) > before })
	})
}

func TestFreezeWhileForking(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		p := run(t, sh(cfg, `while :; do /bin/true & done`))
		testkit.Until(t, "children", func() bool { return len(p.Pids()) >= 2 })
		for range 5 {
			testkit.Must(t, p.Freeze())
			testkit.Until(t, "standstill", func() bool { return allStopped(p) })
			testkit.Must(t, p.Thaw())
		}
	})
}

// TestKilledStreamHostLeavesNoProcess kills a process that runs an app.
func TestKilledStreamHostLeavesNoProcess(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		cmd := exec.CommandContext(within(t), self, "stream-host", cfg.Dir, strconv.FormatBool(cfg.Isolate))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		testkit.Must(t, err)
		testkit.Must(t, cmd.Start())
		line, err := bufio.NewReader(out).ReadString('\n')
		testkit.Must(t, err)
		var pids []int
		testkit.Must(t, json.Unmarshal([]byte(line), &pids))
		cmd.Process.Kill()
		cmd.Wait()
		checkGone(t, pids)
	})
}

// runStreamHost runs a stubborn app, prints its processes, and waits to be killed.
func runStreamHost(args []string) {
	p, err := Start(context.Background(), sh(Config{Dir: args[0], Isolate: args[1] == "true"}, stubborn))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for tick := time.NewTicker(2 * time.Millisecond); daemons(p.Pids()) < 2; {
		<-tick.C // there is no event to wait for; the test has the deadline
	}
	json.NewEncoder(os.Stdout).Encode(append(p.Pids(), p.parent))
	<-p.Done()
	os.Exit(0)
}

func checkGone(t *testing.T, pids []int) {
	t.Helper()
	testkit.Until(t, "end of all", func() bool {
		return !slices.ContainsFunc(pids, func(pid int) bool {
			_, alive := processStat(pid)
			return alive
		})
	})
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err == nil {
			if _, alive := processStat(pid); alive {
				t.Errorf("process %d is left", pid)
			}
		}
	}
}

func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
}

// ticks is the processor time of the app's processes.
func ticks(p *Process) (sum int) {
	for _, pid := range p.Pids() {
		if f := stat(pid); len(f) > 13 {
			user, _ := strconv.Atoi(f[11])
			system, _ := strconv.Atoi(f[12])
			sum += user + system
		}
	}
	return sum
}

func allStopped(p *Process) bool {
	for _, pid := range p.Pids() {
		if f := stat(pid); len(f) > 0 && f[0] != "T" {
			return false
		}
	}
	return true
}
