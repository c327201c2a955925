package display

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jezek/xgb/randr"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/display/x11"
)

func TestSizes(t *testing.T) { testkit.EachDisplay(t, sizes) }

func sizes(t *testing.T, server wire.XServer) {
	for _, size := range [][2]int{{1366, 768}, {2560, 1440}, {641, 361}, {4096, 4096}, {64, 4096}, {leastWidth, leastHeight}} {
		t.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(t *testing.T) {
			d := startSize(t, server, size[0], size[1])
			if got := screenshot(t, d).Bounds().Size(); got.X != size[0] || got.Y != size[1] {
				t.Errorf("the picture is %v", got)
			}
		})
	}
}

// An application that sets another mode would change the size of the picture.
func TestXorgHasOneMode(t *testing.T) {
	d := startSize(t, testkit.Xorg(t), 1366, 768)
	conn, err := x11.Dial(d.Name(), d.Authority())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := randr.Init(conn); err != nil {
		t.Fatal(err)
	}
	r, err := randr.GetScreenResources(conn, d.wm.root).Reply()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Modes) != 1 || r.Modes[0].Width != 1366 || r.Modes[0].Height != 768 {
		t.Errorf("modes are %+v", r.Modes)
	}
}

// Keys that end Xorg, or change the console or the mode, do nothing.
func TestXorgIgnoresItsOwnKeys(t *testing.T) {
	d := start(t, testkit.Xorg(t))
	cmd := exec.CommandContext(within(t), "xdotool", "key", "ctrl+alt+BackSpace", "ctrl+alt+F2", "ctrl+alt+KP_Add", "ctrl+alt+KP_Subtract")
	cmd.Env = append(d.Env(), "PATH="+os.Getenv("PATH"))
	if _, err := exec.LookPath("xdotool"); err != nil {
		t.Skip("xdotool is not installed")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("xdotool: %v: %s", err, out)
	}
	if got := screenshot(t, d).Bounds().Size(); got.X != testWidth || got.Y != testHeight {
		t.Errorf("after the keys, the picture is %v", got)
	}
}

// The error has what Xorg wrote to its log about it, and nothing else of the log.
func TestErrorOfXorgIsFromItsLog(t *testing.T) {
	server := testkit.Xorg(t)
	dir := t.TempDir()
	d, err := Start(within(t), Config{Width: 640, Height: 64, Server: server, AuthDir: dir, Dir: dir})
	if err == nil {
		d.Close()
		t.Fatal("the driver accepts 64 lines")
	}
	if text := err.Error(); !strings.Contains(text, "Virtual height (64) is too small") || strings.Contains(text, "mouse") || strings.Contains(text, "log file") {
		t.Errorf("the error is %q", text)
	}
	left, _ := filepath.Glob(dir + "/*")
	if len(left) != 1 || filepath.Base(left[0]) != LogFile {
		t.Errorf("left: %q", left)
	}
}

