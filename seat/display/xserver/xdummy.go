package xserver

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nearcast/nearcast/internal/wire"
)

// Xorg's driver "dummy" draws in memory, as Xvfb does, and needs no right that Xvfb does
// not have: no device, no console, no root. So it runs in the cell, as the app's user, and
// what it reads are files of that user. Unlike Xvfb it has drivers for input devices.
const (
	xdummyConfig = "xorg.conf"
	// Sockets of its input devices, in the runner's Runtime.
	wheelSocket = "wheel"
	touchSocket = "touch"
	leastHeight = 128 // of the driver's screen
)

// MaxTouches is how many fingers the touch screen tells apart.
const MaxTouches = wire.MaxTouches

// Devices are connections to the input devices of a display, by the protocol of Xorg's
// driver "inputtest". A device that the display lacks is nil.
type Devices struct {
	Wheel *net.UnixConn // a pointer with scroll valuators
	Touch *net.UnixConn // a touch screen
}

// Close closes the connections. The driver busies itself without end when it has lost one,
// so it is closed after the server has ended.
func (d Devices) Close() {
	for _, c := range []*net.UnixConn{d.Wheel, d.Touch} {
		if c != nil {
			c.Close()
		}
	}
}

func xdummy(cfg Config) (program, error) {
	path := local().xorg()
	if path == "" {
		return program{}, errNoXorg
	}
	config := filepath.Join(cfg.Runner.Runtime(), xdummyConfig)
	text := xorgConfig(wire.XServer{Driver: dummy}, cfg.Width, max(cfg.Height, leastHeight), local().moduleDirs(), inputDevices(cfg)...)
	if err := cfg.Runner.WriteFile(config, []byte(text)); err != nil {
		return program{}, fmt.Errorf("write Xorg's configuration: %w", err)
	}
	return program{
		name: "Xorg " + dummy, path: path, authority: AuthorityPath(cfg.Runner),
		args: []string{"-config", config, "-logfile", "/dev/null", "-sharevts", "-novtswitch", "-dpms"},
		reasons: func(printed []string) []string {
			if errs := errorsIn(strings.Join(printed, "\n")); len(errs) > 0 {
				return errs
			}
			return slices.Clone(printed[max(0, len(printed)-5):])
		},
	}, nil
}

// inputDevice is a device of Xorg's driver "inputtest".
type inputDevice struct {
	name    string
	options [][2]string
}

func inputDevices(cfg Config) []inputDevice {
	socket := func(name string) [2]string {
		return [2]string{"SocketPath", filepath.Join(cfg.Runner.Runtime(), name)}
	}
	// Deltas of a wheel are what the person's computer made of its motion already.
	devices := []inputDevice{{"seat wheel", [][2]string{socket(wheelSocket), {"DeviceType", "Pointer"}, {"AccelerationScheme", "none"}}}}
	if cfg.Touch {
		devices = append(devices, inputDevice{"seat touch", [][2]string{socket(touchSocket), {"DeviceType", "Touch"}, {"TouchCount", fmt.Sprint(MaxTouches)}}})
	}
	return devices
}

// connectDevices connects to the devices, and takes their sockets away: no program of the
// cell that starts later can connect.
func (s *Server) connectDevices() error {
	connect := func(name string) (*net.UnixConn, error) {
		path := filepath.Join(s.cfg.Runner.Runtime(), name)
		conn, err := s.cfg.Runner.Dial(path)
		if err != nil {
			return nil, fmt.Errorf("connect to the display's %s: %w", name, err)
		}
		if err := s.cfg.Runner.Remove(path); err != nil {
			conn.Close()
			return nil, fmt.Errorf("take the socket of the display's %s away: %w", name, err)
		}
		return conn, nil
	}
	var err error
	if s.devices.Wheel, err = connect(wheelSocket); err == nil && s.cfg.Touch {
		s.devices.Touch, err = connect(touchSocket)
	}
	return err
}

// Devices are the display's input devices. They are closed with the server.
func (s *Server) Devices() Devices { return s.devices }
