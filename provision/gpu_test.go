package provision_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestKernelIsHeld: a GPU's driver is kept together with the kernel that its modules were built for. dpkg reads
// a list of packages of its own; nothing is installed.
func TestKernelIsHeld(t *testing.T) {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skip("dpkg is not installed")
	}
	dir := t.TempDir()
	status := ""
	for name, state := range map[string]string{
		"linux-image-6.1.0-32-cloud-amd64": "installed", "linux-image-cloud-amd64": "installed", "linux-headers-6.1.0-32-cloud-amd64": "installed",
		"linux-aws": "installed", "linux-modules-6.8.0-1021-aws": "installed",
		"linux-image-6.1.0-31-cloud-amd64": "config-files", "linux-base": "installed", "bash": "installed",
	} {
		want := map[string]string{"installed": "install ok installed", "config-files": "deinstall ok config-files"}[state]
		status += fmt.Sprintf("Package: %s\nStatus: %s\nArchitecture: amd64\nVersion: 1\nMaintainer: x\nDescription: x\n\n", name, want)
	}
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "status"), []byte(status), 0o600))
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", `
		. ./lib.sh; . ./versions.env; . ./steps/gpu.sh
		packages() { :; }
		with_systemd() { false; }
		hold() { printf '%s\n' "$@"; }
		system='ubuntu 24.04'
		gpu`)
	cmd.Env = append(os.Environ(), "DPKG_ADMINDIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("gpu: %v: %s", err, out)
	}
	held := map[string]bool{}
	for _, name := range strings.Fields(string(out)) {
		held[name] = true
	}
	for name, want := range map[string]bool{
		"nvidia-driver-570-server": true, "linux-image-6.1.0-32-cloud-amd64": true, "linux-image-cloud-amd64": true, "linux-headers-6.1.0-32-cloud-amd64": true,
		"linux-aws": true, "linux-modules-6.8.0-1021-aws": true, "linux-image-6.1.0-31-cloud-amd64": false, "linux-base": false, "bash": false,
	} {
		if held[name] != want {
			t.Errorf("%s is held: %t; held are %q", name, held[name], out)
		}
	}
}
