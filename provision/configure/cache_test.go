package configure

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/provision"
)

// A cache that should be on a local disk is no larger than what is there.
func TestLimitCache(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "cache")
	check := func(what, size, want string) {
		t.Helper()
		if got, err := limitCache(size, folder); err != nil || got != want {
			t.Errorf("%s: %s becomes %s, want %s: %v", what, size, got, want, err)
		}
	}
	check("before it is made", "90GiB", "90GiB")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	check("on the root volume", "90GiB", "10GiB")
	check("on the root volume", "9GiB", "9GiB")
	check("on the root volume", "0", "10GiB")
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=40g", "tmpfs", folder).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() { exec.Command("umount", folder).Run() })
	check("on a disk of 40 GiB", "90GiB", "36GiB")
	check("on a disk of 40 GiB", "20GiB", "20GiB")
	check("on a disk of 40 GiB", "0", "36GiB")
	if got := provision.CacheOn(10); got != 7 {
		t.Errorf("on a disk of 10 GiB the cache may have %d, and seats need 3", got)
	}
}

// Allocations that run where an earlier release has put them keep their folder.
func TestAllocDir(t *testing.T) {
	p := provision.Values{Role: provision.Stream}.WithDefaults().Paths
	for mounts, want := range map[string]string{
		"36 25 0:31 / /proc rw - proc proc rw\n36 25 0:31 / /var/cache/nearcast rw - ext4 /dev/nvme1n1 rw\n":               p.Cache + "/alloc",
		"36 25 0:31 / /var/cache/nearcast/alloc/9f/run/secrets rw - tmpfs tmpfs rw\n":                                      p.Cache + "/alloc",
		"36 25 0:31 / /var/lib/nomad/alloc/9f/run/secrets rw,noexec - tmpfs tmpfs rw\n36 25 0:31 / /proc rw - proc p rw\n": "/var/lib/nomad/alloc",
	} {
		file := filepath.Join(t.TempDir(), "mountinfo")
		if err := os.WriteFile(file, []byte(mounts), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := allocDir(p, file); err != nil || got != want {
			t.Errorf("with %s: %s, want %s (%v)", mounts, got, want, err)
		}
	}
}
