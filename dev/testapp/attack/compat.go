package attack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioUringSetup has this number in every table of system calls. With no memory to write
// to, the kernel says EFAULT, if it comes that far.
const ioUringSetup = 425

// compatSyscalls makes a system call that a profile should refuse by the other ways in
// which an x86 processor can: as 32-bit program, and as x32.
func compatSyscalls(c ctx, a *attacker) Result {
	if runtime.GOARCH != "amd64" {
		a.lack("not on %s", runtime.GOARCH)
		return a.result()
	}
	if inStep() {
		result, err := call32(ioUringSetup, 4, 0)
		if err == nil && result != 0 {
			err = unix.Errno(-result)
		}
		a.judge("32-bit system call", err)
		return a.result()
	}
	const x32 = 0x4000_0000
	_, _, errno := unix.Syscall(x32|ioUringSetup, 4, 0, 0)
	a.judge("x32 system call", errno)

	// The kernel may end a process for the other: another one tries.
	cmd := exec.CommandContext(c, "/proc/self/exe", "-attack", "compat-syscalls", "-attack-args", "")
	cmd.Env = append(os.Environ(), stepEnv+"=1")
	r, err := decodeResult(cmd.Output())
	switch {
	case err != nil:
		a.refuse("32-bit system call", err)
	case r.Outcome == Succeeded:
		a.succeed("%s", r.Detail)
	default:
		a.refused = append(a.refused, r.Detail)
	}
	return a.result()
}

// judge notes whether a call came past the profile.
func (a *attacker) judge(what string, err error) {
	if errors.Is(err, unix.EFAULT) {
		a.succeed("%s: io_uring_setup is served", what)
	} else {
		a.refuse(what, err)
	}
}

// call32 makes a 32-bit system call with two arguments. It is machine code, because the
// compiler makes none.
func call32(number, first, second uint32) (result int32, err error) {
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return 0, fmt.Errorf("map memory to execute: %w", err)
	}
	const at = 1024                                                      // of the result in the page
	code := []byte{0xb8, 0, 0, 0, 0, 0xbb, 0, 0, 0, 0, 0xb9, 0, 0, 0, 0, // mov eax, ebx, ecx
		0xcd, 0x80, // int 0x80
		0x89, 0x05, 0, 0, 0, 0, // mov [rip+…], eax
		0xc3} // ret
	put := func(where int, v uint32) {
		for i := range 4 {
			code[where+i] = byte(v >> (8 * i))
		}
	}
	put(1, number)
	put(6, first)
	put(11, second)
	put(19, uint32(at-(len(code)-1)))
	copy(page, code)
	entry := unsafe.Pointer(&page[0])
	function := unsafe.Pointer(&entry)
	(*(*func())(unsafe.Pointer(&function)))()
	return *(*int32)(unsafe.Pointer(&page[at])), nil
}
