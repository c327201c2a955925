package display

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

// ErrNotInstalled is returned where this machine lacks what a server needs. The
// error says what to install.
var ErrNotInstalled = errors.New("not installed")

// Choose is the server that a seat gets where its operator wants this one: never
// auto. The zero value wants Xvfb.
func Choose(want wire.XServer) (wire.XServer, error) { return local().choose(want) }

// Unused says why auto leaves the GPU of this machine alone; nil where it does
// not, or where there is none.
func Unused(want wire.XServer) error { return local().unused(want) }

// Version names a server that was chosen, for operators: "Xvfb", which does not
// tell its version, or "Xorg 1.21.1.7 nvidia".
func Version(ctx context.Context, chosen wire.XServer) string {
	if chosen.Server != wire.ServerXorg {
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

// XorgRuns reports whether an Xorg runs on this machine, a seat's or another.
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

// machine is where to look for servers, drivers and devices.
type machine struct {
	root string // of its file system
	euid int    // of whoever starts servers
}

func local() machine { return machine{euid: os.Geteuid()} }

func (m machine) choose(want wire.XServer) (wire.XServer, error) {
	want.Driver = cmp.Or(want.Driver, nvidia)
	switch want.Server {
	case wire.ServerXorg:
		if err := m.lacks(want.Driver); err != nil {
			return want, fmt.Errorf("display server Xorg with driver %s: %w", want.Driver, err)
		}
		return want, nil
	case wire.ServerAuto:
		if m.nvidia() && m.unused(want) == nil {
			want.Server = wire.ServerXorg
			return want, nil
		}
	case wire.ServerXvfb, "":
	default:
		return want, fmt.Errorf("there is no display server %q, but %q, %q and %q", want.Server, wire.ServerAuto, wire.ServerXvfb, wire.ServerXorg)
	}
	return wire.XServer{Server: wire.ServerXvfb}, nil
}

func (m machine) unused(want wire.XServer) error {
	if want.Server != wire.ServerAuto || !m.nvidia() {
		return nil
	}
	switch {
	case m.euid != 0:
		return errors.New("the stream host is not root, whose GPU and console are")
	case m.monitor():
		return fmt.Errorf("a monitor is connected to it, at which somebody may work; display.server = %q takes it all the same", wire.ServerXorg)
	}
	return m.lacks(cmp.Or(want.Driver, nvidia))
}

// lacks says what is missing for Xorg with a driver.
func (m machine) lacks(driver string) error {
	if m.xorg() == "" {
		return fmt.Errorf("the X server is %w: install Xorg (Debian: apt-get install xserver-xorg-core)", ErrNotInstalled)
	}
	if !m.has(driver) {
		pkg := "xserver-xorg-video-" + driver
		if driver == nvidia {
			pkg += "; Ubuntu's name ends with the version of the kernel module"
		}
		return fmt.Errorf("the module %s is %w: install the driver (Debian: apt-get install %s)", moduleFile(driver), ErrNotInstalled, pkg)
	}
	if driver == nvidia && !m.nvidia() {
		return fmt.Errorf("NVIDIA's kernel module is %w or does not find a GPU: there is neither /dev/nvidiactl nor /proc/driver/nvidia (Debian: apt-get install nvidia-kernel-dkms; modprobe nvidia says why it does not load)", ErrNotInstalled)
	}
	return nil
}

const nvidia = "nvidia"

// nvidia reports whether a GPU of that make is here, with its kernel module.
func (m machine) nvidia() bool {
	return m.exists("/dev/nvidiactl") || m.exists("/proc/driver/nvidia")
}

// monitor reports whether one is known to be connected to an NVIDIA GPU: then
// this may be a developer's machine, whose own screen another Xorg would take.
func (m machine) monitor() bool {
	connectors, _ := filepath.Glob(filepath.Join(m.root, "/sys/class/drm/card*-*/status"))
	for _, file := range connectors {
		status, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(status)) != "connected" {
			continue
		}
		// card0-HDMI-A-1 is a connector of card0.
		card, _, _ := strings.Cut(filepath.Base(filepath.Dir(file)), "-")
		driver, err := os.Readlink(filepath.Join(m.root, "/sys/class/drm", card, "device/driver"))
		if err == nil && filepath.Base(driver) == nvidia {
			return true
		}
	}
	return false
}

// xorg finds the server. Debian's Xorg in PATH is a script that may lead through
// a wrapper with its file's owner's rights, and that would take the parent death
// signal away: the server itself is looked for first.
func (m machine) xorg() string {
	for _, path := range []string{"/usr/lib/xorg/Xorg", "/usr/libexec/Xorg", "/usr/bin/Xorg"} {
		if m.exists(path) {
			return filepath.Join(m.root, path)
		}
	}
	return ""
}

// moduleDirs are where Xorg finds its modules. Distributions keep NVIDIA's out
// of Xorg's own directory, and have it found by a rule that wants udev; so the
// directory is named to Xorg where it exists.
func (m machine) moduleDirs() []string {
	var dirs []string
	for _, pattern := range []string{"/usr/lib/*-linux-gnu/nvidia/xorg", "/usr/lib/xorg/modules", "/usr/lib64/xorg/modules"} {
		found, _ := filepath.Glob(filepath.Join(m.root, pattern)) // the patterns are well-formed
		dirs = append(dirs, found...)
	}
	return dirs
}

func moduleFile(driver string) string { return driver + "_drv.so" }

func (m machine) has(driver string) bool {
	for _, dir := range m.moduleDirs() {
		for _, sub := range []string{"", "drivers"} {
			if _, err := os.Stat(filepath.Join(dir, sub, moduleFile(driver))); err == nil {
				return true
			}
		}
	}
	return false
}

func (m machine) exists(path string) bool {
	_, err := os.Stat(filepath.Join(m.root, path))
	return err == nil
}
