package budget

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/nearcast/nearcast"

// rule says who may import a library. A place is a folder of this module with
// all below it.
type rule struct {
	from    string   // the place that the rule binds; empty is the whole module
	library string   // import path, with all below it
	except  []string // import paths below library that the rule does not mean
	in      []string // places that may
	// tests may import it anywhere where their file is a _test.go.
	tests  bool
	reason string
}

var rules = []rule{
	{
		library: "github.com/hashicorp/nomad", except: []string{"github.com/hashicorp/nomad/api"},
		in:     []string{"driver", "device", "plugins"},
		reason: "the plugin SDK brings half of Nomad; a seat must not see it",
	},
	{
		library: "github.com/hashicorp/nomad/api", in: []string{"brain/nomad", "cloud/nomad", "console/nomad", "dev", "provision/agents", "e2e", "bench"}, tests: true,
		reason: "the broker speaks of seats and apps, an operator of jobs and nodes, the console of nodes and versions; brain/nomad, cloud/nomad and console/nomad translate",
	},
	{
		library: "github.com/hashicorp/nomad-autoscaler", in: []string{"autoscaler", "plugins/nomad-autoscaler-seats", "bench/capacity"},
		reason: "it is the SDK of one plugin; how many nodes there are to be, internal/sizing says without it",
	},
	{
		library: "github.com/NVIDIA/go-nvml", in: []string{"device", "plugins/nomad-device-seats"}, tests: true,
		reason: "NVIDIA's library, and with it cgo, stops at the plugin that counts GPUs; a driver that a GPU can take down holds no seat",
	},
	{
		library: "github.com/hashicorp/cronexpr", in: []string{"internal/sizing"},
		reason: "one package reads schedules",
	},
	{
		library: "github.com/hashicorp/consul/api", in: []string{"internal/fleet", "dev", "bench"}, tests: true,
		reason: "internal/fleet is the one Consul adapter",
	},
	{
		library: "github.com/coreos/go-oidc", in: []string{"internal/login"},
		reason: "one package logs people in; a provider's tokens are to be checked by a library that many read",
	},
	{
		library: "golang.org/x/oauth2", in: []string{"internal/login"},
		reason: "the code flow with PKCE, which go-oidc leaves to it",
	},
	{
		library: module + "/internal/login", in: []string{"internal/login", "router", "console/login"}, tests: true,
		reason: "the two rooms that people reach by a browser log them in; what a login is worth, each of them says",
	},
	{
		library: "github.com/oauth2-proxy/mockoidc", tests: true,
		reason: "it is a provider that a test starts",
	},
	{
		library: "github.com/pion", in: []string{"seat/peer", "turn", "internal/pionlog", "internal/testkit/person", "bench"}, tests: true,
		reason: "WebRTC stops at the peer package, in tests at their person, and TURN in its own room; pionlog has their messages",
	},
	{
		library: "github.com/pion/turn", in: []string{"turn", "bench"}, tests: true,
		reason: "the TURN server is a room of its own",
	},
	{
		library: "github.com/go-gst", in: []string{"seat/capture"},
		reason: "GStreamer, and with it cgo, stops at the capture package",
	},
	{
		library: "C", // the import that asks for cgo
		in:      []string{"seat/capture"},
		reason:  "only capture may use cgo, so that every other binary is static",
	},
	{library: module + "/router", in: []string{"router", "cmd", "e2e", "bench"}, reason: "cmd wires the parts; they do not know each other"},
	{library: module + "/brain", in: []string{"brain", "cmd", "e2e", "bench"}, reason: "cmd wires the parts; they do not know each other"},
	{library: module + "/console", in: []string{"console", "cmd"}, tests: true, reason: "cmd wires the parts; they do not know each other"},
	{library: module + "/turn", in: []string{"turn", "cmd", "e2e", "bench"}, tests: true, reason: "cmd wires the parts; they do not know each other"},
	{library: module + "/cloud", in: []string{"cloud", "cmd/nearcast", "terraform"}, reason: "an operator's command looks at the parts from outside, and reads Terraform's outputs; none of them knows it"},
	{library: module + "/driver", in: []string{"driver", "plugins", "e2e", "bench"}, reason: "cmd wires the parts; they do not know each other"},
	{
		library: module + "/seat", except: []string{module + "/seat/cell"}, in: []string{"seat", "cmd/stream-host", "e2e", "bench"},
		reason: "cmd wires the parts; they do not know each other",
	},
	{
		library: module + "/seat/cell", in: []string{"seat", "cmd/seat-keeper", "cmd/stream-host"}, tests: true,
		reason: "the driver starts the keeper as a process, so that neither Nomad's agent nor a plugin that stops takes part in a cell",
	},
	{
		from:    "seat/cell",
		library: module + "/seat", except: []string{module + "/seat/cell"}, in: []string{"seat/cell/keeper"}, tests: true,
		reason: "the cell holds whatever runs in it; it is read without the parts of a seat",
	},
	{
		from:    "seat/cell/keeper",
		library: module + "/seat", except: []string{module + "/seat/cell", module + "/seat/display/x11", module + "/seat/display/xserver"}, tests: true,
		reason: "the keeper is root, and all that it does for a seat's parts is to start Xorg",
	},
	{
		library: "github.com/moby/profiles", in: []string{"seat/cell/seccomp/policy"},
		reason: "what runs in a cell is the program that policy wrote, and a review reads that one",
	},
	{
		library: "github.com/elastic/go-seccomp-bpf", in: []string{"seat/cell/seccomp/policy"},
		reason: "what runs in a cell is the program that policy wrote, and a review reads that one",
	},
	{
		library: "github.com/opencontainers/runtime-spec", in: []string{"seat/cell/seccomp/policy"},
		reason: "it is the format of Docker's profile, from which policy writes a program",
	},
	{
		library: "github.com/evanw/esbuild", in: []string{"web/packages"}, tests: true,
		reason: "it makes the npm packages; what routers serve is not built, and no program of a release has a bundler",
	},
	{
		library: module + "/web/packages", in: []string{"web/packages"}, tests: true,
		reason: "it makes the npm packages, and has a bundler",
	},
	{
		library: "github.com/oapi-codegen/runtime", in: []string{"client"},
		reason: "the generated client needs it to write queries; no program of a release has it",
	},
	{
		from: "client", library: module, tests: true,
		reason: "customers import it: it brings nothing of the platform",
	},
	{library: module + "/client", tests: true, reason: "it is for customers' servers; tests ask routers as those do"},
	{
		library: "go.opentelemetry.io", in: []string{"internal/trace", "internal/testkit/otlp"},
		reason: "one package makes spans, and all of it is nil where nobody asked for traces; the parts know no SDK",
	},
	{
		library: "github.com/standard-webhooks", in: []string{"brain/events"}, tests: true,
		reason: "one package signs what customers' servers get",
	},
	{
		library: module + "/brain/events", in: []string{"brain", "cmd/nearcast"},
		reason: "the command knows what a webhook may be; all else of events is the brain's",
	},
	{
		library: "golang.org/x/net/bpf", in: []string{"seat/cell/seccomp/policy", "seat/cell/internet"},
		reason: "the two filters of a cell, for its calls and for its packets, are written once each",
	},
	{
		library: "github.com/landlock-lsm", in: []string{"seat/cell/landlock"},
		reason: "the library changes every thread of a process; landlock changes one",
	},
	{
		library: "github.com/vishvananda", in: []string{"seat/cell/internet", "dev/planet"}, tests: true,
		reason: "only they make interfaces: that of a cell, and those between the sites of a planet",
	},
	{library: module + "/device", in: []string{"device", "plugins"}, reason: "plugins wire the parts; they do not know each other"},
	{library: module + "/device/devicetest", tests: true, reason: "it is NVML without a GPU"},
	{library: module + "/autoscaler", in: []string{"autoscaler", "plugins", "bench"}, reason: "plugins wire the parts; they do not know each other"},
	{
		from: "internal/sizing", library: module,
		reason: "it is pure: brain, autoscaler and benchmark ask it, and it asks nobody",
	},
	{library: module + "/dev", in: []string{"dev", "cmd/nearcast", "e2e", "bench"}, reason: "the dev cluster is a tool, not a part"},
	{library: module + "/internal/testkit", in: []string{"internal/testkit", "provision/nodetest", "e2e", "bench"}, tests: true, reason: "it is for tests, and may fail and skip them"},
	{library: module + "/dev/planet", in: []string{"dev/planet", "cmd/nearcast", "e2e", "bench"}, reason: "a cluster does not know that it is a site of a planet"},
}

