package cell

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/dev/testapp/attack"
	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

var isRoot = os.Geteuid() == 0

// built is a folder with the programs of a node: made once for all tests, or what
// $NEARCAST_BUILT names, for a user without a Go toolchain.
var built = os.Getenv("NEARCAST_BUILT")

func TestMain(m *testing.M) {
	if built != "" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "nccell-")
	if err != nil {
		panic(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // apps run as other users
		panic(err)
	}
	built = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// build makes the programs that a node needs. They have the tag celltest, so
// that tests can switch defences off.
func build(t *testing.T) {
	t.Helper()
	t.Setenv("GOFLAGS", strings.TrimSpace(os.Getenv("GOFLAGS")+" -tags=celltest"))
	testkit.BuildAll(t, built, "seat-keeper", "stream-host", "testapp", "plugins/nomad-driver-stream")
}

// node is a Nomad agent with the driver, and what else is on a node: a Consul agent, an
// object store, and secrets in the places where a node has them.
type node struct {
	t *testing.T
	*testkit.Nomad
	consul *testkit.Consul
	signer *ticket.Signer
	brain  *identity.Identity // the key of a brain that Consul knows
	// canary is the secret of the node. It is in the environment of the agent, in
	// files, and at what listens.
	canary string
	// outside is a directory that is neither temporary nor of a seat.
	outside string
	targets attack.Args // what the node is to an attacker
	world   string      // host:port of a server of the internet, or what stands for it
	// without are the defences that the next seats do without.
	without string
}

// newNode starts a node. plugin is added to the plugin's config, env to the agent's
// environment.
func newNode(t *testing.T, plugin string, env ...string) *node {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real agents")
	}
	build(t)
	n := &node{t: t, canary: "node-canary-" + nonce(), outside: outsideDir(t)}
	store := testkit.StartS3(t, "us-east-1", "models")
	n.upload(store, "model", "the content of the model")
	n.Nomad = testkit.NewNomad(t)
	n.consul = testkit.StartConsul(t)
	n.brain = testkit.Identity(t)
	registry, err := fleet.Open(fleet.Config{Address: n.consul.Address})
	testkit.Must(t, err)
	registration, err := registry.RegisterInstance(t.Context(), wire.BrainService, wire.Instance{ID: "brain", Address: "127.0.0.1:1", Key: n.brain.Key()})
	testkit.Must(t, err)
	t.Cleanup(func() { registration.Close(); registry.Close() })
	private, public := testkit.TicketKeys(t, filepath.Join(n.Dir, "keys"))
	n.signer, err = ticket.LoadSigner(private, "test")
	testkit.Must(t, err)
	n.targets.NodeCanary = n.canary
	n.targets.Namespaces, n.targets.Plugin = namespaces(t), library(t)
	n.targets.Content = []string{"local/content/model"} // of each seat
	n.secrets()
	n.listeners()
	n.Start(fmt.Sprintf(`
data_dir   = %q
plugin_dir = %q
client {
  options = { "driver.allowlist" = "stream" }
}
plugin "nomad-driver-stream" {
  config {
    stream_host = %q
    run_dir     = %q
    ticket_keys = %q
    allow {
      networks = ["none", "internet", "host"]
    }
    internet {
      resolvers = ["203.0.113.1"] # nobody's: the node may have none
    }
    cell {
      processes = 1000 # fewer than the fork bomb makes
    }
    cache {
      dir = %q
    }
    s3 {
      endpoint   = %q
      path_style = true
    }
    consul {
      address = %q
    }
    listen {
      api      = "127.0.0.1"
      media    = "127.0.0.1"
      loopback = true
    }
    %s
  }
}
`, n.dataDir(), filepath.Join(built, "plugins"), filepath.Join(built, "stream-host"), n.runDir(), public, n.cacheDir(), store.URL, n.consul.Address, plugin),
		append(env, "AWS_ACCESS_KEY_ID="+os.Getenv("AWS_ACCESS_KEY_ID"), "AWS_SECRET_ACCESS_KEY="+os.Getenv("AWS_SECRET_ACCESS_KEY"),
			"AWS_EC2_METADATA_DISABLED=true", "AWS_NEARCAST_CANARY="+n.canary)...)
	n.WaitReady("stream")
	return n
}

