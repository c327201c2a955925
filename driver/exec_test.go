package driver

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers/testutils"
)

// The conformance tests of the plugin SDK: pipes, a terminal, its size, input.
func TestExecStreaming(t *testing.T) {
	for name, isolate := range map[string]string{"beside": "", "in namespaces": "isolate = true"} {
		t.Run(name, func(t *testing.T) {
			if isolate != "" && !isRoot {
				t.Skip("only root can isolate apps")
			}
			b := newBench(t, "")
			b.driver.mu.Lock()
			b.driver.settings.isolate = isolate != ""
			b.driver.mu.Unlock()
			cfg := job("sleep 1000", map[string]string{"HOME": "/of/the/job"})
			b.start(cfg)
			testutils.TestExecTaskStreamingBasicResponses(t, b.DriverHarness, cfg.ID)

			code, out, _ := testutils.ExecTask(t, b.DriverHarness, cfg.ID, "id -u; echo $HOME; echo $NEARCAST_NONCE; readlink /proc/self/ns/net; pwd", false, "")
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if code != 0 || len(lines) != 5 {
				t.Fatalf("code %d:\n%s", code, out)
			}
			if isRoot && !ofASeat(lines[0]) || lines[1] != "/of/the/job" || lines[2] == "" || lines[4] != cfg.TaskDir().Dir {
				t.Errorf("got %q", lines)
			}
			ours, _ := os.Readlink("/proc/self/ns/net")
			if inside := lines[3] != ours; inside != (isolate != "") {
				t.Errorf("network namespace %s, the node's is %s", lines[3], ours)
			}
			// More than a terminal's buffer holds must all arrive.
			_, out, _ = testutils.ExecTask(t, b.DriverHarness, cfg.ID, "seq 1 30000", true, "")
			if !strings.HasSuffix(out, "\r\n30000\r\n") {
				t.Errorf("%d bytes came, the last %q", len(out), out[max(0, len(out)-20):])
			}
		})
	}
}

// ofASeat reports whether a uid, or a uid and its gid, is one that seats give to their apps by default.
func ofASeat(text string) bool {
	uid, gid, both := strings.Cut(text, ":")
	id, err := strconv.Atoi(uid)
	return err == nil && id >= 2_000_000_000 && id < 2_000_010_000 && (!both || uid == gid)
}

// A command beside the app runs as the app's user, in every form of the grammar.
func TestExecAsTheAppsUser(t *testing.T) {
	if !isRoot {
		t.Skip("only root runs apps as other users")
	}
	b := newBench(t, `allow {
    users = ["nobody", "65534", "nobody:nogroup", "nobody:0", "1000:1000", "1000:nogroup"]
  }`)
	for _, isolate := range []bool{false, true} {
		b.driver.mu.Lock()
		b.driver.settings.isolate = isolate
		b.driver.mu.Unlock()
		for user, want := range map[string]string{
			"nobody": "65534:65534", "65534": "65534:65534", "nobody:nogroup": "65534:65534", "nobody:0": "65534:0",
			"1000:1000": "1000:1000", "1000:nogroup": "1000:65534", "": "one of the seat's own",
		} {
			t.Run(fmt.Sprintf("%s isolate=%v", user, isolate), func(t *testing.T) {
				cfg := job("sleep 1000", nil)
				task := shTask("sleep 1000")
				task.User = user
				cfg.EncodeConcreteDriverConfig(task)
				b.start(cfg)
				code, out, _ := testutils.ExecTask(t, b.DriverHarness, cfg.ID, "echo $(id -u):$(id -g)", false, "")
				if got := strings.TrimSpace(out); user == "" && ofASeat(got) {
					return
				}
				if code != 0 || strings.TrimSpace(out) != want {
					t.Errorf("code %d, %q; want %s", code, out, want)
				}
			})
		}
	}
}

// The pid of a cell that has ended may be root's by now.
func TestPidOfAnotherProcess(t *testing.T) {
	b := newBench(t, "")
	cfg := job("sleep 1000", nil)
	b.start(cfg)
	task, err := b.driver.task(cfg.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := task.holds(os.Getpid()); err == nil {
		t.Error("this process counts as one of the seat's")
	}
}

func TestExecTask(t *testing.T) {
	b := newBench(t, "")
	cfg := job("sleep 1000", nil)
	b.start(cfg)
	r, err := b.ExecTask(cfg.ID, []string{"sh", "-c", "echo out; echo err >&2; exit 3"}, 10*time.Second)
	if err != nil || r.ExitResult.ExitCode != 3 || string(r.Stdout) != "out\n" || string(r.Stderr) != "err\n" {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := b.ExecTask(cfg.ID, nil, time.Second); err == nil {
		t.Error("no command: no error")
	}
	r, err = b.ExecTask(cfg.ID, []string{"no-such-program"}, 10*time.Second)
	if err != nil || r.ExitResult.ExitCode != 127 || !strings.Contains(string(r.Stderr), "no-such-program") {
		t.Errorf("no such program: %+v, %v", r, err)
	}
	start := time.Now()
	if _, err := b.ExecTask(cfg.ID, []string{"sh", "-c", "sleep 1000 & sleep 1000"}, 300*time.Millisecond); err == nil {
		t.Error("a command outlived its timeout")
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("it took %s", d)
	}
	if err := b.StopTask(cfg.ID, time.Second, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ExecTask(cfg.ID, []string{"true"}, time.Second); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("got %v", err)
	}
}
