package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Package is a Debian package that this machine must have, and why.
type Package struct {
	Name   string
	Reason string
}

// RunPackages are needed to build the binaries and to run seats. They lack
// gstreamer1.0-plugins-bad on purpose: it depends on many packages, and seats without a
// GPU use nothing of it.
var RunPackages = []Package{
	{"ca-certificates", "fetching Go modules"},
	{"gcc", "compiling the GStreamer bindings, and the library for gamepads"},
	{"libc6-dev", "compiling the GStreamer bindings"},
	{"pkg-config", "finding GStreamer's headers"},
	{"libgstreamer1.0-dev", "GStreamer's headers"},
	{"libgstreamer-plugins-base1.0-dev", "GStreamer's headers for app sources and sinks, audio, video"},
	{"gstreamer1.0-plugins-base", "videoconvert, Opus"},
	{"gstreamer1.0-plugins-good", "capture of an X display and of sound, VP8"},
	{"gstreamer1.0-plugins-ugly", "H.264 by x264"},
	{"xvfb", "the display of a seat without a GPU"},
	{"libgl1-mesa-dri", "OpenGL without a GPU"},
	{"pulseaudio", "the sound of a seat"},
	{"slirp4netns", "the outside world for apps with network = \"internet\""},
	{"f3d", "sample app: the model viewer"},
	{"neverball", "sample app: a game"},
	{"assimp-testmodels", "sample content: the engine that the viewer shows"},
}

// TestPackages are needed by make test beyond RunPackages.
var TestPackages = []Package{
	{"chromium", "the person's browser in end-to-end tests"},
	{"firefox-esr", "the person's browser in tests of the pages that are for Firefox too"},
	{"joystick", "jstest: a program that reads gamepads as joysticks"},
	{"gstreamer1.0-tools", "pictures and tones for tests, by gst-launch"},
	{"gstreamer1.0-plugins-bad", "decoding H.264, to look at what was encoded"},
	{"nodejs", "the unit tests of the player"},
	{"npm", "the tests of the npm packages, and axe-core"},
	{"iproute2", "cutting a network in tests of reconnection"},
	{"tayga", "the NAT64 of a network with IPv6 alone, in its test"},
	{"xdotool", "reading pointer and windows back in tests of input"},
	{"x11-utils", "looking at displays in tests"},
	{"xauth", "reading and writing X authority files in tests"},
	{"xserver-xorg-core", "the display of a seat with a touch screen, or with a GPU"},
	{"xserver-xorg-video-dummy", "a driver for it without a GPU"},
	{"nftables", "the firewall of a node, in its test"},
	{"shellcheck", "linting scripts"},
	{"debootstrap", "bare machines to provision in tests"},
	{"vagrant", "checking the Vagrantfile"},
	{"curl", "what operators run in docs/DEPLOY.md, and nodes' user data"},
	{"jq", "what operators run in docs/DEPLOY.md"},
	{"openssl", "what operators run in docs/DEPLOY.md"},
	{"acl", "access control lists of files, in a test of isolation"},
	{"zenity", "a GTK app in a seat"},
	{"python3-gi", "a GTK program in a seat that says how it is scrolled and touched"},
	{"gir1.2-gtk-3.0", "GTK 3 for it"},
	{"python3-pyqt5", "a Qt 5 program that copies and pastes"},
	{"xclip", "copying and pasting HTML and pictures in tests of the clipboard"},
	{"speedcrunch", "a Qt app in a seat"},
	{"vulkan-tools", "vkcube: a Vulkan app in a seat"},
	{"mesa-vulkan-drivers", "Vulkan without a GPU"},
	{"mesa-utils", "glxgears: an OpenGL program in a cell"},
	{"wine", "a Windows app in a seat"},
	{"wine64", "what Wine needs to run it"},
}

// programs are those of packages that come from other sources too. Where there is such a program its
// package is not missing, and may conflict: NodeSource's nodejs has an npm of its own.
var programs = map[string]string{"npm": "npm"}

// MissingPackages are those of want that are not installed.
func MissingPackages(ctx context.Context, want []Package) ([]Package, error) {
	args := []string{"--show", "--showformat", "${Package} ${db:Status-Status}\n"}
	for _, p := range want {
		args = append(args, p.Name)
	}
	cmd := exec.CommandContext(ctx, "dpkg-query", args...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	// Exit status 1 says that a package is unknown, which is an answer too.
	if err := cmd.Run(); err != nil {
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
			return nil, fmt.Errorf("ask dpkg for packages: %w %s", err, strings.TrimSpace(problems.String()))
		}
	}
	installed := make(map[string]bool)
	for line := range strings.Lines(out.String()) {
		if name, status, _ := strings.Cut(strings.TrimSpace(line), " "); status == "installed" {
			installed[name] = true
		}
	}
	var missing []Package
	for _, p := range want {
		if installed[p.Name] {
			continue
		}
		if program := programs[p.Name]; program != "" {
			if _, err := exec.LookPath(program); err == nil {
				continue
			}
		}
		missing = append(missing, p)
	}
	return missing, nil
}

// InstallPackages installs what is missing of want by apt-get, with sudo where the
// caller is not root. Before that, it prints what is missing and why it is needed.
func InstallPackages(ctx context.Context, want []Package, log io.Writer) error {
	missing, err := MissingPackages(ctx, want)
	if errors.Is(err, exec.ErrNotFound) {
		fmt.Fprintln(log, "This machine has no dpkg. Install the equivalents of these Debian packages yourself:")
		printPackages(log, want)
		return nil
	}
	if err != nil || len(missing) == 0 {
		return err
	}
	fmt.Fprintln(log, "Installing Debian packages that are missing:")
	printPackages(log, missing)
	// What is installed first may bring the program of another package.
	first := slices.DeleteFunc(slices.Clone(missing), func(p Package) bool { return programs[p.Name] != "" })
	if err := aptInstall(ctx, first, log); err != nil {
		return err
	}
	if missing, err = MissingPackages(ctx, missing); err != nil {
		return err
	}
	return aptInstall(ctx, missing, log)
}

func aptInstall(ctx context.Context, packages []Package, log io.Writer) error {
	if len(packages) == 0 {
		return nil
	}
	install := []string{"apt-get", "install", "--yes", "--no-install-recommends"}
	for _, p := range packages {
		install = append(install, p.Name)
	}
	for _, args := range [][]string{{"apt-get", "update"}, install} {
		if err := asRoot(ctx, log, args...); err != nil {
			return fmt.Errorf("%w\nInstall them yourself with: sudo %s", err, strings.Join(install, " "))
		}
	}
	return nil
}

func printPackages(w io.Writer, packages []Package) {
	for _, p := range packages {
		fmt.Fprintf(w, "  %-34s %s\n", p.Name, p.Reason)
	}
}

// asRoot runs an apt-get command. It waits until another apt has finished.
func asRoot(ctx context.Context, log io.Writer, args ...string) error {
	full := append([]string{"env", "DEBIAN_FRONTEND=noninteractive"}, args...)
	full = append(full, "-o", "DPkg::Lock::Timeout=120", "-q")
	if os.Geteuid() != 0 {
		if _, err := exec.LookPath("sudo"); err != nil {
			return errors.New("only root can install packages, and there is no sudo")
		}
		full = append([]string{"sudo"}, full...)
	}
	cmd := exec.CommandContext(ctx, full[0], full[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w", strings.Join(args[:2], " "), err)
	}
	return nil
}
