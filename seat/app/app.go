// Package app runs the app of a seat: the one process in it that is not trusted.
//
//	p, err := app.Start(ctx, app.Config{
//		Command: "f3d", Args: []string{"local/engine.glb"},
//		Env: env, Dir: taskDir, User: "nobody",
//		Isolate: true, Network: wire.NetworkNone,
//		Hide: []string{runDir},
//	})
//	…
//	<-p.Done()
//	code, signal := p.Exit()
//
// A small parent process stands between this process and the app: this
// executable, started again (see InitMain). It gives up every privilege, starts
// the app, reaps the processes that the app orphans, and ends when the app ends.
// When this process is gone, for whatever reason, the parent ends all of them.
//
// With Config.Isolate the parent is the first process of new pid, mount and
// network namespaces. Then the app
//
//   - sees only its own processes, and no path of Config.Hide;
//   - finds its directory, its command and its mounts at the paths that it was
//     given, even below a directory that its user cannot enter, such as root's
//     home. Nothing else of that directory is visible;
//   - has no network but loopback. So it reaches neither the site's network nor
//     the cloud's metadata address, which would give it the node's credentials.
//     With wire.NetworkHost it shares the node's network: then the operator must
//     protect 169.254.169.254 in another way, such as IMDSv2 with a hop limit of
//     1, or a firewall rule for the user;
//   - cannot leave a process behind: the kernel ends the whole pid namespace.
//
// The app shares the node's System V IPC namespace: it passes pictures to the
// display by shared memory.
//
// With and without Isolate, the app has no capability, cannot gain one
// (no_new_privs), and has exactly the environment that it was given.
package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sort"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// Config says what to run, and what it may do.
type Config struct {
	// Command is a path, absolute or below Dir, or a name, which is looked up in
	// the PATH of Env, then in Dir.
	Command string
	Args    []string
	// Env is the whole environment: nothing is inherited. HOME,
	// XDG_RUNTIME_DIR, USER, LOGNAME and PATH are added if they are missing. It
	// must hold the variables of display and sound server.
	Env map[string]string
	// Dir is the working directory.
	Dir string
	// Home is a private directory for HOME and XDG_RUNTIME_DIR. It is made if it
	// does not exist. Empty is Dir/.nearcast. The user's own home is not used: the
	// next session would find there what this one leaves.
	Home string
	// User is one of unixuser; empty is the user of this process.
	User string
	// Stdout and Stderr are paths of a FIFO or a file; empty is /dev/null.
	Stdout, Stderr string
	// Isolate runs the app in namespaces of its own. It needs root.
	Isolate bool
	// Network is wire.NetworkNone (or empty) or wire.NetworkHost. Without
	// Isolate it has no effect: the app uses the node's network.
	Network string
	// Mounts are bind mounts that only the app sees. A missing mount point is
	// made, as an empty directory on the node.
	Mounts []wire.Mount
	// Hide lists paths that the app must not see. Show lists paths below them
	// that it still sees. Dir and Home are always visible. Missing paths are ignored.
	Hide, Show []string
	// Devices are patterns of device files that the app must be able to open. If
	// a file belongs to a group, the app becomes a member of it. Devices has an
	// effect only if this process is root.
	Devices []string
	// Cgroup is a cgroup directory for the app; empty is the cgroup of this process.
	Cgroup string
	// Log is slog.Default() if nil.
	Log *slog.Logger
}

// Start starts the app. The context bounds the start only. An error that the
// publisher or the operator can correct is a wire.End.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	return start(ctx, cfg, s)
}

// prepare checks the configuration and makes the spec for the parent process.
func prepare(cfg Config) (spec, error) {
	root := os.Geteuid() == 0
	switch {
	case cfg.Command == "":
		return spec{}, problem(wire.CodeAppNotFound, "the task has no command")
	case cfg.Dir == "":
		return spec{}, problem(wire.CodeConfig, "the task has no working directory")
	case cfg.Isolate && !root:
		return spec{}, problem(wire.CodeConfig, "isolation needs root: run the Nomad agent as root, or set isolate = false")
	case cfg.Network != "" && cfg.Network != wire.NetworkNone && cfg.Network != wire.NetworkHost:
		return spec{}, problem(wire.CodeConfig, fmt.Sprintf("network %q is not allowed: it must be %q or %q", cfg.Network, wire.NetworkNone, wire.NetworkHost))
	}
	id, err := lookup(cfg.User)
	if err != nil {
		return spec{}, problem(wire.CodeConfig, err.Error())
	}
	if !root && id.UID != os.Geteuid() {
		return spec{}, problem(wire.CodeConfig, fmt.Sprintf("to run the app as user %q, the Nomad agent must run as root", cfg.User))
	}
	id = id.addDeviceGroups(cfg.Devices, cfg.Log)
	home := cfg.Home
	if home == "" {
		home = filepath.Join(cfg.Dir, ".nearcast")
	}
	runtimeDir, err := makeHome(home, id)
	if err != nil {
		return spec{}, problem(wire.CodeConfig, err.Error())
	}
	return spec{
		Command: cfg.Command, Args: cfg.Args, Dir: cfg.Dir, Home: home,
		Env:      environment(cfg.Env, id, home, runtimeDir),
		Path:     searchPath(cfg.Env),
		Identity: id, Drop: root,
		Isolate: cfg.Isolate, Loopback: cfg.Isolate && cfg.Network != wire.NetworkHost,
		Mounts: cfg.Mounts, Hide: cfg.Hide, Show: append([]string{cfg.Dir, home}, cfg.Show...),
	}, nil
}

func problem(code, detail string) error {
	return wire.End{Reason: wire.ReasonError, Code: code, Detail: detail}
}

const defaultPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"

func searchPath(env map[string]string) string {
	if p := env["PATH"]; p != "" {
		return p
	}
	return defaultPath
}

// environment adds to given what is missing.
func environment(given map[string]string, id identity, home, runtimeDir string) []string {
	env := map[string]string{
		"HOME": home, "XDG_RUNTIME_DIR": runtimeDir, "PATH": defaultPath,
	}
	if id.Name != "" {
		env["USER"], env["LOGNAME"] = id.Name, id.Name
	}
	for k, v := range given {
		env[k] = v
	}
	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	sort.Strings(list)
	return list
}

// makeHome makes the private directory and a directory for sockets in it. It
// follows no symbolic link, since content may have put one there.
func makeHome(home string, id identity) (runtimeDir string, err error) {
	if err := makeOwned(filepath.Dir(home), filepath.Base(home), id); err != nil {
		return "", fmt.Errorf("make home directory: %w", err)
	}
	const name = ".runtime"
	if err := makeOwned(home, name, id); err != nil {
		return "", fmt.Errorf("make runtime directory: %w", err)
	}
	return filepath.Join(home, name), nil
}

func makeOwned(parent, name string, id identity) error {
	dir, err := os.OpenRoot(parent)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", filepath.Join(parent, name))
	}
	if id.UID == os.Geteuid() && id.GID == os.Getegid() {
		return nil
	}
	return dir.Lchown(name, id.UID, id.GID)
}

// openOutput opens the file or FIFO that the app prints to. A FIFO is opened for
// reading too: so it opens at once without a reader, and SIGPIPE does not kill the
// app when the reader, Nomad's log collector, restarts.
func openOutput(path string) (*os.File, error) {
	if path == "" {
		path = os.DevNull
	}
	flags := unix.O_WRONLY | unix.O_APPEND | unix.O_CREAT
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		flags = unix.O_RDWR
	}
	// Not os.OpenFile: it makes a FIFO non-blocking, and the app would inherit that.
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0o644)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
