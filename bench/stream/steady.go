package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"

	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// steadyFor is how long a stream is watched.
const steadyFor = 30 * time.Second

// streaming is a session that runs.
type streaming struct {
	page    *browser.Page
	seat    string // allocation id
	fps     int
	picture string // still, moving, hungry or loaded
	size    string // of the display; empty is 1280x720
}

func (s streaming) labels() map[string]any {
	labels := map[string]any{"fps": s.fps, "picture": s.picture}
	if s.size != "" {
		labels["size"] = s.size
	}
	return labels
}

// What the test app shows. It changes with each frame.
const (
	still  = "still"  // one colour, and a counter in a corner
	moving = "moving" // moving bars everywhere
	hungry = "hungry" // as moving, from an app that computes in four threads meanwhile
	loaded = "loaded" // as still, from such an app
)

// seconds reads the decoded and dropped frames at the end of each second.
const seconds = `(async () => {
	const video = document.querySelector('video'), all = [];
	const read = () => { const q = video.getVideoPlaybackQuality(); return [performance.now(), q.totalVideoFrames, q.droppedVideoFrames]; };
	let last = read();
	const dropped = last[2];
	for (let i = 0; i < %d; i++) {
		await new Promise((r) => setTimeout(r, 1000));
		const now = read();
		all.push(1000 * (now[1] - last[1]) / (now[0] - last[0]));
		last = now;
	}
	return { fps: all, dropped: last[2] - dropped };
})()`

func (b *bench) steady(ctx context.Context) error {
	for _, picture := range []string{still, moving} {
		for _, fps := range []int{30, 60} {
			err := b.streaming(ctx, fps, picture, func(ctx context.Context, s streaming) error {
				if err := b.frames(ctx, s); err != nil {
					return err
				}
				streamHost, err := streamHostOf(s.seat)
				if err != nil {
					return err
				}
				if err := b.cpuRatio(ctx, s, streamHost); err != nil {
					return err
				}
				if fps == 30 {
					return b.memory(s, streamHost)
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("a %s picture at %d fps: %w", picture, fps, err)
			}
		}
	}
	return nil
}

// hungry has an app that takes all processors that it can get.
func (b *bench) hungry(ctx context.Context) error {
	for _, fps := range []int{30, 60} {
		if err := b.streaming(ctx, fps, hungry, b.frames); err != nil {
			return fmt.Errorf("a hungry app at %d fps: %w", fps, err)
		}
	}
	return nil
}

// still60 has a still picture with a counter at 60 frames a second under load: what was decoded
// should be shown.
func (b *bench) still60(ctx context.Context) error {
	if err := b.streaming(ctx, 60, loaded, b.frames); err != nil {
		return fmt.Errorf("a still picture under load: %w", err)
	}
	return nil
}

func (b *bench) frames(ctx context.Context, s streaming) error {
	var seen struct {
		FPS     []float64 `json:"fps"`
		Dropped float64   `json:"dropped"`
	}
	if err := s.page.Eval(ctx, fmt.Sprintf(seconds, int(steadyFor.Seconds())), &seen); err != nil {
		return err
	}
	labels := s.labels()
	return errors.Join(
		b.report.Line("decoded_fps", "1/s", seen.FPS, labels),
		b.report.Line("dropped_frames", "frames/30s", []float64{seen.Dropped}, labels))
}

// streamHostOf finds the stream host of a seat.
func streamHostOf(seat string) (p procfs.Proc, err error) {
	processes, err := procfs.AllProcs()
	if err != nil {
		return p, err
	}
	for _, p := range processes {
		argv, err := p.CmdLine()
		if err != nil || len(argv) == 0 || filepath.Base(argv[0]) != "seat-keeper" {
			continue
		}
		if command := strings.Join(argv, " "); strings.Contains(command, "/"+seat[:8]+"-") && strings.Contains(command, "--spec") {
			return childNamed(p, "stream-host")
		}
	}
	return p, fmt.Errorf("find the stream host of seat %s", seat)
}

// childNamed is the child of a process that runs the program.
func childNamed(parent procfs.Proc, program string) (p procfs.Proc, err error) {
	processes, err := procfs.AllProcs()
	if err != nil {
		return p, err
	}
	for _, p := range processes {
		stat, err := p.Stat()
		if err != nil || stat.PPID != parent.PID {
			continue
		}
		if argv, err := p.CmdLine(); err == nil && len(argv) > 0 && filepath.Base(argv[0]) == program {
			return p, nil
		}
	}
	return p, fmt.Errorf("find %s below process %d", program, parent.PID)
}

// cpuRatio watches the stream host and a bare pipeline on the same display for the
// same seconds, three times.
func (b *bench) cpuRatio(ctx context.Context, s streaming, streamHost procfs.Proc) error {
	enter, env, err := displayOf(streamHost)
	if err != nil {
		return err
	}
	var ratios, streamHostCPU, bareCPU []float64
	for range 3 {
		bare := exec.CommandContext(ctx, filepath.Join(b.bin, "seat-keeper"), append(enter, "gst-launch-1.0", "-q",
			"ximagesrc", "show-pointer=true", "!", fmt.Sprintf("video/x-raw,framerate=%d/1", s.fps), "!",
			"videoconvert", "!", "video/x-raw,format=I420", "!",
			"x264enc", "tune=zerolatency", "speed-preset=ultrafast", "bitrate=6000", "key-int-max=2147483647", "!", "fakesink")...)
		bare.Env = append(env, "PATH="+os.Getenv("PATH"))
		bare.Stderr = os.Stderr
		if err := bare.Start(); err != nil {
			return fmt.Errorf("start gst-launch: %w", err)
		}
		ratio, h, g, err := compare(ctx, streamHost.PID, bare.Process.Pid)
		_ = bare.Process.Signal(syscall.SIGTERM)
		_ = bare.Wait() // the status is that of the signal
		if err != nil {
			return err
		}
		ratios, streamHostCPU, bareCPU = append(ratios, ratio), append(streamHostCPU, h), append(bareCPU, g)
	}
	labels := s.labels()
	return errors.Join(
		b.report.Line("cpu_ratio", "", ratios, labels),
		b.report.Line("cpu_stream_host", "CPU s/s", streamHostCPU, labels),
		b.report.Line("cpu_gst_launch", "CPU s/s", bareCPU, labels))
}

// compare is the CPU time of a stream host and of a bare pipeline over the same ten
// seconds, each per second, without that of their children.
func compare(ctx context.Context, streamHost, bare int) (ratio, streamHostCPU, bareCPU float64, err error) {
	const window = 10 * time.Second
	wait := func(d time.Duration) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
			return nil
		}
	}
	if err := wait(2 * time.Second); err != nil { // the start of the bare pipeline
		return 0, 0, 0, err
	}
	if p, err := procfs.NewProc(bare); err == nil {
		inside, err := childNamed(p, "gst-launch-1.0")
		if err != nil {
			return 0, 0, 0, err
		}
		bare = inside.PID
	}
	h0, err0 := statOf(streamHost)
	b0, err1 := statOf(bare)
	start := time.Now()
	err2 := wait(window)
	h1, err3 := statOf(streamHost)
	b1, err4 := statOf(bare)
	if err := errors.Join(err0, err1, err2, err3, err4); err != nil {
		return 0, 0, 0, err
	}
	s := time.Since(start).Seconds()
	h, g := h1.CPUTime()-h0.CPUTime(), b1.CPUTime()-b0.CPUTime()
	return h / g, h / s, g / s, nil
}

