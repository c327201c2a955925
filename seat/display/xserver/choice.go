package xserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/nearcast/nearcast/internal/wire"
)

// Choose returns the server that a seat gets for what its app and its operator
// ask for. The result is never auto. The zero value asks for Xvfb.
func Choose(want wire.XServer) (wire.XServer, error) { return local().choose(want) }

// Unused says why auto does not use the GPU of this node; nil if it does, or if
// there is no GPU.
func Unused(want wire.XServer) error { return local().unused(want) }

// Version names a chosen server for operators: "Xvfb", which does not tell its
// version, or "Xorg 1.21.1.7 nvidia".
func Version(ctx context.Context, chosen wire.XServer) string {
	switch chosen.Server {
	case wire.ServerXdummy:
		chosen.Driver = dummy
	case wire.ServerXorg:
	default:
		return "Xvfb"
	}
	words := []string{"Xorg"}
	out, _ := exec.CommandContext(ctx, local().xorg(), "-version").CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if _, version, ok := strings.Cut(line, "X Server "); ok {
			words = append(words, strings.TrimSpace(version))
			break
		}
	}
	return strings.Join(append(words, chosen.Driver), " ")
}

// XorgRuns reports whether any Xorg runs on this node, of a seat or not.
func XorgRuns() bool {
	path := local().xorg()
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		if exe, err := os.Readlink(link); err == nil && exe == path {
			return true
		}
	}
	return false
}

// node is where to look for servers, drivers and devices.
type node struct {
	root string // of its file system
	euid int    // of the process that starts servers
}

func local() node { return node{euid: os.Geteuid()} }

func (n node) choose(want wire.XServer) (wire.XServer, error) {
	want.Driver = cmp.Or(want.Driver, nvidia)
	switch want.Server {
	case wire.ServerXorg:
		if err := n.lacks(want.Driver); err != nil {
			return want, fmt.Errorf("display server Xorg with driver %s: %w", want.Driver, err)
		}
		return want, nil
	case wire.ServerAuto:
		if n.nvidia() && n.unused(want) == nil {
			want.Server = wire.ServerXorg
			return want, nil
		}
	case wire.ServerXdummy:
		if err := n.lacksXdummy(); err != nil {
			return want, fmt.Errorf("display server %s: %w", want.Server, err)
		}
		return wire.XServer{Server: wire.ServerXdummy}, nil
	case wire.ServerXvfb, "":
	default:
		return want, fmt.Errorf("display server %q must be one of %q, %q, %q, %q", want.Server, wire.ServerAuto, wire.ServerXvfb, wire.ServerXdummy, wire.ServerXorg)
	}
	return wire.XServer{Server: wire.ServerXvfb}, nil
}

func (n node) unused(want wire.XServer) error {
	if want.Server != wire.ServerAuto || !n.nvidia() {
		return nil
	}
	switch {
	case n.euid != 0:
		return errors.New("the stream host must run as root to use the GPU and the console")
	case n.monitor():
		return fmt.Errorf("a monitor is connected to the GPU, and somebody may work there; set display.server = %q to use the GPU anyway", wire.ServerXorg)
	}
	return n.lacks(cmp.Or(want.Driver, nvidia))
}

var errNoXorg = errors.New("the X server is not installed: install Xorg (Debian: apt-get install xserver-xorg-core)")

// lacks says what Xorg with this driver needs and is missing.
func (n node) lacks(driver string) error {
	if n.xorg() == "" {
		return errNoXorg
	}
	if !n.has(driver) {
		pkg := "xserver-xorg-video-" + driver
		if driver == nvidia {
			pkg += "; on Ubuntu the name ends with the version of the kernel module"
		}
		return fmt.Errorf("the module %s is not installed: install the driver (Debian: apt-get install %s)", moduleFile(driver), pkg)
	}
	if driver == nvidia && !n.nvidia() {
		return errors.New("NVIDIA's kernel module is not installed, or finds no GPU: there is neither /dev/nvidiactl nor /proc/driver/nvidia (Debian: apt-get install nvidia-kernel-dkms; modprobe nvidia says why the module does not load)")
	}
	return nil
}

// lacksXdummy says what Xorg without a GPU needs and is missing.
func (n node) lacksXdummy() error {
	if err := n.lacks(dummy); err != nil {
		return err
	}
	if !n.has(inputtest) {
		return fmt.Errorf("the module %s is not installed (Debian has it in xserver-xorg-core)", moduleFile(inputtest))
	}
	return nil
}

// Modules of Xorg.
const (
	nvidia    = "nvidia"
	dummy     = "dummy"     // draws in memory
	inputtest = "inputtest" // takes input from a socket
)

// nvidia reports whether there is an NVIDIA GPU with its kernel module.
func (n node) nvidia() bool {
	return n.exists("/dev/nvidiactl") || n.exists("/proc/driver/nvidia")
}

// monitor reports whether a monitor is connected to an NVIDIA GPU. Then this may
// be a developer's computer, and another Xorg would take over its own screen.
func (n node) monitor() bool {
	connectors, _ := filepath.Glob(filepath.Join(n.root, "/sys/class/drm/card*-*/status"))
	for _, file := range connectors {
		status, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(status)) != "connected" {
			continue
		}
		// card0-HDMI-A-1 is a connector of card0.
		card, _, _ := strings.Cut(filepath.Base(filepath.Dir(file)), "-")
		driver, err := os.Readlink(filepath.Join(n.root, "/sys/class/drm", card, "device/driver"))
		if err == nil && filepath.Base(driver) == nvidia {
			return true
		}
	}
	return false
}

// xorg is the path of the server, or "". Debian's Xorg in PATH is a script that
// can run a setuid wrapper, and setuid clears the parent death signal. So the
// server itself is looked for first.
func (n node) xorg() string {
	for _, path := range []string{"/usr/lib/xorg/Xorg", "/usr/libexec/Xorg", "/usr/bin/Xorg"} {
		if n.exists(path) {
			return filepath.Join(n.root, path)
		}
	}
	return ""
}

// moduleDirs are where Xorg finds its modules. Distributions keep NVIDIA's module
// in another directory than Xorg's, which Xorg finds by a rule that needs udev.
// Where that directory exists, it is named to Xorg.
func (n node) moduleDirs() []string {
	var dirs []string
	for _, pattern := range []string{"/usr/lib/*-linux-gnu/nvidia/xorg", "/usr/lib/xorg/modules", "/usr/lib64/xorg/modules"} {
		found, _ := filepath.Glob(filepath.Join(n.root, pattern)) // the patterns are well-formed
		dirs = append(dirs, found...)
	}
	return dirs
}

func moduleFile(driver string) string { return driver + "_drv.so" }

func (n node) has(driver string) bool {
	for _, dir := range n.moduleDirs() {
		for _, sub := range []string{"", "drivers", "input"} {
			if _, err := os.Stat(filepath.Join(dir, sub, moduleFile(driver))); err == nil {
				return true
			}
		}
	}
	return false
}

func (n node) exists(path string) bool {
	_, err := os.Stat(filepath.Join(n.root, path))
	return err == nil
}