// in is the node for a subtest, whose seats do without some defences.
func (n *node) in(t *testing.T, without string) *node {
	in := *n
	in.t, in.without = t, without
	return &in
}

// lacks reports whether the next seats do without a defence.
func (n *node) lacks(defence string) bool {
	return slices.Contains(strings.Split(n.without, ","), defence)
}

func (n *node) runDir() string { return filepath.Join(n.Dir, "run") }

// dataDir is short: the path of a seat's sound socket has a limit.
func (n *node) dataDir() string  { return filepath.Join(n.Dir, "d") }
func (n *node) cacheDir() string { return filepath.Join(n.Dir, "cache") }

func (n *node) upload(store *testkit.S3, key, text string) {
	n.t.Helper()
	client := s3.New(s3.Options{
		BaseEndpoint: &store.URL, Region: store.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), ""),
	})
	_, err := client.PutObject(n.t.Context(), &s3.PutObjectInput{Bucket: aws.String("models"), Key: &key, Body: strings.NewReader(text)})
	testkit.Must(n.t, err)
}

// outsideDir is a directory beside the system's own. Without root it is temporary, as
// everything of that user.
func outsideDir(t *testing.T) string {
	t.Helper()
	parent := "/srv"
	if !isRoot {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "nearcast-test-")
	testkit.Must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	testkit.Must(t, os.Chmod(dir, 0o755))
	return dir
}

// secrets puts the node's secret where a node has such: in files that all may read, in
// those of root, and in the cache.
func (n *node) secrets() {
	n.t.Helper()
	write := func(file string, mode os.FileMode) string {
		testkit.Must(n.t, os.MkdirAll(filepath.Dir(file), 0o755))
		testkit.Must(n.t, os.WriteFile(file, []byte(n.canary+"\n"), mode))
		return file
	}
	n.targets.NodeFiles = []string{
		write(filepath.Join(n.outside, "all-may-read"), 0o644), write(filepath.Join(n.outside, "root-may-read"), 0o600),
		filepath.Join(n.Dir, "keys"), n.dataDir(), "/etc/shadow", "/root",
	}
	// A directory of fonts that all may read, where apps are not to look.
	n.targets.Fonts = filepath.Join(n.cacheDir(), "fonts")
	testkit.Must(n.t, os.MkdirAll(n.targets.Fonts, 0o755))
	testkit.Must(n.t, os.WriteFile(filepath.Join(n.targets.Fonts, "fonts.dir"), []byte("0\n"), 0o644))
	n.targets.Cache = []string{n.cacheDir(), write(filepath.Join(n.cacheDir(), "secret"), 0o644)}
	n.targets.Victim = n.closed()
}

// closed is a new file of root, in a directory of its own.
func (n *node) closed() string {
	n.t.Helper()
	dir, err := os.MkdirTemp(n.outside, "closed") // its mode is 0700
	testkit.Must(n.t, err)
	file := filepath.Join(dir, "file")
	testkit.Must(n.t, os.WriteFile(file, []byte(n.canary+"\n"), 0o600))
	return file
}

// listeners serve the node's secret on its loopback, on a Unix socket and on an
// abstract one, as its daemons do.
func (n *node) listeners() {
	n.t.Helper()
	listen := func(network, address string) string {
		l, err := net.Listen(network, address)
		testkit.Must(n.t, err)
		n.t.Cleanup(func() { _ = l.Close() })
		if network == "unix" && address[0] == '/' {
			testkit.Must(n.t, os.Chmod(address, 0o777))
		}
		go attack.Tell(l, n.canary)
		return address
	}
	n.targets.Loopback = []string{n.consul.Address, n.Address, listen("tcp", testkit.Address(n.t))}
	n.targets.Sockets = []string{listen("unix", filepath.Join(n.outside, "daemon.sock")), listen("unix", "@"+filepath.Base(n.outside))}
	n.targets.Terminals = []string{terminal(n.t)}
	n.targets.SocketScope = []string{n.Dir, "/tmp/.nearcast-", "@" + n.Dir}
	n.beyond()
}

