package display

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
	LogFile       = "xorg.log" // stays, for whoever wants to know why
	configFile    = "xorg.conf"
	authorityFile = "xorg.auth"
)

func xorg(cfg Config) (program, error) {
	path := local().xorg()
	if path == "" {
		return program{}, fmt.Errorf("find Xorg: %w", ErrNotInstalled)
	}
	log := filepath.Join(cfg.Dir, LogFile)
	// Xorg would keep the log of the attempt before, which nobody needs, and
	// one that is not written must not be taken for this one's.
	if err := os.Remove(log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return program{}, fmt.Errorf("remove Xorg's old log: %w", err)
	}
	return program{
		name: "Xorg", path: path,
		user: nil, // this process's: drivers of GPUs want root, as the console does
		args: []string{
			"-config", filepath.Join(cfg.Dir, configFile),
			"-logfile", log,
			// Servers share the console and never switch it.
			"-sharevts", "-novtswitch",
			"-dpms",
		},
		tell: func(printed []string) []string {
			if errs := complaints(log); len(errs) > 0 {
				return errs
			}
			return printed
		},
	}, nil
}

// writeXorgFiles writes what Xorg reads: its configuration, and a copy of the
// cookie. The file for clients is the application's user's, who may put
// anything in its place, and Xorg may be root: it reads nothing of that user's.
func (d *Display) writeXorgFiles(c x11.Cookie) (authority string, err error) {
	if d.cfg.Dir == "" {
		return "", errors.New("no directory for what Xorg reads and writes")
	}
	authority = filepath.Join(d.cfg.Dir, authorityFile)
	if err := x11.WriteAuthority(authority, c, os.Getuid(), os.Getgid()); err != nil {
		return "", err
	}
	d.files = append(d.files, authority)
	config := filepath.Join(d.cfg.Dir, configFile)
	text := xorgConfig(d.cfg.Server, d.cfg.Width, d.cfg.Height, local().moduleDirs())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write Xorg's configuration: %w", err)
	}
	d.files = append(d.files, config)
	return authority, nil
}

// xorgConfig is an xorg.conf with one screen of one size, which no application
// can change, and without any device of the machine but the GPU.
func xorgConfig(s wire.XServer, width, height int, moduleDirs []string) string {
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
		option("AutoAddDevices", "false"), // a person's keys come by XTEST, and no one else's
		option("AutoAddGPU", "false"),
		// Keys with which a person at the machine ends the server, or changes
		// its mode or the console: this person is not there.
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
		// Whatever is connected to the GPU, or nothing: the screen is Virtual's
		// size below. Other GPUs are left in peace.
		device = append(device, option("AllowEmptyInitialConfiguration", "true"), option("ProbeAllGpus", "false"))
	case "dummy":
		// Room for the picture, lines padded, and no more: it is memory. The
		// driver has the limits of an old card's clock.
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
	section("ServerLayout", `Identifier "seat"`, `Screen "seat"`)
	return b.String()
}

// modeline is the timing of a mode, of use to drivers that pretend a monitor.
type modeline struct {
	clock         float64 // MHz
	width, height int
}

// Blanking as in VESA's CVT standard, version 1, for displays that need little.
const (
	refresh    = 60
	blankX     = 160 // pixels: 48 before, 32 of sync, 80 after
	blankTimeY = 460e-6
	frontY     = 3
	syncY      = 10 // as wide as for sizes of no known shape
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

// ranges are the frequencies of a monitor that knows this mode only: so narrow
// that none fits of those that Xorg would add.
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

// errorLine is a line of Xorg's log that tells of an error: "[   531.015] (EE) no screens found(EE)".
var errorLine = regexp.MustCompile(`(?m)^(?:\[ *[\d.]+\] )?\(EE\) +(.+?)(?:\(EE\))? *$`)

// chatter is in complaints that say nothing about this server: drivers for input
// devices, of which it has none, and whom to ask.
var chatter = regexp.MustCompile(`"(mouse|kbd|libinput)"|'?(mouse|kbd)'|dbus-core|the log file at|Server terminated`)

// complaints are the last errors in a log of Xorg's.
func complaints(path string) []string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var lines []string
	for _, m := range errorLine.FindAllStringSubmatch(string(raw), -1) {
		if line := strings.TrimSpace(m[1]); line != "" && !chatter.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return slices.Clone(lines[max(0, len(lines)-5):])
}
