package cell

import "github.com/nearcast/nearcast/dev/testapp/attack"

// row is an attack of the table in docs/SECURITY.md.
type row struct {
	name string // in dev/testapp/attack
	try  string // what the app tries, in words
	// plain is the outcome where nothing is isolated, because the agent is not root. In a
	// cell every attack is refused.
	plain attack.Outcome
	layer string // what refuses it in a cell
	// without are the defences that must be switched off for the attack to succeed in a
	// cell: names for $NEARCAST_CELL_WITHOUT, which builds with the tag celltest read, or
	// of switches.
	without string
}

// varies is an outcome that depends on the kernel and its settings.
const varies attack.Outcome = "depends on the kernel"

const (
	yes  = attack.Succeeded
	no   = attack.Refused
	none = attack.Unavailable
)

// attacks is the table, in the order of the document.
var attacks = []row{
	{"sysv-shm", "read and write another seat's System V shared memory, its picture among it", yes, "IPC namespace, user of its own", "user,ipc"},
	{"sysv-msg", "take a message from another seat's System V queue", yes, "IPC namespace, user of its own", "user,ipc"},
	{"sysv-sem", "set another seat's System V semaphore", yes, "IPC namespace, user of its own", "user,ipc"},
	{"posix-shm", "open another seat's files in `/dev/shm`", yes, "root of its own, user of its own", "user,root,landlock"},
	{"posix-mqueue", "take a message from another seat's POSIX queue", yes, "IPC namespace, user of its own", "user,ipc"},
	{"x-shm-attach", "let its own X server draw another seat's shared memory", yes, "X server inside the cell", "user,ipc"},

	{"sound-module-load", "let the sound server load a module", no, "sound server without module loading", "sound-modules"},
	{"sound-module", "run code outside by a library that the sound server loads", no, "sound server inside the cell", "sound-modules,root,pid,net,ipc,uts"},
	{"sound-port", "let the sound server open a port on the node's network", no, "sound server inside the cell", "sound-modules,root,pid,net,ipc,uts"},
	{"sound-listen", "record what another seat plays", yes, "root of its own, user of its own", "user,root,landlock"},

	{"x-keylog", "read keys and picture of another display", yes, "root and network of its own, cookie", "user,root,landlock"},
	{"x-inject", "send input to another display", yes, "root and network of its own, cookie", "user,root,landlock"},
	{"x-font-path", "ask its X server whether a file exists on the node", none, "X server inside the cell", "x-server"},
	{"x-squat", "listen where another seat's display may be looked for", yes, "root of its own", "user,root,landlock"},

	{"unix-sockets", "connect to Unix sockets of the node and of other seats", yes, "root of its own", "user,root,landlock"},
	{"abstract-sockets", "connect to abstract Unix sockets", yes, "network namespace, Landlock", "net,landlock"},
	{"control-socket", "speak to a stream host as the driver does", yes, "root of its own, mode of the directory", "landlock,modes,root"},
	{"nomad-task-api", "use the Nomad API that each task gets as a socket", yes, "root of its own, ACLs", "user,root,landlock"},
	{"loopback", "connect to Consul and Nomad on the node's loopback", yes, "network namespace, firewall", "net,landlock"},
	{"node-network", "connect to other computers of the site", yes, "network namespace, firewall", "net,landlock"},
	{"metadata", "ask the cloud for the node's credentials", yes, "network namespace, firewall", "net,landlock"},
	{"raw-socket", "read and forge packets", no, "no capabilities", "capabilities,seccomp"},
	{"vsock", "reach the machine that runs a virtual one, past every firewall", varies, "seccomp", "seccomp"},

	{"run-dir", "read the run directories of seats", yes, "root of its own, mode of the directory", "landlock,modes,root"},
	{"task-dirs", "read other seats' task directories", yes, "root of its own, user of its own", "user,root,landlock"},
	{"tmp-files", "read other seats' files in `/tmp` and `/var/tmp`", yes, "root of its own, user of its own", "user,root,landlock"},
	{"xauthority", "read the cookies of other displays", yes, "root of its own, user of its own", "user,root,landlock"},
	{"cache-dir", "read and change the node's content cache", yes, "root of its own", "user,root,landlock"},
	{"content-write", "change its content, which the cache shares with other seats", no, "writable layer of its own, no capabilities", "capabilities,landlock,root,seccomp"},
	{"node-files", "read the node's files", yes, "root of its own", "user,root,landlock"},
	{"open-by-handle", "open files by number, past the directories that hide them", no, "no capabilities, seccomp", "capabilities,seccomp"},

	{"proc-list", "see processes of the node and of other seats", yes, "pid namespace", "user,pid,landlock"},
	{"proc-environ", "read their environments", yes, "pid namespace, user of its own", "user,pid,landlock"},
	{"proc-memory", "read and write their memory", yes, "pid namespace, user of its own", "user,pid,landlock"},
	{"proc-root", "leave through their root directory", yes, "pid namespace, user of its own", "user,pid,landlock"},
	{"proc-files", "open their open files", yes, "pid namespace, user of its own", "user,pid,landlock"},
	{"ptrace", "control them by ptrace", yes, "pid namespace, user of its own", "user,pid,landlock"},
	{"pidfd", "take their open files by pidfd_getfd", yes, "pid namespace, user of its own", "user,pid,landlock"},
	{"signal-others", "signal them: the stream host, the driver", yes, "pid namespace, user of its own", "user,pid,landlock"},
	{"tune-others", "take their CPUs, limits and priority", yes, "pid namespace, user of its own", "user,pid,landlock"},
	{"setns", "enter other namespaces", no, "no capabilities, seccomp", "capabilities,landlock,pid,seccomp,user"},
	{"init-process", "control the process that started it", no, "process that is not dumpable", "dumpable"},
	{"inherited-descriptors", "use descriptors that it was started with", no, "closed descriptors", "descriptors"},

	{"setuid", "become root by a setuid program", no, "no_new_privs", "no-new-privs,seccomp,landlock,root"},
	{"capabilities", "gain a capability", no, "no capabilities", "capabilities,seccomp"},
	{"user-namespace", "have every capability in a user namespace", varies, "seccomp", "seccomp"},
	{"mount", "mount file systems", varies, "seccomp", "seccomp"},
	{"uncover", "take away mounts that hide something", no, "no capabilities, seccomp", "capabilities,landlock,seccomp"},
	{"mknod", "make devices", no, "no capabilities", "capabilities,landlock,root,seccomp"},
	{"chroot", "leave its root directory", no, "pivot_root, seccomp", "capabilities,seccomp"},
	{"terminal-input", "type at a terminal of the node", no, "devices of its own, seccomp", "capabilities,devices,landlock,seccomp"},
	{"write-proc", "change the kernel's settings in `/proc`", no, "`/proc` read-only", "proc,sys,capabilities,landlock"},
	{"write-sys", "change devices and cgroups in `/sys`", no, "`/sys` read-only", "proc,sys,capabilities,landlock"},
	{"node-settings", "change clock, name, modules of the node", no, "no capabilities", "capabilities,seccomp"},
	{"keyring", "read another seat's keys in the kernel", yes, "user of its own, seccomp", "user,seccomp"},
	{"kernel-log", "read the kernel's log", varies, "devices of its own, seccomp", "seccomp"},
	{"kernel-surface", "call what no app needs: io_uring, bpf, userfaultfd", varies, "seccomp", "seccomp"},
	{"compat-syscalls", "make a refused system call as a 32-bit program", varies, "seccomp", "seccomp"},
	{"socket-families", "make sockets of families that no app needs", varies, "seccomp", "seccomp"},
	{"devices", "open the node's devices", varies, "devices of its own", "devices,landlock"},

	{"fork-bomb", "fork without end", yes, "`pids.max`", "pids"},
	{"fill-tmp", "fill `/tmp`", yes, "one tmpfs of bounded size", "user,root,landlock"},
	{"fill-shm", "fill `/dev/shm`", yes, "one tmpfs of bounded size", "user,root,landlock"},
	{"fill-home", "fill its home", yes, "one tmpfs of bounded size", "size"},
	{"fill-task-dir", "fill the task directory", yes, "writable layer of bounded size", "size"},
	{"fill-alloc-dir", "fill the allocation's directory", yes, "root of its own", "user,root,landlock"},
	{"fill-inodes", "fill the file system's table of files", yes, "one tmpfs of bounded size", "user,root,landlock"},
	{"fill-sysv-shm", "use up the node's System V segments", yes, "IPC namespace", "ipc"},
	{"exhaust-user", "use up what the kernel gives to one user", yes, "user of its own", "user"},
	{"exhaust-terminals", "use up the node's pseudo-terminals", yes, "devices of its own", "devices,landlock"},

	{"symlink-content", "let root follow links under the content", no, "writable layer of its own; root follows no link there", "content-links,root"},
	{"symlink-logs", "let Nomad's log collector, root, write through a link", yes, "root of its own", "user,root,landlock"},
	{"log-flood", "print 100 MB into the task's log", no, "Nomad's rotation of logs", "log-rotation"},
	{"memory-hog", "take more memory than the job may have", yes, "memory limit of the app", "memory-limit"},
	{"leave-behind", "leave processes, memory, files and keys behind", yes, "namespaces, tmpfs, user of its own", "user,root,landlock"},
}