// terminal is one of the node, such as that of an operator who has logged in.
func terminal(t *testing.T) string {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	testkit.Must(t, err)
	t.Cleanup(func() { _ = ptmx.Close() })
	number, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	testkit.Must(t, err)
	testkit.Must(t, unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0))
	return fmt.Sprintf("/dev/pts/%d", number)
}

// describe names a process, so that an attack takes no other for it.
func describe(t *testing.T, role string, pid int) attack.Process {
	t.Helper()
	p, err := attack.Describe(role, pid)
	testkit.Must(t, err)
	return p
}

// nonce is a text that is found nowhere else.
func nonce() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	if err != nil {
		panic(err)
	}
	return strings.ReplaceAll(strings.TrimSpace(string(raw)), "-", "")
}

func environ(pid int) string {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return string(raw)
}

// variable is one of a process's environment.
func variable(pid int, name string) string {
	for pair := range strings.SplitSeq(environ(pid), "\x00") {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

func pids(want func(pid int) bool) (found []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscan(filepath.Base(dir), &pid); err == nil && want(pid) {
			found = append(found, pid)
		}
	}
	return found
}

// library is what an attacker lets its sound server load; nil without a C compiler.
func library(t *testing.T) []byte {
	t.Helper()
	compiler, err := exec.LookPath("cc")
	if err != nil {
		return nil
	}
	file := filepath.Join(t.TempDir(), "plugin.so")
	if out, err := exec.CommandContext(t.Context(), compiler, "-shared", "-fPIC", "-Os", "-s", "-o", file, "testdata/plugin.c").CombinedOutput(); err != nil {
		t.Fatalf("compile the library: %v\n%s", err, out)
	}
	raw, err := os.ReadFile(file)
	testkit.Must(t, err)
	return raw
}

// namespaces are those of the node.
func namespaces(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, kind := range []string{"mnt", "pid", "net", "ipc", "uts", "user"} {
		to, err := os.Readlink("/proc/self/ns/" + kind)
		testkit.Must(t, err)
		all[kind] = to
	}
	return all
}

// request is one to the agent's API.
func (n *node) request(method, path string, body any) error {
	ctx, cancel := context.WithTimeout(n.t.Context(), 20*time.Second)
	defer cancel()
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return send(ctx, method, "http://"+n.Address+path, raw)
}

// status is what a stream host tells the driver.
func (n *node) status(alloc string) (dir string, status wire.StreamHostStatus, err error) {
	dirs, err := filepath.Glob(filepath.Join(n.runDir(), alloc[:8]+"-*"))
	if err != nil || len(dirs) != 1 {
		return "", status, fmt.Errorf("run directories of %s: %q, %v", alloc, dirs, err)
	}
	raw, err := askSocket(n.t.Context(), filepath.Join(dirs[0], wire.ControlSocket), wire.StatusPath)
	if err == nil {
		err = json.Unmarshal(raw, &status)
	}
	return dirs[0], status, err
}

// daemonSockets are the Unix sockets with a path that processes of the agent hold, such
// as those between the agent and its plugins.
func (n *node) daemonSockets() (names []string) {
	table, _ := os.ReadFile("/proc/net/unix")
	paths := map[string]string{}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) == 8 {
			paths["socket:["+f[6]+"]"] = f[7]
		}
	}
	for _, pid := range pids(func(pid int) bool { return strings.Contains(environ(pid), "NEARCAST_TEST_AGENT="+n.Dir) }) {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, link := range links {
			if to, err := os.Readlink(link); err == nil && paths[to] != "" && !slices.Contains(names, paths[to]) {
				names = append(names, paths[to])
			}
		}
	}
	return names
}
