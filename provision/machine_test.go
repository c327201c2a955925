package provision_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a bare Debian root from debootstrap, with its own mounts, processes and cgroups,
// and with systemd as its first process; see boot. It shares the network of the testing
// machine: its agents listen on loopback addresses that no other test uses.
type machine struct {
	t          *testing.T
	ctx        context.Context
	name       string
	disk       string // its files, which stay when it is off
	bare, debs string
	shown      map[string]string
	device     string // an additional device below /dev

	groups []hierarchy
	holder *exec.Cmd
	power  io.Closer
	init   int // the pid of its first process in this namespace
}

// debian are the packages that every image of Debian and Ubuntu has, and debootstrap's
// smallest root does not have.
const debian = "systemd-sysv,dbus"

// bare returns the root that is the lower layer of all machines. It is made once, and kept in
// the cache for a month. It is Debian's, or Ubuntu's if NEARCAST_TEST_UBUNTU names a mirror.
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
	suite, args := "bookworm", []string{}
	mirror := os.Getenv("NEARCAST_TEST_UBUNTU")
	if mirror != "" {
		// Debian's debootstrap may not know noble; this script serves each Ubuntu since gutsy.
		suite, args = "noble", []string{mirror, "/usr/share/debootstrap/scripts/gutsy"}
	}
	root, debs = filepath.Join(cache, suite), filepath.Join(cache, "debs")
	if err := os.MkdirAll(filepath.Join(debs, "partial"), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close() // this unlocks
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	// A root from earlier tests has no systemd.
	_, err = os.Lstat(filepath.Join(root, "sbin/init"))
	if info, err2 := os.Stat(root); err == nil && err2 == nil && time.Since(info.ModTime()) < 30*24*time.Hour {
		return root, debs
	}
	scratch := root + ".new"
	for _, dir := range []string{scratch, root} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	args = append([]string{"--variant=minbase", "--include=" + debian, suite, scratch}, args...)
	if mirror != "" {
		args = append([]string{"--components=main,universe"}, args...)
	}
	out, err := exec.CommandContext(ctx, "debootstrap", args...).CombinedOutput()
	if err != nil {
		if !bytes.Contains(out, []byte("I: Retrieving")) {
			t.Skipf("no Debian mirror can be reached: %s", tail(out))
		}
		t.Fatalf("debootstrap: %v: %s", err, tail(out))
	}
	// The machine of a test may lose data when the power fails.
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

// newMachine returns a machine with a disk that is off. It shows folders of the testing
// machine at /run/<name>, which is in memory and not part of the compared root.
func newMachine(t *testing.T, ctx context.Context, name string, shown map[string]string) *machine {
	t.Helper()
	root, debs := bare(t, ctx)
	disk, err := os.MkdirTemp("", "nc-"+name)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, ctx: ctx, name: name, disk: disk, bare: root, debs: debs, shown: shown}
	t.Cleanup(func() {
		if t.Failed() && m.init > 0 {
			m.ctx = context.Background() // the test's context has ended
			said, _ := m.command(nil, "journalctl", "--no-pager", "--quiet", "--lines=80", "--output=short-precise").Output()
			t.Logf("journal of %s:\n%s", name, said)
		}
		m.off()
		os.RemoveAll(disk)
	})
	for _, d := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(disk, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return m
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

// mounts do not belong to the root; find -xdev lists them, but nothing below them.
var mounts = []string{"/proc", "/dev", "/sys", "/run", "/tmp", "/var/cache/apt/archives"}

// alive are the folders that a running system writes to.
var alive = []string{"/var/lib/consul/", "/var/lib/nomad/", "/var/lib/systemd/", "/var/lib/xkb/", "/var/log/", "/var/cache/nearcast/"}

// snapshot returns a line for each file of the root. A file that was written, replaced or got
// another owner has another change time.
func (m *machine) snapshot() map[string]string {
	m.t.Helper()
	files := map[string]string{}
	for line := range strings.Lines(m.run("find", "/", "-xdev", "-printf", `%p\t%y %m %u:%g %s %C@ %l\n`)) {
		path, rest, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if !slices.Contains(mounts, path) && !slices.ContainsFunc(alive, func(dir string) bool { return strings.HasPrefix(path+"/", dir) }) {
			files[path] = rest
		}
	}
	return files
}

func tail(b []byte) []byte { return b[max(0, len(b)-4000):] }