// seat is what a stream host runs. It knows nothing of Nomad.
const seat = "seat"

// source is one Go file of the module and what it imports.
type source struct {
	file    string // slash path below the root
	imports []string
}

// sources reads the imports of every Go file of the module, whatever its build
// tags say.
func sources(t *testing.T, root string) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path == root {
				return nil
			}
			name := d.Name()
			if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "node_modules" {
				return filepath.SkipDir
			}
			// A module of its own: dev/tools.
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		s := source{file: filepath.ToSlash(rel)}
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, name)
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func below(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func anyBelow(path string, folders []string) bool {
	for _, f := range folders {
		if below(path, f) {
			return true
		}
	}
	return false
}

// breaks reports whether a file's import breaks the rule.
func (r rule) breaks(file, name string) bool {
	if r.from != "" && !below(file, r.from) || !below(name, r.library) || anyBelow(name, r.except) {
		return false
	}
	if r.tests && strings.HasSuffix(file, "_test.go") {
		return false
	}
	return !anyBelow(file, r.in)
}

// who is who may import the library.
func (r rule) who() string {
	who := append([]string{}, r.in...)
	if r.from != "" {
		who = append(who, "places outside "+r.from)
	}
	if r.tests {
		who = append(who, "tests")
	}
	return strings.Join(who, ", ")
}

func TestBudget(t *testing.T) {
	root := filepath.Join("..", "..")
	files := sources(t, root)
	if len(files) < 20 {
		t.Fatalf("only %d Go files found below %s: this test looks in the wrong place", len(files), root)
	}
	for _, s := range files {
		for _, name := range s.imports {
			for _, r := range rules {
				if r.breaks(s.file, name) {
					t.Errorf("%s imports %s, which only %s may: %s", s.file, name, r.who(), r.reason)
				}
			}
			if below(s.file, seat) && !strings.HasSuffix(s.file, "_test.go") &&
				below(name, "github.com/hashicorp/nomad") {
				t.Errorf("%s imports %s: the stream host is no part of Nomad", s.file, name)
			}
		}
	}
}

// TestRules tries the rules themselves: one that lets everything pass would
// never be noticed otherwise.
func TestRules(t *testing.T) {
	cases := []struct {
		file, imports string
		breaks        bool
	}{
		{"router/router.go", "github.com/hashicorp/nomad/api", true},
		{"brain/nomad/client.go", "github.com/hashicorp/nomad/api", false},
		{"brain/broker.go", "github.com/hashicorp/nomad/api", true},
		{"console/nomad/change.go", "github.com/hashicorp/nomad/api", false},
		{"console/watch.go", "github.com/hashicorp/nomad/api", true},
		{"router/router.go", module + "/console", true},
		{"console/console.go", "github.com/coreos/go-oidc/v3/oidc", true},
		{"router/login.go", "github.com/coreos/go-oidc/v3/oidc", true},
		{"console/login/oidc.go", "github.com/coreos/go-oidc/v3/oidc", true},
		{"internal/login/login.go", "github.com/coreos/go-oidc/v3/oidc", false},
		{"brain/nomadic/x.go", "github.com/hashicorp/nomad/api", true},
		{"driver/driver.go", "github.com/hashicorp/nomad/plugins/drivers", false},
		{"brain/broker.go", "github.com/hashicorp/nomad/plugins", true},
		{"router/launch.go", "go.opentelemetry.io/otel/trace", true},
		{"internal/trace/trace.go", "go.opentelemetry.io/otel/trace", false},
		{"router/view.go", "github.com/hashicorp/consul/api", true},
		{"router/view_test.go", "github.com/hashicorp/consul/api", false},
		{"seat/capture/capture.go", "github.com/go-gst/go-gst/gst", false},
		{"seat/seat.go", "github.com/go-gst/go-gst/gst", true},
		{"seat/seat.go", "github.com/pion/webrtc/v4", true},
		{"internal/testkit/nomad.go", "github.com/pion/webrtc/v4", true},
		{"seat/peer/peer.go", "github.com/pion/webrtc/v4", false},
		{"router/router.go", module + "/brain", true},
		{"router/router.go", module + "/internal/wire", false},
		{"driver/driver.go", module + "/router", true},
		{"cmd/nearcast/router.go", module + "/router", false},
		{"dev/cluster.go", module + "/dev/planet/netns", true},
		{"dev/planet/planet.go", module + "/dev", false},
		{"autoscaler/apm.go", "github.com/hashicorp/nomad-autoscaler/sdk", false},
		{"brain/plan.go", "github.com/hashicorp/nomad-autoscaler/sdk", true},
		{"autoscaler/apm.go", module + "/brain", true},
		{"internal/sizing/nodes.go", module + "/internal/wire", true},
		{"brain/plan.go", module + "/internal/sizing", false},
		{"cloud/up.go", "github.com/hashicorp/nomad/api", true},
		{"cloud/nomad/jobs.go", "github.com/hashicorp/nomad/api", false},
		{"cloud/up.go", module + "/brain", true},
		{"provision/cli/cli.go", module + "/cloud", true},
		{"device/gpus.go", "github.com/NVIDIA/go-nvml/pkg/nvml", false},
		{"driver/gpu.go", "github.com/NVIDIA/go-nvml/pkg/nvml", true},
		{"driver/gpu.go", module + "/device", true},
		{"plugins/nomad-device-seats/main.go", module + "/device/devicetest", true},
		{"device/plugin_test.go", module + "/device/devicetest", false},
		{"web/embed.go", "C", true},
		{"web/web.go", "github.com/evanw/esbuild/pkg/api", true},
		{"web/packages/packages.go", "github.com/evanw/esbuild/pkg/api", false},
		{"cmd/nearcast/router.go", module + "/web/packages", true},
		{"driver/exec.go", module + "/seat/cell", true},
		{"driver/fakestreamhost_test.go", module + "/seat/cell/enter", false},
		{"cmd/seat-keeper/main.go", module + "/seat/cell/keeper", false},
		{"cmd/seat-keeper/main.go", module + "/seat/display/xserver", true},
		{"seat/app/app.go", module + "/seat/cell", false},
		{"seat/cell/cellinit/runner.go", module + "/seat/app", true},
		{"seat/cell/cellinit/runner.go", module + "/seat/display/xserver", true},
		{"seat/cell/cellinit/runner.go", module + "/seat/cell/landlock", false},
		{"seat/cell/keeper/xorg.go", module + "/seat/display/xserver", false},
		{"seat/cell/keeper/keeper.go", module + "/seat/display", true},
		{"seat/cell/keeper/content.go", module + "/seat/content", true},
		{"seat/cell/seccomp/seccomp.go", "github.com/moby/profiles/seccomp", true},
		{"seat/cell/seccomp/policy/policy.go", "github.com/moby/profiles/seccomp", false},
		{"seat/display/xvfb.go", module + "/internal/testkit", true},
		{"seat/display/server_test.go", module + "/internal/testkit", false},
		{"bench/planet/visit.go", module + "/internal/testkit/browser", false},
	}
	for _, c := range cases {
		got := false
		for _, r := range rules {
			got = got || r.breaks(c.file, c.imports)
		}
		if got != c.breaks {
			t.Errorf("%s importing %s: breaks = %v, want %v", c.file, c.imports, got, c.breaks)
		}
	}
}

// TestBinaries looks at what each binary is really made of, through all the
// packages in between.
func TestBinaries(t *testing.T) {
	cases := []struct{ binary, without string }{
		{"cmd/nearcast", "github.com/hashicorp/nomad/plugins"},
		{"cmd/nearcast", "github.com/pion/webrtc"},
		{"cmd/nearcast", "github.com/go-gst"},
		{"plugins/nomad-driver-stream", "github.com/pion/webrtc"},
		{"plugins/nomad-driver-stream", "github.com/go-gst"},
		{"plugins/nomad-driver-stream", module + "/seat"},
		{"plugins/nomad-driver-stream", "github.com/NVIDIA"},
		{"plugins/nomad-device-seats", module + "/driver"},
		{"plugins/nomad-device-seats", "github.com/NVIDIA/go-nvml/pkg/nvml/mock"},
		{"plugins/nomad-autoscaler-seats", "github.com/hashicorp/nomad"},
		{"plugins/nomad-autoscaler-seats", "github.com/aws"},
		{"plugins/nomad-autoscaler-seats", "github.com/pion"},
		{"cmd/stream-host", "github.com/hashicorp/nomad"},
		// The stream host asks the keeper and the cell; it holds no code that needs root.
		{"cmd/stream-host", module + "/seat/cell/keeper"},
		{"cmd/stream-host", module + "/seat/cell/cellinit"},
		// The keeper is the only process of a seat that is root. It parses nothing that
		// comes over a network: no media, no WebRTC, no object store, no Consul. Its
		// filters of system calls are made before it is built.
		{"cmd/seat-keeper", "github.com/go-gst"},
		{"cmd/seat-keeper", "github.com/pion"},
		{"cmd/seat-keeper", "github.com/aws"},
		{"cmd/seat-keeper", "github.com/hashicorp"},
		{"cmd/seat-keeper", "github.com/coder/websocket"},
		{"cmd/seat-keeper", "github.com/moby"},
		{"cmd/seat-keeper", "github.com/elastic"},
		{"cmd/seat-keeper", module + "/seat/capture"},
		{"cmd/seat-keeper", module + "/seat/peer"},
		{"cmd/seat-keeper", module + "/seat/content"},
		{"cmd/seat-keeper", "net/http"},
		// It is in each cell, and each script starts it again: what it has of ours is the wire.
		{"cmd/nearcast-app", "github.com/hashicorp"},
		{"cmd/nearcast-app", "github.com/pion"},
		{"cmd/nearcast-app", module + "/seat"},
		{"cmd/seat-keeper", "crypto/tls"},
	}
	made := make(map[string][]string)
	for _, c := range cases {
		if made[c.binary] == nil {
			cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "./"+c.binary)
			cmd.Dir = filepath.Join("..", "..")
			var problems strings.Builder
			cmd.Stderr = &problems
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("go list -deps ./%s: %v\n%s", c.binary, err, &problems)
			}
			made[c.binary] = strings.Fields(string(out))
		}
		for _, pkg := range made[c.binary] {
			if below(pkg, c.without) {
				t.Errorf("%s is made of %s, among others", c.binary, pkg)
				break
			}
		}
	}
}
