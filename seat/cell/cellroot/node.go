package cellroot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
)

func (b *builder) showNode() error {
	for _, path := range b.ReadOnly {
		if err := b.show(path); err != nil {
			return err
		}
	}
	return nil
}

// etc are the files of /etc that programs need. Everything else there may be a secret
// of the node.
var etc = []string{
	// Libraries, languages and time.
	"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "locale.alias", "locale.conf", "default/locale",
	"localtime", "timezone", "os-release", "lsb-release", "debian_version", "machine-id",
	// Name services, without the names of the node's accounts.
	"nsswitch.conf", "host.conf", "gai.conf", "services", "protocols", "networks",
	// Certificates of authorities.
	"ssl/certs", "ssl/openssl.cnf", "ca-certificates", "ca-certificates.conf", "pki/ca-trust", "pki/tls/certs", "crypto-policies",
	// Pictures, sound and input.
	"fonts", "X11", "xdg", "glvnd", "vulkan", "OpenCL", "egl", "drirc", "vdpau_wrapper.cfg", "nvidia",
	"alsa", "asound.conf", "pulse", "openal", "gtk-2.0", "gtk-3.0", "gtk-4.0", "libva.conf",
	// Programs and their runtimes.
	"profile", "bash.bashrc", "inputrc", "terminfo", "mime.types", "mailcap", "magic", "magic.mime",
	"chromium", "chromium.d", "opt/chrome", "python3", "python3.11", "python3.12", "perl", "java", "mono", "wine", "dconf", "papersize",
}

// makeEtc shows what programs need of /etc, and writes what must not be the node's.
func (b *builder) makeEtc() error {
	if err := os.MkdirAll(b.at("/etc"), 0o755); err != nil {
		return err
	}
	for _, name := range etc {
		if err := b.copyOrShow("/etc/" + name); err != nil {
			return err
		}
	}
	shell := "/bin/sh"
	files := map[string]string{
		// The seat's user first: a job may have it be root or nobody, and the first account
		// of a uid says where its home is.
		"passwd": fmt.Sprintf("%s:x:%d:%d::%s:%s\nroot:x:0:0:root:/root:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
			User, b.id.UID, b.id.GID, Home(), shell),
		"group": fmt.Sprintf("%s:x:%d:\nroot:x:0:\nnogroup:x:65534:\n", User, b.id.GID),
		"mtab":  "",
	}
	if b.HostNetwork {
		for _, name := range []string{"hosts", "resolv.conf"} {
			text, err := os.ReadFile("/etc/" + name)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			files[name] = string(text)
		}
	} else {
		files["hosts"] = "127.0.0.1 localhost seat\n::1 localhost seat\n"
		files["resolv.conf"] = b.ResolvConf
	}
	files["hostname"] = "seat\n"
	for name, text := range files {
		if err := writeNew(b.at("/etc/"+name), text); err != nil {
			return err
		}
	}
	return nil
}

// smallFile is up to which size a file is copied.
const smallFile = 256 << 10

// copyOrShow copies a small file that all users may read, and shows everything else as it
// is. There are many such files, and a copy costs a tenth of a mount.
func (b *builder) copyOrShow(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > smallFile || info.Mode().Perm()&0o004 == 0 {
		return b.show(path)
	}
	at, err := b.inside(path)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return writeNew(at, string(content))
}

// writeNew makes a file. What is there stays: the operator has shown a file of the node,
// which may be a link to another one.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// User is how the cell's /etc/passwd names the seat's user.
const User = "seat"

// devices of every cell. They have no state that a program could change.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}

func (b *builder) makeDev() error {
	if cell.Without("devices") {
		return bind("/dev", b.at("/dev"), 0)
	}
	if err := b.makeGamepads(); err != nil {
		return err
	}
	for _, path := range append(devices[:len(devices):len(devices)], b.Devices...) {
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		at, err := b.mountPoint(path, info.IsDir())
		if err != nil {
			return err
		}
		// Not read-only, as that would forbid to write to the device.
		if err := bind(path, at, unix.MOUNT_ATTR_NOEXEC); err != nil {
			return err
		}
	}
	if err := os.Mkdir(b.at("/dev/pts"), 0o755); err != nil {
		return err
	}
	if err := unix.Mount("devpts", b.at("/dev/pts"), "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,max=256"); err != nil {
		return fmt.Errorf("mount /dev/pts: %w", err)
	}
	if err := os.Mkdir(b.at("/dev/mqueue"), 0o755); err != nil {
		return err
	}
	if err := unix.Mount("mqueue", b.at("/dev/mqueue"), "mqueue", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /dev/mqueue: %w", err)
	}
	return errors.Join(
		os.Symlink("pts/ptmx", b.at("/dev/ptmx")),
		os.Symlink("/proc/self/fd", b.at("/dev/fd")),
		os.Symlink("/proc/self/fd/0", b.at("/dev/stdin")),
		os.Symlink("/proc/self/fd/1", b.at("/dev/stdout")),
		os.Symlink("/proc/self/fd/2", b.at("/dev/stderr")),
	)
}

