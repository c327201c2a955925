package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// remaining are the processes of seats in a folder. Nomad starts an executor for each task, in a session of
// its own, which outlives its agent and is then nobody's child.
func remaining(dir string) (pids []int) {
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		// What the executor and a stream's keeper are told, and what a task has in its environment. Not just the
		// folder's name, which the shell has too that started this program.
		command, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(folder, "environ"))
		if bytes.Contains(command, []byte(`{"LogFile":"`+dir+"/")) || bytes.Contains(environ, []byte("NOMAD_ALLOC_DIR="+dir+"/")) ||
			bytes.Contains(command, []byte("--spec\x00"+dir+"/")) {
			if pid, err := strconv.Atoi(filepath.Base(folder)); err == nil && pid != os.Getpid() {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// killRemaining ends what seats have left. All agents have ended.
func killRemaining(dir string) {
	for _, pid := range remaining(dir) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}
