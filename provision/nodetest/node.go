// Package nodetest runs nodes of a site for tests. Each has its own loopback address, a
// Consul and a Nomad, with the configuration that provision renders for a real node of the
// role: TLS, gossip keys and ACLs included.
//
//	keys := t.TempDir()
//	secrets.Make(secrets.Config{Dir: keys, Sites: []string{"site-a"}})
//	v := provision.Values{Site: "site-a", Servers: 1, Join: []string{nodetest.Network(1)}}
//	n := nodetest.Start(t, ctx, keys, v, 1)
//	n.ACL()
//
// A node can be killed, wiped and started again, like a machine.
package nodetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/renameio/v2"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/agents"
	"github.com/nearcast/nearcast/provision/configure"
)

// The agents' HTTP ports.
const ConsulPort, NomadPort = 8500, 4646

// Network returns address n of a /24 of loopback that only this test process uses.
func Network(n int) string {
	return fmt.Sprintf("127.%d.%d.%d", 64+os.Getpid()/256%128, os.Getpid()%256, n)
}

// Node is one node: its agents, and its files.
type Node struct {
	Address string
	Secrets string // its folder of secrets
	Env     string // its provision.env
	Dir     string // all its files, except for paths that Values gave
	Values  provision.Values

	t             testing.TB
	ctx           context.Context
	consul, nomad *exec.Cmd
}

// Start configures a node with the keys that secrets.Make made, and runs it until the test
// ends. Without a role it is a server. n is the node's number in Network.
func Start(t testing.TB, ctx context.Context, keys string, v provision.Values, n int) *Node {
	t.Helper()
	if v.Role == "" {
		v.Role = provision.Server
	}
	// Seats run as other users, and their sockets have paths of at most 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "nch")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		endMarked(dir)
		unmount(t, dir)
		os.RemoveAll(dir)
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h := &Node{t: t, ctx: ctx, Dir: dir, Address: Network(n), Secrets: filepath.Join(dir, "secrets"), Env: filepath.Join(dir, "env")}
	v.Node = fmt.Sprintf("%s-%d", v.Role, n)
	v.Address, v.HTTP, v.Interface = h.Address, h.Address, "lo"
	v.Ports.ConsulDNS = -1
	v.ConsulGroup = "root"
	v.Stream.Loopback = true
	v.Tuning.NoCloud, v.Tuning.DiskThreshold = true, 99
	if v.Tuning.CPU == 0 {
		v.Tuning.CPU = 4000
	}
	if v.Tuning.Drivers == nil {
		v.Tuning.Drivers = []string{"raw_exec"}
	}
	v.Paths.ConsulConfig, v.Paths.NomadConfig = filepath.Join(dir, "consul.d"), filepath.Join(dir, "nomad.d")
	v.Paths.ConsulData, v.Paths.NomadData = filepath.Join(dir, "consul"), filepath.Join(dir, "nomad")
	v.Paths.RunDir, v.Paths.Cache, v.Paths.Firewall = filepath.Join(dir, "run"), filepath.Join(dir, "cache"), dir
	h.Values = v.WithDefaults()
	if err := os.CopyFS(h.Secrets, os.DirFS(filepath.Join(keys, v.Site, v.Role.String()))); err != nil {
		t.Fatal(err)
	}
	h.describe()
	h.Configure()
	if changed := h.Configure(); len(changed) > 0 {
		t.Errorf("configuring again changed %v", changed)
	}
	h.Restart()
	return h
}

// Configure writes the agents' configuration, as at a boot, and returns the files that
// changed.
func (h *Node) Configure() []string {
	h.t.Helper()
	changed, err := configure.Run(h.ctx, configure.Config{Root: "/", Secrets: h.Secrets, Log: slog.Default()}, h.Values)
	if err != nil {
		h.t.Fatal(err)
	}
	return changed
}

