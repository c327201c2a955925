package driver

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/plugins/drivers"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// A start that Nomad does not know, because the plugin died in it, must not
// continue beside the next one.
func TestStartReapsWhatAnEarlierStartLeft(t *testing.T) {
	for _, answers := range []bool{true, false} {
		t.Run(fmt.Sprintf("answers=%v", answers), func(t *testing.T) {
			dir := testkit.ShortDir(t)
			first := benchAt(t, dir, "")
			cfg := job("sleep 1000 & sleep 1000", nil)
			old := stateOf(t, first.start(cfg))
			first.crash()
			if !answers {
				unix.Kill(old.PID, unix.SIGKILL)
			}
			second := benchAt(t, dir, "")
			again := cfg.Copy()
			again.ID = cfg.AllocID + "/seat/" + uuid.Short()
			again.EncodeConcreteDriverConfig(shTask("sleep 1000"))
			now := stateOf(t, second.start(again))
			if n := seatProcesses(t, old.Nonce); n != 0 {
				t.Errorf("%d processes of the earlier start are left", n)
			}
			if n := seatProcesses(t, now.Nonce); n == 0 {
				t.Error("the new start does not run")
			}
			if now.Dir != old.Dir {
				t.Errorf("another directory: %s, %s", now.Dir, old.Dir)
			}
			// What Nomad does with the earlier id must not reach the new start.
			if err := second.DestroyTask(cfg.ID, true); err != nil {
				t.Error(err)
			}
			if n := seatProcesses(t, now.Nonce); n == 0 {
				t.Error("destroying the earlier start ended the new one")
			}
		})
	}
}

func TestRecoverTask(t *testing.T) {
	dir := testkit.ShortDir(t)
	first := benchAt(t, dir, "")
	cfg := job("trap 'exit 5' HUP; while :; do sleep 0.05; done", nil)
	h := first.start(cfg)
	events, err := first.TaskEvents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, want := range []string{"fetching content", "app started", "ready"} {
		e := <-events
		seen[e.Message]++
		if e.Message != want {
			t.Fatalf("event %q, want %q", e.Message, want)
		}
	}
	eventually(t, "the last event is remembered", func() bool {
		b, _ := os.ReadFile(filepath.Join(stateOf(t, h).Dir, seqFile))
		return string(b) == "3"
	})
	first.crash()

	second := benchAt(t, dir, "")
	events, err = second.TaskEvents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // twice: the agent may ask again
		if err := second.RecoverTask(h); err != nil {
			t.Fatal(err)
		}
	}
	s, err := second.InspectTask(cfg.ID)
	if err != nil || s.State != drivers.TaskStateRunning || s.DriverAttributes["pid"] != fmt.Sprint(stateOf(t, h).PID) {
		t.Fatalf("inspect: %+v, %v", s, err)
	}
	if err := second.SignalTask(cfg.ID, "SIGHUP"); err != nil {
		t.Fatal(err)
	}
	if r := second.wait(cfg.ID); r.ExitCode != 5 {
		t.Errorf("got %+v", r)
	}
	for e := range events {
		seen[e.Message]++
		if e.Message == "app-exited(5)" {
			break
		}
	}
	for message, n := range seen {
		if n != 1 {
			t.Errorf("event %q came %d times", message, n)
		}
	}
}

func TestRecoverTaskThatEndedMeanwhile(t *testing.T) {
	for _, word := range []bool{true, false} {
		t.Run(fmt.Sprintf("exit.json=%v", word), func(t *testing.T) {
			dir := testkit.ShortDir(t)
			first := benchAt(t, dir, "")
			cfg := job("sleep 1000 & while [ ! -e local/go ]; do sleep 0.02; done; exit 4", nil)
			h := first.start(cfg)
			s := stateOf(t, h)
			first.crash()
			if word {
				os.WriteFile(filepath.Join(cfg.TaskDir().LocalDir, "go"), nil, 0o644)
			} else {
				unix.Kill(s.PID, unix.SIGKILL)
			}
			eventually(t, "the stream host ends", func() bool {
				p, err := readProcess(s.PID)
				return err != nil || p.start != s.StartTime || !p.alive()
			})
			second := benchAt(t, dir, "")
			err := second.RecoverTask(h)
			if !word {
				if err == nil {
					t.Error("recovered a seat that is gone")
				}
				if n := seatProcesses(t, s.Nonce); n != 0 {
					t.Errorf("%d processes are left", n)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if r := second.wait(cfg.ID); r.ExitCode != 4 {
				t.Errorf("got %+v", r)
			}
			if n := seatProcesses(t, s.Nonce); n != 0 {
				t.Errorf("%d processes are left", n)
			}
		})
	}
}

func TestRecoverRefusesAnother(t *testing.T) {
	b := newBench(t, "")
	cfg := job("sleep 1000", nil)
	h := b.start(cfg)
	s := stateOf(t, h)
	s.Nonce = "of another start"
	other := h.Copy()
	other.Config.ID += "x"
	other.SetDriverState(&s)
	if err := b.RecoverTask(other); err == nil {
		t.Error("recovered with another nonce")
	}
	if err := b.RecoverTask(&drivers.TaskHandle{Version: 99, Config: other.Config}); err == nil {
		t.Error("recovered a state of another version")
	}
}

// Builds up to 380104d named some fields of the spec otherwise. Their seats must
// still be recovered, and so must the last event that Nomad received.
func TestRecoverSeatOfEarlierBuild(t *testing.T) {
	dir := testkit.ShortDir(t)
	first := benchAt(t, dir, "")
	cfg := job("trap 'exit 5' HUP; while :; do sleep 0.05; done", nil)
	h := first.start(cfg)
	s := stateOf(t, h)
	events, err := first.TaskEvents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		<-events
	}
	eventually(t, "the last event is remembered", func() bool {
		b, _ := os.ReadFile(filepath.Join(s.Dir, seqFile))
		return string(b) == "3"
	})
	first.crash()

	path := filepath.Join(s.Dir, wire.SpecFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(b, &spec); err != nil {
		t.Fatal(err)
	}
	spec["listen"] = map[string]any{"control": "127.0.0.1"}
	spec["mounts"] = []any{map[string]any{"host": "/srv", "task": "/data"}}
	if b, err = json.Marshal(spec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}

	second := benchAt(t, dir, "")
	if events, err = second.TaskEvents(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second.RecoverTask(h); err != nil {
		t.Fatal(err)
	}
	if err := second.SignalTask(cfg.ID, "SIGHUP"); err != nil {
		t.Fatal(err)
	}
	if r := second.wait(cfg.ID); r.ExitCode != 5 {
		t.Errorf("got %+v", r)
	}
	if e := <-events; e.Message != "ending" {
		t.Errorf("event %q came again", e.Message)
	}
}
