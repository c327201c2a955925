package provision_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRelease runs release.sh with programs that only say their versions, and looks at
// the one file that operators upload.
func TestRelease(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	versions, err := os.ReadFile("versions.env")
	if err != nil {
		t.Fatal(err)
	}
	pin := func(name string) string {
		_, after, _ := strings.Cut(string(versions), "\n"+name+"=")
		version, _, _ := strings.Cut(after, "\n")
		return version
	}
	dir := t.TempDir()
	program := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program("tools/consul", "echo Consul v"+pin("CONSUL_VERSION"))
	program("tools/nomad-x", "echo Nomad v"+pin("NOMAD_VERSION"))
	program("tools/nomad-autoscaler", "")
	program("go/go", `[ "$WRONG" != "$(basename "$3")" ] || SAYS=amd64; printf 'CGO_ENABLED=1\nGOARCH=%s\n\tpath\tgithub.com/hashicorp/nomad\n\tmod\tgithub.com/hashicorp/consul\tv%s\th1:x\n\tmod\tgithub.com/hashicorp/nomad\tv%s\th1:x\n' "$SAYS" `+pin("CONSUL_VERSION")+" "+pin("NOMAD_VERSION"))
	const tools = `printf '%s\n' "consul $PWD/consul" "nomad $PWD/nomad-x" "nomad-autoscaler $PWD/nomad-autoscaler"`
	program("bin/nearcast", `cd "$(dirname "$0")/../tools"; `+tools)
	program("bin/nomad-autoscaler-seats", "")
	program("bin/seat-keeper", "")
	program("bin/stream-host", "")
	program("bin/nearcast-app", "")
	program("bin/nearcast-gamepad.so", "")
	program("bin/plugins/nomad-driver-stream", "")
	program("bin/plugins/nomad-device-seats", "")
	run := func(version string, env ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "bash", "release.sh", filepath.Join(dir, "dist", "release"))
		cmd.Env = append(append(os.Environ(), env...), "PATH="+filepath.Join(dir, "go")+":"+os.Getenv("PATH"),
			"NEARCAST="+filepath.Join(dir, "bin", "nearcast"), "BIN="+filepath.Join(dir, "bin"), "VERSION="+version)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}

	const version = "v0.0.0-20261128053859-0123456789ab+dirty"
	const archive = "nearcast-v0.0.0-20261128053859-0123456789ab-dirty-linux-amd64.tar.gz"
	var said []string
	for range 2 {
		out, err := run(version)
		if err != nil {
			t.Fatalf("release.sh: %v: %s", err, out)
		}
		said = append(said, out)
	}
	if sum, name, _ := strings.Cut(strings.TrimSpace(said[0]), "  "); len(sum) != 64 || name != archive {
		t.Errorf("it says %q; want a checksum and %s", said[0], archive)
	}
	if said[0] != said[1] {
		t.Errorf("the same files made two archives: %q, %q", said[0], said[1])
	}
	found, err := os.ReadDir(filepath.Join(dir, "dist"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range found {
		names = append(names, f.Name())
	}
	if !slices.Equal(names, []string{archive, archive + ".sha256", "release"}) {
		t.Errorf("it made %v", names)
	}
	check := exec.CommandContext(ctx, "sha256sum", "--check", archive+".sha256")
	check.Dir = filepath.Join(dir, "dist")
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("its checksum: %v: %s", err, out)
	}
	out, err := exec.CommandContext(ctx, "tar", "-tzf", filepath.Join(dir, "dist", archive)).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := strings.Fields(string(out))
	for _, want := range []string{
		"./VERSION", "./ARCH", "./SHA256SUMS", "./nearcast", "./seat-keeper", "./stream-host", "./nearcast-app", "./nearcast-gamepad.so", "./consul", "./nomad", "./nomad-autoscaler", "./nomad-autoscaler-seats", "./plugins/nomad-driver-stream", "./plugins/nomad-device-seats",
		"./provision/install.sh", "./provision/acl.sh", "./acl/apply.sh", "./acl/consul/agent.hcl", "./acl/nomad/node.hcl", "./jobs/pools/server.hcl",
		"./jobs/platform/router.nomad.hcl",
	} {
		if !slices.Contains(files, want) {
			t.Errorf("the archive lacks %s", want)
		}
	}
	if i := slices.IndexFunc(files, func(name string) bool { return strings.HasSuffix(name, ".go") }); i >= 0 {
		t.Errorf("the archive has %s", files[i])
	}
	text, err := os.ReadFile(filepath.Join(dir, "dist", "release", "VERSION"))
	if err != nil || !strings.HasPrefix(string(text), version+" consul-") {
		t.Errorf("VERSION is %q, %v", text, err)
	}

	// For arm64: nothing of stream nodes, the servers from source and beside those of this machine.
	program("cc/cross", "")
	program("tools/consul", "exit 1") // it does not run here
	program("bin/nearcast", `cd "$(dirname "$0")/../tools"; echo "$* $PATH $GOARCH $CC $NEARCAST_RELEASES_URL $NEARCAST_TOOLS_DIR" >>../asked; `+tools)
	compiler := filepath.Join(dir, "cc", "cross")
	arm := []string{"ARCH=arm64", "SAYS=arm64", "CC=" + compiler, "NEARCAST_TOOLS_DIR=/tools"}
	if out, err := run(version, arm...); err != nil || !strings.HasSuffix(strings.TrimSpace(out), strings.Replace(archive, "amd64", "arm64", 1)) {
		t.Fatalf("release.sh for arm64: %v: %s", err, out)
	}
	if asked, err := os.ReadFile(filepath.Join(dir, "asked")); err != nil || string(asked) != "dev tools consul nomad nomad-autoscaler "+filepath.Join(dir, "go")+":/usr/bin:/bin arm64 "+compiler+" off /tools/arm64\n" {
		t.Errorf("servers and autoscaler are found and built with %q, %v", asked, err)
	}
	inside := map[string]string{}
	for _, name := range []string{"ARCH", "nearcast", "consul", "nomad", "nomad-autoscaler", "nomad-autoscaler-seats", "provision/install.sh", "seat-keeper", "stream-host", "plugins", "nearcast-gamepad.so"} {
		if _, err := os.Stat(filepath.Join(dir, "dist", "release", name)); err == nil {
			inside[name] = "there"
		}
	}
	if len(inside) != 7 || inside["stream-host"] != "" {
		t.Errorf("a release for arm64 has %v", inside)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "dist", "release", "ARCH")); err != nil || string(text) != "arm64\n" {
		t.Errorf("ARCH is %q, %v", text, err)
	}
	type wrong struct {
		env  []string
		says string
	}
	all := []wrong{
		{[]string{"ARCH=arm64", "SAYS=arm64", "CC=" + filepath.Join(dir, "none")}, "is missing, which Nomad needs for arm64"},
		{[]string{"ARCH=riscv64"}, `ARCH is "riscv64"`},
	}
	for name, says := range map[string]string{
		"bin/nearcast": "make release-arm64 builds it", "bin/nomad-autoscaler-seats": "make release-arm64 builds it",
		"tools/consul": "remove it", "tools/nomad-x": "remove it", "tools/nomad-autoscaler": "remove it",
	} {
		path := filepath.Join(dir, name)
		all = append(all, wrong{append(slices.Clone(arm), "WRONG="+filepath.Base(path)), path + " is not for arm64: " + says})
	}
	for _, wrong := range all {
		if out, err := run(version, wrong.env...); err == nil || !strings.Contains(out, wrong.says) {
			t.Errorf("%v: %v: %s", wrong.env, err, out)
		}
	}

	if out, err := run("../v1"); err == nil || !strings.Contains(out, `VERSION is "../v1"`) {
		t.Errorf("a version that is a path: %v: %s", err, out)
	}
}
