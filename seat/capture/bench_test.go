package capture

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// figure prints one measured value as a JSON line.
func figure(b *testing.B, name string, value float64, unit string) {
	b.Helper()
	printRow(b, map[string]any{"bench": b.Name(), "figure": name, "value": value, "unit": unit})
}

// printRow prints a JSON line. Numbers are rounded to four decimals.
func printRow(b *testing.B, row map[string]any) {
	b.Helper()
	for key, value := range row {
		if number, ok := value.(float64); ok {
			row[key] = math.Round(number*1e4) / 1e4
		}
	}
	line, err := json.Marshal(row)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Println(string(line))
}

func cpu(u *syscall.Rusage) time.Duration {
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func selfCPU(b testing.TB) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return cpu(&u)
}

// BenchmarkCPU compares a pipeline with a plain gst-launch for the same moving
// display, one after the other.
func BenchmarkCPU(b *testing.B) {
	needs(b, "gst-launch-1.0")
	const seconds = 5
	for _, fps := range []int{30, 60} {
		b.Run(fmt.Sprint(fps), func(b *testing.B) {
			display, _ := xvfb(b)
			app := exec.Command("gst-launch-1.0", "-q", "videotestsrc", "is-live=true", "horizontal-speed=4", "!",
				fmt.Sprintf("video/x-raw,format=BGRx,width=1280,height=720,framerate=%d/1", fps), "!", "ximagesink")
			app.Env = append(os.Environ(), "DISPLAY="+display)
			spawn(b, app)
			frames, onFrame := collect()
			p := start(b, func() Config { c := config(display, onFrame); c.FPS = fps; return c }())
			next(b, frames, "frame", anyFrame)
			for range 20 { // the app is up
				next(b, frames, "frame", anyFrame)
			}
			flush(frames)
			before := selfCPU(b)
			<-time.After(seconds * time.Second)
			ours := selfCPU(b) - before
			n := len(frames)
			p.Close()
			figure(b, "cpu a frame", float64(ours.Microseconds())/float64(n)/1000, "ms")
			figure(b, "frames a second", float64(n)/seconds, "1/s")
			for name, format := range map[string]string{"bare": "", "bare i420": "video/x-raw,format=I420 ! "} {
				cmd := exec.Command("sh", "-c", fmt.Sprintf("exec gst-launch-1.0 -q ximagesrc use-damage=false num-buffers=%d ! video/x-raw,framerate=%d/1 ! "+
					"videoconvert ! %sx264enc tune=zerolatency speed-preset=ultrafast bitrate=8000 ! fakesink", seconds*fps, fps, format))
				cmd.Env = append(os.Environ(), "DISPLAY="+display)
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
				bare := cpu(cmd.ProcessState.SysUsage().(*syscall.Rusage))
				figure(b, name+" cpu a frame", float64(bare.Microseconds())/float64(seconds*fps)/1000, "ms")
			}
		})
	}
}

func median(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Microseconds()) / 1000
}

// BenchmarkLatency measures Resume → keyframe, and painted → frame, both while the
// picture always moves and after it was still, at each preset.
func BenchmarkLatency(b *testing.B) {
	for _, c := range []struct {
		fps    int
		preset preset
	}{{30, ultrafast}, {30, superfast}, {30, veryfast}, {60, ultrafast}, {60, superfast}, {60, veryfast}} {
		b.Run(fmt.Sprint(c.fps, c.preset), func(b *testing.B) {
			display, _ := xvfb(b)
			painter := paint(b, display)
			frames, onFrame := collect()
			arrived := make(chan [2]time.Time, 1000) // captured, encoded
			cfg := config(display, func(f Frame) {
				onFrame(f)
				select {
				case arrived <- [2]time.Time{f.Captured, time.Now()}:
				default:
				}
			})
			cfg.FPS, cfg.preset = c.fps, &c.preset
			p := start(b, cfg)
			var resumed, still, small, moving []time.Duration
			for range 20 {
				p.Pause()
				<-time.After(50 * time.Millisecond)
				flush(frames)
				begin := time.Now()
				p.Resume()
				next(b, frames, "frame", anyFrame)
				resumed = append(resumed, time.Since(begin))
			}
			for i := range 20 {
				<-time.After(time.Duration(400+i) * time.Millisecond)
				flush(frames)
				begin := time.Now()
				painter.fill(b, uint32(i*0x13579b), 0, 0, 1280, 720)
				next(b, frames, "frame", func(f Frame) bool { return f.Captured.After(begin) })
				still = append(still, time.Since(begin))
			}
			for i := range 20 {
				<-time.After(time.Duration(400+i) * time.Millisecond)
				flush(frames)
				begin := time.Now()
				painter.fill(b, uint32(i*0x13579b), 600, 300, 12, 20) // a letter
				next(b, frames, "frame", func(f Frame) bool { return f.Captured.After(begin) })
				small = append(small, time.Since(begin))
			}
			// Changes come every 10 ms, not in step with the frames.
			for len(arrived) > 0 {
				<-arrived
			}
			var painted []time.Time
			end := time.Now().Add(3 * time.Second)
			for i := 0; time.Now().Before(end); i++ {
				painter.fill(b, uint32(i*0x13579b), 0, 0, 640, 360)
				painted = append(painted, time.Now())
				<-time.After(10 * time.Millisecond)
				for len(arrived) > 0 {
					frame := <-arrived
					for len(painted) > 0 && painted[0].Before(frame[0]) {
						moving = append(moving, frame[1].Sub(painted[0]))
						painted = painted[1:]
					}
				}
			}
			figure(b, "resume to keyframe p50", median(resumed), "ms")
			figure(b, "change of a still picture to frame p50", median(still), "ms")
			figure(b, "letter in a still picture to frame p50", median(small), "ms")
			figure(b, "change of a moving picture to frame p50", median(moving), "ms")
		})
	}
}

// BenchmarkGrab reads the picture of each kind of display.
func BenchmarkGrab(b *testing.B) {
	for _, server := range []wire.XServer{{Server: wire.ServerXvfb}, testkit.Xorg(b)} {
		b.Run(server.Server, func(b *testing.B) {
			_, cfg := seatDisplay(b, server, 1280, 720, func(Frame) {})
			s, err := openScreen(b.Context(), cfg, slog.Default())
			testkit.Must(b, err)
			defer s.close()
			for b.Loop() {
				_, err := s.grab()
				testkit.Must(b, err)
			}
		})
	}
}

func BenchmarkConvert(b *testing.B) {
	src, dst := make([]byte, 4*1280*720), make([]byte, 1280*720*3/2)
	for b.Loop() {
		convertPicture(dst, src, 4*1280, 1280, 720, true)
	}
}
