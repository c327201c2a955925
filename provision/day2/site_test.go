package day2

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/drain"
	"github.com/nearcast/nearcast/provision/nodetest"
	"github.com/nearcast/nearcast/provision/secrets"
)

const siteName = "site-a"

// site is a site of three servers, an edge node and a stream node, and an operator's folder
// with the document's files.
type site struct {
	t   *testing.T
	ctx context.Context

	began   time.Time
	keys    string // the folder of nearcast provision secrets
	work    string // the folder of the operator's shell
	bin     string
	blocks  []nodetest.Block
	ran     map[string]bool
	env     map[string]string // of the operator's shell
	servers []*nodetest.Node
	edge    *nodetest.Node
	stream  *nodetest.Node
}

func newSite(t *testing.T) *site {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real agents")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: Nomad's clients do")
	}
	if os.Getenv("NEARCAST_DAY2_NETWORK") == "" {
		t.Skip("this machine gives it no network of its own")
	}
	for _, name := range []string{"jq", "unshare", "openssl", "Xvfb"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
	for _, name := range []string{"consul", "nomad"} {
		testkit.Tool(t, name) // or skip
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	t.Cleanup(cancel)
	s := &site{t: t, ctx: ctx, began: time.Now(), keys: t.TempDir(), work: t.TempDir(), bin: build(t), blocks: nodetest.Document(t), ran: map[string]bool{}}
	if _, err := secrets.Make(secrets.Config{Dir: s.keys, Sites: []string{siteName}}); err != nil {
		t.Fatal(err)
	}
	values := func(role provision.Role) provision.Values {
		v := provision.Values{Role: role, Site: siteName, Join: []string{nodetest.Network(1), nodetest.Network(2), nodetest.Network(3)}}
		if role == provision.Stream {
			v.Tuning.Drivers = []string{"stream"}
			v.Paths.Plugins, v.Paths.StreamHost = filepath.Join(s.bin, "plugins"), filepath.Join(s.bin, "stream-host")
		}
		return v
	}
	for n := range 3 {
		s.servers = append(s.servers, nodetest.Start(t, ctx, s.keys, values(provision.Server), n+1))
	}
	s.edge = nodetest.Start(t, ctx, s.keys, values(provision.Edge), 4)
	s.stream = nodetest.Start(t, ctx, s.keys, values(provision.Stream), 5)
	s.servers[0].ACL()
	// Nomad's address of the interface lo.
	router, brain := "http://127.0.0.1:8080", "ws://127.0.0.1:8081/v1/connect"
	s.env = map[string]string{
		"NOMAD_ADDR": "http://" + s.servers[0].Address + ":4646", "CONSUL_HTTP_ADDR": "http://" + s.servers[0].Address + ":8500",
		"sites": siteName, "site": siteName, "app": "testapp", "url": router, "DIR": s.keys, "name": "nearcast",
		"NEARCAST_OUTPUTS": filepath.Join(s.work, "outputs.json"), "NEARCAST_SETTINGS": filepath.Join(s.work, "settings"), "NEARCAST_NO_AWS": "true",
	}
	// Other than in a cluster: tasks have no chroot, and the agents share a machine.
	settings := ""
	for _, job := range []string{"router", "brain"} {
		settings += fmt.Sprintf("%[1]s.driver=raw_exec\n%[1]s.binary=%[2]s/nearcast\n%[1]s.options=[\"--consul=%[3]s:8500\"]\n", job, s.bin, s.edge.Address)
	}
	settings += fmt.Sprintf("prefetch.driver=raw_exec\nprefetch.binary=%s/nearcast\n", s.bin)
	s.write("settings", settings)
	if err := os.CopyFS(filepath.Join(s.work, "jobs"), os.DirFS(filepath.Join(nodetest.Source(t), "jobs"))); err != nil {
		t.Fatal(err)
	}
	job := s.read("jobs/testapp.nomad.hcl")
	s.write("jobs/testapp.nomad.hcl", strings.Replace(job, `= "testapp"`, fmt.Sprintf("= %q", filepath.Join(s.bin, "testapp")), 1))
	s.write("outputs.json", fmt.Sprintf(`{"sites": {"value": {%q: {"edge_nodes": 2, "router_url": %q, "brain_url": %q}}}}`, siteName, router, brain))
	packed, err := secrets.Pack(s.keys, siteName)
	if err != nil {
		t.Fatal(err)
	}
	s.write("cluster.json", packed)
	return s
}

// build makes programs; without names, all of a site.
func build(t testing.TB, names ...string) string {
	t.Helper()
	bin, err := os.MkdirTemp("/tmp", "ncb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(bin) })
	if err := os.Chmod(bin, 0o755); err != nil { // seats run as other users
		t.Fatal(err)
	}
	testkit.BuildAll(t, bin, names...)
	return bin
}

const stopAll = `
nomad operator api '/v1/jobs?namespace=*' | jq -r '.[] | select(.Status != "dead") | "\(.Namespace) \(.ID)"' |
  while read -r namespace job; do nomad job stop -detach -namespace="$namespace" "$job" >/dev/null </dev/null || true; done
nomad operator api '/v1/allocations?namespace=*' | jq -ce 'map(select(.ClientStatus == "running" or .ClientStatus == "pending") | {JobID, ClientStatus, DesiredStatus, NodeName}) | ., length == 0'
`

// end stops all jobs. Call it by defer: tasks survive their agents, which the test's cleanup
// ends.
func (s *site) end() {
	patience := 20 * time.Second
	if s.t.Failed() {
		patience = 5 * time.Second // Nomad may not answer
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.ctx = ctx // the test's own is over
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	// Repeatedly, because a brain may just have started a seat.
	for said := ""; ; <-tick.C {
		out, err := s.command(nil, stopAll).CombinedOutput()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			s.t.Logf("killed what was left: %s", said)
			break
		}
		said = string(out)
	}
	// Kill what no agent could stop.
	nodes := append(slices.Clone(s.servers), s.edge, s.stream)
	dirs := []string{s.bin}
	for _, h := range nodes {
		h.Kill()
		dirs = append(dirs, h.Dir)
	}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		cwd, _ := os.Readlink(filepath.Join(filepath.Dir(file), "cwd"))
		for _, dir := range dirs {
			if strings.Contains(string(text), dir+"/") || strings.HasPrefix(cwd, dir+"/") {
				var pid int
				if _, err := fmt.Sscan(filepath.Base(filepath.Dir(file)), &pid); err == nil && pid != os.Getpid() {
					syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
	}
}

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.work, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) read(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.work, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// onNode gives a shell the node's files at the paths of a real node, in its own mount
// namespace.
const onNode = `
for dir in etc var/lib; do
  mkdir -p "$SCRATCH"; mount -t tmpfs tmpfs "$SCRATCH"; mkdir "$SCRATCH/upper" "$SCRATCH/work"
  mount -t overlay overlay -o "lowerdir=/$dir,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" "/$dir"
done
mkdir -p /etc/nearcast/secrets /var/lib/consul /var/lib/nomad; touch /etc/nearcast/provision.env
mount --bind "$NODE_DIR/secrets" /etc/nearcast/secrets
mount --bind "$NODE_DIR/env" /etc/nearcast/provision.env
mount --bind "$NODE_DIR/consul" /var/lib/consul
mount --bind "$NODE_DIR/nomad" /var/lib/nomad
if [ -d "$NODE_DIR/run" ]; then mkdir -p /run/nearcast; mount --bind "$NODE_DIR/run" /run/nearcast; fi
`

// command is an operator's shell: on their machine, or on a node.
func (s *site) command(h *nodetest.Node, script string, env ...string) *exec.Cmd {
	shell := []string{"bash", "-euo", "pipefail", "-c"}
	if h != nil {
		shell = append([]string{"unshare", "--mount", "--propagation=private"}, shell...)
		env = append(env, "NODE_DIR="+h.Dir, "SCRATCH="+filepath.Join(h.Dir, "scratch"))
		script = onNode + script
	}
	cmd := exec.CommandContext(s.ctx, shell[0], append(shell[1:], script)...)
	cmd.Dir = s.work
	cmd.Env = append(env, "HOME="+s.work, "PATH="+s.bin+":"+filepath.Dir(testkit.Tool(s.t, "consul"))+":"+filepath.Dir(testkit.Tool(s.t, "nomad"))+":"+os.Getenv("PATH"))
	for name, value := range s.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// shell runs a script that must succeed, on the operator's machine.
func (s *site) shell(script string) string {
	s.t.Helper()
	out, err := s.command(nil, script).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s\n%v: %s", script, err, out)
	}
	return string(out)
}

// text returns a block of the document.
func (s *site) text(name string) string {
	s.t.Helper()
	for _, b := range s.blocks {
		if b.Mark == "run" && b.Name == name {
			s.ran[name] = true
			return b.Text
		}
	}
	s.t.Fatalf("the documents have no block %q", name)
	return ""
}

// step runs a block of the document, on the operator's machine or on a node.
func (s *site) step(name string, h *nodetest.Node, env ...string) string {
	s.t.Helper()
	began := time.Now()
	out, err := s.command(h, s.text(name), env...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
	s.t.Logf("%5.1f s  %s, in %.1f s", time.Since(s.began).Seconds(), name, time.Since(began).Seconds())
	return string(out)
}

func (s *site) until(what string, try func() error) {
	s.t.Helper()
	nodetest.Eventually(s.t, s.ctx, what, try)
}

// seats returns the app's seats as the driver of the stream node tells them, without those
// that end.
func (s *site) seats() ([]wire.Seat, error) {
	all, err := drain.NodeSeats(s.stream.Values.Paths.RunDir)(s.ctx)
	return slices.DeleteFunc(all, func(seat wire.Seat) bool { return seat.State == wire.SeatEnding }), err
}

// idle waits until there is exactly one seat, it is idle, and it has the version.
func (s *site) idle(version int) wire.Seat {
	s.t.Helper()
	var idle []wire.Seat
	s.until(fmt.Sprintf("one idle seat of version %d", version), func() error {
		all, err := s.seats()
		if err != nil {
			return err
		}
		idle = slices.DeleteFunc(slices.Clone(all), func(seat wire.Seat) bool { return seat.State != wire.SeatIdle })
		if len(idle) != 1 || len(all) != 1 || !strings.Contains(idle[0].Job, fmt.Sprintf("/dispatch-v%d-", version)) {
			return fmt.Errorf("seats: %+v", all)
		}
		return nil
	})
	return idle[0]
}
