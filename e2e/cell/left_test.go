package cell

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/dev/testapp/attack"
	"github.com/nearcast/nearcast/internal/testkit"
)

// removeBait removes what a victim laid out where all seats share it.
func removeBait(laid attack.Laid) {
	for _, file := range laid.Files {
		_ = os.Remove(file)
	}
	for _, name := range laid.Args.PosixQueues {
		unlinkQueue(name)
	}
}

func unlinkQueue(name string) bool {
	p, err := unix.BytePtrFromString(strings.TrimPrefix(name, "/"))
	if err != nil {
		return false
	}
	_, _, errno := unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(p)), 0, 0)
	return errno == 0
}

// left finds and removes what an attacker has left on the node. uid is its user, said the
// detail of its attack leave-behind.
func left(t *testing.T, uid int, tag, said string) (found []string) {
	t.Helper()
	for _, pid := range pids(func(pid int) bool {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return strings.HasPrefix(string(raw), tag)
	}) {
		found = append(found, fmt.Sprintf("process %d", pid))
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm", "/run", "/var/lock", "/var/spool", "/var/crash", "/etc", "/var/cache", "/var/lib", "/usr/local"} {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			continue
		}
		found = append(found, leftFiles(real, tag)...)
	}
	if unlinkQueue("/" + tag + "-left") {
		found = append(found, "POSIX queue")
	}
	for part := range strings.SplitSeq(said, "; ") {
		kind, number, _ := strings.Cut(part, "=")
		var id int
		if _, err := fmt.Sscan(number, &id); err != nil {
			continue
		}
		if leftObject(kind, id, uid) {
			found = append(found, part)
		}
	}
	return found
}

// leftFiles finds files by their name. It looks three levels deep, and not into what
// belongs to Nomad: an allocation's own directory may stay.
func leftFiles(dir, tag string) (found []string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil
		case strings.HasPrefix(d.Name(), tag):
			found = append(found, path)
			if d.IsDir() {
				_ = os.Chmod(path, 0o700) // one is left without any mode
			}
			_ = os.RemoveAll(path)
			if d.IsDir() {
				return fs.SkipDir
			}
		case d.IsDir() && (strings.Count(path, "/") > 4 || strings.HasPrefix(path, "/tmp/nc")):
			return fs.SkipDir
		}
		return nil
	})
	return found
}

// leftObject looks for a System V object of the attacker's user, or a key, with this
// number, and removes the object. In a cell another one may have the number.
func leftObject(kind string, id, uid int) bool {
	switch kind {
	case "shm":
		var desc unix.SysvShmDesc
		if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &desc); err != nil || int(desc.Perm.Uid) != uid || desc.Segsz != 4096 {
			return false
		}
		_, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		return err == nil
	case "msg", "sem":
		raw, _ := os.ReadFile("/proc/sysvipc/" + kind)
		owner := map[string]int{"msg": 7, "sem": 4}[kind] // the column
		for line := range strings.Lines(string(raw)) {
			if f := strings.Fields(line); len(f) > owner && f[1] == fmt.Sprint(id) && f[owner] == fmt.Sprint(uid) {
				if kind == "msg" {
					_, _, _ = unix.Syscall(unix.SYS_MSGCTL, uintptr(id), unix.IPC_RMID, 0)
				} else {
					_, _, _ = unix.Syscall6(unix.SYS_SEMCTL, uintptr(id), 0, unix.IPC_RMID, 0, 0, 0)
				}
				return true
			}
		}
	case "key":
		// Root sees the key only by the name of its keyring's user; that it can be
		// described at all says that it is there.
		_, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, id)
		return err == nil || err == unix.EACCES
	}
	return false
}

// processesOf lists the processes of a user.
func processesOf(uid int) []int {
	return pids(func(pid int) bool {
		info, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
		return err == nil && int(info.Sys().(*syscall.Stat_t).Uid) == uid
	})
}

// snapshot is what a file of root is: nothing of a seat may change it.
func snapshot(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	testkit.Must(t, err)
	info, err := os.Stat(file)
	testkit.Must(t, err)
	var names []string
	entries, err := os.ReadDir(filepath.Dir(file))
	testkit.Must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return fmt.Sprintf("%s %d bytes %.100q beside %q", info.Mode(), len(raw), raw, names)
}
