package provision_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestImageTemplate evaluates the template for Packer for each role and distribution, as Packer does, and
// looks at what it gives to install.sh. Packer itself and AWS are not part of it.
func TestImageTemplate(t *testing.T) {
	base, err := os.ReadFile("steps/base.sh")
	testkit.Must(t, err)
	install, err := os.ReadFile("install.sh")
	testkit.Must(t, err)
	agent := map[string]cty.Value{"session_manager": cty.ObjectVal(map[string]cty.Value{"url": cty.StringVal("https://example.com/agent.deb"), "sha256": cty.StringVal("ab12")})}
	for _, c := range []struct{ distribution, arch, owner, user, supported, name string }{
		{"ubuntu", "amd64", "099720109477", "ubuntu", "ubuntu 24.04", "ubuntu-noble-24.04-amd64-server-*"},
		{"ubuntu", "arm64", "099720109477", "ubuntu", "ubuntu 24.04", "ubuntu-noble-24.04-arm64-server-*"},
		{"debian", "amd64", "136693071363", "admin", "debian 12", "debian-12-amd64-*"},
		{"debian", "arm64", "136693071363", "admin", "debian 12", "debian-12-arm64-*"},
	} {
		if !strings.Contains(string(base), `"`+c.supported+`"`) {
			t.Errorf("install.sh does not support %s", c.supported)
		}
		for _, role := range []string{"server", "edge", "stream"} {
			for _, gpu := range []bool{false, true} {
				if role != "stream" && gpu || role == "stream" && c.arch == "arm64" {
					continue
				}
				says := fmt.Sprintf("%s %s %s gpu=%t", role, c.distribution, c.arch, gpu)
				given := map[string]cty.Value{
					"role": cty.StringVal(role), "distribution": cty.StringVal(c.distribution), "arch": cty.StringVal(c.arch), "gpu": cty.BoolVal(gpu),
					"packages": cty.ListVal([]cty.Value{cty.StringVal("f3d"), cty.StringVal("x11-apps")}),
				}
				if c.distribution == "debian" {
					given["session_manager"] = agent["session_manager"]
				}
				image := readImage(t, given)
				if image.wrong != "" || image.source != c.owner+" "+c.user || !strings.HasSuffix(image.name, c.name) {
					t.Errorf("%s: the source is %q %q %s", says, image.source, image.name, image.wrong)
				}
				env := map[string]string{}
				for _, line := range image.env {
					name, value, _ := strings.Cut(line, "=")
					env[name] = value
				}
				wants := map[string]string{
					"NEARCAST_ROLE": role, "NEARCAST_GPU": map[bool]string{true: "yes", false: "no"}[gpu], "NEARCAST_PACKAGES": "f3d x11-apps",
					"NEARCAST_SSM_AGENT_URL":    map[string]string{"debian": "https://example.com/agent.deb"}[c.distribution],
					"NEARCAST_SSM_AGENT_SHA256": map[string]string{"debian": "ab12"}[c.distribution],
				}
				for name, want := range wants {
					if got, ok := env[name]; !ok || got != want || len(env) != len(wants) {
						t.Errorf("%s: %s is %q; want %q, and %d variables: %v", says, name, got, want, len(wants), env)
					}
				}
				// install.sh itself reads the arguments, up to where it looks at the machine.
				call := image.inline[len(image.inline)-1]
				arguments, ok := strings.CutPrefix(call, "bash /var/lib/nearcast/release/provision/install.sh ")
				script, _, found := strings.Cut(string(install), "[ \"$(id -u)\" -eq 0 ]")
				if !ok || !found {
					t.Fatalf("%s: it ends with %q", says, call)
				}
				script = strings.Replace(script, `here=$(cd "$(dirname "$0")" && pwd)`, "here=$PWD", 1) + "\necho \"role=$role release=$release image=$image env=$env\"\n"
				out, err := exec.CommandContext(t.Context(), "bash", append([]string{"-c", script, "install.sh"}, strings.Fields(arguments)...)...).CombinedOutput()
				if want := "role=" + role + " release=/var/lib/nearcast/release image=yes env=\n"; err != nil || string(out) != want {
					t.Errorf("%s: install.sh reads %q: %v: %s", says, arguments, err, out)
				}
				// The script of user data finds the release in place by this file.
				if !slices.ContainsFunc(image.inline, func(line string) bool { return line == "echo SHA-256-of-x.tar.gz >/var/lib/nearcast/unpacked.sha256" }) {
					t.Errorf("%s: user data would download the release again", says)
				}
			}
		}
	}
	for name, given := range map[string]map[string]cty.Value{
		"role": {"role": cty.StringVal("cpu")}, "distribution": {"role": cty.StringVal("edge"), "distribution": cty.StringVal("fedora")},
	} {
		if image := readImage(t, given); !strings.Contains(image.wrong, "must be") {
			t.Errorf("a wrong %s is taken: %q", name, image.wrong)
		}
	}
	// Debian without the agent is refused on the machine, before anything is installed.
	image := readImage(t, map[string]cty.Value{"role": cty.StringVal("edge"), "distribution": cty.StringVal("debian")})
	for url, works := range map[string]bool{"": false, "https://example.com/agent.deb": true} {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.Join(image.inline[:2], "\n"))
		cmd.Env = append(os.Environ(), "NEARCAST_SSM_AGENT_URL="+url)
		if out, err := cmd.CombinedOutput(); (err == nil) != works || !works && !strings.Contains(string(out), "give session_manager") {
			t.Errorf("Debian with the agent %q: %v: %s", url, err, out)
		}
	}
}

