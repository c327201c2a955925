// Package cellroot makes the file system that the programs of a cell see.
//
//	closed, err := cellroot.Enter(cellroot.Root{
//		Base: runDir, ReadOnly: cellroot.NodePaths,
//		TaskDir: taskDir, Writable: 512 << 20, Network: …,
//	}, identity)
//
// It runs as root in a new mount namespace, and in the other namespaces of the cell,
// because /proc and /sys show those. Nothing of the node changes.
//
//	/usr /bin /lib … /opt     the node's, read-only (Root.ReadOnly)
//	/etc                      what programs need of the node's, read-only; own passwd, group, hosts
//	the task directory        at its own path; what the app writes there is in memory
//	its secrets, volumes      at their own paths; of the allocation's directory only this task's part
//	/tmp /run /home /dev/shm  the seat's own
//	/dev                      null, zero, full, random, urandom, tty, terminals, and what the seat was given;
//	                          /dev/input for the seat's own gamepads
//	/proc /sys                of the cell's namespaces; /sys read-only
//
// All that the programs can write is in one memory file system of a bounded size
// (Root.Writable), which is gone with the cell. So a seat can fill neither the node's
// disk nor its memory, and leaves nothing behind. Volumes are the exception: a job
// asks for them, and the operator allows it.
package cellroot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
)

// Root describes a cell's file system. Paths are absolute, and the same on the node and
// in the cell.
type Root struct {
	// Base is a directory of the node for root alone. Two empty directories are made
	// in it as mount points.
	Base string `json:"base"`
	// ReadOnly are files and directories of the node that every program sees. Missing
	// ones are ignored.
	ReadOnly []string `json:"read_only"`
	// Hide are directories that must not be seen although they are below one of ReadOnly.
	Hide []string `json:"hide"`
	// TaskDir is the task's directory, the programs' working directory.
	TaskDir string `json:"task_dir"`
	// Closed keeps every program out of TaskDir, as long as its owner and mode are not changed:
	// files still come, and what was looked up under an overlay before they came may stay missing.
	Closed bool `json:"closed,omitempty"`
	// SharedDir is the directory that the tasks of an allocation share; the app cannot
	// write to it. Empty is none.
	SharedDir string `json:"shared_dir"`
	// Mounts are the volumes of the task.
	Mounts []wire.Mount `json:"mounts"`
	// Command is the app's command. If it is a path that the cell would not have, this
	// one file is added.
	Command string `json:"command"`
	// Devices are device files of the node.
	Devices []string `json:"devices"`
	// Gamepads is the library by which programs see gamepads; empty for a cell without.
	Gamepads string `json:"gamepads"`
	// GamepadNumbers are those of device files, in its place.
	GamepadNumbers []uint64 `json:"gamepad_numbers"`
	// Tool is the file of wire.AppTool on the node; empty is none.
	Tool string `json:"tool"`
	// Writable is how many bytes the programs can write.
	Writable int64 `json:"writable"`
	// DisplayDir is the directory of the display's socket, where another process than
	// the cell's own makes it; empty is one of the seat's own.
	DisplayDir string `json:"display_dir"`
	// ResolvConf is the content of /etc/resolv.conf. With HostNetwork the node's
	// files of name resolution are shown.
	ResolvConf  string `json:"resolv_conf"`
	HostNetwork bool   `json:"host_network"`
}

// NodePaths are what programs need of a node, by default.
var NodePaths = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/var/cache/fontconfig", "/var/lib/dbus/machine-id"}

// Home is the home directory of the seat's user.
func Home() string { return "/home/seat" }

// Runtime is the directory for sockets of the seat's user.
func Runtime(uid int) string { return fmt.Sprintf("/run/user/%d", uid) }

// SocketDir is the directory of the display's socket.
func SocketDir() string { return "/tmp/.X11-unix" }

// GamepadLibrary is where programs find the library Root.Gamepads. A path without blanks
// and colons, which LD_PRELOAD could not have.
const GamepadLibrary = "/run/nearcast-gamepad.so"

// ToolsDir is where programs find Root.Tool.
const ToolsDir = "/run/nearcast"

// GamepadFile is where programs find the device file of a gamepad, of Root.GamepadNumbers.
func GamepadFile(index int) string { return fmt.Sprintf("/dev/input/.gamepad%d", index) }