// onSeat are the attacks on another seat, which find nothing to attack where there is none.
var onSeat = []string{
	"sysv-shm", "sysv-msg", "sysv-sem", "posix-shm", "posix-mqueue", "x-shm-attach", "sound-listen", "x-keylog", "x-inject", "x-squat",
	"control-socket", "run-dir", "task-dirs", "tmp-files", "xauthority", "proc-list", "proc-environ", "proc-memory", "proc-root",
	"proc-files", "ptrace", "pidfd", "signal-others", "tune-others", "setns", "keyring", "exhaust-user",
}

// switches are defences that are not of the cell, but settings of the node or of the job:
// the tests switch them off there.
var switches = map[string]string{
	"modes":        "all users may enter the run directories, and use the control sockets",
	"log-rotation": "the job keeps 200 files of log",
	"memory-limit": "the job has no limit of memory, which the operator allows",
}

// asRoot are outcomes that differ from plain where the agent is root and isolate is
// false: the directories of root hold, and so does the memory limit.
var asRoot = map[string]attack.Outcome{"control-socket": no, "run-dir": no, "memory-hog": no}

// hostNetwork are the attacks that depend on network = "host", which is allowed by the
// operator alone, with what must come out in a cell. The firewall of provision/ adds to that: there a seat's user reaches neither Consul nor
// Nomad nor the metadata.
var hostNetwork = []struct {
	name string
	want attack.Outcome
}{
	{"abstract-sockets", no},
	{"unix-sockets", no},
	{"x-keylog", no},
	{"x-inject", no},
	{"sound-port", no},
	{"raw-socket", no},
	{"loopback", yes},
	{"node-network", yes},
	{"metadata", yes},
}
