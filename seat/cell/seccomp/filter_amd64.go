package seccomp

import "golang.org/x/sys/unix"

// x32 is in the number of a system call of the x32 ABI, which has the architecture
// of x86-64.
const x32 = 0x40000000

// Filter makes the filter. It costs microseconds.
func Filter(o Options) []unix.SockFilter {
	native, compat := x8664[:], i386[:]
	if o.UserNamespaces {
		native, compat = x8664Namespaces[:], i386Namespaces[:]
	}
	choose := []instruction{
		{Code: load, K: archAt},
		{Code: jumpIfEqual, K: unix.AUDIT_ARCH_X86_64, Jt: 1},
		{Code: jump, K: uint32(3 + len(native))},
		{Code: load, K: numberAt},
		{Code: jumpAtLeast, K: x32, Jf: 1},
		{Code: give, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
	}
	if !o.I386 {
		return join(choose, native, []instruction{{Code: give, K: unix.SECCOMP_RET_KILL_PROCESS}})
	}
	return join(choose, native, []instruction{
		{Code: jumpIfEqual, K: unix.AUDIT_ARCH_I386, Jt: 1},
		{Code: give, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: load, K: numberAt},
	}, compat)
}
