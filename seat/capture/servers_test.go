package capture

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/display"
)

// seatDisplay is a display as a seat has it, and the Config to capture it.
func seatDisplay(t testing.TB, server wire.XServer, width, height int, onFrame func(Frame)) (*display.Display, Config) {
	t.Helper()
	d, err := display.Start(t.Context(), display.Config{Width: width, Height: height, Server: server, Runner: cell.Local{Dir: t.TempDir()}, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	cfg := config(d.Name(), onFrame)
	cfg.Dial, cfg.Cookie, cfg.Width, cfg.Height = d.Dial, d.Cookie(), width, height
	return d, cfg
}

// TestServers decodes the picture of each kind of display, of a width that is not a
// multiple of 16.
func TestServers(t *testing.T) {
	testkit.EachDisplay(t, func(t *testing.T, server wire.XServer) {
		t.Cleanup(func() { goleak.VerifyNone(t) })
		const width, height = 1366, 768
		frames, onFrame := collect()
		d, cfg := seatDisplay(t, server, width, height, onFrame)
		cfg.Codec = VP8
		p := start(t, cfg)
		next(t, frames, "first frame", anyFrame)
		if p.screen.shm == nil {
			t.Error("the picture does not come by shared memory")
		}
		painter := paintWith(t, d.Dial, d.Cookie())
		painter.fill(t, 0x2060c0, 0, 0, width, height)
		painter.fill(t, 0xc02060, width-200, height-200, 200, 200)
		p.Keyframe()
		quiet(t, frames)
		flush(frames)
		p.Keyframe()
		packets := [][]byte{next(t, frames, "keyframe", keyframe).Data}
		packets = append(packets, next(t, frames, "frame", anyFrame).Data, next(t, frames, "frame", anyFrame).Data)
		pictures := decode(t, "vp8dec", "video/x-vp8", packets)
		if len(pictures) == 0 {
			t.Fatal("nothing decodes")
		}
		picture := pictures[len(pictures)-1]
		if len(picture) != 4*width*height {
			t.Fatalf("the picture has %d bytes, not %dx%d pixels", len(picture), width, height)
		}
		for at, want := range map[[2]int][3]int{{1, 1}: {0xc0, 0x60, 0x20}, {width - 10, height - 10}: {0x60, 0x20, 0xc0}} {
			pixel := picture[4*(at[1]*width+at[0]):]
			for i := range want {
				if d := int(pixel[i]) - want[i]; d < -12 || d > 12 {
					t.Errorf("at %v the picture has %v, want %v (blue, green, red)", at, pixel[:3], want)
					break
				}
			}
		}
	})
}

// serverCPU is the CPU time that a process has used, in steps of 10 ms.
func serverCPU(b *testing.B, pid int) time.Duration {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	var ticks int
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// BenchmarkServers measures the CPU time of a moving picture with each kind of
// display: this process captures and encodes, the server draws. Xorg has the driver
// dummy, so this says nothing about a GPU.
func BenchmarkServers(b *testing.B) {
	testapp := filepath.Join(b.TempDir(), "testapp")
	testkit.Must(b, testkit.Build(b.Context(), "dev/testapp", testapp))
	const seconds, fps = 5, 60
	for _, server := range []wire.XServer{{Server: wire.ServerXvfb}, testkit.Xorg(b)} {
		b.Run(server.Server, func(b *testing.B) {
			frames, onFrame := collect()
			d, cfg := seatDisplay(b, server, 1280, 720, onFrame)
			cfg.FPS = fps
			app := exec.Command(testapp, "-moving", "-fps", fmt.Sprint(fps))
			app.Env = d.Env()
			spawn(b, app)
			if err := d.WaitWindow(b.Context()); err != nil {
				b.Fatal(err)
			}
			start(b, cfg)
			for range 20 { // the app is up
				next(b, frames, "frame", anyFrame)
			}
			flush(frames)
			ours, theirs := selfCPU(b), serverCPU(b, d.PID())
			<-time.After(seconds * time.Second)
			ours, theirs = selfCPU(b)-ours, serverCPU(b, d.PID())-theirs
			n := float64(len(frames))
			figure(b, "cpu a frame", float64(ours.Microseconds())/n/1000, "ms")
			figure(b, "server's cpu a frame", float64(theirs.Microseconds())/n/1000, "ms")
			figure(b, "frames a second", n/seconds, "1/s")
		})
	}
}
