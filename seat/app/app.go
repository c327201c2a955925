// Package app runs the one untrusted process of a seat, its application.
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
// Between this process and the application stands a small parent, this very
// executable started again (see InitMain). It gives up every privilege, starts
// the application, reaps what the application orphans, and ends with it. When
// this process is gone, for whatever reason, the parent ends all of them.
//
// With Config.Isolate the parent is the first process of new pid, mount and
// network namespaces, and the application
//
//   - sees no process but its own, and no path of Config.Hide;
//   - reaches its directory, its command and its mounts under the paths it was
//     told, also where they lie below a directory that its user cannot enter,
//     such as root's home: nothing else of that directory is there;
//   - has loopback for a network and nothing else, so neither the site's
//     network nor the cloud's metadata address, which would give it the node's
//     credentials. With wire.NetworkHost it shares the host's network: then the
//     operator must keep 169.254.169.254 away by other means, such as
//     requiring IMDSv2 with a hop limit of 1 or a firewall rule on the user;
//   - cannot leave a process behind: the pid namespace ends as one.
//
// The System V IPC namespace stays the host's: pictures pass from application
// to display by shared memory.
//
// With and without Isolate the application has no capability, cannot gain any
// (no_new_privs), and has exactly the environment it was given.
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

// Config says what to run, and how far to trust it.
type Config struct {
	// Command is a path, absolute or below Dir, or a name to be found in the
	// PATH of Env, or else in Dir.
	Command string
	Args    []string
	// Env is the whole environment: nothing is inherited. HOME,
	// XDG_RUNTIME_DIR, USER, LOGNAME and PATH are added where missing. What the
	// display and the sound server need belongs in it.
	Env map[string]string
	// Dir is the working directory.
	Dir string
	// Home is a private directory for HOME and XDG_RUNTIME_DIR, made if it does
	// not exist. Empty is Dir/.nearcast. The user's own home is not used: what
	// one session leaves there, the next would find.
	Home string
	// User is one of unixuser; empty is the user of this process.
	User string
	// Stdout and Stderr are paths of a FIFO or a file; empty is /dev/null.
	Stdout, Stderr string
	// Isolate puts the application into namespaces of its own. It needs root.
	Isolate bool
	// Network is wire.NetworkNone (or empty) or wire.NetworkHost. Without
	// Isolate it has no effect: the network is the host's.
	Network string
	// Mounts are bound into the application's view of the file system. A
	// missing mount point is made, as an empty directory on the host.
	Mounts []wire.Mount
	// Hide lists paths to cover, Show lists paths below them that stay. Dir and
	// Home stay always. Missing ones are passed over.
	Hide, Show []string
	// Devices are patterns of device files that the application must be able to
	// open. They are visible to it as all of /dev is; where they are a group's,
	// it is made a member. It has an effect only for root.
	Devices []string
	// Cgroup is a cgroup directory for the application; empty is that of this process.
	Cgroup string
	// Log is slog.Default() if nil.
	Log *slog.Logger
}

// Start starts the application. The context bounds the start only. An error
// that the job's author or the operator can mend is a wire.End.
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

// prepare checks the configuration and makes of it what the parent process
// must know.
func prepare(cfg Config) (spec, error) {
	root := os.Geteuid() == 0
	switch {
	case cfg.Command == "":
		return spec{}, problem(wire.CodeAppNotFound, "the task has no command")
	case cfg.Dir == "":
		return spec{}, problem(wire.CodeConfig, "the task has no working directory")
	case cfg.Isolate && !root:
		return spec{}, problem(wire.CodeConfig, "isolation needs root: run the node's agent as root, or set isolate = false")
	case cfg.Network != "" && cfg.Network != wire.NetworkNone && cfg.Network != wire.NetworkHost:
		return spec{}, problem(wire.CodeConfig, fmt.Sprintf("network %q is neither %q nor %q", cfg.Network, wire.NetworkNone, wire.NetworkHost))
	}
	id, err := lookup(cfg.User)
	if err != nil {
		return spec{}, problem(wire.CodeConfig, err.Error())
	}
	if !root && id.UID != os.Geteuid() {
		return spec{}, problem(wire.CodeConfig, fmt.Sprintf("running as user %q needs root", cfg.User))
	}
	id = id.admit(cfg.Devices, cfg.Log)
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

// environment completes the application's.
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

// makeHome makes the private directory and one for sockets in it. What content
// put there is not trusted: no link is followed.
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

// openOutput opens what the application prints to. A FIFO is opened for
// reading too: so it opens at once without a reader, and the application is not
// killed by SIGPIPE when the reader, Nomad's log collector, is restarted.
func openOutput(path string) (*os.File, error) {
	if path == "" {
		path = os.DevNull
	}
	flags := unix.O_WRONLY | unix.O_APPEND | unix.O_CREAT
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		flags = unix.O_RDWR
	}
	// Not os.OpenFile, which makes a FIFO non-blocking: the application would
	// inherit that.
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0o644)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
