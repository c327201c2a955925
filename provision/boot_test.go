package provision_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// holder ends a machine and removes everything of it when its standard input ends: with the
// test, in whatever way that ends. A machine that switches itself off keeps its disk.
const holder = `
exec 3<&0
sh -ec "$ENTER" 3<&- & machine=$!
exec 2>/dev/null # there may be no reader for messages about killed processes
{ read -r _ <&3; : >"$DISK/ended"; read -r init <"/proc/$machine/task/$machine/children"; kill -KILL ${init:-$machine}; } &
watch=$!
wait $machine
kill $watch
for group in $GROUPS_OF_MACHINE; do find "$group" -depth -type d -exec rmdir {} +; done
[ ! -e "$DISK/ended" ] || rm -rf "$DISK"
`

// enter makes the namespaces. The process joins its groups first, because they become the
// root of its cgroup namespace.
const enter = `
for group in $GROUPS_OF_MACHINE; do echo $$ >"$group/cgroup.procs"; done
exec unshare --mount --propagation=slave --uts --ipc --cgroup --pid --fork --kill-child sh -ec "$INSIDE"
`

// inside does what the kernel and the initial ramdisk do on a real machine. /proc/sys belongs
// to the testing machine and is read-only; the settings that a node writes are copies. It
// prints the pid of the later systemd.
const inside = `
read -r pid _ </proc/self/stat
cd "$DISK"
mount -t overlay overlay -o "lowerdir=$BARE,upperdir=upper,workdir=work" root
cd root
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
for part in net fs/inotify; do
  mount -t tmpfs tmpfs proc/sys/$part
  cp -r --no-preserve=mode /proc/sys/$part/. proc/sys/$part/ 2>/dev/null || true
done
mount -t sysfs -o ro sysfs sys
eval "$MOUNT_GROUPS"
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty $DEVICES; do
  : >dev/$name
  mount --bind /dev/$name dev/$name
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for n in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${n%:*}" "dev/${n#*:}"; done
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --bind "$DEBS" var/cache/apt/archives
eval "$SHOW"
mkdir -p .outer
pivot_root . .outer
umount -l .outer
rmdir .outer
echo "$pid"
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin $FIRST </dev/null >/dev/null 2>&1
`

// idle are units that a machine without its own network and hardware does not need.
var idle = []string{"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer", "getty.target", "console-getty.service"}

// boot starts systemd, and returns when all units have started.
func (m *machine) boot() {
	m.t.Helper()
	first := []string{"/lib/systemd/systemd"}
	for _, name := range idle {
		// In a container, systemd reads its arguments in place of the kernel's command line.
		first = append(first, "systemd.mask="+name)
	}
	m.start(first...)
	m.sound()
}

// start makes the machine's namespaces, with a first process in them.
func (m *machine) start(first ...string) {
	m.t.Helper()
	groups, err := makeGroups(fmt.Sprintf("nearcast-%s-%d", m.name, os.Getpid()))
	if err != nil {
		m.t.Skipf("no machine can be made here: %v", err)
	}
	m.groups = groups
	var dirs []string
	mounts := &strings.Builder{}
	if groups[0].place != "." {
		mounts.WriteString("mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup\n")
	}
	for _, h := range groups {
		dirs = append(dirs, h.group)
		fmt.Fprintf(mounts, "mkdir -p sys/fs/cgroup/%[1]s; mount -t %[2]s -o %[3]s %[2]s sys/fs/cgroup/%[1]s\n", h.place, h.kind, h.options)
	}
	show := &strings.Builder{}
	for to, from := range m.shown {
		fmt.Fprintf(show, "mkdir -p run/%[1]s; mount --bind -o ro %[2]q run/%[1]s\n", to, from)
	}
	m.holder = exec.Command("sh", "-c", holder)
	m.holder.Env = append(os.Environ(), "ENTER="+enter, "INSIDE="+inside, "MOUNT_GROUPS="+mounts.String(), "SHOW="+show.String(), "FIRST="+strings.Join(first, " "),
		"GROUPS_OF_MACHINE="+strings.Join(dirs, " "), "DISK="+m.disk, "BARE="+m.bare, "DEBS="+m.debs, "DEVICES="+m.device)
	var problems bytes.Buffer
	m.holder.Stderr, m.holder.WaitDelay = &problems, 10*time.Second
	m.power, err = m.holder.StdinPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	out, err := m.holder.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := m.holder.Start(); err != nil {
		m.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if _, scanErr := fmt.Sscan(line, &m.init); err != nil || scanErr != nil {
		m.off()
		m.t.Skipf("no machine can be made here: %s", problems.String())
	}
}

// volume gives the machine a block device, which the kernel removes when this process ends.
// It returns nothing if there is no loop device.
func (m *machine) volume() string {
	m.t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return ""
	}
	defer control.Close()
	file, err := os.Create(filepath.Join(m.disk, "volume"))
	if err == nil {
		defer file.Close()
		err = file.Truncate(8 << 30) // sparse; Nomad places a seat only where its 300 MB are left
	}
	if err != nil {
		m.t.Fatal(err)
	}
	for range 10 { // another process may take the free one first
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return ""
		}
		name := fmt.Sprintf("loop%d", n)
		device, err := os.OpenFile("/dev/"+name, os.O_RDWR, 0)
		if err != nil {
			return ""
		}
		config := unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		if err := unix.IoctlLoopConfigure(int(device.Fd()), &config); err == nil {
			m.t.Cleanup(func() { device.Close() })
			m.device = name
			return "/dev/" + name
		}
		device.Close()
	}
	return ""
}

// off cuts the machine's power, if it is on.
func (m *machine) off() {
	if m.holder == nil {
		return
	}
	// Not by its standard input: that would remove the disk too.
	if m.init > 0 {
		syscall.Kill(m.init, syscall.SIGKILL)
	}
	m.gone()
}

// gone waits until the machine is off.
func (m *machine) gone() {
	m.t.Helper()
	deadline := time.AfterFunc(time.Minute, func() {
		left, _ := m.command(nil, "ps", "axo", "pid,ppid,stat,args").CombinedOutput()
		m.t.Errorf("%s does not end:\n%s", m.name, left)
		syscall.Kill(m.init, syscall.SIGKILL)
	})
	defer deadline.Stop()
	err := m.holder.Wait()
	m.holder, m.init = nil, 0
	if left := removeGroups(m.groups); left != nil {
		m.t.Errorf("%s is off: %v, %v", m.name, err, left)
	}
}

// command runs in the machine, without the environment of this process.
func (m *machine) command(env []string, args ...string) *exec.Cmd {
	all := append([]string{fmt.Sprintf("--target=%d", m.init), "--mount", "--uts", "--ipc", "--cgroup", "--pid",
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root"}, env...)
	return exec.CommandContext(m.ctx, "nsenter", append(all, args...)...)
}
