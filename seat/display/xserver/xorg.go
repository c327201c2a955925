package xserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/display/x11"
)

// Files of Xorg in Config.Dir.
const (
	LogFile       = "xorg.log" // stays after the end, for the operator
	configFile    = "xorg.conf"
	authorityFile = "xorg.auth"
)

func xorg(cfg Config) (program, error) {
	path := local().xorg()
	if path == "" {
		return program{}, errNoXorg
	}
	log := filepath.Join(cfg.Dir, LogFile)
	// A log of an earlier attempt must not be taken for this server's, and Xorg
	// would keep a copy of it.
	if err := os.Remove(log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return program{}, fmt.Errorf("remove Xorg's old log: %w", err)
	}
	return program{
		name: "Xorg", path: path, authority: filepath.Join(cfg.Dir, authorityFile),
		args: []string{
			"-config", filepath.Join(cfg.Dir, configFile),
			"-logfile", log,
			// Servers share the console and never switch it.
			"-sharevts", "-novtswitch",
			"-dpms",
		},
		reasons: func(printed []string) []string {
			if errs := loggedErrors(log); len(errs) > 0 {
				return errs
			}
			return printed
		},
	}, nil
}

// writeXorgFiles writes what Xorg reads: its configuration and a cookie file. Xorg may
// be root, so it reads no file of the application's user, who could replace the file by
// anything. The paths are what to remove at the end.
func writeXorgFiles(cfg Config) (paths []string, err error) {
	if cfg.Dir == "" {
		return nil, errors.New("display server Xorg needs a directory for its files")
	}
	for name, content := range map[string][]byte{
		authorityFile: x11.Authority(cfg.Cookie),
		configFile:    []byte(xorgConfig(cfg.Server, cfg.Width, cfg.Height, local().moduleDirs())),
	} {
		path := filepath.Join(cfg.Dir, name)
		paths = append(paths, path)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return paths, fmt.Errorf("write Xorg's files: %w", err)
		}
	}
	return paths, nil
}

// xorgConfig is an xorg.conf with one screen, which has one mode at first. The GPU is the
// only device of the node in it.
func xorgConfig(s wire.XServer, width, height int, moduleDirs []string, inputs ...inputDevice) string {
	var b strings.Builder
	section := func(name string, lines ...string) {
		fmt.Fprintf(&b, "Section %q\n", name)
		for _, line := range lines {
			fmt.Fprintf(&b, "    %s\n", line)
		}
		b.WriteString("EndSection\n")
	}
	option := func(name, value string) string { return fmt.Sprintf("Option \"%s\" \"%s\"", name, value) }

	var paths []string
	for _, dir := range moduleDirs {
		paths = append(paths, fmt.Sprintf("ModulePath \"%s\"", dir))
	}
	section("Files", paths...)
	section("ServerFlags",
		option("AutoAddDevices", "false"), // input comes by XTEST, and by the devices below
		option("AutoAddGPU", "false"),
		// No keys that end the server, or change its mode or the console: they
		// are for somebody who sits at the computer.
		option("DontVTSwitch", "true"),
		option("DontZap", "true"),
		option("DontZoom", "true"),
	)
	device := []string{`Identifier "seat"`, fmt.Sprintf("Driver \"%s\"", s.Driver)}
	if s.BusID != "" {
		device = append(device, fmt.Sprintf("BusID \"%s\"", s.BusID))
	}
	mode := reducedBlanking(width, height)
	switch s.Driver {
	case nvidia:
		// With or without a monitor, the screen has the size of Virtual below.
		// Other GPUs are not touched.
		device = append(device, option("AllowEmptyInitialConfiguration", "true"), option("ProbeAllGpus", "false"))
	case dummy:
		// As much memory as the picture with padded lines needs, and no more. The
		// driver keeps to the clock limits of an old card.
		device = append(device, fmt.Sprintf("VideoRam %d", (width+256)*height*4/1024+1024))
		mode.clock = min(max(mode.clock, 12), 290)
	}
	for _, o := range s.Options {
		name, value, _ := strings.Cut(o, "=")
		device = append(device, option(name, value))
	}
	section("Device", device...)
	section("Monitor", slices.Concat([]string{`Identifier "seat"`}, mode.ranges(),
		[]string{option("DefaultModes", "false"), option("ReducedBlanking", "true"), "Modeline " + mode.String()})...)
	section("Screen", `Identifier "seat"`, `Device "seat"`, `Monitor "seat"`, "DefaultDepth 24",
		`SubSection "Display"`, "Depth 24", `Modes "seat"`, fmt.Sprintf("Virtual %d %d", width, height), "EndSubSection")
	layout := []string{`Identifier "seat"`, `Screen "seat"`}
	for _, d := range inputs {
		lines := []string{fmt.Sprintf("Identifier %q", d.name), fmt.Sprintf("Driver %q", inputtest)}
		for _, o := range d.options {
			lines = append(lines, option(o[0], o[1]))
		}
		section("InputDevice", lines...)
		layout = append(layout, fmt.Sprintf("InputDevice %q", d.name))
	}
	section("ServerLayout", layout...)
	return b.String()
}

