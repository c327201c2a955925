package provision_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/unixuser"
	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/secrets"
)

func TestReadEnv(t *testing.T) {
	// Word for word as Terraform's user data writes it.
	v, unknown, err := provision.ReadEnv(strings.NewReader(`
NEARCAST_ASG='prod-stream-gpu'
NEARCAST_CACHE_DEVICE='/dev/sdf'
NEARCAST_CACHE_GIB='100'
NEARCAST_CLUSTER='prod'
NEARCAST_CONTENT_BUCKET='prod-content'
NEARCAST_GPU='yes'
NEARCAST_GPU_SEATS='2'
NEARCAST_HOOK='drain'
NEARCAST_JOIN='provider=aws addr_type=private_v4 tag_key=nearcast-server tag_value=prod region=eu-central-1'
NEARCAST_JOIN_WAN=''
NEARCAST_MEDIA_PORTS='20000-20999'
NEARCAST_NODE="stream-7"
NEARCAST_POOL='stream-gpu'
NEARCAST_PRIMARY_SITE='us-east-1'
NEARCAST_ROLE='stream'
NEARCAST_SECRET_NODES='prod/nodes'
NEARCAST_SERVERS='3'
NEARCAST_SITE='eu-central-1'
NEARCAST_SPED=fast
`))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(unknown, []string{"NEARCAST_SPED"}) {
		t.Errorf("unknown are %v", unknown)
	}
	v = v.WithDefaults()
	if err := v.Validate(); err != nil {
		t.Error(err)
	}
	if len(v.Join) != 1 || v.JoinWAN != nil || v.Stream.PortMax != 20999 || v.Stream.GPUSeats != 2 || v.Stream.CacheSize != "90GiB" || v.Meta["cluster"] != "prod" ||
		v.Stream.PublicIP != provision.PublicIPFromIMDS || v.Stream.S3.Region != "eu-central-1" || v.Pool != "stream-gpu" {
		t.Errorf("read %+v", v)
	}
	for text, says := range map[string]string{
		"NEARCAST_SERVERS=many":          "whole number",
		"NEARCAST_MEDIA_PORTS=20000":     "range such as",
		"NEARCAST_ROLE='a' && reboot":    "line 1",
		"NEARCAST_NO_CLOUD=perhaps":      "yes or no",
		"NEARCAST_GPU=1":                 "yes or no",
		"NEARCAST_GPU_SEATS=0":           "from 1 to 64",
		"NEARCAST_GPU_SEATS=65":          "from 1 to 64",
		"NEARCAST_JOIN=$(cat /etc/pass)": "line 1",
	} {
		if _, _, err := provision.ReadEnv(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// valid returns values that are valid; each case of TestValidate makes one wrong.
func valid(role provision.Role) provision.Values {
	return provision.Values{Role: role, Site: "site-a", Node: string(role) + "-1", Join: []string{"10.0.0.1"}}
}

func TestValidate(t *testing.T) {
	for says, spoil := range map[string]func(*provision.Values){
		`role is "chef"`:                   func(v *provision.Values) { v.Role = "chef" },
		`site is "Europe (central)"`:       func(v *provision.Values) { v.Site = "Europe (central)" },
		`node is "server-3"`:               func(v *provision.Values) { v.Node = "server-3" },
		`servers is "4"`:                   func(v *provision.Values) { v.Servers = 4 },
		`http is "0.0.0.0"`:                func(v *provision.Values) { v.HTTP = "0.0.0.0" },
		`join is "": it must name`:         func(v *provision.Values) { v.Join = nil },
		`join is "": it has an empty item`: func(v *provision.Values) { v.Join = []string{"a", ""} },
		`join_wan is "x"`:                  func(v *provision.Values) { v.JoinWAN = []string{"x"} },
		`address is "::"`:                  func(v *provision.Values) { v.Address = "::" },
		`stream.port_min, port_max`:        func(v *provision.Values) { v.Stream.PortMin = 30000 },
		`stream.users: min is 33`:          func(v *provision.Values) { v.Stream.Users = unixuser.Range{Min: 33, Max: 5000} },
		`stream.cache_size is "much"`:      func(v *provision.Values) { v.Stream.CacheSize = "much" },
		`ports.nomad_rpc is 8500`:          func(v *provision.Values) { v.Ports.NomadRPC = 8500 },
		`paths.cache is "cache"`:           func(v *provision.Values) { v.Paths.Cache = "cache" },
		`asg, hook is "g, "`:               func(v *provision.Values) { v.Cloud.Group = "g" },
		`meta is "a b"`:                    func(v *provision.Values) { v.Meta = map[string]string{"a b": "c"} },
	} {
		v := valid(provision.Stream)
		spoil(&v)
		if err := v.WithDefaults().Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %s, got %v", says, err)
		}
		if files, err := provision.Render(v, provision.Secrets{TicketKeys: "/k"}); err == nil {
			t.Errorf("%s: rendered %d files all the same", says, len(files))
		}
	}
}

// TestRenderedIsRead has the real programs read what Render makes, once with all of
// production's settings and once with as few as possible.
func TestRenderedIsRead(t *testing.T) {
	consul, nomad := testkit.Tool(t, "consul"), testkit.Tool(t, "nomad")
	keys := t.TempDir()
	if _, err := secrets.Make(secrets.Config{Dir: keys, Sites: []string{"site-a"}}); err != nil {
		t.Fatal(err)
	}
	for _, role := range provision.Roles() {
		for _, whole := range []bool{true, false} {
			v := valid(role)
			root := t.TempDir()
			v.ConsulGroup = "root"
			v.Paths.ConsulConfig, v.Paths.NomadConfig, v.Paths.Firewall = filepath.Join(root, "consul.d"), filepath.Join(root, "nomad.d"), root
			s := provision.Secrets{TicketKeys: "/keys.pem"}
			if whole {
				var err error
				if s, err = provision.LoadSecrets(filepath.Join(keys, "site-a", string(role)), role); err != nil {
					t.Fatal(err)
				}
				v.Meta = map[string]string{"zone": `quote " and ${brace} and %{more}`}
				v.Stream.PublicIP, v.Stream.GPUSeats = "203.0.113.9", 2
				v.Tuning = provision.Tuning{CPU: 1000, NoCloud: true, DiskThreshold: 99, Drivers: []string{"stream", "exec", "raw_exec"}}
				if role == provision.Server {
					v.JoinWAN, v.Primary = []string{"provider=aws tag_key=a tag_value=b"}, "site-b"
				}
			}
			files, err := provision.Render(v, s)
			if err != nil {
				t.Fatal(err)
			}
			// A file of another role that the node had before.
			stale := filepath.Join(v.Paths.NomadConfig, "stream.hcl")
			if err := os.MkdirAll(filepath.Dir(stale), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(stale, []byte("nonsense {"), 0o600); err != nil {
				t.Fatal(err)
			}
			changed, err := provision.Apply("/", files, provision.Managed(v.Paths))
			if err != nil || !slices.Contains(changed, stale) {
				t.Fatalf("apply: %v, changed %v", err, changed)
			}
			if changed, err = provision.Apply("/", files, provision.Managed(v.Paths)); err != nil || len(changed) > 0 {
				t.Errorf("applied again: %v, changed %v", err, changed)
			}
			for _, args := range [][]string{{consul, "validate", v.Paths.ConsulConfig}, {nomad, "config", "validate", v.Paths.NomadConfig}} {
				cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s, whole %t: %v: %s", role, whole, err, out)
				}
			}
			for _, f := range files {
				if f.Mode&0o007 != 0 {
					t.Errorf("everybody can read %s, and it has tokens", f.Path)
				}
			}
		}
	}
}

// Nomad starts no plugin that its configuration does not name.
func TestGPUNodesOfferSeats(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "",
		"NEARCAST_GPU=no":                        "",
		"NEARCAST_GPU=yes":                       "1",
		"NEARCAST_GPU_SEATS=3":                   "3",
		"NEARCAST_GPU=yes\nNEARCAST_GPU_SEATS=4": "4",
	} {
		read, _, err := provision.ReadEnv(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		v := valid(provision.Stream)
		v.Stream = read.Stream
		files, err := provision.Render(v, provision.Secrets{TicketKeys: "/k"})
		if err != nil {
			t.Fatal(err)
		}
		block := regexp.MustCompile(`(?s)plugin "nomad-device-seats" \{\s+config \{\s+seats_per_gpu = (\d+)\s`)
		got := ""
		for _, f := range files {
			if m := block.FindSubmatch(f.Text); m != nil {
				got = string(m[1])
			}
		}
		if got != want {
			t.Errorf("%q: a GPU is %q seats, want %q", text, got, want)
		}
	}
}

// TestVersions compares versions.env with the versions that make release builds.
func TestVersions(t *testing.T) {
	text, err := os.ReadFile("versions.env")
	if err != nil {
		t.Fatal(err)
	}
	for tool, name := range map[string]string{"consul": "CONSUL_VERSION", "nomad": "NOMAD_VERSION"} {
		mod := filepath.Join("..", "dev", "tools", tool, "go.mod")
		pins, err := os.ReadFile(mod)
		if err != nil {
			t.Fatal(err)
		}
		file, err := modfile.ParseLax(mod, pins, nil)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(file.Require, func(r *modfile.Require) bool { return r.Mod.Path == "github.com/hashicorp/"+tool })
		if i < 0 {
			t.Fatalf("%s pins no %s", mod, tool)
		}
		found := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindSubmatch(text)
		if found == nil || "v"+string(found[1]) != file.Require[i].Mod.Version {
			t.Errorf("versions.env has %s, and %s pins %s", found, mod, file.Require[i].Mod.Version)
		}
	}
}

func TestShellcheck(t *testing.T) {
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Skip("shellcheck is not installed")
	}
	scripts, err := filepath.Glob("*.sh")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("vagrant/*.sh")
	if err != nil {
		t.Fatal(err)
	}
	scripts = slices.DeleteFunc(scripts, func(name string) bool { return name == "lib.sh" }) // and the steps: followed from install.sh
	if len(scripts) < 3 {
		t.Fatalf("found %v", scripts)
	}
	cmd := exec.CommandContext(t.Context(), "shellcheck", slices.Concat([]string{"--external-sources", "--check-sourced"}, scripts, more)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
