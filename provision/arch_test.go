package provision_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestArchitecture: install.sh takes a release for the machine that it runs on, and stream nodes are amd64.
// The parts of install.sh are run with a dpkg that says which machine this is, up to where files are
// installed.
func TestArchitecture(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		testkit.Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		testkit.Must(t, os.WriteFile(path, []byte(text), 0o755))
	}
	put("bin/dpkg", "#!/bin/sh\necho $MACHINE\n")
	for _, arch := range []string{"amd64", "arm64", ""} {
		put("release-"+arch+"/SHA256SUMS", "")
		if arch != "" {
			put("release-"+arch+"/ARCH", arch+"\n")
		}
	}
	const script = `set -euo pipefail
role=$1 here=$PWD
for part in lib.sh versions.env steps/base.sh steps/release.sh; do . ./$part; done
sha256sum() { :; }
runs() { echo "takes it"; exit; }
supported_system
take "$2"`
	for _, c := range []struct{ machine, role, release, says string }{
		{"amd64", "server", "amd64", "takes it"},
		{"amd64", "stream", "amd64", "takes it"},
		{"amd64", "edge", "", "takes it"}, // older than the one for arm64
		{"arm64", "server", "arm64", "takes it"},
		{"arm64", "edge", "arm64", "takes it"},
		{"arm64", "stream", "arm64", "servers and edge nodes also arm64; use an amd64 machine, or make this one a server or an edge node"},
		{"riscv64", "server", "amd64", "this machine is riscv64; nodes are amd64, servers and edge nodes also arm64; use such a machine"},
		{"arm64", "server", "amd64", "is a release for amd64, and this machine is arm64; make release makes one for amd64, make release-arm64 one for arm64"},
		{"arm64", "edge", "", "is a release for amd64, and this machine is arm64"},
		{"amd64", "server", "arm64", "is a release for arm64, and this machine is amd64"},
	} {
		cmd := exec.CommandContext(t.Context(), "bash", "-c", script, "test", c.role, filepath.Join(dir, "release-"+c.release))
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "MACHINE="+c.machine)
		out, err := cmd.CombinedOutput()
		if strings.Contains(string(out), "Debian 12 and Ubuntu 24.04 are supported") {
			t.Skipf("install.sh is for other systems than this: %s", out)
		}
		if !strings.Contains(string(out), c.says) || (err == nil) != (c.says == "takes it") {
			t.Errorf("%s on %s with a release for %q: %v: %s", c.role, c.machine, c.release, err, out)
		}
	}
}
