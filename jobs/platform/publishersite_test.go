package platform_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/nodetest"
	"github.com/nearcast/nearcast/provision/secrets"
)

// nodes is a site of a server, an edge node and stream nodes, with the configuration
// that provision gives them, but that the driver raw_exec stands for exec.
type nodes struct {
	t            *testing.T
	ctx          context.Context
	bin          string
	server, edge *nodetest.Node
	streams      []*nodetest.Node
	start        func(role provision.Role, number int) *nodetest.Node

	management, publisher string // Nomad tokens
	consulManagement      string
}

// newPlatform is a site with a stream node. Router and brain run on the edge node. The jobs
// of TURN and autoscaler are registered and wait for a node.
func newPlatform(t *testing.T) *nodes {
	n := newNodes(t, 1, provision.S3{})
	for _, job := range []string{"router", "brain"} {
		n.command(n.management, "job", "run", "-var=driver=raw_exec", "-var=count=1", "-var=canary=0",
			"-var=binary="+filepath.Join(n.bin, "nearcast"), fmt.Sprintf(`-var=options=["--consul=%s:8500"]`, n.edge.Address), job+".nomad.hcl")
	}
	for _, job := range []string{"turn", "autoscaler"} {
		n.command(n.management, "job", "run", "-detach", "-var=node_pool=stream-gpu", job+".nomad.hcl")
	}
	return n
}

// newNodes is a site without jobs, whose stream nodes have content from the store.
func newNodes(t *testing.T, streams int, store provision.S3) *nodes {
	if testing.Short() {
		t.Skip("starts real agents")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: Nomad's clients do")
	}
	n := &nodes{t: t, ctx: testkit.Context(t, 8*time.Minute)}
	keys := t.TempDir()
	if _, err := secrets.Make(secrets.Config{Dir: keys, Sites: []string{"site-a"}}); err != nil {
		t.Fatal(err)
	}
	var err error
	if n.bin, err = os.MkdirTemp("/tmp", "ncb"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(n.bin) })
	if err := os.Chmod(n.bin, 0o755); err != nil { // seats run as other users
		t.Fatal(err)
	}
	takePrograms(t, n.bin)
	n.start = func(role provision.Role, number int) *nodetest.Node {
		v := provision.Values{Role: role, Site: "site-a", Servers: 1, Join: []string{nodetest.Network(1)}}
		if role == provision.Stream {
			v.Tuning.Drivers = []string{"stream"}
			v.Tuning.CPU = 20000
			v.Stream.S3 = store
			v.Paths.Plugins, v.Paths.StreamHost = filepath.Join(n.bin, "plugins"), filepath.Join(n.bin, "stream-host")
		}
		return nodetest.Start(t, n.ctx, keys, v, number)
	}
	n.server, n.edge = n.start(provision.Server, 1), n.start(provision.Edge, 2)
	for i := range streams {
		n.streams = append(n.streams, n.start(provision.Stream, 3+i))
	}
	t.Cleanup(n.stopJobs)
	n.server.ACL()
	n.management, n.consulManagement = n.server.Secret(provision.NomadManagementFile), n.server.Secret(provision.ConsulManagementFile)
	n.must("PUT", "/v1/var/nomad/jobs/turn", map[string]any{"Path": "nomad/jobs/turn", "Items": map[string]string{"secret": "s"}}, nil)
	var token struct{ SecretID string }
	n.must("PUT", "/v1/acl/token", map[string]any{"Name": "a publisher", "Type": "client", "Policies": []string{"publisher"}}, &token)
	n.publisher = token.SecretID
	n.until("all nodes are ready", func() error {
		var list []struct{ Status string }
		if err := n.get("/v1/nodes", &list); err != nil {
			return err
		}
		if len(list) != 2+streams || slices.ContainsFunc(list, func(n struct{ Status string }) bool { return n.Status != "ready" }) {
			return fmt.Errorf("nodes: %v", list)
		}
		return nil
	})
	return n
}

// stopJobs stops all jobs: tasks survive the agents, which the test's cleanup ends.
func (n *nodes) stopJobs() {
	if n.management == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	n.ctx = ctx // the test's own is over
	testkit.Retry(ctx, n.t, "no task runs", func() error {
		var jobs []struct{ ID, Namespace, Status string }
		if err := n.get("/v1/jobs?namespace=*", &jobs); err != nil {
			return err
		}
		for _, j := range jobs {
			if j.Status != "dead" {
				n.ask(n.management, "DELETE", "/v1/job/"+j.ID+"?namespace="+j.Namespace, nil)
			}
		}
		var allocs []struct{ JobID, ClientStatus string }
		if err := n.get("/v1/allocations?namespace=*", &allocs); err != nil {
			return err
		}
		for _, a := range allocs {
			if a.ClientStatus == "running" || a.ClientStatus == "pending" {
				return fmt.Errorf("%s is %s", a.JobID, a.ClientStatus)
			}
		}
		return nil
	})
}