// WritableDirs are the directories in which the programs can write.
func (r Root) WritableDirs() []string {
	// A queue is made in its file system, not below the directory where that is mounted.
	dirs := []string{"/tmp", "/run", "/home", "/dev", "/dev/mqueue", "/proc", r.TaskDir}
	for _, m := range r.Mounts {
		if !m.ReadOnly {
			dirs = append(dirs, m.Task)
		}
	}
	return dirs
}

// builder makes one root.
type builder struct {
	Root
	id      cell.Identity
	top     string // the new root
	scratch string // the memory file system with all that is writable
	closed  *os.File
}

// at is a path of the new root, as this process sees it.
func (b *builder) at(path string) string { return filepath.Join(b.top, path) }

// Enter makes the root and changes to it. If it fails, the process must end. closed is the task's
// directory of a root that has it closed, else nil: a volume may hide it from who looks for its path.
func Enter(r Root, id cell.Identity) (closed *os.File, err error) {
	b := &builder{Root: r, id: id, top: filepath.Join(r.Base, "root"), scratch: filepath.Join(r.Base, "scratch")}
	// Mount points must have the modes below, whatever our umask is.
	defer unix.Umask(unix.Umask(0o022))
	// Nothing may propagate to the node.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"make the root", b.makeTop},
		{"make the writable part", b.makeScratch},
		{"show the node's files", b.showNode},
		{"make /etc", b.makeEtc},
		{"make /dev", b.makeDev},
		{"show the tool", b.showTool}, // before volumes: /run is still all ours
		{"mount /proc and /sys", b.mountKernel},
		{"hide directories", b.hide},
		{"show the task", b.showTask},
		{"show volumes", b.showVolumes},
		{"show the command", b.showCommand},
		{"change the root", b.pivot},
	} {
		if err := step.do(); err != nil {
			var end wire.End
			if errors.As(err, &end) {
				return nil, end
			}
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return b.closed, nil
}

func (b *builder) makeTop() error {
	for _, dir := range []string{b.top, b.scratch} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return unix.Mount("tmpfs", b.top, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=4m,nr_inodes=20k")
}

// fileSize bounds the number of files: each needs memory of the kernel beside its
// content, which the size of the file system does not count.
const fileSize = 16 << 10

// makeScratch mounts the writable file system and shows its parts.
func (b *builder) makeScratch() error {
	options := fmt.Sprintf("mode=755,size=%d,nr_inodes=%d", b.Writable, max(4096, b.Writable/fileSize))
	if err := unix.Mount("tmpfs", b.scratch, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return err
	}
	for _, dir := range []struct {
		at   string
		mode uint32
		own  bool // by the seat's user
	}{
		{"/tmp", 0o1777, false},
		{"/run", 0o755, false},
		{Home(), 0o700, true},
		{"/dev/shm", 0o1777, false},
	} {
		part := filepath.Join(b.scratch, filepath.Base(dir.at))
		if err := b.makeDir(part, dir.mode, dir.own); err != nil {
			return err
		}
		if err := os.MkdirAll(b.at(dir.at), 0o755); err != nil {
			return err
		}
		if err := bind(part, b.at(dir.at), 0); err != nil {
			return err
		}
	}
	for _, dir := range []struct {
		at   string
		mode uint32
		own  bool
	}{
		// X servers expect the directories of their sockets to belong to root.
		{SocketDir(), 0o1777, false},
		{"/tmp/.ICE-unix", 0o1777, false},
		{"/run/user", 0o755, false},
		{Runtime(b.id.UID), 0o700, true},
	} {
		if err := b.makeDir(b.at(dir.at), dir.mode, dir.own); err != nil {
			return err
		}
	}
	if b.DisplayDir != "" {
		if err := bind(b.DisplayDir, b.at(SocketDir()), readOnly); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(b.at("/var"), 0o755); err != nil {
		return err
	}
	return errors.Join(os.Symlink("/tmp", b.at("/var/tmp")), os.Symlink("/run", b.at("/var/run")))
}

func (b *builder) makeDir(path string, mode uint32, own bool) error {
	if err := unix.Mkdir(path, mode); err != nil {
		return &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	if err := unix.Chmod(path, mode); err != nil {
		return &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	if own {
		return os.Chown(path, b.id.UID, b.id.GID)
	}
	return nil
}

// pivot makes the new root the root, and lets the node's go.
func (b *builder) pivot() error {
	if err := unix.Mount("", b.top, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("make the root read-only: %w", err)
	}
	if err := unix.Chdir(b.top); err != nil {
		return err
	}
	// The old root comes on top of the new one, and is then taken away.
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let the node's root go: %w", err)
	}
	return unix.Chdir("/")
}
