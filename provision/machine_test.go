package provision_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/provision/clustertest"
)

// machine is a bare Debian root, as debootstrap makes it, with mounts and
// processes of its own. It shares the network of this one: its agents listen on
// loopback addresses that no other test has.
type machine struct {
	t      *testing.T
	ctx    context.Context
	name   string
	merged string
	holder *exec.Cmd // keeps the namespaces, and is their init
	init   int       // its pid there, seen from here
}

// bare is the root that all machines have below their own: made once, kept in the
// user's cache for a month.
func bare(t *testing.T, ctx context.Context) (root, debs string) {
	t.Helper()
	if testing.Short() {
		t.Skip("installs a machine")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, for namespaces and chroot")
	}
	for _, name := range []string{"debootstrap", "unshare", "nsenter"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(cache, "nearcast", "provision-test")
	root, debs = filepath.Join(cache, "bookworm"), filepath.Join(cache, "debs")
	if err := os.MkdirAll(filepath.Join(debs, "partial"), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close() // and with it goes the lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(root); err == nil && time.Since(info.ModTime()) < 30*24*time.Hour {
		return root, debs
	}
	scratch := root + ".new"
	for _, dir := range []string{scratch, root} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(ctx, "debootstrap", "--variant=minbase", "bookworm", scratch).CombinedOutput()
	if err != nil {
		if !bytes.Contains(out, []byte("I: Retrieving")) {
			t.Skipf("no Debian mirror can be reached: %s", tail(out))
		}
		t.Fatalf("debootstrap: %v: %s", err, tail(out))
	}
	// A test's machine may lose what it wrote when the power fails.
	for _, err := range []error{
		os.WriteFile(filepath.Join(scratch, "etc/dpkg/dpkg.cfg.d/unsafe-io"), []byte("force-unsafe-io\n"), 0o644),
		os.WriteFile(filepath.Join(scratch, "etc/apt/apt.conf.d/99keep"), []byte("Binary::apt-get::APT::Keep-Downloaded-Packages \"true\";\n"), 0o644),
		os.Chtimes(scratch, time.Now(), time.Now()),
		os.Rename(scratch, root),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return root, debs
}

// newMachine starts one. Folders of this machine are seen in /run/<name>, which is
// in memory and no part of the root that is compared.
func newMachine(t *testing.T, ctx context.Context, name string, shown map[string]string) *machine {
	t.Helper()
	root, debs := bare(t, ctx)
	dir, err := os.MkdirTemp("", "nc-"+name)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, ctx: ctx, name: name, merged: filepath.Join(dir, "root")}
	for _, d := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := &strings.Builder{}
	fmt.Fprintf(script, `set -e; cd %q
mount -t overlay overlay -o lowerdir=%q,upperdir=upper,workdir=work root
mount -t proc proc root/proc
mount --rbind /dev root/dev
mount --rbind /sys root/sys
mount -t tmpfs -o mode=755 tmpfs root/run
mount -t tmpfs -o mode=1777 tmpfs root/tmp
mount --bind %q root/var/cache/apt/archives
`, dir, root, debs)
	for to, from := range shown {
		fmt.Fprintf(script, "mkdir -p root/run/%[1]s; mount --bind -o ro %[2]q root/run/%[1]s\n", to, from)
	}
	script.WriteString("echo ready; exec sleep 3600\n")
	m.holder = exec.Command("unshare", "--mount", "--propagation=slave", "--pid", "--fork", "--kill-child", "sh", "-c", script.String())
	m.holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var problems bytes.Buffer
	m.holder.Stderr = &problems
	out, err := m.holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// With the init of its pid namespace, everything in there ends.
		m.holder.Process.Kill()
		m.holder.Wait()
		os.RemoveAll(dir)
	})
	if line := make([]byte, 6); !readFull(out, line) || string(line) != "ready\n" {
		m.holder.Process.Kill()
		m.holder.Wait()
		t.Skipf("this machine lets no machine be made in it: %s", problems.String())
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", m.holder.Process.Pid))
	if _, scanErr := fmt.Sscan(string(children), &m.init); err != nil || scanErr != nil {
		t.Fatal(errors.Join(err, scanErr))
	}
	return m
}

// command runs in the machine, with nothing of this one's environment.
func (m *machine) command(env []string, args ...string) *exec.Cmd {
	all := append([]string{fmt.Sprintf("--target=%d", m.init), "--mount", "--pid", "chroot", m.merged,
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root"}, env...)
	return exec.CommandContext(m.ctx, "nsenter", append(all, args...)...)
}

func (m *machine) try(args ...string) (string, error) {
	out, err := m.command(nil, args...).CombinedOutput()
	return string(out), err
}

func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.t.Fatalf("%s: %s: %v\n%s", m.name, strings.Join(args, " "), err, tail([]byte(out)))
	}
	return out
}

// mounts are not of the root; -xdev shows them and nothing below them.
var mounts = []string{"/proc", "/dev", "/sys", "/run", "/tmp", "/var/cache/apt/archives"}

// snapshot has a line for each file of the root: whatever was written, replaced or
// given another owner since has another change time.
func (m *machine) snapshot() map[string]string {
	m.t.Helper()
	files := map[string]string{}
	for line := range strings.Lines(m.run("find", "/", "-xdev", "-printf", `%p\t%y %m %u:%g %s %C@ %l\n`)) {
		path, rest, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if !slices.Contains(mounts, path) {
			files[path] = rest
		}
	}
	return files
}

// service starts what a unit would, as the user it says, until the test ends.
func (m *machine) service(unit string) {
	m.t.Helper()
	text := m.run("cat", "/etc/systemd/system/"+unit+".service")
	setting := func(name string) (values []string) {
		for line := range strings.Lines(text) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
				values = append(values, value)
			}
		}
		return values
	}
	for _, check := range setting("ExecStartPre") {
		m.run(strings.Fields(check)...)
	}
	args := strings.Fields(setting("ExecStart")[0])
	if users := setting("User"); len(users) > 0 {
		args = append([]string{"setpriv", "--reuid=" + users[0], "--regid=" + setting("Group")[0], "--clear-groups"}, args...)
	}
	log, err := os.Create(filepath.Join(m.t.TempDir(), unit+".log"))
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := m.command(nil, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		log.Close()
		if m.t.Failed() {
			if text, err := os.ReadFile(log.Name()); err == nil {
				m.t.Logf("%s of %s:\n%s", unit, m.name, tail(text))
			}
		}
	})
}

func readFull(r interface{ Read([]byte) (int, error) }, into []byte) bool {
	for n := 0; n < len(into); {
		k, err := r.Read(into[n:])
		if n += k; err != nil {
			return n == len(into)
		}
	}
	return true
}

func tail(b []byte) []byte { return b[max(0, len(b)-4000):] }

func eventually(t *testing.T, ctx context.Context, what string, try func() error) {
	t.Helper()
	clustertest.Eventually(t, ctx, what, try)
}
