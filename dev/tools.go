package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/sys/unix"
)

// tool is a server that the cluster runs and that is a Go program.
type tool struct {
	name    string // of the binary, and of the folder under dev/tools with its pin
	module  string // whose version is the tool's
	main    string // package
	minutes int    // to build on two cores, about
	cgo     string // "1" where something is missing without it
}

var tools = []tool{
	{"consul", "github.com/hashicorp/consul", "github.com/hashicorp/consul", 3, "0"},
	// Without cgo Nomad has no exec driver, by which hosts isolate router and brain.
	{"nomad", "github.com/hashicorp/nomad", "github.com/hashicorp/nomad", 4, "1"},
	{"versitygw", "github.com/versity/versitygw", "github.com/versity/versitygw/cmd/versitygw", 1, "0"},
}

// furtherTools are built only where they are asked for by name.
var furtherTools = []tool{
	{"nomad-autoscaler", "github.com/hashicorp/nomad-autoscaler", "github.com/hashicorp/nomad-autoscaler", 2, "0"},
}

// ToolsDir is where built servers are kept: $NEARCAST_TOOLS_DIR, or
// nearcast/tools/bin in the user's cache.
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

// Tools finds the servers and returns their paths by name: on PATH, else in
// ToolsDir, else builds them there from the versions pinned in root/dev/tools.
// An empty root is the source tree around the working directory. With names, it
// does so for these alone, which may also be nomad-autoscaler.
func Tools(ctx context.Context, root string, log io.Writer, names ...string) (map[string]string, error) {
	wanted, err := named(names)
	if err != nil {
		return nil, err
	}
	root, err = findRoot(root, "")
	if err != nil {
		return nil, err
	}
	dir, err := ToolsDir()
	if err != nil {
		return nil, err
	}
	paths := make(map[string]string)
	for _, t := range wanted {
		path, err := t.find(ctx, root, dir, log)
		if err != nil {
			return nil, fmt.Errorf("get %s: %w", t.name, err)
		}
		paths[t.name] = path
	}
	return paths, nil
}

// named are the tools of these names, without any those that the cluster runs.
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
			return nil, fmt.Errorf("there is no tool %q; known are %s", name, strings.Join(known, ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

func (t tool) find(ctx context.Context, root, dir string, log io.Writer) (string, error) {
	if path, err := exec.LookPath(t.name); err == nil {
		return filepath.Abs(path)
	}
	version, err := t.version(root)
	if err != nil {
		return "", err
	}
	binary := t.name + "-" + version
	if path := t.cached(dir, binary); path != "" {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(ctx, filepath.Join(dir, "."+t.name+".lock"), func() {
		fmt.Fprintf(log, "Another nearcast builds %s; waiting for it\n", t.name)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if path := t.cached(dir, binary); path != "" {
		return path, nil
	}
	return t.build(ctx, filepath.Join(root, "dev", "tools", t.name), dir, binary, log)
}

// cached is the tool in dir: the pinned version, or one that somebody put
// there. A link to another version of ours is out of date and does not count.
func (t tool) cached(dir, binary string) string {
	plain := filepath.Join(dir, t.name)
	if target, err := os.Readlink(plain); err == nil &&
		filepath.Base(target) == target && strings.HasPrefix(target, t.name+"-") && target != binary {
		plain = ""
	}
	for _, path := range []string{filepath.Join(dir, binary), plain} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	return ""
}

func (t tool) version(root string) (string, error) {
	path := filepath.Join(root, "dev", "tools", t.name, "go.mod")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read its pin (is this the source tree?): %w", err)
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

// build makes the tool in dir. The caller holds the tool's lock, so the scratch
// folder's name can be fixed: what a killed build left there is swept by the next.
func (t tool) build(ctx context.Context, pin, dir, binary string, log io.Writer) (string, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return "", fmt.Errorf("it is not on PATH nor in %s, and there is no go to build it: %w", dir, err)
	}
	scratch := filepath.Join(dir, "."+t.name+".build")
	if err := os.RemoveAll(scratch); err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)
	// A copy, because the build may complete go.sum, and the source tree stays as it is.
	if err := os.CopyFS(scratch, os.DirFS(pin)); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=mod", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w", "-o", filepath.Join(scratch, binary), t.main)
	cmd.Dir = scratch
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+t.cgo, "GOWORK=off", "GOFLAGS=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// go's compilers end with it, not each on its own.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var problems tail
	cmd.Stdout, cmd.Stderr = &problems, &problems

	began := time.Now()
	say := func(what string) {
		fmt.Fprintf(log, "%-10s %s %s: %s\n", clock(time.Since(began)), t.name, strings.TrimPrefix(binary, t.name+"-"), what)
	}
	say(fmt.Sprintf("building from source, once; about %d min on two cores", t.minutes))
	if err := cmd.Start(); err != nil {
		return "", err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			say("still building " + problems.last())
			continue
		case err := <-done:
			if err != nil {
				return "", errors.Join(ctx.Err(), fmt.Errorf("go build %s: %w\n%s", t.main, err, problems.String()))
			}
		}
		break
	}
	path := filepath.Join(dir, binary)
	if err := os.Rename(filepath.Join(scratch, binary), path); err != nil {
		return "", err
	}
	link := filepath.Join(scratch, "link")
	if err := os.Symlink(binary, link); err != nil {
		return "", err
	}
	if err := os.Rename(link, filepath.Join(dir, t.name)); err != nil {
		return "", err
	}
	say("built, kept in " + dir)
	return path, nil
}

// lockFile takes an exclusive lock that the kernel drops when this process
// dies, however it dies. waiting is called once if somebody else has it.
func lockFile(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for first := true; ; first = false {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
		}
		if waiting == nil {
			f.Close()
			return nil, err
		}
		if first {
			waiting()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		}
	}
}

func clock(d time.Duration) string {
	return fmt.Sprintf("[%d:%02d]", int(d.Minutes()), int(d.Seconds())%60)
}
