package driver

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// Nomad is told that the memory ended a seat where it did, and not where the kernel ended a program long before.
func TestMemoryEndedTheSeat(t *testing.T) {
	display := wire.End{Reason: wire.ReasonError, Code: wire.CodeDisplay}
	for name, c := range map[string]struct {
		end   *wire.End // nil: the stream host died
		kills int
		want  bool
	}{
		"memory":            {&wire.End{Reason: wire.ReasonError, Code: wire.CodeMemory}, 1, true},
		"a program before":  {&display, 1, false},
		"no program":        {&display, 0, false},
		"in order":          {&wire.End{Reason: wire.ReasonLeft}, 1, false},
		"no word of it":     {nil, 1, true},
		"no word, no kills": {nil, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			group, dir := t.TempDir(), t.TempDir()
			testkit.Must(t, os.WriteFile(filepath.Join(group, "memory.events"), fmt.Appendf(nil, "oom_kill %d\n", c.kills), 0o600))
			if c.end != nil {
				text, err := json.Marshal(wire.Exit{Nonce: "n", End: *c.end})
				testkit.Must(t, err)
				testkit.Must(t, os.WriteFile(filepath.Join(dir, wire.ExitFile), text, 0o600))
			}
			task := newTask(&drivers.TaskConfig{}, &State{Dir: dir, Nonce: "n"}, &wire.Spec{Nonce: "no process has this"}, nil, newEvents(), hclog.NewNullLogger())
			task.group = cgroup{v2: group}
			task.finish(t.Context())
			task.control.close()
			if task.exit.OOMKilled != c.want {
				t.Errorf("OOMKilled is %t: %+v", task.exit.OOMKilled, task.exit)
			}
		})
	}
}
