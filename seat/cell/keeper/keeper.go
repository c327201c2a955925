// Package keeper is the parent of all processes of a seat. It is the only one of them
// that may be root, so it is small and parses nothing of the outside:
//
//	code := keeper.Run("/run/nearcast/…/spec.json")
//
// It opens the control socket, starts the stream host as a user of its own without
// capabilities, and makes the cell, whose task directory stays closed until the content
// is there. Then it serves the few requests of the stream host
// that need root (cell.Request), and reports how the seat ended. The stream host and
// the cell end with the keeper, whatever ends it, and the keeper ends with the stream
// host.
//
//	driver → keeper ─┬─ stream host        talks to people, brains and the cell
//	                 ├─ content            only while files are fetched, and written to the cache
//	                 └─ cell's first process ─ display, sound, app
//
// A stream host that an attacker took over gains from the keeper: the files that the
// job names anyway, the one cell that the spec describes, and a word about how the
// seat ended.
//
// Where the keeper is not root, all of them run as its user, without a cell.
package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/logs"
	"github.com/nearcast/nearcast/internal/unixuser"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/internet"
	"github.com/nearcast/nearcast/seat/cell/landlock"
	"github.com/nearcast/nearcast/seat/cell/privilege"
	"github.com/nearcast/nearcast/seat/cell/uinput"
	"github.com/nearcast/nearcast/seat/display/xserver"
)

// Exit statuses of Run.
const (
	exitWell     = 0
	exitFailed   = 1
	exitNotBegun = 2
)

// keeper keeps one seat.
type keeper struct {
	spec wire.Spec
	log  *slog.Logger
	root bool
	app  cell.Identity
	host cell.Identity

	conn *cell.Conn // with the stream host
	// hold keeps the app's files in the node's cache while it is open.
	hold *os.File
	// keeping is the process that fetched them, which may still write to the cache.
	keeping *child
	heard   chan struct{} // closed when it says nothing more
	// made is the cell, once it was asked for or made ahead.
	made chan cellResult
	cell *cellProcess
	// closed is the task's directory in a cell that is there before the content.
	closed *os.File
	// display is Xorg, where the keeper runs it.
	display *xserver.Server
	// network is the outside world of the cell, where the job asks for it.
	network *internet.Network
	// pads are the seat's gamepads, where the kernel has them.
	pads    []*uinput.Device
	makePad func(index int) (*uinput.Device, error)
}

// Run keeps the seat that the spec at path describes. It returns the exit status: 0
// where the seat ended well, 1 where it failed, 2 where it could not begin.
func Run(path string) int {
	signals := make(chan os.Signal, 8)
	// Caught, not ignored: what this process ignores, programs would inherit.
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGPIPE)
	spec, raw, err := readSpec(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, "seat-keeper:", err)
		return exitNotBegun
	}
	cell.SetWithout(spec.Env)
	log := logs.New(os.Stderr, "keeper").With("seat", spec.Alloc, "app", spec.App, "node", spec.Node)
	k := &keeper{spec: spec, log: log, root: os.Geteuid() == 0, makePad: uinput.Make}
	if err := k.keep(raw, signals); err != nil {
		e := end(wire.CodeConfig, err)
		log.Error("the seat cannot begin", "error", e.String())
		if err := writeExit(spec.RunDir, wire.Exit{Nonce: spec.Nonce, Time: time.Now().UTC(), End: e}); err != nil {
			log.Error("report the end", "error", err)
			return exitNotBegun
		}
		return exitFailed
	}
	var exit wire.Exit
	if b, err := os.ReadFile(filepath.Join(spec.RunDir, wire.ExitFile)); err != nil || json.Unmarshal(b, &exit) != nil || exit.Nonce != spec.Nonce || exit.End.Failed() {
		return exitFailed
	}
	return exitWell
}

func readSpec(path string) (spec wire.Spec, raw []byte, err error) {
	if raw, err = os.ReadFile(path); err != nil {
		return spec, nil, fmt.Errorf("read spec: %w", err)
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		return spec, nil, fmt.Errorf("parse spec %s: %w", path, err)
	}
	if !filepath.IsAbs(spec.RunDir) || !filepath.IsAbs(spec.StreamHost) {
		return spec, nil, fmt.Errorf("spec %s needs run_dir and stream_host as absolute paths", path)
	}
	return spec, raw, nil
}