// makeGamepads makes the directory where the seat's gamepads come and go, and shows the
// library, or makes the device files.
func (b *builder) makeGamepads() error {
	dir := b.at("/dev/input")
	switch {
	case len(b.GamepadNumbers) > 0:
		return b.makeGamepadFiles(dir)
	case b.Gamepads == "":
		return nil
	}
	part := filepath.Join(b.scratch, "input")
	if err := errors.Join(b.makeDir(part, 0o755, true), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	if err := bind(part, dir, unix.MOUNT_ATTR_NOEXEC); err != nil {
		return err
	}
	at, err := b.mountPoint(GamepadLibrary, false)
	if err != nil {
		return err
	}
	return bind(b.Gamepads, at, readOnly)
}

// makeGamepadFiles makes files of the seat's own, whatever the node's say about who may
// open them. Their file system is the only one of a cell with devices in it that programs
// can write to; they can make no device.
func (b *builder) makeGamepadFiles(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	options := fmt.Sprintf("mode=755,size=64k,nr_inodes=64,uid=%d,gid=%d", b.id.UID, b.id.GID)
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, options); err != nil {
		return err
	}
	for i, number := range b.GamepadNumbers {
		file := b.at(GamepadFile(i))
		if err := unix.Mknod(file, unix.S_IFCHR|0o600, int(number)); err != nil {
			return &os.PathError{Op: "mknod", Path: file, Err: err}
		}
		if err := os.Chown(file, b.id.UID, b.id.GID); err != nil {
			return err
		}
	}
	return nil
}

// kernelFiles of /proc tell about the whole node.
var kernelFiles = []string{"/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/sched_debug", "/proc/kallsyms"}

func (b *builder) mountKernel() error {
	for _, dir := range []string{"/proc", "/sys"} {
		if err := os.Mkdir(b.at(dir), 0o755); err != nil {
			return err
		}
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("proc", b.at("/proc"), "proc", flags, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// A new one shows the network interfaces of the cell, not of the node.
	sys := uintptr(flags | unix.MS_RDONLY)
	if cell.Without("sys") {
		sys = flags
	}
	if err := unix.Mount("sysfs", b.at("/sys"), "sysfs", sys, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if cell.Without("proc") {
		return nil
	}
	for _, path := range kernelFiles {
		if err := b.cover(path); err != nil {
			return err
		}
	}
	return bind("/proc/sys", b.at("/proc/sys"), readOnly|unix.MOUNT_ATTR_NOEXEC)
}

// hide covers directories of the node. What must be seen below them comes later.
func (b *builder) hide() error {
	for _, path := range b.Hide {
		if err := b.cover(path); err != nil {
			return err
		}
	}
	return nil
}

// overlay mounts lower with what is written going to upper. The paths go by descriptors,
// because in the options of an overlay some characters have a meaning.
func overlay(lower, upper, work, target string) error {
	var options []string
	for _, part := range []struct{ option, path string }{{"lowerdir", lower}, {"upperdir", upper}, {"workdir", work}} {
		fd, err := unix.Open(part.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", part.path, err)
		}
		defer unix.Close(fd)
		options = append(options, fmt.Sprintf("%s=/proc/self/fd/%d", part.option, fd))
	}
	if err := unix.Mount("overlay", target, "overlay", unix.MS_NOSUID|unix.MS_NODEV, strings.Join(options, ",")); err != nil {
		return fmt.Errorf("mount an overlay on the task directory: %w", err)
	}
	return nil
}

func (b *builder) showVolumes() error {
	for _, m := range b.Mounts {
		if !filepath.IsAbs(m.Task) {
			return problem("mount %s on %s: the path in the task must be absolute", m.Node, m.Task)
		}
		info, err := os.Stat(m.Node)
		at := ""
		if err == nil {
			at, err = b.mountPoint(m.Task, info.IsDir())
		}
		attributes := uint64(unix.MOUNT_ATTR_NODEV)
		if m.ReadOnly {
			attributes = readOnly
		}
		if err == nil {
			err = bind(m.Node, at, attributes)
		}
		if err != nil {
			return problem("mount %s on %s: %v", m.Node, m.Task, err)
		}
	}
	return nil
}

// showCommand adds the command's file, if the cell would not have it.
func (b *builder) showCommand() error {
	path := filepath.Clean(b.Command)
	if !filepath.IsAbs(path) || below(path, b.TaskDir) {
		return nil
	}
	seen := b.ReadOnly
	for _, m := range b.Mounts {
		seen = append(seen[:len(seen):len(seen)], m.Task)
	}
	for _, dir := range seen {
		if below(path, dir) {
			return nil
		}
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil // to look for it later gives the better error
	}
	at, err := b.mountPoint(path, false)
	if err != nil {
		return err
	}
	return bind(path, at, readOnly)
}

// showTool adds the command with which scripts exchange messages.
func (b *builder) showTool() error {
	if b.Tool == "" {
		return nil
	}
	at, err := b.mountPoint(filepath.Join(ToolsDir, wire.AppTool), false)
	if err != nil {
		return err
	}
	return bind(b.Tool, at, readOnly)
}

func problem(format string, args ...any) error {
	return wire.End{Reason: wire.ReasonError, Code: wire.CodeConfig, Detail: fmt.Sprintf(format, args...)}
}