func TestChoose(t *testing.T) {
	const (
		xorg    = "/usr/lib/xorg/Xorg"
		debian  = "/usr/lib/xorg/modules/drivers/nvidia_drv.so"
		ubuntu  = "/usr/lib/x86_64-linux-gnu/nvidia/xorg/nvidia_drv.so"
		device  = "/dev/nvidiactl"
		proc    = "/proc/driver/nvidia/version"
		dummy   = "/usr/lib/xorg/modules/drivers/dummy_drv.so"
		auto    = wire.ServerAuto
		onXorg  = wire.ServerXorg
		virtual = wire.ServerXvfb
	)
	for name, c := range map[string]struct {
		files  []string
		want   wire.XServer
		got    string
		say    string // of the error
		unused string
		euid   int
		card   string // driver of the GPU at the monitor
	}{
		"no GPU":                   {files: []string{xorg, debian}, want: wire.XServer{Server: auto}, got: virtual},
		"GPU, Debian":              {files: []string{xorg, debian, device}, want: wire.XServer{Server: auto}, got: onXorg},
		"GPU, Ubuntu":              {files: []string{xorg, ubuntu, proc}, want: wire.XServer{Server: auto}, got: onXorg},
		"GPU, no Xorg":             {files: []string{debian, device}, want: wire.XServer{Server: auto}, got: virtual, unused: "xserver-xorg-core"},
		"GPU, no module":           {files: []string{xorg, dummy, device}, want: wire.XServer{Server: auto}, got: virtual, unused: "xserver-xorg-video-nvidia"},
		"GPU, not root":            {files: []string{xorg, debian, device}, want: wire.XServer{Server: auto}, euid: 1000, got: virtual, unused: "root"},
		"GPU with a monitor":       {files: []string{xorg, debian, device}, want: wire.XServer{Server: auto}, card: "nvidia", got: virtual, unused: "monitor"},
		"monitor at another GPU":   {files: []string{xorg, debian, device}, want: wire.XServer{Server: auto}, card: "ast", got: onXorg},
		"GPU with a monitor, Xorg": {files: []string{xorg, debian, device}, want: wire.XServer{Server: onXorg}, card: "nvidia", got: onXorg},
		"GPU, Xvfb":                {files: []string{xorg, debian, device}, want: wire.XServer{Server: virtual}, got: virtual},
		"GPU, no choice":           {files: []string{xorg, debian, device}, got: virtual},
		"Xorg":                     {files: []string{xorg, debian, device}, want: wire.XServer{Server: onXorg}, got: onXorg},
		"Xorg, no GPU":             {files: []string{xorg, debian}, want: wire.XServer{Server: onXorg}, say: "modprobe nvidia"},
		"Xorg, none there":         {want: wire.XServer{Server: onXorg}, say: "xserver-xorg-core"},
		"Xorg with dummy":          {files: []string{xorg, dummy}, want: wire.XServer{Server: onXorg, Driver: "dummy"}, got: onXorg},
		"Xorg with dummy, missing": {files: []string{xorg}, want: wire.XServer{Server: onXorg, Driver: "dummy"}, say: "xserver-xorg-video-dummy"},
		"unknown server":           {want: wire.XServer{Server: "wayland"}, say: `"wayland"`},
	} {
		t.Run(name, func(t *testing.T) {
			n := node{root: t.TempDir(), euid: c.euid}
			put := func(path, text string) {
				t.Helper()
				if err := os.MkdirAll(filepath.Dir(n.root+path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(n.root+path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range c.files {
				put(f, "")
			}
			if c.card != "" {
				put("/sys/class/drm/card1-DP-1/status", "disconnected\n")
				put("/sys/class/drm/card0-HDMI-A-1/status", "connected\n")
				put("/sys/class/drm/card0/device/vendor", "")
				if err := os.Symlink("../../bus/pci/drivers/"+c.card, n.root+"/sys/class/drm/card0/device/driver"); err != nil {
					t.Fatal(err)
				}
			}
			got, err := n.choose(c.want)
			if c.say != "" {
				if err == nil || !strings.Contains(err.Error(), c.say) {
					t.Errorf("error %v, want it to say %q", err, c.say)
				}
				return
			}
			if err != nil || got.Server != c.got {
				t.Errorf("got %+v, %v; want %s", got, err, c.got)
			}
			if got.Server == onXorg && got.Driver == "" {
				t.Error("no driver was chosen")
			}
			unused := n.unused(c.want)
			if (unused != nil) != (c.unused != "") || unused != nil && !strings.Contains(unused.Error(), c.unused) {
				t.Errorf("unused: %v, want it to say %q", unused, c.unused)
			}
		})
	}
}

// NVIDIA's driver was not run. This is the configuration that it gets.
func TestConfigForNVIDIA(t *testing.T) {
	text := xorgConfig(wire.XServer{Server: wire.ServerXorg, Driver: "nvidia", BusID: "PCI:0:30:0", Options: []string{"UseDisplayDevice=None"}},
		1920, 1080, []string{"/usr/lib/xorg/modules"})
	for _, want := range []string{
		`Driver "nvidia"`, `BusID "PCI:0:30:0"`, `Option "AllowEmptyInitialConfiguration" "true"`, `Option "UseDisplayDevice" "None"`,
		`Option "AutoAddGPU" "false"`, `Virtual 1920 1080`, `ModulePath "/usr/lib/xorg/modules"`,
		// As "cvt -r" has it. That rounds the clock (138.50), and has another vertical sync for each aspect ratio (1088).
		`"seat" 138.65  1920 1968 2000 2080  1080 1083 1093 1111`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, "VideoRam") {
		t.Error("the configuration sets the memory of the GPU")
	}
}

// BenchmarkStart measures how long Start takes. The servers take turns, so that
// other load on the machine is the same for both. Xorg has the driver dummy; a
// GPU's driver was not measured.
func BenchmarkStart(b *testing.B) {
	testkit.NeedXvfb(b)
	servers := []wire.XServer{{Server: wire.ServerXvfb}, testkit.Xorg(b)}
	took := map[string][]float64{} // ms
	for b.Loop() {
		for _, server := range servers {
			begin := time.Now()
			d := startSize(b, server, 1280, 720)
			took[server.Server] = append(took[server.Server], float64(time.Since(begin).Microseconds())/1000)
			d.Close()
		}
	}
	for name, all := range took {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], name+"-p50-ms")
		b.ReportMetric(all[len(all)*9/10], name+"-p90-ms")
	}
}
