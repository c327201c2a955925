package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// takeMemory writes to more memory than a fetch of n bytes needs, and gives it back to the
// kernel. The hypervisor of a virtual machine gives it memory when something is first written there, in
// the processor time of who writes, and may take back what is free. The kernel keeps large writes
// to a file in large pieces of memory, which were free for longer: so nearcast pays
// more of that than s5cmd does, and the first fetch of a run more than the next one.
func takeMemory(n int64) error {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return fmt.Errorf("open /proc: %w", err)
	}
	has, err := proc.Meminfo()
	if err != nil {
		return fmt.Errorf("read how much memory is free: %w", err)
	}
	if has.MemAvailableBytes == nil {
		return errors.New("the kernel does not say how much memory is free")
	}
	// Folders, connections and what the store reads need some too.
	n = min(2*n, int64(*has.MemAvailableBytes/2))
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("take memory: %w", err)
	}
	// The memory that was free for longest is in large pieces. A kernel may have no such pages.
	if err := unix.Madvise(b, unix.MADV_HUGEPAGE); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("take memory: %w", err)
	}
	for i, page := 0, os.Getpagesize(); i < len(b); i += page {
		b[i] = 1
	}
	return unix.Munmap(b)
}
