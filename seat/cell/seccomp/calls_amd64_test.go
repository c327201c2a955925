package seccomp

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/cell/seccomp/policy"
)

// call is a system call that does no harm, not even as root, because of an argument
// that is wrong.
type call struct {
	name      string
	arguments [6]uint64
	want      unix.Errno // under the filter; allowed: what it is without
	free      bool       // with Options.UserNamespaces it is allowed
}

const (
	allowed = unix.Errno(0)
	none    = 1<<64 - 1 // a descriptor of nothing
	none32  = 1<<32 - 1
	thread  = unix.CLONE_THREAD // without CLONE_SIGHAND it is an error
)

// calls are tried by root with all capabilities, so that it is the filter that
// refuses them and nothing else.
var calls = []call{
	{"getpid", [6]uint64{}, allowed, false},
	{"socket", [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}, allowed, false},
	{"socket", [6]uint64{unix.AF_INET, unix.SOCK_DGRAM}, allowed, false},
	{"socket", [6]uint64{unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP}, allowed, false},
	{"socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, allowed, false},
	{"socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT}, allowed, false},
	{"socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, unix.EPERM, false},
	{"socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC}, unix.EPERM, false},
	{"socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_XFRM}, unix.EPERM, false},
	{"socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT}, unix.EPERM, false},
	{"socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_INET_DIAG}, unix.EPERM, false},
	{"socket", [6]uint64{unix.AF_VSOCK, unix.SOCK_STREAM}, unix.EPERM, false},
	{"socket", [6]uint64{unix.AF_ALG, unix.SOCK_SEQPACKET}, unix.EPERM, false},
	{"socket", [6]uint64{unix.AF_PACKET, unix.SOCK_RAW}, unix.EPERM, false},
	{"socket", [6]uint64{unix.AF_TIPC, unix.SOCK_STREAM}, unix.EPERM, false},
	{"socket", [6]uint64{unix.AF_BLUETOOTH, unix.SOCK_RAW}, unix.EPERM, false},
	{"socket", [6]uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP}, unix.EPERM, false},
	{"socket", [6]uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}, unix.EPERM, false},
	{"socket", [6]uint64{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW}, unix.EPERM, false},
	{"socketpair", [6]uint64{unix.AF_ALG, unix.SOCK_SEQPACKET}, unix.EPERM, false},
	{"ioctl", [6]uint64{none, unix.TCGETS}, allowed, false},
	{"ioctl", [6]uint64{none, unix.TIOCSTI}, unix.EPERM, false},
	{"ioctl", [6]uint64{none, 0x541c}, unix.EPERM, false}, // TIOCLINUX
	{"ioctl", [6]uint64{none, unix.TIOCSETD}, unix.EPERM, false},
	{"clone", [6]uint64{thread}, allowed, false},
	{"clone", [6]uint64{thread | unix.CLONE_NEWUSER}, unix.EPERM, true},
	{"clone", [6]uint64{thread | unix.CLONE_NEWNS}, unix.EPERM, true},
	{"clone", [6]uint64{thread | unix.CLONE_NEWPID}, unix.EPERM, true},
	{"clone", [6]uint64{thread | unix.CLONE_NEWNET}, unix.EPERM, true},
	{"clone", [6]uint64{thread | unix.CLONE_NEWIPC}, unix.EPERM, true},
	{"clone", [6]uint64{thread | unix.CLONE_NEWUTS}, unix.EPERM, true},
	{"clone", [6]uint64{thread | unix.CLONE_NEWCGROUP}, unix.EPERM, true},
	{"clone3", [6]uint64{}, unix.ENOSYS, false},
	{"unshare", [6]uint64{unix.CLONE_NEWUSER}, unix.EPERM, true},
	{"setns", [6]uint64{none}, unix.EPERM, true},
	{"mount", [6]uint64{}, unix.EPERM, true},
	{"umount2", [6]uint64{}, unix.EPERM, true},
	{"pivot_root", [6]uint64{}, unix.EPERM, true},
	{"chroot", [6]uint64{}, unix.EPERM, true},
	{"fsopen", [6]uint64{}, unix.EPERM, false},
	{"open_tree", [6]uint64{none}, unix.EPERM, false},
	{"move_mount", [6]uint64{none, 0, none}, unix.EPERM, false},
	{"mount_setattr", [6]uint64{none}, unix.EPERM, false},
	{"keyctl", [6]uint64{9999}, unix.EPERM, false},
	{"add_key", [6]uint64{}, unix.EPERM, false},
	{"request_key", [6]uint64{}, unix.EPERM, false},
	{"open_by_handle_at", [6]uint64{none}, unix.EPERM, false},
	{"name_to_handle_at", [6]uint64{none}, unix.EPERM, false},
	{"bpf", [6]uint64{9999}, unix.EPERM, false},
	{"perf_event_open", [6]uint64{}, unix.EPERM, false},
	{"userfaultfd", [6]uint64{0xffff}, unix.EPERM, false},
	{"io_uring_setup", [6]uint64{1}, unix.EPERM, false},
	{"io_uring_enter", [6]uint64{none}, unix.EPERM, false},
	{"io_uring_register", [6]uint64{none}, unix.EPERM, false},
	{"kexec_load", [6]uint64{0, 999}, unix.EPERM, false},
	{"quotactl", [6]uint64{}, unix.EPERM, false},
	{"mknod", [6]uint64{0, unix.S_IFCHR}, unix.EPERM, false},
	{"mknod", [6]uint64{0, unix.S_IFIFO}, allowed, false},
	{"mknodat", [6]uint64{none, 0, unix.S_IFBLK}, unix.EPERM, false},
	{"init_module", [6]uint64{}, unix.EPERM, false},
	{"finit_module", [6]uint64{none}, unix.EPERM, false},
	{"delete_module", [6]uint64{}, unix.EPERM, false},
	{"swapon", [6]uint64{}, unix.EPERM, false},
	{"reboot", [6]uint64{}, unix.EPERM, false},
	{"iopl", [6]uint64{99}, unix.EPERM, false},
	{"clock_settime", [6]uint64{9999}, unix.EPERM, false},
	{"syslog", [6]uint64{99}, unix.EPERM, false},
	{"sethostname", [6]uint64{0, none}, unix.EPERM, true},
	{"pidfd_getfd", [6]uint64{none}, unix.EPERM, false},
	{"process_madvise", [6]uint64{none}, unix.EPERM, false},
	{"kcmp", [6]uint64{0, 0, 0}, allowed, false},
	{"kcmp", [6]uint64{0, 0, 1}, unix.EPERM, false},
	{"personality", [6]uint64{0x0040000}, unix.EPERM, false}, // ADDR_NO_RANDOMIZE
	{"personality", [6]uint64{0xffffffff}, allowed, false},
	{"fanotify_init", [6]uint64{none}, unix.EPERM, false},
	{"cachestat", [6]uint64{none}, unix.EPERM, false},
	{"memfd_secret", [6]uint64{0xffff}, unix.EPERM, false},
	{"ptrace", [6]uint64{unix.PTRACE_ATTACH, 0}, allowed, false},
	{"process_vm_readv", [6]uint64{0, 0, 0, 0, 0, 99}, allowed, false},
	{"modify_ldt", [6]uint64{99}, allowed, false},
	{"memfd_create", [6]uint64{}, allowed, false},
	{"shmget", [6]uint64{0, 0}, allowed, false},
	{"seccomp", [6]uint64{99}, allowed, false},
	{"landlock_create_ruleset", [6]uint64{0, 0, 1}, allowed, false},
}

// helper builds the program that makes system calls.
func helper(t *testing.T, goarch string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "calls")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", file, "./testdata/calls")
	cmd.Env = append(os.Environ(), "GOARCH="+goarch, "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build it for %s: %v\n%s", goarch, err, out)
	}
	return file
}

// need32Bits skips a test where the kernel does not run such programs, as some in
// virtual machines do not.
func need32Bits(t *testing.T, program string) {
	t.Helper()
	if err := exec.CommandContext(t.Context(), program).Run(); errors.Is(err, syscall.ENOEXEC) {
		t.Skip("this kernel runs no programs of 32-bit x86")
	} else if err != nil {
		t.Fatal(err)
	}
}

// try makes the calls, whose number is or-ed with bit, and returns their errnos.
func try(t *testing.T, abi policy.ABI, bit int, what []call, cmd *exec.Cmd) []unix.Errno {
	t.Helper()
	var in strings.Builder
	for _, c := range what {
		fmt.Fprintf(&in, "%x", abi.Calls[c.name]|bit)
		for _, a := range c.arguments {
			if abi.Name == policy.I386.Name {
				a &= none32
			}
			fmt.Fprintf(&in, " %x", a)
		}
		in.WriteByte('\n')
	}
	cmd.Stdin = strings.NewReader(in.String())
	out, err := cmd.Output()
	testkit.Must(t, err)
	var all []unix.Errno
	for _, line := range strings.Fields(string(out)) {
		var e int
		_, err := fmt.Sscan(line, &e)
		testkit.Must(t, err)
		all = append(all, unix.Errno(e))
	}
	if len(all) != len(what) {
		t.Fatalf("%d answers to %d calls", len(all), len(what))
	}
	return all
}

// TestCalls makes the calls as a program of 64 bits, as one of 32 bits, and as one of
// 64 bits that uses the other way into the kernel; each without a filter too.
func TestCalls(t *testing.T) {
	needRoot(t)
	wide, narrow := helper(t, "amd64"), helper(t, "386")
	for _, v := range []struct {
		name string
		abi  policy.ABI
		argv []string
	}{
		{"64 bits", policy.X8664, []string{wide}},
		{"32 bits", policy.I386, []string{narrow}},
		{"int 80", policy.I386, []string{wide, "int80"}},
	} {
		t.Run(v.name, func(t *testing.T) {
			if v.abi.Name == policy.I386.Name {
				need32Bits(t, narrow)
			}
			var what []call
			for _, c := range calls {
				if _, ok := v.abi.Calls[c.name]; ok {
					what = append(what, c)
				}
			}
			// Without ENOSYS: a kernel without such a call refuses it itself.
			bare := try(t, v.abi, 0, what, under{Without: true}.command(t, v.argv...))
			plain := try(t, v.abi, 0, what, under{Options: Options{I386: true}}.command(t, v.argv...))
			namespaces := try(t, v.abi, 0, what, under{Options: Options{I386: true, UserNamespaces: true}}.command(t, v.argv...))
			for i, c := range what {
				if c.want != allowed && bare[i] == c.want {
					t.Errorf("%s(%#x): %v without the filter too: this proves nothing", c.name, c.arguments, bare[i])
				}
				want := c.want
				if want == allowed {
					want = bare[i]
				}
				if plain[i] != want {
					t.Errorf("%s(%#x): %v, want %v", c.name, c.arguments, plain[i], want)
				}
				if c.free {
					want = bare[i]
				}
				if namespaces[i] != want {
					t.Errorf("%s(%#x) with namespaces: %v, want %v", c.name, c.arguments, namespaces[i], want)
				}
			}
		})
	}
}

// TestX32 makes calls of the x32 ABI, which has numbers of its own for calls that the
// filter knows under others.
func TestX32(t *testing.T) {
	wide := helper(t, "amd64")
	what := []call{{"getpid", [6]uint64{}, unix.EPERM, false}, {"keyctl", [6]uint64{9999}, unix.EPERM, false}}
	for i, e := range try(t, policy.X8664, x32, what, under{}.command(t, wide)) {
		if e != unix.EPERM {
			t.Errorf("%s of x32: %v, want EPERM", what[i].name, e)
		}
	}
	for i, e := range try(t, policy.X8664, x32, what, under{Without: true}.command(t, wide)) {
		if e == unix.EPERM {
			t.Errorf("%s of x32: EPERM without the filter too", what[i].name)
		}
	}
}

// TestWithout32Bits runs a program of 32 bits, and one of 64 bits that uses the way
// into the kernel that those have.
func TestWithout32Bits(t *testing.T) {
	wide, narrow := helper(t, "amd64"), helper(t, "386")
	need32Bits(t, narrow)
	for _, argv := range [][]string{{narrow}, {wide, "int80"}} {
		ended := func(o Options) error {
			cmd := under{Options: o}.command(t, argv...)
			cmd.Stdin = strings.NewReader("14 0 0 0 0 0 0\n") // getpid
			return cmd.Run()
		}
		var exit *exec.ExitError
		if err := ended(Options{}); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGSYS {
			t.Errorf("%v: %v, want SIGSYS", argv[1:], err)
		}
		if err := ended(Options{I386: true}); err != nil {
			t.Errorf("%v with the option: %v", argv[1:], err)
		}
	}
}
