package dev

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// stray starts a process that belongs to nobody's supervisor, and reaps it.
func stray(t *testing.T, env []string, argv ...string) (pid int, ended <-chan struct{}) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-done })
	return cmd.Process.Pid, done
}

// TestSweep ends what carries the cluster's mark and what runs from its run
// directory, and nothing else.
func TestSweep(t *testing.T) {
	dir, runDir := t.TempDir(), t.TempDir()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	// The keeper of a seat is known by its command line too.
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is needed to name a process freely")
	}
	// A process of a seat carries the nonce of the seat's spec.
	seat := filepath.Join(runDir, "seat")
	if err := os.Mkdir(seat, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(seat, "spec.json"), []byte(`{"nonce":"f00"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	ends := map[string]<-chan struct{}{}
	_, ends["marked"] = stray(t, []string{markEnv + "=" + dir}, sleep, "1000")
	_, ends["stubborn"] = stray(t, []string{markEnv + "=" + dir}, "/bin/sh", "-c", `trap "" TERM; while :; do sleep 0.1; done`)
	_, ends["keeper"] = stray(t, nil, bash, "-c", `exec -a seat-keeper "$BASH" -c 'while :; do sleep 0.1; done' `+seat+`/spec.json`)
	_, ends["of a seat"] = stray(t, []string{nonceEnv + "=f00"}, sleep, "1000")
	other, otherEnds := stray(t, []string{markEnv + "=" + dir + "2"}, sleep, "1000")
	bystander, bystanderEnds := stray(t, nil, "/bin/sh", "-c", "while :; do sleep 0.1; done", "editor", runDir+"/x")

	var log strings.Builder
	if err := sweep(short(t), dir, runDir, NewLogger(&log)); err != nil {
		t.Fatal(err)
	}
	for name, ended := range ends {
		select {
		case <-ended:
		case <-time.After(60 * time.Second):
			t.Errorf("the %s process still runs", name)
		}
	}
	for pid, ended := range map[int]<-chan struct{}{other: otherEnds, bystander: bystanderEnds} {
		select {
		case <-ended:
			t.Errorf("process %d was ended and belongs to somebody else", pid)
		default:
		}
	}
	if entries, _ := os.ReadDir(runDir); len(entries) > 0 {
		t.Errorf("the run directory still holds %v", entries)
	}
	if !strings.Contains(log.String(), "sleep 1000") {
		t.Errorf("the log does not say what was ended:\n%s", &log)
	}
	if left, err := leftovers(dir, runDir); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestAncestors(t *testing.T) {
	if own := ancestors(); !slices.Contains(own, os.Getpid()) || !slices.Contains(own, os.Getppid()) {
		t.Errorf("ancestors are %v, without %d and %d", own, os.Getpid(), os.Getppid())
	}
}
