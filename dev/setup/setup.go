// Package setup finds what a dev cluster needs on this machine: servers (Tools) and
// Debian packages.
//
//	paths, err := setup.Tools(ctx, "", os.Stderr)
//	// paths["nomad"] is /home/ana/.cache/nearcast/tools/bin/nomad-v1.11.2
//
// Each server comes from the first of these places that has it:
//
//  1. PATH, in whatever version
//  2. ToolsDir, where an earlier call kept it
//  3. the official release of the pinned version, for servers that have one: Consul
//     and Nomad. Checksum and signature are verified
//  4. a build from source, of the version pinned in dev/tools/NAME/go.mod
//
// A release that cannot be had (no network, no such file) leads to the build. A release
// that is there but fails verification is an error, and nothing is installed.
// NEARCAST_RELEASES_URL names a mirror of https://releases.hashicorp.com, or turns
// releases off. For each server one line says where it comes from, and why.
package setup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/hc-install/product"
	"golang.org/x/mod/modfile"
)

// tool is a server that the cluster runs, written in Go.
type tool struct {
	name    string           // of the binary, and of the folder in dev/tools with its pin
	module  string           // whose version is the tool's
	main    string           // package
	release *product.Product // nil where there is none that can be verified
	version string           // argument that prints the version
	minutes int              // to build on two cores, about
	cgo     string           // "1" where something is missing without it
}

var tools = []tool{
	{"consul", "github.com/hashicorp/consul", "github.com/hashicorp/consul", &product.Consul, "version", 3, "0"},
	// Without cgo Nomad has no exec driver, by which nodes isolate router and brain.
	{"nomad", "github.com/hashicorp/nomad", "github.com/hashicorp/nomad", &product.Nomad, "version", 4, "1"},
	{"versitygw", "github.com/versity/versitygw", "github.com/versity/versitygw/cmd/versitygw", nil, "--version", 1, "0"},
}

// furtherTools are found only by name.
var furtherTools = []tool{
	{"nomad-autoscaler", "github.com/hashicorp/nomad-autoscaler", "github.com/hashicorp/nomad-autoscaler", nil, "version", 2, "0"},
	// Not a server: make bench-content compares with it.
	{"s5cmd", "github.com/peak/s5cmd/v2", "github.com/peak/s5cmd/v2", nil, "version", 1, "0"},
}

// ToolsDir is the folder that keeps servers: $NEARCAST_TOOLS_DIR, or nearcast/tools/bin
// in the user's cache.
func ToolsDir() (string, error) {
	if dir := os.Getenv("NEARCAST_TOOLS_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache (set NEARCAST_TOOLS_DIR): %w", err)
	}
	return filepath.Join(cache, "nearcast", "tools", "bin"), nil
}

// Tools finds the servers of a cluster, or those with the given names, and returns
// their paths by name. It downloads or builds those that this machine lacks. root is
// the source tree; empty is the one around the working directory. A nil log is none.
func Tools(ctx context.Context, root string, log io.Writer, names ...string) (map[string]string, error) {
	wanted, err := named(names)
	if err != nil {
		return nil, err
	}
	root, err = Root(root, "")
	if err != nil {
		return nil, err
	}
	dir, err := ToolsDir()
	if err != nil {
		return nil, err
	}
	f := finder{root: root, dir: dir, releases: releasesFromEnv(), out: newOutput(log)}
	paths := make(map[string]string)
	for _, t := range wanted {
		path, err := f.find(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("get %s: %w", t.name, err)
		}
		paths[t.name] = path
	}
	return paths, nil
}

