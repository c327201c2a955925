package attack

// attacks is every attack, in the order in which "all" runs them: those that take a
// lot of the node, and those that leave something, come last.
var attacks []one

func init() { // not a literal: attacks use find
	attacks = []one{
		{name: "sysv-shm", run: sysvShm},
		{name: "sysv-msg", run: sysvMsg},
		{name: "sysv-sem", run: sysvSem},
		{name: "posix-shm", run: posixShm},
		{name: "posix-mqueue", run: posixQueue},
		{name: "x-shm-attach", run: displayShm},

		{name: "sound-module-load", run: soundModuleLoad},
		{name: "sound-module", run: soundModule},
		{name: "sound-port", run: soundPort},
		{name: "sound-listen", run: soundListen},

		{name: "x-keylog", run: displayKeylog},
		{name: "x-inject", run: displayInject},
		{name: "x-font-path", run: displayFonts},
		{name: "x-squat", run: displaySquat},

		{name: "unix-sockets", run: pathSockets},
		{name: "abstract-sockets", run: abstractSockets},
		{name: "control-socket", run: controlSocket},
		{name: "nomad-task-api", run: taskAPI},
		{name: "loopback", run: loopback},
		{name: "node-network", run: outside},
		{name: "metadata", run: metadata},
		{name: "raw-socket", run: rawSocket},
		{name: "vsock", run: vsock},

		{name: "run-dir", run: runDirs},
		{name: "task-dirs", run: taskDirs},
		{name: "tmp-files", run: temporaryFiles},
		{name: "xauthority", run: authorities},
		{name: "cache-dir", run: cacheDir},
		{name: "content-write", run: contentWrite},
		{name: "node-files", run: nodeFiles},
		{name: "open-by-handle", run: openByHandle},

		{name: "proc-list", run: procList},
		{name: "proc-environ", run: procEnviron},
		{name: "proc-memory", run: procMemory},
		{name: "proc-root", run: procRoot},
		{name: "proc-files", run: procFiles},
		{name: "ptrace", run: ptraceTargets},
		{name: "pidfd", run: pidfdTargets},
		{name: "signal-others", run: signalTargets},
		{name: "tune-others", run: tuneTargets},
		{name: "setns", run: joinNamespaces},
		{name: "init-process", run: initProcess},
		{name: "inherited-descriptors", run: inherited},

		{name: "setuid", run: setuid, slow: true}, // it starts many programs
		{name: "capabilities", run: capabilities},
		{name: "user-namespace", run: userNamespace},
		{name: "mount", run: mountAnything},
		{name: "uncover", run: uncover},
		{name: "mknod", run: makeNode},
		{name: "chroot", run: chrootEscape},
		{name: "terminal-input", run: terminalInput},
		{name: "write-proc", run: writeProc},
		{name: "write-sys", run: writeSys},
		{name: "node-settings", run: nodeSettings},
		{name: "keyring", run: keyring},
		{name: "kernel-log", run: kernelLog},
		{name: "kernel-surface", run: kernelSurface},
		{name: "compat-syscalls", run: compatSyscalls},
		{name: "socket-families", run: socketFamilies},
		{name: "devices", run: devices},

		{name: "fork-bomb", run: forkBomb, slow: true},
		{name: "fill-tmp", run: func(c ctx, a *attacker) Result { return a.fill(c, "/tmp") }, slow: true},
		{name: "fill-shm", run: func(c ctx, a *attacker) Result { return a.fill(c, "/dev/shm") }, slow: true},
		{name: "fill-home", run: func(c ctx, a *attacker) Result { return a.fill(c, home()) }, slow: true},
		{name: "fill-task-dir", run: func(c ctx, a *attacker) Result { return a.fill(c, ".") }, slow: true},
		{name: "fill-alloc-dir", run: func(c ctx, a *attacker) Result { return a.fill(c, allocDir()) }, slow: true},
		{name: "fill-inodes", run: fillInodes, slow: true},
		{name: "fill-sysv-shm", run: fillSysvShm, slow: true},
		{name: "exhaust-user", run: exhaustUser},
		{name: "exhaust-terminals", run: exhaustTerminals, slow: true},

		{name: "symlink-content", run: plantSymlinks},
		{name: "symlink-logs", run: plantLogSymlink, named: true, slow: true}, // writes megabytes of log
		{name: "leave-behind", run: leaveBehind},

		{name: "log-flood", run: logFlood, named: true, slow: true},
		{name: "memory-hog", run: memoryHog, named: true, slow: true},
	}
}
