package seccomp

import "golang.org/x/sys/unix"

// Filter makes the filter. It costs microseconds.
func Filter(o Options) []unix.SockFilter {
	native := aarch64[:]
	if o.UserNamespaces {
		native = aarch64Namespaces[:]
	}
	return join([]instruction{
		{Code: load, K: archAt},
		{Code: jumpIfEqual, K: unix.AUDIT_ARCH_AARCH64, Jt: 1},
		{Code: give, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: load, K: numberAt},
	}, native)
}