// image is what the template makes of variables.
type image struct {
	wrong        string // what a validation says
	source, name string // owner and user; the filter
	env, inline  []string
}

var imageFunctions = map[string]function.Function{
	"coalesce": stdlib.CoalesceFunc, "contains": stdlib.ContainsFunc, "formatdate": stdlib.FormatDateFunc, "join": stdlib.JoinFunc,
	"timestamp": function.New(&function.Spec{Type: function.StaticReturnType(cty.String), Impl: func([]cty.Value, cty.Type) (cty.Value, error) {
		return cty.StringVal("2026-01-02T03:04:05Z"), nil
	}}),
	"filesha256": function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}}, Type: function.StaticReturnType(cty.String),
		Impl: func(in []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.StringVal("SHA-256-of-" + in[0].AsString()), nil
		},
	}),
}

func readImage(t *testing.T, given map[string]cty.Value) (im image) {
	t.Helper()
	file, diags := hclparse.NewParser().ParseHCLFile(filepath.Join("image", "nearcast.pkr.hcl"))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	ctx := &hcl.EvalContext{Functions: imageFunctions, Variables: map[string]cty.Value{}}
	value := func(b *hclsyntax.Body, name string) cty.Value {
		t.Helper()
		if b.Attributes[name] == nil {
			t.Fatalf("the template lacks %s", name)
		}
		v, diags := b.Attributes[name].Expr.Value(ctx)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		return v
	}
	texts := func(v cty.Value) (all []string) {
		for _, v := range v.AsValueSlice() {
			all = append(all, v.AsString())
		}
		return all
	}
	blocks := file.Body.(*hclsyntax.Body).Blocks
	vars := map[string]cty.Value{"region": cty.StringVal("eu-central-1"), "release": cty.StringVal("x.tar.gz")}
	for _, b := range blocks {
		if b.Type != "variable" {
			continue
		}
		name := b.Labels[0]
		if v, ok := given[name]; ok {
			vars[name] = v
		} else if b.Body.Attributes["default"] != nil {
			vars[name] = value(b.Body, "default")
		}
	}
	ctx.Variables["var"] = cty.ObjectVal(vars)
	for _, b := range blocks {
		for _, check := range b.Body.Blocks {
			if check.Type == "validation" && value(check.Body, "condition").False() {
				im.wrong += value(check.Body, "error_message").AsString()
			}
		}
	}
	if im.wrong != "" {
		return im
	}
	for _, b := range blocks {
		switch b.Type {
		case "locals":
			locals := map[string]cty.Value{}
			for name := range b.Body.Attributes {
				locals[name] = value(b.Body, name)
			}
			ctx.Variables["local"] = cty.ObjectVal(locals)
		case "source":
			for name := range b.Body.Attributes {
				value(b.Body, name)
			}
			for _, inner := range b.Body.Blocks {
				if inner.Type == "source_ami_filter" {
					im.source = strings.Join(texts(value(inner.Body, "owners")), " ") + " " + value(b.Body, "ssh_username").AsString()
					im.name = value(inner.Body, "filters").GetAttr("name").AsString()
				}
			}
		case "build":
			for _, p := range b.Body.Blocks {
				if p.Type == "provisioner" && p.Labels[0] == "shell" {
					im.env, im.inline = texts(value(p.Body, "environment_vars")), texts(value(p.Body, "inline"))
				}
			}
		}
	}
	return im
}
