package brain_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/brain/consul"
	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// processEnv makes the test's own binary a brain: a process of its own, whose memory
// can be looked at. It is served as "nearcast brain" serves it. Only its Nomad is not
// real: it has one app with the seats that are there, and starts none.
const processEnv = "NEARCAST_TEST_BRAIN"

// memoryLimit is what the job brain.nomad.hcl has.
const memoryLimit = 384 << 20

type processConfig struct {
	Name, Consul, Keys, App string
	Children                int
}

type oneApp struct {
	app      string
	children int
}

func (n oneApp) Watch(ctx context.Context, fn func(brain.JobsChange)) {
	children := map[string]brain.Child{}
	for i := range n.children {
		id := fmt.Sprintf("%s/dispatch-v1-%d", n.app, i)
		children[id] = brain.Child{ID: id, App: n.app, Version: 1, State: brain.ChildRunning, Alloc: fmt.Sprintf("alloc-%d", i), Node: consulNode}
	}
	fn(brain.JobsChange{All: true, Apps: map[string]brain.App{n.app: {ID: n.app, Version: 1, Warm: n.children, Max: n.children}}, Children: children})
	<-ctx.Done()
}
func (oneApp) Dispatch(context.Context, brain.App, string) (string, error) { return "", brain.ErrNoApp }
func (oneApp) Stop(context.Context, string) error                          { return nil }
func (oneApp) Live(context.Context, string) ([]string, error)              { return nil, nil }

// beBrain is the process. It prints its address, and ends with its standard input.
func beBrain() {
	var cfg processConfig
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	check(json.Unmarshal([]byte(os.Getenv(processEnv)), &cfg))
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	verifier, err := ticket.LoadVerifier(cfg.Keys)
	check(err)
	f, err := fleet.Open(fleet.Config{Address: cfg.Consul, Log: log})
	check(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	internal, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	ctx := context.Background()
	me, err := identity.New()
	check(err)
	reg, err := f.RegisterInstance(ctx, wire.BrainService, wire.Instance{ID: cfg.Name, Key: me.Key(), Site: "dc1", Address: listener.Addr().String(), Internal: internal.Addr().String()})
	check(err)
	metrics := prometheus.NewRegistry()
	b, err := brain.New(brain.Config{ID: cfg.Name, Site: "dc1", Fleet: consul.Fleet{Fleet: f, Holder: reg}, Nomad: oneApp{cfg.App, cfg.Children},
		Identity: me, Peers: f.Peers(wire.BrainService, wire.RouterService, wire.NodeService), Verifier: verifier, Log: log, Metrics: metrics})
	check(err)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.Handle("/", b.Handler())
	server := &http.Server{Handler: mux, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	b.Guard().Attach(server)
	inside := &http.Server{Handler: b.Internal(), ErrorLog: server.ErrorLog}
	go b.Run(ctx)
	go inside.Serve(tls.NewListener(internal, me.Open()))
	go server.Serve(b.Guard().Listener(listener))
	fmt.Println(listener.Addr())
	io.Copy(io.Discard, os.Stdin)
}

// brainProcess is a brain in a process of its own.
type brainProcess struct {
	*testkit.Process
	t       *testing.T
	address string
}

func (s *site) process(name, app string, children int) *brainProcess {
	s.t.Helper()
	if raceDetector {
		s.t.Skip("measures memory and time of a brain, which the race detector multiplies; make test runs it without, too")
	}
	keys := filepath.Join(s.t.TempDir(), "keys.pem")
	der, err := x509.MarshalPKIXPublicKey(s.signer.Public())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(keys, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		s.t.Fatal(err)
	}
	cfg, _ := json.Marshal(processConfig{Name: name, Consul: s.consul.Address, Keys: keys, App: app, Children: children})
	cmd := exec.Command(os.Args[0])
	// As the job has it.
	cmd.Env = append(os.Environ(), processEnv+"="+string(cfg), "GOMEMLIMIT=330MiB")
	in, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { in.Close() })
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	b := &brainProcess{Process: testkit.Start(s.t, cmd), t: s.t}
	w.Close()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		s.t.Fatalf("start a brain: %v", err)
	}
	b.address = strings.TrimSpace(line)
	s.until("brain "+name+" is healthy", func() bool {
		status, _ := call(s.t, http.MethodGet, "http://"+b.address+"/healthz")
		return status == 200
	})
	return b
}

// peak is the most memory that the process ever had.
func (b *brainProcess) peak() int64 {
	b.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.PID()))
	if err != nil {
		b.t.Fatalf("the brain has ended: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	b.t.Fatal("the brain has ended")
	return 0
}

// files is how many descriptors the process has now.
func (b *brainProcess) files() int64 {
	list, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.PID()))
	return int64(len(list))
}

// cuts are the brain's own counts of connections that it cut.
func (b *brainProcess) cuts() string {
	_, text := call(b.t, http.MethodGet, "http://"+b.address+"/metrics")
	var out []string
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "nearcast_brain_cuts_total"); ok {
			out = append(out, strings.TrimSpace(rest))
		}
	}
	return strings.Join(out, " ")
}
