package xserver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

func TestChoose(t *testing.T) {
	const (
		xorg    = "/usr/lib/xorg/Xorg"
		debian  = "/usr/lib/xorg/modules/drivers/nvidia_drv.so"
		ubuntu  = "/usr/lib/x86_64-linux-gnu/nvidia/xorg/nvidia_drv.so"
		device  = "/dev/nvidiactl"
		proc    = "/proc/driver/nvidia/version"
		dummy   = "/usr/lib/xorg/modules/drivers/dummy_drv.so"
		input   = "/usr/lib/xorg/modules/input/inputtest_drv.so"
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
		"no GPU, dummy":            {files: []string{xorg, dummy, input}, want: wire.XServer{Server: auto}, got: virtual},
		"GPU and dummy":            {files: []string{xorg, debian, dummy, input, device}, want: wire.XServer{Server: auto}, got: onXorg},
		"Xdummy":                   {files: []string{xorg, debian, dummy, input, device}, want: wire.XServer{Server: wire.ServerXdummy}, got: wire.ServerXdummy},
		"Xdummy, no driver":        {files: []string{xorg, input}, want: wire.XServer{Server: wire.ServerXdummy}, say: "xserver-xorg-video-dummy"},
		"Xdummy, no input":         {files: []string{xorg, dummy}, want: wire.XServer{Server: wire.ServerXdummy}, say: "inputtest_drv.so"},
		"Xdummy, no Xorg":          {want: wire.XServer{Server: wire.ServerXdummy}, say: "xserver-xorg-core"},
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