// modeline is the timing of a mode, for drivers that simulate a monitor.
type modeline struct {
	clock         float64 // MHz
	width, height int
}

// Reduced blanking as in VESA's CVT standard, version 1.
const (
	refresh    = 60
	blankX     = 160 // pixels: 48 before, 32 of sync, 80 after
	blankTimeY = 460e-6
	frontY     = 3
	syncY      = 10 // the standard's value for any aspect ratio
	leastBackY = 6
)

func reducedBlanking(width, height int) modeline {
	m := modeline{width: width, height: height}
	m.clock = float64((width+blankX)*(height+m.blankY())) * refresh / 1e6
	return m
}

func (m modeline) blankY() int {
	line := (1.0/refresh - blankTimeY) / float64(m.height)
	return max(int(blankTimeY/line)+1, frontY+syncY+leastBackY)
}

// ranges are the frequencies of a monitor that has this mode only. They are so
// narrow that no mode that Xorg would add fits.
func (m modeline) ranges() []string {
	lines := m.clock * 1e3 / float64(m.width+blankX)
	pictures := lines * 1e3 / float64(m.height+m.blankY())
	around := func(what string, f float64) string { return fmt.Sprintf("%s %.3f-%.3f", what, f*0.998, f*1.002) }
	return []string{around("HorizSync", lines), around("VertRefresh", pictures)}
}

func (m modeline) String() string {
	return fmt.Sprintf("\"seat\" %.2f  %d %d %d %d  %d %d %d %d +hsync -vsync", m.clock,
		m.width, m.width+48, m.width+80, m.width+blankX,
		m.height, m.height+frontY, m.height+frontY+syncY, m.height+m.blankY())
}

// errorLine is an error in Xorg's log: "[   531.015] (EE) no screens found(EE)".
var errorLine = regexp.MustCompile(`(?m)^(?:\[ *[\d.]+\] )?\(EE\) +(.+?)(?:\(EE\))? *$`)

// irrelevant matches errors that say nothing about this server: about drivers of
// input devices, which it does not have, and where to ask for help.
var irrelevant = regexp.MustCompile(`"(mouse|kbd|libinput)"|'?(mouse|kbd)'|dbus-core|the log file at|Server terminated`)

// loggedErrors are the last errors in a log of Xorg.
func loggedErrors(path string) []string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return errorsIn(string(raw))
}

// errorsIn are the last errors in what Xorg wrote.
func errorsIn(text string) []string {
	var lines []string
	for _, m := range errorLine.FindAllStringSubmatch(text, -1) {
		if line := strings.TrimSpace(m[1]); line != "" && !irrelevant.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return slices.Clone(lines[max(0, len(lines)-5):])
}
