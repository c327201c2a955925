package app

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// descendants lists all processes below pid, without it. Processes come and go
// meanwhile: it is how things were at some moments.
func descendants(pid int) []int {
	children := map[int][]int{}
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		child, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if parent, ok := parentOf(child); ok {
			children[parent] = append(children[parent], child)
		}
	}
	var all []int
	for next := []int{pid}; len(next) > 0; {
		below := children[next[0]]
		all = append(all, below...)
		next = append(next[1:], below...)
	}
	slices.Sort(all)
	return all
}

// parentOf reads a process's parent; false for one that is gone or a zombie.
func parentOf(pid int) (int, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// 12 (name, which may hold spaces and parentheses) S 11 …
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 2 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return 0, false
	}
	ppid, err := strconv.Atoi(string(fields[1]))
	return ppid, err == nil
}

// fromNamespace finds the process that is called inner in the pid namespace
// that parent is the first process of; 0 if it is gone.
func fromNamespace(parent, inner int) int {
	for _, pid := range descendants(parent) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			ids, ok := strings.CutPrefix(line, "NSpid:")
			if !ok {
				continue
			}
			if f := strings.Fields(ids); len(f) > 1 && f[len(f)-1] == strconv.Itoa(inner) {
				return pid
			}
		}
	}
	return 0
}

// cpuOf is a process's processor time, with that of the children it reaped.
func cpuOf(pid int) (sum time.Duration) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	const first, last = 14 - 3, 17 - 3 // utime … cstime of proc_pid_stat(5), where the state is field 3
	if len(fields) <= last {
		return 0
	}
	for _, f := range fields[first : last+1] {
		ticks, _ := strconv.ParseInt(string(f), 10, 64)
		sum += time.Duration(ticks) * (time.Second / 100) // what the kernel shows user space, everywhere
	}
	return sum
}
