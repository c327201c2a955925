package setup

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// A package is unpacked whose installation would start a server: its programs are there, and its
// scripts did not run.
func TestUnpack(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip(err)
	}
	dir, source := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"DEBIAN/control":             "Package: nearcast-no-such-server\nVersion: 1\nArchitecture: all\nMaintainer: none <none@localhost>\nDescription: a server\n",
		"DEBIAN/postinst":            "#!/bin/sh\ntouch " + dir + "/started\n",
		"usr/bin/nearcast-no-server": "#!/bin/sh\n",
		"usr/bin/nearcast-no-tool":   "#!/bin/sh\n",
	} {
		file := filepath.Join(source, name)
		testkit.Must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		testkit.Must(t, os.WriteFile(file, []byte(text), 0o755))
	}
	file := filepath.Join(t.TempDir(), "it.deb")
	if out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--root-owner-group", "--build", source, file).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v: %s", err, out)
	}
	u := Unpacked{"nearcast-no-such-server", "a test", []string{"nearcast-no-server", "nearcast-no-tool"}}
	if u.present(dir) {
		t.Error("it is there before")
	}
	testkit.Must(t, u.take(t.Context(), file, t.TempDir(), dir))
	if !u.present(dir) {
		t.Error("it is not there")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 2 {
		t.Errorf("there is %q", left)
	}
	u.Programs = append(u.Programs, "nearcast-no-third")
	if u.present(dir) {
		t.Error("a program that is missing is not missed")
	}
}

// Servers are not among the packages that are installed.
func TestServersAreUnpacked(t *testing.T) {
	for _, p := range TestPackages {
		for _, u := range TestPrograms {
			if p.Name == u.Package {
				t.Errorf("%s is installed too, and so started", p.Name)
			}
		}
	}
}