// ask sends a request to Nomad with a token, and returns status and answer.
func (n *nodes) ask(token, method, path string, body any) (int, string) {
	return n.send(fmt.Sprintf("http://%s:%d", n.server.Address, nodetest.NomadPort), token, method, path, body)
}

// askConsul is ask for the Consul of the stream node.
func (n *nodes) askConsul(token, method, path string, body any) (int, string) {
	return n.send(fmt.Sprintf("http://%s:%d", n.streams[0].Address, nodetest.ConsulPort), token, method, path, body)
}

func (n *nodes) send(address, token, method, path string, body any) (int, string) {
	n.t.Helper()
	var in bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&in).Encode(body); err != nil {
			n.t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(n.ctx, method, address+path, &in)
	if err != nil {
		n.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(text)
}

// firstLine is what Nomad sends first, within a time.
func (n *nodes) firstLine(token, path string, within time.Duration) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.ctx, within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://%s:%d%s", n.server.Address, nodetest.NomadPort, path), nil)
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	line, _ := bufio.NewReader(res.Body).ReadString('\n')
	return line
}

// get reads with all rights.
func (n *nodes) get(path string, into any) error {
	status, text := n.ask(n.management, "GET", path, nil)
	if status != http.StatusOK {
		return fmt.Errorf("%s: %d: %s", path, status, text)
	}
	return json.Unmarshal([]byte(text), into)
}

// must is a request with all rights.
func (n *nodes) must(method, path string, body, into any) {
	n.t.Helper()
	status, text := n.ask(n.management, method, path, body)
	if status != http.StatusOK {
		n.t.Fatalf("%s %s: %d: %s", method, path, status, text)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			n.t.Fatal(err)
		}
	}
}

// try runs nomad with a token.
func (n *nodes) try(token string, args ...string) (string, error) {
	cmd := exec.CommandContext(n.ctx, testkit.Tool(n.t, "nomad"), args...)
	cmd.Env = append(testkit.Environ(), fmt.Sprintf("NOMAD_ADDR=http://%s:%d", n.server.Address, nodetest.NomadPort), "NOMAD_TOKEN="+token)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("nomad %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (n *nodes) command(token string, args ...string) string {
	n.t.Helper()
	out, err := n.try(token, args...)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

func (n *nodes) until(what string, ok func() error) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.ctx, time.Minute)
	defer cancel()
	testkit.Retry(ctx, n.t, what, ok)
}

// sub runs a subtest that the site's own failures count in.
func (n *nodes) sub(name string, fn func(t *testing.T)) {
	outer := n.t
	defer func() { n.t = outer }()
	outer.Run(name, func(t *testing.T) {
		n.t = t
		fn(t)
	})
}

// allocation is what is read of a job's newest allocation.
type allocation struct {
	ID, NodeID, ClientStatus, ClientDescription, DesiredStatus string
	CreateIndex                                                uint64
	TaskStates                                                 map[string]struct {
		State, StartedAt string
		Events           []struct{ Type, DisplayMessage string }
	}
}

// said is what Nomad says about an allocation.
func (a allocation) said() string {
	text := a.ClientStatus + ": " + a.ClientDescription
	for task, state := range a.TaskStates {
		text += "; " + task + " " + state.State
		for _, e := range state.Events {
			text += ", " + e.Type + ": " + e.DisplayMessage
		}
	}
	return text
}

func (n *nodes) newest(namespace, job string) (allocation, error) {
	var all []allocation
	if err := n.get("/v1/job/"+job+"/allocations?namespace="+namespace, &all); err != nil {
		return allocation{}, err
	}
	if len(all) == 0 {
		return allocation{}, errors.New("it has no allocation")
	}
	return slices.MaxFunc(all, func(a, b allocation) int { return int(a.CreateIndex) - int(b.CreateIndex) }), nil
}

// says waits until an allocation of the job says one of some texts, and returns it.
func (n *nodes) says(namespace, job string, any ...string) allocation {
	n.t.Helper()
	var a allocation
	n.until(fmt.Sprintf("%s says one of %q", job, any), func() (err error) {
		if a, err = n.newest(namespace, job); err != nil {
			return err
		}
		for _, text := range any {
			if strings.Contains(a.said(), text) {
				return nil
			}
		}
		return errors.New(a.said())
	})
	return a
}

// environ reads a variable of a task's process below a node's folder.
func (n *nodes) environ(dir, task, name string) string {
	n.t.Helper()
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range environs {
		text, _ := os.ReadFile(file)
		variables := strings.Split(string(text), "\x00")
		if !slices.Contains(variables, "NOMAD_TASK_NAME="+task) || !strings.Contains(string(text), dir+"/") {
			continue
		}
		for _, v := range variables {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value
			}
		}
	}
	n.t.Fatalf("no process of %s has %s", task, name)
	return ""
}