// displayOf is how to run a program on the display of a seat: the arguments of
// seat-keeper before it, and what its environment needs.
func displayOf(streamHost procfs.Proc) (enter, env []string, err error) {
	processes, err := procfs.AllProcs()
	if err != nil {
		return nil, nil, err
	}
	own, err := streamHost.Environ()
	if err != nil {
		return nil, nil, err
	}
	nonce := variable(own, "NEARCAST_NONCE")
	for _, p := range processes {
		environ, err := p.Environ()
		if err != nil || nonce == "" || variable(environ, "NEARCAST_NONCE") != nonce {
			continue
		}
		display, authority := variable(environ, "DISPLAY"), variable(environ, "XAUTHORITY")
		if display != "" && authority != "" {
			status, err := p.NewStatus()
			if err != nil {
				continue
			}
			enter = []string{"enter", "--target", fmt.Sprint(p.PID), "--user", fmt.Sprintf("%d:%d", status.UIDs[1], status.GIDs[1]), "--"}
			return enter, []string{"DISPLAY=" + display, "XAUTHORITY=" + authority, "HOME=/tmp"}, nil
		}
	}
	return nil, nil, fmt.Errorf("find the display of stream host %d", streamHost.PID)
}

// variable is the value of a variable in an environment.
func variable(environ []string, name string) string {
	for _, kv := range environ {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// memory writes the resident memory of the site's own processes.
func (b *bench) memory(s streaming, streamHost procfs.Proc) error {
	stat, err := streamHost.Stat()
	if err != nil {
		return fmt.Errorf("find the keeper of stream host %d: %w", streamHost.PID, err)
	}
	pids := map[string]int{"stream-host": streamHost.PID, "seat-keeper": stat.PPID}
	for _, p := range b.site.State().Processes {
		if p.Name == "router" || p.Name == "brain" {
			pids[p.Name] = p.PID
		}
	}
	for name, pid := range pids {
		stat, err := statOf(pid)
		if err != nil {
			return fmt.Errorf("read the memory of %s: %w", name, err)
		}
		mb := float64(stat.ResidentMemory()) / (1 << 20)
		if err := b.report.Line("rss", "MB", []float64{mb}, map[string]any{"process": name, "picture": s.picture}); err != nil {
			return err
		}
	}
	return nil
}

func statOf(pid int) (procfs.ProcStat, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return procfs.ProcStat{}, err
	}
	return p.Stat()
}