// named are the tools with these names; without names those that a cluster runs.
func named(names []string) ([]tool, error) {
	if len(names) == 0 {
		return tools, nil
	}
	all := slices.Concat(tools, furtherTools)
	var out []tool
	for _, name := range names {
		i := slices.IndexFunc(all, func(t tool) bool { return t.name == name })
		if i < 0 {
			var known []string
			for _, t := range all {
				known = append(known, t.name)
			}
			return nil, fmt.Errorf("unknown tool %q; must be one of %s", name, strings.Join(known, ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

// finder finds tools.
type finder struct {
	root     string // source tree, with the pins
	dir      string // keeps tools
	releases *releases
	out      *output
}

func (f finder) find(ctx context.Context, t tool) (string, error) {
	pinned, err := t.pin(f.root)
	if err != nil {
		return "", err
	}
	if path, err := exec.LookPath(t.name); err == nil {
		f.out.line("%s %s: from PATH, %s", t.name, describe(t.installed(ctx, path), pinned), path)
		return filepath.Abs(path)
	}
	if path := f.kept(t, pinned); path != "" {
		f.out.line("%s %s: from %s", t.name, pinned, path)
		return path, nil
	}
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(ctx, filepath.Join(f.dir, "."+t.name+".lock"), func() {
		f.out.line("%s %s: waiting for another process that downloads or builds it", t.name, pinned)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if path := f.kept(t, pinned); path != "" {
		return path, nil
	}
	why := "" // it is built from source
	if t.release != nil {
		path, err := f.download(ctx, t, pinned)
		if !errors.As(err, new(unavailable)) {
			return path, err
		}
		why = fmt.Sprintf("%v; ", err)
	}
	f.out.line("%s %s: %sbuilding from source, about %d min on two cores", t.name, pinned, why, t.minutes)
	return f.build(ctx, t, pinned)
}

// describe compares an installed version with the pinned one.
func describe(installed, pinned string) string {
	switch installed {
	case pinned:
		return pinned
	case "":
		return "of unknown version (pinned is " + pinned + ")"
	}
	return installed + " (pinned is " + pinned + ")"
}

// binary is the file name of a version of the tool.
func (t tool) binary(version string) string { return t.name + "-" + version }

// kept is the tool in the finder's folder: the pinned version, or one that somebody put
// there under its plain name. A link of ours to another version does not count.
func (f finder) kept(t tool, pinned string) string {
	plain := filepath.Join(f.dir, t.name)
	if target, err := os.Readlink(plain); err == nil &&
		filepath.Base(target) == target && strings.HasPrefix(target, t.name+"-") && target != t.binary(pinned) {
		plain = ""
	}
	for _, path := range []string{filepath.Join(f.dir, t.binary(pinned)), plain} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	return ""
}

// keep moves a finished program from scratch into the finder's folder, whole or not at
// all, and links its plain name to it.
func (f finder) keep(t tool, version, file string) (string, error) {
	if err := errors.Join(os.Chmod(file, 0o755), sync(file)); err != nil {
		return "", err
	}
	path := filepath.Join(f.dir, t.binary(version))
	if err := os.Rename(file, path); err != nil {
		return "", err
	}
	return path, renameio.Symlink(t.binary(version), filepath.Join(f.dir, t.name))
}

func sync(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// scratch is an empty folder for a download or a build. The caller holds the tool's
// lock, so the name can be fixed: the next call removes what a killed one left.
func (f finder) scratch(t tool) (string, error) {
	dir := filepath.Join(f.dir, "."+t.name+".new")
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.Mkdir(dir, 0o755)
}

// pin is the version that the source tree pins, with "v".
func (t tool) pin(root string) (string, error) {
	path := filepath.Join(root, "dev", "tools", t.name, "go.mod")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read its pinned version (is this the source tree?): %w", err)
	}
	file, err := modfile.ParseLax(path, text, nil)
	if err != nil {
		return "", err
	}
	for _, r := range file.Require {
		if r.Mod.Path == t.module {
			return r.Mod.Version, nil
		}
	}
	return "", fmt.Errorf("%s does not require %s", path, t.module)
}

// Root finds the source tree: told, or the module around the working directory, or
// around bin.
func Root(told, bin string) (string, error) {
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
