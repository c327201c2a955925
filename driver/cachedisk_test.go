package driver

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// failingDisk mounts a loop device with ext4 whose own disk is full after fill, and not any more
// after free: the file system has room, and a sync fails.
func failingDisk(t *testing.T, dir string) (fill, free func()) {
	t.Helper()
	if !isRoot {
		t.Skip("needs root to mount a disk that fails")
	}
	under := t.TempDir()
	if err := unix.Mount("tmpfs", under, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(under, unix.MNT_DETACH) })
	image, filler := filepath.Join(under, "disk"), filepath.Join(under, "filler")
	testkit.Must(t, errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 200<<20)))
	for _, command := range [][]string{{"mkfs.ext4", "-q", "-O", "^has_journal", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no loop devices with ext4 here: %v: %v: %s", command, err, out)
		}
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	fill = func() {
		unix.Sync()
		if err := os.WriteFile(filler, make([]byte, 64<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("fill the disk below: %v", err)
		}
	}
	return fill, func() { testkit.Must(t, os.Remove(filler)) }
}

func TestCacheDiskFails(t *testing.T) {
	dir := t.TempDir()
	fill, free := failingDisk(t, dir)
	now := time.Now()
	d := newCacheDisk()
	d.now = func() time.Time { return now }
	want := func(say ...string) {
		t.Helper()
		problem, note := d.look(dir)
		if len(say) == 0 && problem != "" || note != "" {
			t.Errorf("problem %q, note %q", problem, note)
		}
		for _, s := range say {
			if !strings.Contains(problem, s) {
				t.Errorf("problem %q does not say %q", problem, s)
			}
		}
	}
	fill() // before the first try: the next one gets its blocks
	want("takes no writes", "did not reach it", "journalctl -k")
	free()
	want()

	fill()
	for range 3 { // seats that wrote beside each other
		d.seatFailed("write content to the disk: input/output error")
	}
	want("failed under a seat: write content", "tried again at")
	now = now.Add(firstRest)
	want("failed under a seat: write content", "tried again: ", "did not reach it")
	free()
	want()

	// The disk takes what is tried, but not what the next seat writes.
	d.seatFailed("again")
	now = now.Add(firstRest)
	want("failed under a seat: again", "tried again at")
	now = now.Add(firstRest)
	want()
	if left, err := filepath.Glob(filepath.Join(dir, ".probe*")); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}

// What is no fault of the disk makes no node sick, unless a seat ended for the disk.
func TestCacheDiskIsFullOrSlow(t *testing.T) {
	d := newCacheDisk()
	var fault error
	d.probe = func(string, int) error { return fault }
	d.first = 0
	for _, c := range []struct {
		name          string
		fault         error
		failed        string
		problem, note string
	}{
		{"full", unix.ENOSPC, "", "", ""},
		{"slow", errSlowDisk, "", "", "is slow"},
		{"not made yet", os.ErrNotExist, "", "", ""},
		{"not ours", unix.EACCES, "", "name a directory that the agent may write to", ""},
		{"read-only", unix.EROFS, "", "takes no writes", ""},
		{"failed and full", unix.ENOSPC, "x", "it is full", ""},
		{"failed and slow", errSlowDisk, "x", "has not ended", ""},
	} {
		if fault = c.fault; c.failed != "" {
			d.seatFailed(c.failed)
		}
		problem, note := d.look("/cache")
		if (problem == "") != (c.problem == "") || !strings.Contains(problem, c.problem) || (note == "") != (c.note == "") || !strings.Contains(note, c.note) {
			t.Errorf("%s: problem %q, note %q", c.name, problem, note)
		}
	}
}

// A disk that does not answer is slow at first, and takes no writes then; a fingerprint meanwhile is the last one.
func TestCacheDiskHangs(t *testing.T) {
	d := newCacheDisk()
	now, answer, tried := time.Now(), make(chan struct{}), make(chan int, 3)
	d.now, d.waits = func() time.Time { return now }, time.Millisecond
	d.probe = func(_ string, size int) error { tried <- size; <-answer; return nil }
	if problem, note := d.look("/cache"); problem != "" || !strings.Contains(note, "is slow") {
		t.Errorf("at first: problem %q, note %q", problem, note)
	}
	now = now.Add(hangs)
	if problem, note := d.look("/cache"); !strings.Contains(problem, "takes no writes: a write has not ended") || note != "" {
		t.Errorf("after %s: problem %q, note %q", hangs, problem, note)
	}
	// A seat failed since: what is tried is too little for that.
	d.first = 0
	d.seatFailed("x")
	d.waits = time.Minute
	close(answer)
	if problem, note := d.look("/cache"); problem != "" || note != "" || <-tried != probeSize || <-tried != failedProbeSize {
		t.Errorf("it answers: problem %q, note %q", problem, note)
	}

	p := newFingerprinter()
	if f := p.slow("it is slow"); f.Health != drivers.HealthStateUnhealthy {
		t.Errorf("never seen: %+v", f)
	}
	p.last.Store(&drivers.Fingerprint{Health: drivers.HealthStateHealthy, HealthDescription: "well"})
	if f := p.slow("it is slow"); f.Health != drivers.HealthStateHealthy || f.HealthDescription != drivers.DriverHealthy+", but it is slow" || p.last.Load().HealthDescription != "well" {
		t.Errorf("seen before: %+v", f)
	}
}

// A seat ends for the disk of the cache: the driver gets no seats until the disk works, and
// the others go on.
func TestSeatOfAFailedDisk(t *testing.T) {
	t.Setenv("GST_FAKE_FINGERPRINT", `{"version":"v0.3.0","gstreamer":"1.22.0","encoders":["x264enc"],"display":"Xvfb 21.1"}`)
	b := newBench(t, "")
	prints, err := b.Fingerprint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := func() *drivers.Fingerprint {
		t.Helper()
		select {
		case f := <-prints:
			return f
		case <-time.After(healthyPeriod / 2): // a healthy driver looks again after that, and not before
			t.Fatal("the driver does not say how it is")
			return nil
		}
	}
	if f := next(); f.Health != drivers.HealthStateHealthy {
		t.Fatalf("at first: %+v", f)
	}
	other := job("sleep 600", nil)
	b.start(other)
	sick := job("sleep 600", map[string]string{"FAKE": "disk"})
	b.start(sick)
	if r := b.wait(sick.ID); r.Err == nil || !strings.Contains(r.Err.Error(), wire.CodeDiskFailed) {
		t.Fatalf("the seat ended with %v", r.Err)
	}
	f := next()
	if f.Health != drivers.HealthStateUnhealthy || !strings.Contains(f.HealthDescription, "the fake's disk") {
		t.Fatalf("after the seat: %+v", f)
	}
	if s, err := b.InspectTask(other.ID); err != nil || s.State != drivers.TaskStateRunning {
		t.Errorf("the other seat: %+v, %v", s, err)
	}
	b.driver.disk.mu.Lock()
	b.driver.disk.until = time.Now() // the rest is over
	b.driver.disk.mu.Unlock()
	if f := b.driver.look(t.Context()); f.Health != drivers.HealthStateHealthy {
		t.Errorf("the disk works again: %+v", f)
	}
}

// diskFails is the same with a real disk that fails, real seats and a real Nomad: it places
// the next seat nowhere. app is one with content.
func (a *agent) diskFails(t *testing.T, app string) {
	other := a.run("other", "sleep 1000")
	pid, nonce := a.seat(other)
	fill, _ := failingDisk(t, filepath.Join(a.dir, "cache"))
	fill()

	a.must("job", "dispatch", "-detach", app)
	eventually(t, "the driver is unhealthy for the disk", func() bool {
		var nodes []struct {
			Drivers map[string]struct {
				Healthy           bool
				HealthDescription string
			}
		}
		if a.get("/v1/nodes", &nodes) != nil || len(nodes) != 1 {
			return false
		}
		d := nodes[0].Drivers["stream"]
		return !d.Healthy && strings.Contains(d.HealthDescription, "failed under a seat")
	})
	a.submit("next", "sleep 1000", "")
	eventually(t, "the next seat is placed nowhere", func() bool {
		var evaluations []struct{ Status, BlockedEval string }
		var allocs []allocation
		if a.get("/v1/job/next/evaluations", &evaluations) != nil || a.get("/v1/job/next/allocations", &allocs) != nil {
			return false
		}
		if len(allocs) > 0 {
			t.Fatalf("the next seat is placed: %+v", allocs)
		}
		return slices.ContainsFunc(evaluations, func(e struct{ Status, BlockedEval string }) bool { return e.BlockedEval != "" })
	})
	a.stillThere(t, other, pid, nonce)
}
