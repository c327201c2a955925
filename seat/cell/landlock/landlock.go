// Package landlock limits what a process can do with the node's files, and which
// processes it can reach, whatever its user may. It is a second wall: it stands where
// a mount was forgotten, or where a user gained more than was meant.
//
// The limits belong to a thread and to all that it starts, and can never be taken
// off. They are meant for a process that executes its program next:
//
//	runtime.LockOSThread() // for good
//	// groups, user and capabilities first
//	abi, err := landlock.Restrict(landlock.Cell("/tmp", "/run", "/dev", "/proc", "/home/seat"))
//	if err != nil {
//		return err
//	}
//	// seccomp next
//	return syscall.Exec(program, args, env)
//
// All processes that come of the thread are one domain: they signal each other and
// find each other's abstract sockets, and reach nobody outside. From outside they are
// reached as before. Descriptors that were open stay what they are, and so do those
// that come over a socket.
//
// A kernel without Landlock, or whose Landlock would stop files from being moved
// between directories (before 5.19), limits nothing, and Restrict says so. An older
// one limits what it can: truncating since 6.2, devices since 6.10, signals and
// abstract sockets since 6.12. Connections to sockets that are files are never
// limited; nor are TCP and UDP.
package landlock

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Rules are what a process may do. All paths are files or directories with all below
// them, and one that does not exist is left out. Mounts cannot be changed under rules.
type Rules struct {
	// OnlyWrites leaves reading and executing as they are.
	OnlyWrites bool
	Read       []string
	// Execute are programs. The loaders that they name may be executed too. Libraries
	// need only be read.
	Execute []string
	Write   []string // all but executing
	Devices []string // reading, writing, ioctl
}

// StreamHost are the rules of the process that parses what browsers send: it reads
// the node's libraries and settings, uses GPUs by these device files, writes nowhere, and
// executes only itself. The program is its file; own are what else it reads, such as its
// specification.
func StreamHost(program string, gpus []string, own ...string) Rules {
	r := Rules{
		Read: append([]string{
			"/usr", "/lib", "/lib64", "/etc", "/proc", "/sys",
			"/run/systemd/resolve", // where /etc/resolv.conf often leads
		}, own...),
		Execute: []string{program},
		Devices: []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"},
	}
	r.Devices = append(r.Devices, gpus...)
	return r
}

// Cell are the rules of the processes of a cell: they write only below these
// directories. /dev and /proc should be among them, which are the cell's own.
func Cell(write ...string) Rules {
	return Rules{OnlyWrites: true, Write: write}
}

const (
	read    = ll.AccessFSReadFile | ll.AccessFSReadDir
	execute = ll.AccessFSExecute
	devices = ll.AccessFSIoctlDev
	write   = ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSRefer |
		ll.AccessFSRemoveDir | ll.AccessFSRemoveFile |
		ll.AccessFSMakeChar | ll.AccessFSMakeDir | ll.AccessFSMakeReg | ll.AccessFSMakeSock |
		ll.AccessFSMakeFifo | ll.AccessFSMakeBlock | ll.AccessFSMakeSym
	// ofFiles are the rights that a file can have that is no directory.
	ofFiles = execute | devices | ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate
)

// Restrict sets no_new_privs, and limits the calling thread, which must be locked. It
// returns the version of the kernel's interface, or 0 where there is none to use and
// nothing is limited.
func Restrict(r Rules) (abi int, err error) {
	abi = Version()
	if abi == 0 {
		return 0, nil
	}
	config := landlock.Config{
		HandledAccessFS: write,
		Scoped:          ll.ScopeAbstractUnixSocket | ll.ScopeSignal,
	}
	if !r.OnlyWrites {
		config.HandledAccessFS |= read | execute | devices
	}
	rules, err := r.list(config.HandledAccessFS)
	if err != nil {
		return 0, err
	}
	fd, flags, err := config.BestEffort().NewRulesetFD(rules...)
	if err != nil {
		return 0, fmt.Errorf("make the Landlock rules: %w", err)
	}
	if fd < 0 {
		return 0, errors.New("make the Landlock rules: the library sees no Landlock, though the kernel has it")
	}
	defer unix.Close(fd)
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("set no_new_privs: %w", err)
	}
	// The library's own way acts on all threads, which costs more, and is of no use
	// before an exec.
	if err := ll.LandlockRestrictSelf(fd, flags); err != nil {
		return 0, fmt.Errorf("apply the Landlock rules: %w", err)
	}
	return abi, nil
}

// Version is that of the kernel's interface, as far as it can be used; 0 where it cannot.
func Version() int {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil || abi < 2 {
		return 0
	}
	// In the first kernels of version 6, a thread could not signal one of its own
	// process that was under other rules. The library does not limit signals there.
	const signalsMended = 2
	if errata, err := ll.LandlockGetErrata(); abi >= 6 && (err != nil || errata&signalsMended == 0) {
		return 5
	}
	return abi
}

// list turns the rules into the library's, with no right that is not handled.
func (r Rules) list(handled landlock.AccessFSSet) ([]landlock.Rule, error) {
	loaders, err := loaders(r.Execute)
	if err != nil {
		return nil, err
	}
	var all []landlock.Rule
	add := func(access landlock.AccessFSSet, paths []string) error {
		for _, path := range paths {
			info, err := os.Stat(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("look at %s: %w", path, err)
			}
			can := access & handled
			if !info.IsDir() {
				can &= ofFiles
			}
			if can != 0 {
				all = append(all, landlock.PathAccess(can, path).IgnoreIfMissing())
			}
		}
		return nil
	}
	for _, err := range []error{
		add(read, r.Read),
		add(read|execute, append(loaders, r.Execute...)),
		add(read|write, r.Write),
		add(read|devices|ll.AccessFSWriteFile|ll.AccessFSTruncate, r.Devices),
	} {
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// loaders are the files that programs name as the ones that start them.
func loaders(programs []string) ([]string, error) {
	var all []string
	for _, path := range programs {
		file, err := elf.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the loader of %s: %w", path, err)
		}
		for _, part := range file.Progs {
			if part.Type != elf.PT_INTERP {
				continue
			}
			name := make([]byte, part.Filesz)
			if _, err := part.ReadAt(name, 0); err != nil {
				file.Close()
				return nil, fmt.Errorf("read the loader of %s: %w", path, err)
			}
			all = append(all, strings.TrimRight(string(name), "\x00"))
		}
		file.Close()
	}
	return all, nil
}