// keep runs the seat until its stream host has ended.
func (k *keeper) keep(raw []byte, signals <-chan os.Signal) error {
	if err := k.identities(); err != nil {
		return err
	}
	control, err := k.listenControl()
	if err != nil {
		return err
	}
	defer os.Remove(filepath.Join(k.spec.RunDir, wire.ControlSocket))
	host, err := k.startHost(raw, control)
	control.Close()
	if err != nil {
		return err
	}
	k.made = make(chan cellResult, 1)
	ahead := k.spec.CellAhead()
	if ahead { // while the stream host loads its libraries
		k.makeCell()
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		k.serve(!ahead)
	}()
	for ended := false; !ended; {
		select {
		case s := <-signals:
			if s == unix.SIGTERM || s == unix.SIGINT {
				host.signal(unix.SIGTERM)
			}
		case <-host.done:
			ended = true
		}
	}
	if host.err != nil {
		k.log.Info("stream host ended", "how", host.err)
	}
	<-served // its connection ended with it; a last report has been read
	k.conn.Close()
	k.endCell()
	k.endKeeping()
	if k.hold != nil {
		k.hold.Close()
	}
	return nil
}

// identities finds out who runs the app and the stream host.
func (k *keeper) identities() error {
	for _, who := range []struct {
		text string
		id   *cell.Identity
	}{{k.spec.User, &k.app}, {k.spec.HostUser, &k.host}} {
		u, err := unixuser.Lookup(who.text)
		if err != nil {
			return wire.End{Reason: wire.ReasonError, Code: wire.CodeConfig, Detail: err.Error()}
		}
		*who.id = cell.Identity(u)
		if !k.root && u.UID != os.Geteuid() {
			return failed(wire.CodeConfig, "to run the app as user %q, the Nomad agent must run as root", who.text)
		}
	}
	if k.spec.Isolate && !k.root {
		return failed(wire.CodeConfig, "isolation needs root: run the Nomad agent as root, or set isolate = false")
	}
	if cell.Without("user") {
		k.app = cell.Identity{Name: "nobody", UID: 65534, GID: 65534, Groups: []int{65534}}
	}
	// Encoders of GPUs are device files.
	k.host = k.host.WithGroups(deviceGroups(k.host, gpuDevices, k.log)...)
	return nil
}

// listenControl opens the control socket. Only the user of this process can connect.
func (k *keeper) listenControl() (*os.File, error) {
	path := filepath.Join(k.spec.RunDir, wire.ControlSocket)
	// An earlier start that was killed leaves its socket behind.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old control socket: %w", err)
	}
	defer unix.Umask(unix.Umask(0o177))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	return l.File()
}

// startHost starts the stream host.
func (k *keeper) startHost(raw []byte, control *os.File) (*child, error) {
	conn, theirs, err := cell.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	spec, err := cell.MemoryFile("spec", raw)
	if err != nil {
		return nil, err
	}
	defer spec.Close()
	cmd := exec.Command(k.spec.StreamHost, "--keeper")
	cmd.Dir = "/"
	cmd.Env = hostEnviron(os.Environ())
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs, control, spec} // cell.KeeperFD, ControlFD, SpecFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential(k.host), Pdeathsig: syscall.SIGKILL}
	host, err := start(cmd, func() error { return k.confineHost() })
	if err != nil {
		conn.Close()
		if errors.Is(err, fs.ErrPermission) {
			return nil, failed(wire.CodeConfig, "user %s cannot execute %s: make the file executable for all users, and its directories accessible", k.host.Label(), k.spec.StreamHost)
		}
		return nil, fmt.Errorf("start the stream host: %w", err)
	}
	k.conn = conn
	return host, nil
}

// confineHost takes from a thread what the stream host must not have.
func (k *keeper) confineHost() error {
	if err := privilege.NoNew(); err != nil || !k.root {
		return err
	}
	if err := privilege.Keep(); err != nil {
		return err
	}
	if cell.Without("landlock-host") {
		return nil
	}
	var own []string
	for _, kv := range os.Environ() {
		if path, ok := strings.CutPrefix(kv, "GST_REGISTRY="); ok {
			own = append(own, path)
		}
	}
	_, err := landlock.Restrict(landlock.StreamHost(k.spec.StreamHost, k.hostDevices(), own...))
	return err
}

// hostEnviron is the environment of the stream host: without the credentials of the
// object store, which only the process that fetches content gets.
func hostEnviron(own []string) (env []string) {
	for _, kv := range own {
		if !strings.HasPrefix(kv, "AWS_") && !strings.HasPrefix(kv, "HOME=") {
			env = append(env, kv)
		}
	}
	return append(env, "HOME=/nonexistent")
}
