package setup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Unpacked are programs of a Debian package that is not installed: it would start a server now and
// at each boot.
type Unpacked struct {
	Package, Reason string
	Programs        []string // in its /usr/bin
}

// TestPrograms are needed by make test.
var TestPrograms = []Unpacked{
	// Installed, it listens on port 9090 of all addresses, without a password.
	{"prometheus", "the queries of dashboards and alerts", []string{"prometheus", "promtool"}},
}

// UnpackPrograms puts what is missing of want into ToolsDir, by apt-get download and dpkg-deb.
func UnpackPrograms(ctx context.Context, want []Unpacked, log io.Writer) error {
	dir, err := ToolsDir()
	if err != nil {
		return err
	}
	for _, u := range want {
		if u.present(dir) {
			continue
		}
		if _, err := exec.LookPath("dpkg-deb"); errors.Is(err, exec.ErrNotFound) {
			fmt.Fprintf(log, "This machine has no dpkg. Install yourself what has %s: %s\n", strings.Join(u.Programs, " and "), u.Reason)
			continue
		}
		fmt.Fprintf(log, "Unpacking %s of Debian's package %s into %s: %s\n", strings.Join(u.Programs, " and "), u.Package, dir, u.Reason)
		if err := asRoot(ctx, log, "apt-get", "update"); err != nil {
			return err
		}
		if err := u.unpack(ctx, dir, log); err != nil {
			return fmt.Errorf("unpack the package %s: %w", u.Package, err)
		}
	}
	return nil
}

func (u Unpacked) present(dir string) bool {
	for _, name := range u.Programs {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			continue
		}
		if _, err := exec.LookPath(name); err != nil {
			return false
		}
	}
	return true
}

func (u Unpacked) unpack(ctx context.Context, dir string, log io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(dir, ".unpack-") // on the same file system, for Rename
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	download := exec.CommandContext(ctx, "apt-get", "download", "-q", u.Package)
	download.Dir, download.Stdout, download.Stderr = scratch, log, log
	if err := download.Run(); err != nil {
		return fmt.Errorf("apt-get download: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(scratch, "*.deb"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("apt-get download left %d packages", len(files))
	}
	return u.take(ctx, files[0], scratch, dir)
}

// take takes the programs of a package's file.
func (u Unpacked) take(ctx context.Context, file, scratch, dir string) error {
	root := filepath.Join(scratch, "root")
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "--extract", file, root).CombinedOutput(); err != nil {
		return fmt.Errorf("dpkg-deb: %w: %s", err, strings.TrimSpace(string(out)))
	}
	for _, name := range u.Programs {
		if err := os.Rename(filepath.Join(root, "usr/bin", name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
