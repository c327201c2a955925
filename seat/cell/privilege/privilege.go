// Package privilege takes privileges from the calling thread, for good. The thread
// must be locked (runtime.LockOSThread), and must next execute another program or
// start one: Linux keeps privileges for each thread, and only a new program has them
// on all of its threads.
//
//	runtime.LockOSThread()
//	err := privilege.Drop(identity) // no_new_privs, groups, user, capabilities
package privilege

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/seat/cell"
)

// NoNew keeps the thread, and what it executes, from gaining privileges.
func NoNew() error {
	if cell.Without("no-new-privs") {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
}

// Drop changes the thread to the identity, without capabilities. It makes raw system
// calls: package syscall's functions act on all threads, which fails in a program
// with cgo.
func Drop(id cell.Identity) error {
	if err := NoNew(); err != nil {
		return err
	}
	if kept, err := keepAll(id); kept || err != nil {
		return err
	}
	if err := Keep(); err != nil {
		return err
	}
	if err := changeUser(id); err != nil {
		return err
	}
	return setCapabilities(0)
}

func changeUser(id cell.Identity) error {
	if err := setGroups(id.Groups); err != nil {
		return err
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(id.GID), uintptr(id.GID), uintptr(id.GID)); e != 0 {
		return fmt.Errorf("set group: %w", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(id.UID), uintptr(id.UID), uintptr(id.UID)); e != 0 {
		return fmt.Errorf("set user: %w", e)
	}
	return nil
}

// Keep leaves the thread, and what it executes as the same user, only these
// capabilities.
func Keep(capabilities ...int) error {
	var set uint64
	for _, c := range capabilities {
		set |= 1 << c
	}
	// The bounding set first: to drop from it takes a capability.
	for c := 0; ; c++ {
		if set&(1<<c) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) && c > 0 {
			break // there are no more
		}
		if errors.Is(err, unix.EPERM) && c == 0 {
			break // root without CAP_SETPCAP, as in a container; no_new_privs has the same effect
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) // fails only on a kernel without ambient capabilities
	if len(capabilities) == 0 {
		return nil // Drop needs them until it has changed the user
	}
	return setCapabilities(set)
}

func setCapabilities(set uint64) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{}
	for i := range data {
		part := uint32(set >> (32 * i))
		data[i] = unix.CapUserData{Effective: part, Permitted: part}
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	return nil
}

// setGroups sets the calling thread's supplementary groups.
func setGroups(ids []int) error {
	groups := make([]uint32, len(ids))
	for i, g := range ids {
		groups[i] = uint32(g)
	}
	var first unsafe.Pointer
	if len(groups) > 0 {
		first = unsafe.Pointer(&groups[0])
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0); e != 0 {
		return fmt.Errorf("set groups: %w", e)
	}
	return nil
}
