package policy

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	docker "github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
)

var abis = []ABI{X8664, I386, ARM64}

// run gives a program a system call, and returns the errno; 0 is allowed. The
// machine that runs it reads numbers in network order, so each half of an argument
// is written so; which half comes first is as on our machines.
func run(t testing.TB, vm *bpf.VM, number uint32, arguments [6]uint64) unix.Errno {
	t.Helper()
	var data [64]byte
	binary.BigEndian.PutUint32(data[0:], number)
	for i, a := range arguments {
		binary.BigEndian.PutUint32(data[16+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[20+8*i:], uint32(a>>32))
	}
	result, err := vm.Run(data[:])
	testkit.Must(t, err)
	switch {
	case uint32(result) == unix.SECCOMP_RET_ALLOW:
		return 0
	case uint32(result)&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO:
		return unix.Errno(result & unix.SECCOMP_RET_DATA)
	}
	t.Fatalf("call %d: the program returned %#x", number, result)
	return 0
}

// machine is the program of an ABI, preceded by what loads the number.
func machine(t testing.TB, abi ABI, o Options) *bpf.VM {
	t.Helper()
	rules, err := For(abi, o)
	testkit.Must(t, err)
	raw, err := rules.Program()
	testkit.Must(t, err)
	program, ok := bpf.Disassemble(append([]bpf.RawInstruction{{Op: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}}, raw...))
	if !ok {
		t.Fatal("the program cannot be read back")
	}
	vm, err := bpf.NewVM(program)
	testkit.Must(t, err)
	return vm
}

// dockers is what Docker's default profile says of a call, by the words of the OCI
// runtime specification: entries for other capabilities and architectures do not
// count, the conditions of an entry must all hold, one entry that allows is enough.
func dockers(profile *docker.Seccomp, native, name string, arguments [6]uint64) unix.Errno {
	verdict := unix.EPERM
	for _, s := range profile.Syscalls {
		if !slices.Contains(s.Names, name) {
			continue
		}
		if in := s.Includes; in != nil && (len(in.Caps) > 0 || len(in.Arches) > 0 && !slices.Contains(in.Arches, native)) {
			continue
		}
		if ex := s.Excludes; ex != nil && slices.Contains(ex.Arches, native) {
			continue
		}
		hold := true
		for _, a := range s.Args {
			v := arguments[a.Index]
			switch a.Op {
			case specs.OpEqualTo:
				hold = hold && v == a.Value
			case specs.OpLessThan:
				hold = hold && v < a.Value
			case specs.OpMaskedEqual:
				hold = hold && v&a.Value == a.ValueTwo
			default:
				panic(a.Op)
			}
		}
		switch {
		case !hold:
		case s.Action == specs.ActAllow:
			return 0
		case s.Action == specs.ActErrno:
			verdict = unix.Errno(*s.ErrnoRet)
		default:
			panic(s.Action)
		}
	}
	return verdict
}

// arguments are values on all sides of all conditions.
func arguments() []uint64 {
	values := map[uint64]bool{0: true, 1: true, ^uint64(0): true, 1 << 31: true, 1 << 32: true, 0xffffffff: true}
	for _, abi := range abis {
		for _, o := range []Options{{}, {UserNamespaces: true}} {
			rules, err := For(abi, o)
			if err != nil {
				panic(err)
			}
			for _, rule := range rules.ByName {
				for _, conditions := range rule.When {
					for _, c := range conditions {
						for _, v := range []uint64{c.Value - 1, c.Value, c.Value + 1} {
							values[v], values[v|1<<32], values[v|0xffffffff<<32] = true, true, true
						}
					}
				}
			}
		}
	}
	for family := range uint64(50) {
		values[family] = true
	}
	for bit := range 64 {
		values[1<<bit] = true
	}
	return slices.Sorted(maps.Keys(values))
}

// TestProgramIsDockersProfile runs the programs for every system call there is, and
// compares each call that we do not change with Docker's profile itself.
func TestProgramIsDockersProfile(t *testing.T) {
	profile := docker.DefaultProfile()
	values := arguments()
	for _, abi := range abis {
		for _, o := range []Options{{}, {UserNamespaces: true}} {
			t.Run(fmt.Sprint(abi.Name, o), func(t *testing.T) {
				changed := make(map[string]bool)
				for _, c := range changes(o) {
					for _, name := range c.Names {
						changed[name] = true
					}
				}
				vm := machine(t, abi, o)
				compared := 0
				for name, number := range abi.Calls {
					if changed[name] || name == "open_tree_attr" { // which is newer than the profile
						continue
					}
					for _, v := range values {
						a := [6]uint64{v, v, v, v, v, v}
						got, want := run(t, vm, uint32(number), a), dockers(profile, abi.native, name, a)
						if got != want {
							t.Fatalf("%s(%#x, …): %d, in Docker's profile %d", name, v, got, want)
						}
					}
					compared++
				}
				if compared < 250 {
					t.Errorf("only %d calls were compared", compared)
				}
			})
		}
	}
}

// TestChanges looks at the calls in which a cell differs.
func TestChanges(t *testing.T) {
	const newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	cases := []struct {
		name       string
		arguments  [6]uint64
		want       unix.Errno
		namespaces unix.Errno // with the option
	}{
		{"socket", [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}, 0, 0},
		{"socket", [6]uint64{unix.AF_INET, unix.SOCK_STREAM}, 0, 0},
		{"socket", [6]uint64{unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6}, 0, 0},
		{"socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, 0, 0},
		{"socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, unix.EPERM, unix.EPERM},
		{"socket", [6]uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP}, unix.EPERM, unix.EPERM},
		{"socket", [6]uint64{unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_ICMP}, unix.EPERM, unix.EPERM},
		{"socket", [6]uint64{unix.AF_UNIX | 1<<32}, unix.EPERM, unix.EPERM},
		{"socketpair", [6]uint64{unix.AF_UNIX}, 0, 0},
		{"socketpair", [6]uint64{unix.AF_TIPC}, unix.EPERM, unix.EPERM},
		{"ioctl", [6]uint64{0, unix.TIOCSTI}, unix.EPERM, unix.EPERM},
		{"ioctl", [6]uint64{0, unix.TIOCSTI | 1<<32}, unix.EPERM, unix.EPERM},
		{"ioctl", [6]uint64{0, unix.TIOCSTI | 0xffffffff<<32}, unix.EPERM, unix.EPERM},
		{"ioctl", [6]uint64{0, tioclinux}, unix.EPERM, unix.EPERM},
		{"ioctl", [6]uint64{0, unix.TIOCSETD}, unix.EPERM, unix.EPERM},
		{"ioctl", [6]uint64{0, unix.TCGETS}, 0, 0},
		{"ioctl", [6]uint64{0, 0xc0246400}, 0, 0},
		{"ioctl", [6]uint64{0, 0xffffffffc0246400}, 0, 0},
		{"ioctl", [6]uint64{0, 0xfffffffec0246400}, unix.EPERM, unix.EPERM},
		{"mknod", [6]uint64{0, unix.S_IFIFO | 0o600}, 0, 0},
		{"mknod", [6]uint64{0, unix.S_IFCHR | 0o600}, unix.EPERM, unix.EPERM},
		{"mknodat", [6]uint64{0, 0, unix.S_IFSOCK}, 0, 0},
		{"mknodat", [6]uint64{0, 0, unix.S_IFBLK}, unix.EPERM, unix.EPERM},
		{"kcmp", [6]uint64{1, 1, 0}, 0, 0},
		{"kcmp", [6]uint64{1, 1, 1}, unix.EPERM, unix.EPERM},
		{"cachestat", [6]uint64{}, unix.EPERM, unix.EPERM},
		{"name_to_handle_at", [6]uint64{}, unix.EPERM, unix.EPERM},
		{"fanotify_mark", [6]uint64{}, unix.EPERM, unix.EPERM},
		{"memfd_secret", [6]uint64{}, unix.EPERM, unix.EPERM},
		{"clone", [6]uint64{newNamespaces | uint64(unix.SIGCHLD)}, unix.EPERM, 0},
		{"clone", [6]uint64{uint64(unix.SIGCHLD)}, 0, 0},
		{"clone3", [6]uint64{}, unix.ENOSYS, unix.ENOSYS},
		{"unshare", [6]uint64{}, unix.EPERM, 0},
		{"setns", [6]uint64{}, unix.EPERM, 0},
		{"mount", [6]uint64{}, unix.EPERM, 0},
		{"umount2", [6]uint64{}, unix.EPERM, 0},
		{"pivot_root", [6]uint64{}, unix.EPERM, 0},
		{"chroot", [6]uint64{}, unix.EPERM, 0},
		{"sethostname", [6]uint64{}, unix.EPERM, 0},
	}
	tried := make(map[string]bool)
	for _, abi := range abis {
		plain, namespaces := machine(t, abi, Options{}), machine(t, abi, Options{UserNamespaces: true})
		for _, c := range cases {
			tried[c.name] = true
			number, ok := abi.Calls[c.name]
			if !ok {
				continue
			}
			if got := run(t, plain, uint32(number), c.arguments); got != c.want {
				t.Errorf("%s: %s(%#x): %d, want %d", abi.Name, c.name, c.arguments, got, c.want)
			}
			if got := run(t, namespaces, uint32(number), c.arguments); got != c.namespaces {
				t.Errorf("%s with namespaces: %s(%#x): %d, want %d", abi.Name, c.name, c.arguments, got, c.namespaces)
			}
		}
	}
	for _, c := range Changes() {
		for _, name := range c.Names {
			if !tried[name] {
				t.Errorf("the change of %s is not tried", name)
			}
		}
	}
}

// TestNames finds a call that the profile names and our tables do not: it would be
// refused without anybody noticing.
func TestNames(t *testing.T) {
	elsewhere := map[string]bool{ // calls of other architectures
		"recv": true, "send": true, "arm_fadvise64_64": true, "arm_sync_file_range": true, "breakpoint": true, "cacheflush": true, "set_tls": true,
		"riscv_flush_icache": true, "riscv_hwprobe": true, "swapcontext": true, "sync_file_range2": true,
		"s390_pci_mmio_read": true, "s390_pci_mmio_write": true, "s390_runtime_instr": true,
	}
	for _, s := range docker.DefaultProfile().Syscalls {
		for _, name := range s.Names {
			known := slices.ContainsFunc(abis, func(abi ABI) bool { _, ok := abi.Calls[name]; return ok })
			if !known && !elsewhere[name] {
				t.Errorf("the profile has %s, of which no number is known", name)
			}
		}
	}
	for _, c := range Changes() {
		for _, name := range c.Names {
			if !slices.ContainsFunc(abis, func(abi ABI) bool { _, ok := abi.Calls[name]; return ok }) {
				t.Errorf("our changes have %s, of which no number is known", name)
			}
		}
	}
}

// TestNewCalls tries numbers that the profile does not know yet.
func TestNewCalls(t *testing.T) {
	for _, abi := range abis {
		rules, err := For(abi, Options{})
		testkit.Must(t, err)
		vm := machine(t, abi, Options{})
		for _, number := range []uint32{uint32(rules.Newest) + 1, 1000, 1 << 31} {
			if got := run(t, vm, number, [6]uint64{}); got != unix.ENOSYS {
				t.Errorf("%s: call %d: %d, want ENOSYS", abi.Name, number, got)
			}
		}
		if !strings.Contains(rules.String(), fmt.Sprintf("numbers above %d", rules.Newest)) {
			t.Errorf("%s: the list does not say which calls are new", abi.Name)
		}
	}
}
