package cloud_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/jobs/platform"
	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/nodetest"
	"github.com/nearcast/nearcast/provision/secrets"
)

// walk is a cluster of real agents on this machine, with its secrets in a folder.
type walk struct {
	t         *testing.T
	ctx       context.Context
	keys, bin string
	began     time.Time
}

func newWalk(t *testing.T, limit time.Duration, sites ...string) *walk {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real agents")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: Nomad's clients do")
	}
	w := &walk{t: t, keys: t.TempDir(), bin: t.TempDir()}
	testkit.BuildAll(t, w.bin, "nearcast")
	_, err := secrets.Make(secrets.Config{Dir: w.keys, Sites: sites})
	testkit.Must(t, err)
	w.ctx, w.began = testkit.Context(t, limit), time.Now() // compiling does not count
	return w
}

func (w *walk) stage(what string) { w.t.Logf("%4.1f s  %s", time.Since(w.began).Seconds(), what) }

func (w *walk) start(v provision.Values, n int) *nodetest.Node {
	w.t.Helper()
	return nodetest.Start(w.t, w.ctx, w.keys, v, n)
}

func (w *walk) operator() *operator {
	return &operator{t: w.t, ctx: w.ctx, dir: w.t.TempDir(), bin: w.bin}
}

// nomad asks the Nomad of a server, with the management token that counts now.
func (w *walk) nomad(server *nodetest.Node, method, path string, body, into any) error {
	text, err := os.ReadFile(filepath.Join(w.keys, "shared", provision.NomadManagementFile))
	if err != nil {
		return err
	}
	return server.Ask(method, nodetest.NomadPort, path, strings.TrimSpace(string(text)), body, into)
}

// task runs one on an edge node of the server's site. What it returns says which it is, and fails unless
// it is one that never started anew.
func (w *walk) task(server *nodetest.Node) func() (string, error) {
	w.t.Helper()
	nodetest.Eventually(w.t, w.ctx, "the task is registered", func() error {
		return w.nomad(server, "PUT", "/v1/jobs", map[string]any{"Job": map[string]any{
			"ID": "task", "Name": "task", "Type": "service", "Datacenters": []string{"*"}, "NodePool": "edge",
			"TaskGroups": []any{map[string]any{"Name": "g", "Tasks": []any{map[string]any{
				"Name": "t", "Driver": "raw_exec", "Config": map[string]any{"command": "/bin/sleep", "args": []string{"86399"}}}}}},
		}}, nil)
	})
	look := func() (said string, err error) {
		allocs, err := w.allocs(server, "task")
		if err != nil {
			return "", err
		}
		for _, a := range allocs {
			said += fmt.Sprintf("%s %s %d\n", a.ID, a.ClientStatus, a.TaskStates["t"].Restarts)
		}
		if strings.Count(said, " running 0\n") != 1 || len(allocs) != 1 {
			return said, fmt.Errorf("the task is %q", said)
		}
		return said, nil
	}
	nodetest.Eventually(w.t, w.ctx, "the task runs", func() error { _, err := look(); return err })
	return look
}

type alloc struct {
	ID, ClientStatus string
	TaskStates       map[string]struct {
		Restarts  int
		StartedAt time.Time
	}
}

func (w *walk) allocs(server *nodetest.Node, job string) (all []alloc, err error) {
	return all, w.nomad(server, "GET", "/v1/job/"+job+"/allocations", nil, &all)
}

// register runs a job of the platform on this machine, as its file has it but for the pause before a
// restart.
func (w *walk) register(server *nodetest.Node, name, variables string) {
	w.t.Helper()
	source := strings.Replace(platform.Source(name), `splay       = "30s"`, `splay       = "1s"`, 1)
	parse := map[string]any{"JobHCL": source, "Canonicalize": true,
		"Variables": fmt.Sprintf("driver = \"raw_exec\"\nbinary = %q\n%s\n", filepath.Join(w.bin, "nearcast"), variables)}
	var job json.RawMessage
	testkit.Must(w.t, w.nomad(server, "PUT", "/v1/jobs/parse", parse, &job))
	testkit.Must(w.t, w.nomad(server, "PUT", "/v1/jobs", map[string]any{"Job": job}, nil))
}

// at runs a command, and calls do when it says the words on standard error. It returns all that it said.
func (o *operator) at(words string, do func(*exec.Cmd), args ...string) (said string, err error) {
	o.t.Helper()
	cmd := o.command(args...)
	var out bytes.Buffer
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	testkit.Must(o.t, err)
	testkit.Must(o.t, cmd.Start())
	done := false
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		said += lines.Text() + "\n"
		if !done && strings.Contains(lines.Text(), words) {
			done = true
			do(cmd)
		}
	}
	err = cmd.Wait()
	if !done {
		o.t.Fatalf("nearcast cloud %s never says %q: %v\n%s%s", strings.Join(args, " "), words, err, said, &out)
	}
	return said + out.String(), err
}

// kill ends a command as kill -9 does.
func (o *operator) kill(cmd *exec.Cmd) { testkit.Must(o.t, cmd.Process.Kill()) }
