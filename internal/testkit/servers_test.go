package testkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"
)

// TestNomadEnds holds that nothing is left of an agent, whether it runs at the end or
// was killed while a task ran.
func TestNomadEnds(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: Nomad's clients do")
	}
	Tool(t, "nomad") // or skip
	for name, killed := range map[string]bool{"alive": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			var n *Nomad
			t.Run("use", func(t *testing.T) {
				n = NewNomad(t)
				n.Start(`
client {
  options = { "driver.allowlist" = "raw_exec" }
}
plugin "raw_exec" {
  config { enabled = true }
}`)
				n.WaitReady("raw_exec")
				runTask(t, n)
				if killed {
					n.Kill()
				}
				if len(n.marked()) == 0 {
					t.Error("nothing has the mark")
				}
			})
			if left := n.marked(); len(left) > 0 {
				t.Errorf("processes are left: %v", left)
			}
			if _, err := os.Stat(n.Dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left: %v", n.Dir, err)
			}
		})
	}
}

// runTask runs a task that does not end by itself.
func runTask(t *testing.T, n *Nomad) {
	t.Helper()
	job, err := json.Marshal(map[string]any{"Job": map[string]any{
		"ID": "sleeper", "Name": "sleeper", "Type": "batch", "Datacenters": []string{"*"},
		"TaskGroups": []any{map[string]any{"Name": "g", "Tasks": []any{map[string]any{
			"Name": "t", "Driver": "raw_exec", "Config": map[string]any{"command": "/bin/sleep", "args": []string{"1000"}}}}}},
	}})
	Must(t, err)
	res, err := http.Post("http://"+n.Address+"/v1/jobs", "application/json", bytes.NewReader(job))
	Must(t, err)
	res.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	Retry(Context(t, time.Minute), t, "the task runs", func() error {
		var allocs []struct{ ClientStatus string }
		err := n.Get(t.Context(), "/v1/job/sleeper/allocations", &allocs)
		if err == nil && (len(allocs) != 1 || allocs[0].ClientStatus != "running") {
			err = fmt.Errorf("allocations: %+v", allocs)
		}
		return err
	})
}

// TestSecureConsul holds that a request without a token is refused.
func TestSecureConsul(t *testing.T) {
	const token = "5f3e6c1a-9d0e-4f53-8a11-0d8c5a5cbb01"
	c := StartSecureConsul(t, token)
	url := "http://" + c.Address + "/v1/agent/self"
	if _, err := get(t.Context(), url, token); err != nil {
		t.Error(err)
	}
	if _, err := get(t.Context(), url, ""); err == nil {
		t.Error("it answers without a token")
	}
}
