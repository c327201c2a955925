package dev

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// runDir is where the driver keeps its sockets: in the cluster's folder, or,
// where that path would leave no room for a socket's name (107 bytes in all),
// in a short one made from it.
func runDir(dir string) string {
	if in := filepath.Join(dir, "run"); len(in) <= 64 {
		return in
	}
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join("/tmp", "nearcast-"+hex.EncodeToString(sum[:6]))
}

// makePrivate makes a folder that is this user's alone, and refuses one that
// somebody else put there: below /tmp anybody could have.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to somebody else; remove it", dir)
	}
	return os.Chmod(dir, 0o700)
}

// findRoot finds the source tree: as told, around the working directory, or
// around the binaries.
func findRoot(told, bin string) (string, error) {
	if told != "" {
		return filepath.Abs(told)
	}
	cwd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for _, from := range []string{cwd, bin} {
		for dir := from; filepath.IsAbs(dir); dir = filepath.Dir(dir) {
			text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			if err == nil && strings.HasPrefix(string(text), "module github.com/nearcast/nearcast\n") {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", errors.New("find the source tree: run this inside a checkout")
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// A planet's folder holds its sites' folders, and the files that its network
// namespaces are mounted on.
func sitesDir(dir string) string { return filepath.Join(dir, "sites") }
func netnsDir(dir string) string { return filepath.Join(dir, "netns") }

// SiteDir is the folder of a site of the planet in dir.
func SiteDir(dir, site string) string { return filepath.Join(sitesDir(dir), site) }

// Namespace is the file of a network namespace of the planet in dir: a site's,
// or Person's. nsenter --net=FILE runs a command inside.
func Namespace(dir, name string) string { return filepath.Join(netnsDir(dir), name) }
