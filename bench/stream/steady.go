package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// steadyFor is how long a stream is watched.
const steadyFor = 30 * time.Second

// streaming is a session that runs.
type streaming struct {
	page    *browser.Page
	seat    string // allocation id
	fps     int
	picture string // still or moving
}

func (s streaming) labels() map[string]any { return map[string]any{"fps": s.fps, "picture": s.picture} }

// What the test app shows, at every frame something new of it.
const (
	still  = "still"  // all of one colour but a counter in a corner
	moving = "moving" // bars that move, all over
)

// seconds reads the frames decoded and dropped at the end of each second.
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
				host, err := b.hostOf(s.seat)
				if err != nil {
					return err
				}
				if err := b.cpuRatio(ctx, s, host); err != nil {
					return err
				}
				if fps == 30 {
					return b.memory(s, host)
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

// hostOf finds the stream host of a seat.
func (b *bench) hostOf(seat string) (pid int, err error) {
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, file := range commands {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		args := strings.Split(string(text), "\x00")
		if filepath.Base(args[0]) == "stream-host" && strings.Contains(string(text), "/"+seat[:8]+"-") && strings.Contains(string(text), "--spec") {
			return strconv.Atoi(filepath.Base(filepath.Dir(file)))
		}
	}
	return 0, fmt.Errorf("find the stream host of seat %s", seat)
}

// cpuRatio watches the stream host and a bare pipeline on the same display for
// the same seconds, three times over.
func (b *bench) cpuRatio(ctx context.Context, s streaming, host int) error {
	env, err := displayOf(host)
	if err != nil {
		return err
	}
	var ratios, hostCPU, bareCPU []float64
	for range 3 {
		bare := exec.CommandContext(ctx, "gst-launch-1.0", "-q",
			"ximagesrc", "show-pointer=true", "!", fmt.Sprintf("video/x-raw,framerate=%d/1", s.fps), "!",
			"videoconvert", "!", "video/x-raw,format=I420", "!",
			"x264enc", "tune=zerolatency", "speed-preset=ultrafast", "bitrate=6000", "key-int-max=2147483647", "!", "fakesink")
		bare.Env = append(os.Environ(), env...)
		bare.Stderr = os.Stderr
		if err := bare.Start(); err != nil {
			return fmt.Errorf("start gst-launch: %w", err)
		}
		ratio, h, g, err := compare(ctx, host, bare.Process.Pid)
		_ = bare.Process.Signal(syscall.SIGTERM)
		_ = bare.Wait() // it was told to end: its status says only that
		if err != nil {
			return err
		}
		ratios, hostCPU, bareCPU = append(ratios, ratio), append(hostCPU, h), append(bareCPU, g)
	}
	labels := s.labels()
	return errors.Join(
		b.report.Line("cpu_ratio", "", ratios, labels),
		b.report.Line("cpu_stream_host", "CPU s/s", hostCPU, labels),
		b.report.Line("cpu_gst_launch", "CPU s/s", bareCPU, labels))
}

// compare is the CPU time of two processes over the same ten seconds, each per second.
func compare(ctx context.Context, host, bare int) (ratio, hostCPU, bareCPU float64, err error) {
	const window = 10 * time.Second
	wait := func(d time.Duration) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
			return nil
		}
	}
	if err := wait(2 * time.Second); err != nil { // the bare pipeline's own start
		return 0, 0, 0, err
	}
	h0, err0 := cpuSeconds(host)
	b0, err1 := cpuSeconds(bare)
	start := time.Now()
	err2 := wait(window)
	h1, err3 := cpuSeconds(host)
	b1, err4 := cpuSeconds(bare)
	if err := errors.Join(err0, err1, err2, err3, err4); err != nil {
		return 0, 0, 0, err
	}
	s := time.Since(start).Seconds()
	return (h1 - h0) / (b1 - b0), (h1 - h0) / s, (b1 - b0) / s, nil
}

// cpuSeconds is the CPU time a process used, its children's not counted.
func cpuSeconds(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("parse /proc/%d/stat", pid)
	}
	user, err0 := strconv.ParseFloat(fields[11], 64)
	system, err1 := strconv.ParseFloat(fields[12], 64)
	const ticks = 100 // USER_HZ, the same on every Linux that Go runs on
	return (user + system) / ticks, errors.Join(err0, err1)
}

// displayOf reads DISPLAY and XAUTHORITY from the app below a stream host.
func displayOf(host int) ([]string, error) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, err
	}
	nonce := ""
	if own, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", host)); err == nil {
		for v := range strings.SplitSeq(string(own), "\x00") {
			if strings.HasPrefix(v, "NEARCAST_NONCE=") {
				nonce = v
			}
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || nonce == "" || !strings.Contains(string(text), nonce) {
			continue
		}
		var display, authority string
		for v := range strings.SplitSeq(string(text), "\x00") {
			switch {
			case strings.HasPrefix(v, "DISPLAY="):
				display = v
			case strings.HasPrefix(v, "XAUTHORITY="):
				// As the app's mount namespace names it.
				authority = "XAUTHORITY=" + filepath.Join(filepath.Dir(file), "root", strings.TrimPrefix(v, "XAUTHORITY="))
			}
		}
		if display != "" && authority != "" {
			return []string{display, authority}, nil
		}
	}
	return nil, fmt.Errorf("find the display below process %d", host)
}

// memory writes the resident memory of the site's own processes.
func (b *bench) memory(s streaming, host int) error {
	pids := map[string]int{"stream-host": host}
	for _, p := range b.site.State().Processes {
		if p.Name == "router" || p.Name == "brain" {
			pids[p.Name] = p.PID
		}
	}
	for name, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(string(text), "VmRSS:")
		var kb float64
		if _, err := fmt.Sscan(rest, &kb); err != nil {
			return fmt.Errorf("parse the memory of %s: %w", name, err)
		}
		if err := b.report.Line("rss", "MB", []float64{kb / 1024}, map[string]any{"process": name, "picture": s.picture}); err != nil {
			return err
		}
	}
	return nil
}