// describe writes the node's provision.env.
func (h *Node) describe() {
	h.t.Helper()
	text := fmt.Sprintf("NEARCAST_ROLE='%s'\nNEARCAST_SITE='%s'\nNEARCAST_PRIMARY_SITE='%s'\nNEARCAST_NODE='%s'\nNEARCAST_JOIN='%s'\nNEARCAST_ADDRESS='%s'\nNEARCAST_HTTP='%s'\n",
		h.Values.Role, h.Values.Site, h.Values.Primary, h.Values.Node, strings.Join(h.Values.Join, ","), h.Address, h.Address)
	if err := os.WriteFile(h.Env, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// Follow gives the node another primary site, as install.sh does with another provision.env: its
// agents start again with the new configuration.
func (h *Node) Follow(primary string) {
	h.t.Helper()
	h.Values.Primary = primary
	h.describe()
	if changed := h.Configure(); len(changed) == 0 {
		h.t.Errorf("the primary site %s changes no file of %s", primary, h.Values.Node)
	}
	h.Kill()
	h.Restart()
}

// Restart starts the agents of a node that was killed, or is new.
func (h *Node) Restart() {
	h.t.Helper()
	h.consul = h.agent("consul", "agent", "-config-dir="+h.Values.Paths.ConsulConfig)
	h.nomad = h.agent("nomad", "agent", "-config="+h.Values.Paths.NomadConfig)
}

// Renew does what provision/renew.sh does: the node has the secrets of its folder among the keys
// that secrets.Make made, and its agents read what changed. It reports whether something did.
func (h *Node) Renew(keys string) (changed bool, err error) {
	from := filepath.Join(keys, h.Values.Site, h.Values.Role.String())
	files, err := os.ReadDir(from)
	if err != nil {
		return false, err
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err != nil {
			return false, err
		}
		if err := renameio.WriteFile(filepath.Join(h.Secrets, f.Name()), text, 0o600); err != nil {
			return false, err
		}
	}
	wrote, err := configure.Run(h.ctx, configure.Config{Root: "/", Secrets: h.Secrets, Log: slog.Default()}, h.Values)
	if err != nil {
		return false, err
	}
	if len(wrote) == 0 {
		return false, nil
	}
	if slices.ContainsFunc(wrote, func(p string) bool { return strings.HasPrefix(p, h.Values.Paths.NomadConfig) }) {
		kill(h.nomad)
		h.nomad = h.agent("nomad", "agent", "-config="+h.Values.Paths.NomadConfig)
	} else if err := h.reload(h.nomad, h.Values.Ports.NomadHTTP); err != nil {
		return true, err
	}
	if slices.Contains(wrote, filepath.Join(h.Values.Paths.ConsulConfig, "server.hcl")) {
		kill(h.consul)
		h.consul = h.agent("consul", "agent", "-config-dir="+h.Values.Paths.ConsulConfig)
	} else if err := h.reload(h.consul, h.Values.Ports.ConsulHTTP); err != nil {
		return true, err
	}
	s, err := provision.LoadSecrets(h.Secrets, h.Values.Role)
	if err != nil {
		return true, err
	}
	consul := agents.Consul{Address: h.Address + ":8500", Token: s.ConsulAgent}
	ctx, cancel := context.WithTimeout(h.ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = consul.Show(ctx, h.Values.Node, "secrets", s.Generation); err == nil {
			return true, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return true, err
		}
	}
}

// Reload has both agents read their configuration and secrets, as nearcast-renew does each time.
func (h *Node) Reload() error {
	return errors.Join(h.reload(h.nomad, h.Values.Ports.NomadHTTP), h.reload(h.consul, h.Values.Ports.ConsulHTTP))
}

// reload has an agent read its configuration. One that starts would be ended by the signal, and systemd
// would start it again.
func (h *Node) reload(agent *exec.Cmd, port int) error {
	ctx, cancel := context.WithTimeout(h.ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", h.Address, port), time.Second)
		if err == nil {
			conn.Close()
			return agent.Process.Signal(syscall.SIGHUP)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// Kill ends both agents as kill -9 does. Nomad's tasks keep running.
func (h *Node) Kill() {
	for _, cmd := range []*exec.Cmd{h.consul, h.nomad} {
		kill(cmd)
	}
}

// Wipe removes the data of a killed node, as if a new machine took its place.
func (h *Node) Wipe() {
	h.t.Helper()
	unmount(h.t, h.Dir)
	for _, path := range []string{h.Values.Paths.ConsulData, h.Values.Paths.NomadData} {
		if err := os.RemoveAll(path); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *Node) agent(name string, args ...string) *exec.Cmd {
	h.t.Helper()
	log, err := os.OpenFile(filepath.Join(h.Dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command(testkit.Tool(h.t, name), args...)
	cmd.Env = append(h.Environ(), mark+h.Dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		kill(cmd)
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && h.t.Failed() {
			h.t.Logf("%s of %s:\n%s", name, h.Values.Node, text[max(0, len(text)-4000):])
		}
	})
	return cmd
}

// kill ends a process as kill -9 does.
func kill(cmd *exec.Cmd) {
	if cmd != nil && cmd.ProcessState == nil {
		cmd.Process.Kill()
		cmd.Wait()
	}
}

// mark is in the environment of a node's agents, and of all processes that they start.
const mark = "NEARCAST_TEST_NODE="

// endMarked ends the processes that a killed Nomad client leaves running: its tasks and
// their executors.
func endMarked(dir string) {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range environs {
		text, err := os.ReadFile(file)
		if err != nil || !slices.Contains(strings.Split(string(text), "\x00"), mark+dir) {
			continue // it has ended, or belongs to another
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// unmount removes the mounts that a killed Nomad client leaves: its tasks' secrets.
func unmount(t testing.TB, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if path := strings.Fields(line)[1]; strings.HasPrefix(path, dir+"/") {
			if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", path, err)
			}
		}
	}
}

// Environ is an environment with the tools in PATH, without settings of AWS or of another
// cluster.
func (h *Node) Environ() []string {
	return []string{
		"PATH=" + filepath.Dir(testkit.Tool(h.t, "consul")) + ":" + filepath.Dir(testkit.Tool(h.t, "nomad")) + ":" + os.Getenv("PATH"),
		"HOME=" + h.Dir, "NEARCAST_ENV=" + h.Env, "NEARCAST_SECRETS=" + h.Secrets, "NEARCAST_HOME=" + Source(h.t),
	}
}

// Source is the root of the source tree.
func Source(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == "/" {
			t.Fatal("there is no go.mod above the test")
		}
	}
}

// ACL runs acl.sh until it succeeds, and returns what it printed then.
func (h *Node) ACL() (said string) {
	h.t.Helper()
	Eventually(h.t, h.ctx, "acl.sh on "+h.Address, func() error {
		cmd := exec.CommandContext(h.ctx, filepath.Join(Source(h.t), "provision", "acl.sh"))
		cmd.Env = h.Environ()
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		said = string(out)
		return nil
	})
	return said
}

// Secret reads one of the node's secrets.
func (h *Node) Secret(name string) string {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.Secrets, name))
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// patience is for a machine that compiles and runs other tests meanwhile: agents have limits of
// a minute themselves, after which they try again.
const patience = 3 * time.Minute

// Eventually calls try until it succeeds, for at most three minutes.
func Eventually(t testing.TB, ctx context.Context, what string, try func() error) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("%s: not after %s: %v", what, patience, err)
		case <-ctx.Done():
			t.Fatalf("%s: not before the test's time was over: %v", what, err)
		}
	}
}
