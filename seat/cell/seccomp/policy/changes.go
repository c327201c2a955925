package policy

import "golang.org/x/sys/unix"

// Change is what a cell does differently from Docker's default profile.
type Change struct {
	Names  []string
	Refuse bool         // with EPERM, else it is allowed
	When   []Conditions // of an allowed call; as in Rule
	Why    string
}

// changes are all of them, in the order in which they apply.
func changes(o Options) []Change {
	all := []Change{
		{
			Names: []string{"socket"}, When: sockets(),
			Why: "Docker allows 31 families, whose modules the kernel loads when asked, and most of which no app uses. " +
				"A cell has Unix, IPv4 and IPv6 with TCP, UDP and ping, and of netlink only what lists interfaces and devices. " +
				"So no AF_VSOCK, which reaches the hypervisor from every network namespace, and no AF_ALG",
		},
		{
			Names: []string{"socketpair"}, When: only(Condition{0, Equal, unix.AF_UNIX}),
			Why: "it makes sockets of every family, as socket does, and Docker does not look at which",
		},
		{
			Names: []string{"ioctl"}, When: ioctls(),
			Why: "TIOCSTI and TIOCLINUX type into a terminal, which without isolation can be the operator's; " +
				"TIOCSETD makes the kernel load a line discipline for a pty",
		},
		{
			Names: []string{"mknod"}, When: only(Condition{1, Without, deviceBit}),
			Why: "FIFOs and sockets, no devices",
		},
		{
			Names: []string{"mknodat"}, When: only(Condition{2, Without, deviceBit}),
			Why: "as mknod",
		},
		{
			Names: []string{"kcmp"}, When: only(Condition{2, Equal, kcmpFile}),
			Why: "Mesa's GPU drivers ask whether two descriptors are one device; it tells nothing else",
		},
		{
			Names: []string{"cachestat"}, Refuse: true,
			Why: "it tells which pages of a file that all seats share were read lately",
		},
		{
			Names: []string{"name_to_handle_at", "fanotify_mark"}, Refuse: true,
			Why: "of no use without open_by_handle_at and fanotify_init, which are refused",
		},
		{
			Names: []string{"memfd_secret"}, Refuse: true,
			Why: "it hides memory from the kernel itself; no app uses it",
		},
	}
	if o.UserNamespaces {
		all = append(all, Change{
			Names: []string{"clone", "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "sethostname"},
			Why:   "what Chromium's own sandbox and bubblewrap need",
		})
	}
	return all
}

// Changes are those for a seat that asked for everything, for documents and tests.
func Changes() []Change { return changes(Options{UserNamespaces: true}) }

const (
	deviceBit = 0o020000 // in S_IFCHR and S_IFBLK, and in no other kind that mknod makes
	kcmpFile  = 0
)

// sockets are the kinds that socket(family, type, protocol) may make.
func sockets() []Conditions {
	all := only(Condition{0, Equal, unix.AF_UNIX})
	for _, protocol := range []uint64{0, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP} {
		all = append(all, Conditions{{0, Equal, unix.AF_INET}, {2, Equal, protocol}})
	}
	for _, protocol := range []uint64{0, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMPV6} {
		all = append(all, Conditions{{0, Equal, unix.AF_INET6}, {2, Equal, protocol}})
	}
	for _, protocol := range []uint64{unix.NETLINK_ROUTE, unix.NETLINK_KOBJECT_UEVENT} {
		all = append(all, Conditions{{0, Equal, unix.AF_NETLINK}, {2, Equal, protocol}})
	}
	return all
}

// ioctls are the requests that are not refused. The kernel looks at 32 bits of the
// request, so one with other high bits would be the same request under another
// number. Programs that keep it in an int do send such bits: of a negative int, all
// are set.
func ioctls() []Conditions {
	positive := Conditions{{1, Less, 1 << 32}}
	for _, request := range []uint64{unix.TIOCSTI, tioclinux, unix.TIOCSETD} {
		positive = append(positive, Condition{1, NotEqual, request})
	}
	return []Conditions{positive, {{1, NotLess, 0xffffffff80000000}}}
}

const tioclinux = 0x541c

func only(c Condition) []Conditions { return []Conditions{{c}} }
