package attack

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// status is a field of /proc/PID/status. "self" is right in every namespace.
func status(pid, field string) string {
	text, _ := os.ReadFile("/proc/" + pid + "/status")
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); name == field {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// setuid starts programs that run as root, and looks whether they do.
func setuid(_ ctx, a *attacker) Result {
	if os.Geteuid() == 0 {
		a.succeed("the app is root")
		return a.result()
	}
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/lib", "/usr/libexec", "/usr/local/bin", "/opt"} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			info, err := d.Info()
			if err != nil {
				return nil
			}
			_, xerr := unix.Getxattr(path, "security.capability", nil)
			if info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 || xerr == nil {
				a.elevate(path)
			}
			return nil
		})
	}
	if len(a.refused) == 0 {
		a.lack("there is no setuid program")
	}
	return a.result()
}

// elevate starts a program and looks at its ids while it runs.
func (a *attacker) elevate(path string) {
	cmd := exec.Command(path)
	in, err := cmd.StdinPipe() // su and others wait for a password
	if err != nil {
		return
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		a.refuse(path, err)
		return
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	uid, gid := status("self", "Uid"), status("self", "Gid")
	for end := time.Now().Add(150 * time.Millisecond); time.Now().Before(end); {
		exe, _ := os.Readlink("/proc/" + pid + "/exe")
		nowUID, nowGID, caps := status(pid, "Uid"), status(pid, "Gid"), status(pid, "CapEff")
		if nowUID == "" || strings.HasPrefix(status(pid, "State"), "Z") {
			break
		}
		if nowUID != uid || nowGID != gid || strings.Trim(caps, "0") != "" && exe == path {
			a.succeed("%s ran with uid %s, gid %s, capabilities %s", path, nowUID, nowGID, caps)
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	a.refused = append(a.refused, path+" ran as the app's user (no_new_privs: "+status("self", "NoNewPrivs")+")")
}

// capabilities looks for rights that the app has, and takes them.
func capabilities(_ ctx, a *attacker) Result {
	for _, set := range []string{"CapEff", "CapPrm", "CapInh", "CapAmb"} {
		if has := status("self", set); strings.Trim(has, "0") != "" {
			a.succeed("%s is %s", set, has)
		}
	}
	if os.Getuid() != 0 {
		a.try("setuid(0)", unix.Setuid(0))
		a.try("setgroups(0)", unix.Setgroups([]int{0}))
	}
	return a.result()
}

// stepEnv is set in a process of an attack that has more rights, in namespaces of its own.
const stepEnv = "NEARCAST_ATTACK_STEP"

// inUserNamespace runs an attack again, as root of new namespaces.
func (a *attacker) inUserNamespace(c ctx, name string) (Result, error) {
	args, err := json.Marshal(a.Args)
	if err != nil {
		return Result{}, err
	}
	cmd := exec.CommandContext(c, "/proc/self/exe", "-attack", name, "-attack-args", string(args))
	cmd.Env = append(os.Environ(), stepEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	return decodeResult(cmd.Output())
}

func decodeResult(out []byte, err error) (r Result, _ error) {
	if err != nil {
		return r, err
	}
	err = json.Unmarshal(out, &r)
	return r, err
}

func inStep() bool { return os.Getenv(stepEnv) != "" }

// userNamespace makes a namespace in which it has every capability: most of what was
// found in the kernel of late needs that.
func userNamespace(c ctx, a *attacker) Result {
	r, err := a.inUserNamespace(c, "capabilities")
	if err != nil {
		a.refuse("clone", err)
	} else {
		a.succeed("in a user namespace of its own, %s", r.Detail)
	}
	return a.result()
}

// mountAnything mounts file systems, with the old system calls and the new ones, here
// and in a user namespace.
func mountAnything(c ctx, a *attacker) Result {
	dir, err := os.MkdirTemp(home(), "mount")
	if err != nil {
		if dir, err = os.MkdirTemp("", "mount"); err != nil {
			a.refuse("make a directory", err)
			return a.result()
		}
	}
	defer os.Remove(dir)
	where := ""
	if inStep() {
		where = " in a user namespace"
	}
	for _, kind := range []string{"tmpfs", "proc", "sysfs", "overlay", "cgroup2", "mqueue", "fuse"} {
		err := unix.Mount(kind, dir, kind, 0, "")
		if err == nil {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
		a.try("mount "+kind+where, err)
	}
	err = unix.Mount("/", dir, "", unix.MS_BIND|unix.MS_REC, "")
	if err == nil {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
	a.try("bind /"+where, err)
	if fd, err := unix.Fsopen("tmpfs", 0); err != nil {
		a.refuse("fsopen"+where, err)
	} else {
		unix.Close(fd)
		a.succeed("fsopen tmpfs%s", where)
	}
	if fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE); err != nil {
		a.refuse("open_tree"+where, err)
	} else {
		unix.Close(fd)
		a.succeed("open_tree /%s", where)
	}
	if !inStep() {
		a.again(c, "mount")
	}
	return a.result()
}

// again adds what the same attack gets in a user namespace.
func (a *attacker) again(c ctx, name string) {
	switch r, err := a.inUserNamespace(c, name); {
	case err != nil:
		a.refuse("in a user namespace", err)
	case r.Outcome == Succeeded:
		a.succeed("%s", r.Detail)
	default:
		a.refused = append(a.refused, r.Detail)
	}
}

// uncover takes away mounts that hide something.
func uncover(c ctx, a *attacker) Result {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		a.refuse("read mounts", err)
		return a.result()
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[4] == "/" {
			continue
		}
		if inStep() {
			// In a mount namespace of its own, which ends with this process.
			a.try("uncovered "+fields[4], unix.Unmount(fields[4], unix.MNT_DETACH))
			continue
		}
		// The first call with this flag marks a mount and takes nothing away.
		err := unix.Unmount(fields[4], unix.MNT_EXPIRE)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EBUSY) {
			err = nil
		}
		a.try("may unmount "+fields[4], err)
	}
	if !inStep() {
		a.again(c, "uncover")
	}
	return a.result()
}

// makeNode makes device files and reads the disk and memory of the node.
func makeNode(c ctx, a *attacker) Result {
	for name, device := range map[string]uint64{
		"mem": unix.Mkdev(1, 1), "kmsg": unix.Mkdev(1, 11), "vda": unix.Mkdev(254, 0), "sda": unix.Mkdev(8, 0), "loop0": unix.Mkdev(7, 0),
	} {
		path := filepath.Join(home(), "node-"+name)
		kind := uint32(unix.S_IFBLK)
		if name == "mem" || name == "kmsg" {
			kind = unix.S_IFCHR
		}
		err := unix.Mknod(path, kind|0o600, int(device))
		if err == nil {
			var f *os.File
			if f, err = os.Open(path); err == nil {
				_ = f.Close()
			}
			_ = os.Remove(path)
		}
		a.try("made and opened "+name, err)
	}
	if !inStep() {
		a.again(c, "mknod")
	}
	return a.result()
}

// chrootEscape leaves its root directory as any root can leave a chroot, and reads the
// node's secrets by a path that begins there.
func chrootEscape(c ctx, a *attacker) Result {
	if !inStep() {
		a.try("chroot", unix.Chroot("."))
		a.again(c, "chroot")
		return a.result()
	}
	hidden := slices.DeleteFunc(slices.Clone(a.NodeFiles), func(path string) bool { return unix.Access(path, unix.R_OK) == nil })
	dir, err := os.MkdirTemp("", "chroot")
	if err != nil {
		a.refuse("make a directory", err)
		return a.result()
	}
	defer os.Remove(dir)
	outside, err := unix.Open(".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == nil {
		err = unix.Chroot(dir)
	}
	if err == nil {
		err = unix.Fchdir(outside)
	}
	for range 100 {
		if err == nil {
			err = unix.Chdir("..")
		}
	}
	if err == nil {
		err = unix.Chroot(".")
	}
	if err != nil {
		a.refuse("leave the root directory", err)
		return a.result()
	}
	for _, path := range hidden {
		a.readTree(path)
	}
	return a.result()
}

// terminalInput types into terminals: those of the node that it was given, and the one
// from which it was started. The node's console it only opens.
func terminalInput(_ ctx, a *attacker) Result {
	terminals := map[string]func() (int, error){
		"standard input":  func() (int, error) { return unix.Dup(0) },
		"standard output": func() (int, error) { return unix.Dup(1) },
	}
	for _, path := range append([]string{"/dev/tty"}, a.Terminals...) {
		terminals[path] = func() (int, error) { return unix.Open(path, unix.O_RDWR|unix.O_NOCTTY, 0) }
	}
	letter := byte(' ')
	for name, open := range terminals {
		fd, err := open()
		if err == nil {
			err = ioctlByte(fd, unix.TIOCSTI, &letter)
			unix.Close(fd)
		}
		a.try("typed at "+name, err)
	}
	for _, path := range []string{"/dev/console", "/dev/tty0"} {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err == nil {
			unix.Close(fd)
		}
		a.try("opened "+path, err)
	}
	return a.result()
}
