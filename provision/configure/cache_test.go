package configure

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
}
