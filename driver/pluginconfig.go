package driver

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/go-sockaddr/template"

	"github.com/nearcast/nearcast/internal/wire"
)

// Config is the plugin's config with the defaults of configSpec.
type Config struct {
	StreamHost  string `codec:"stream_host"`
	SeatKeeper  string `codec:"seat_keeper"`
	RunDir      string `codec:"run_dir"`
	TicketKeys  string `codec:"ticket_keys"`
	NodePool    string `codec:"node_pool"`
	Isolate     *bool  `codec:"isolate"`
	OrphanGrace string `codec:"orphan_grace"`

	Users struct {
		Min float64 `codec:"min"`
		Max float64 `codec:"max"`
	} `codec:"users"`
	Allow struct {
		Users    []string `codec:"users"`
		Networks []string `codec:"networks"`
		Volumes  bool     `codec:"volumes"`
		Devices  []string `codec:"devices"`
	} `codec:"allow"`
	Cell struct {
		Paths          []string `codec:"paths"`
		Writable       string   `codec:"writable"`
		Processes      float64  `codec:"processes"`
		UserNamespaces bool     `codec:"user_namespaces"`
		I386           bool     `codec:"i386"`
		Uinput         bool     `codec:"uinput"`
	} `codec:"cell"`
	Internet struct {
		Deny      []string `codec:"deny"`
		Resolvers []string `codec:"resolvers"`
	} `codec:"internet"`

	Display struct {
		Server  string   `codec:"server"`
		Driver  string   `codec:"driver"`
		BusID   string   `codec:"bus_id"`
		Options []string `codec:"options"`
	} `codec:"display"`
	Cache struct {
		Dir     string `codec:"dir"`
		MaxSize string `codec:"max_size"`
	} `codec:"cache"`
	S3 struct {
		Endpoint  string `codec:"endpoint"`
		Region    string `codec:"region"`
		PathStyle bool   `codec:"path_style"`
	} `codec:"s3"`
	Consul struct {
		Address        string `codec:"address"`
		Token          string `codec:"token"`
		RegistrarToken string `codec:"registrar_token"`
	} `codec:"consul"`
	Listen struct {
		API      string  `codec:"api"`
		Media    string  `codec:"media"`
		PublicIP string  `codec:"public_ip"`
		PortMin  float64 `codec:"port_min"`
		PortMax  float64 `codec:"port_max"`
		Loopback bool    `codec:"loopback"`
	} `codec:"listen"`
	ICE struct {
		Private bool     `codec:"private"`
		Deny    []string `codec:"deny"`
	} `codec:"ice"`
}

// settings is a checked Config.
type settings struct {
	streamHost string // as configured; see find
	seatKeeper string
	runDir     string
	ticketKeys string
	nodePool   string
	isolate    bool
	users      userRange
	allow      allowed
	cell       wire.Cell
	// orphanGrace is how long a seat may run that Nomad does not know.
	orphanGrace time.Duration

	xServer wire.XServer

	cache  wire.Cache
	s3     wire.S3
	consul wire.ConsulRef // of stream hosts
	// registrarToken is the registrar's own, which no stream host gets.
	registrarToken string
	listen         wire.Listen
}

// maxRunDir leaves space for the name of a seat's directory and its socket: the path
// of a Unix socket has at most 107 bytes.
const maxRunDir = 107 - len("/01234567-0123456789ab/") - len(wire.ControlSocket)

// check turns a Config into settings. A missing binary or key file is no error here
// but a problem in the fingerprint: it may be installed later.
func (c *Config) check(root bool) (settings, error) {
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	s := settings{
		streamHost: c.StreamHost,
		seatKeeper: c.SeatKeeper,
		runDir:     filepath.Clean(c.RunDir),
		ticketKeys: c.TicketKeys,
		nodePool:   c.NodePool,
		isolate:    root,
		s3:         wire.S3{Endpoint: c.S3.Endpoint, Region: c.S3.Region, PathStyle: c.S3.PathStyle},
		consul:     wire.ConsulRef{Address: c.Consul.Address, Token: c.Consul.Token},

		registrarToken: c.Consul.RegistrarToken,
	}
	if !filepath.IsAbs(c.RunDir) || len(s.runDir) > maxRunDir {
		check(&badValue{"run_dir", c.RunDir, fmt.Sprintf("an absolute path of at most %d bytes", maxRunDir)})
	}
	for field, value := range map[string]string{"stream_host": c.StreamHost, "seat_keeper": c.SeatKeeper, "ticket_keys": c.TicketKeys} {
		if value != "" && !filepath.IsAbs(value) {
			check(&badValue{field, value, "an absolute path"})
		}
	}
	s.users, err = c.userRange()
	check(err)
	s.allow, err = c.allowed()
	check(err)
	s.cell, err = c.cellSettings()
	check(err)
	if c.Isolate != nil {
		s.isolate = *c.Isolate
	}
	if s.isolate && !root {
		check(&badValue{"isolate", true, "false, because this agent does not run as root, and only root can isolate apps"})
	}

	grace, err := seconds("orphan_grace", c.OrphanGrace, false, time.Second, 24*time.Hour)
	check(err)
	s.orphanGrace = time.Duration(grace) * time.Second

	s.xServer, err = c.xServer()
	check(err)

	s.cache.Dir = filepath.Clean(c.Cache.Dir)
	if !filepath.IsAbs(c.Cache.Dir) {
		check(&badValue{"cache.dir", c.Cache.Dir, "an absolute path"})
	}
	s.cache.MaxBytes, err = bytesize("cache.max_size", c.Cache.MaxSize)
	check(err)

	if e := c.S3.Endpoint; e != "" && !strings.HasPrefix(e, "http://") && !strings.HasPrefix(e, "https://") {
		check(&badValue{"s3.endpoint", e, `a URL such as "https://s3.example.net", or empty for AWS`})
	}
	if s.s3.Region == "" {
		s.s3.Region = cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), "us-east-1")
	}
	if _, _, err := net.SplitHostPort(c.Consul.Address); err != nil {
		check(&badValue{"consul.address", c.Consul.Address, `host:port, such as "127.0.0.1:8500"`})
	}

	s.listen, err = c.listenAt()
	check(err)
	return s, errors.Join(errs...)
}

// Values go into Xorg's configuration file, which has no escapes.
var (
	xorgDriver = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	xorgBusID  = regexp.MustCompile(`^PCI:\d+(@\d+)?:\d+:\d+$`)
	xorgOption = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*=[^"\r\n]*$`)
)

func (c *Config) xServer() (wire.XServer, error) {
	d := &c.Display
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, &badValue{"display." + field, value, want})
	}
	switch d.Server {
	case wire.ServerAuto:
		if d.Driver != "nvidia" {
			bad("driver", d.Driver, `"nvidia" where display.server is "auto"; for another driver set display.server = "xorg"`)
		}
	case wire.ServerXvfb, wire.ServerXdummy, wire.ServerXorg:
	default:
		bad("server", d.Server, `"auto", "xvfb", "xdummy" or "xorg"`)
	}
	if !xorgDriver.MatchString(d.Driver) {
		bad("driver", d.Driver, `the name of an Xorg driver, such as "nvidia"`)
	}
	if d.BusID != "" && !xorgBusID.MatchString(d.BusID) {
		bad("bus_id", d.BusID, `a bus id in decimal, such as "PCI:1:0:0", or with a domain "PCI:1@0:0:0"`)
	}
	for _, o := range d.Options {
		if !xorgOption.MatchString(o) {
			bad("options", o, `"Name=value" without quotation marks inside`)
		}
	}
	if len(errs) == 0 && (d.Server == wire.ServerXvfb || d.Server == wire.ServerXdummy) {
		return wire.XServer{Server: d.Server}, nil // the other options are for a GPU
	}
	return wire.XServer{Server: d.Server, Driver: d.Driver, BusID: d.BusID, Options: append([]string(nil), d.Options...)}, errors.Join(errs...)
}

func (c *Config) listenAt() (l wire.Listen, err error) {
	var errs []error
	l.Loopback = c.Listen.Loopback
	l.Private = c.ICE.Private
	for _, text := range c.ICE.Deny {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			errs = append(errs, &badValue{"ice.deny", text, "a network such as 203.0.113.0/24"})
			continue
		}
		l.Deny = append(l.Deny, network.Masked().String())
	}
	if l.API, err = address("listen.api", c.Listen.API); err != nil {
		errs = append(errs, err)
	}
	if l.API == "" {
		// A node without a private address serves only itself.
		l.API = "127.0.0.1"
	}
	if l.Media, err = address("listen.media", c.Listen.Media); err != nil {
		errs = append(errs, err)
	}
	if l.PublicIP, err = address("listen.public_ip", c.Listen.PublicIP); err != nil {
		errs = append(errs, err)
	}
	low, errLow := whole("listen.port_min", c.Listen.PortMin, 0, 65535)
	high, errHigh := whole("listen.port_max", c.Listen.PortMax, 0, 65535)
	switch {
	case errLow != nil || errHigh != nil:
		errs = append(errs, errLow, errHigh)
	case low > high || low == 0 && high != 0:
		errs = append(errs, &badValue{"listen.port_max", high, "a port not below listen.port_min, or 0 for both to let the system choose"})
	}
	l.PortMin, l.PortMax = uint16(low), uint16(high)
	return l, errors.Join(errs...)
}

// address reads an IP address or a go-sockaddr template that gives one.
func address(field, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	out, err := template.Parse(text)
	if err != nil {
		return "", &badValue{field, text, fmt.Sprintf("an IP address or a go-sockaddr template (%v)", err)}
	}
	// A template may give several addresses, or none.
	first := strings.TrimSpace(out)
	if fields := strings.Fields(first); len(fields) > 0 {
		first = fields[0]
	}
	if first == "" {
		return "", nil
	}
	if _, err := netip.ParseAddr(first); err != nil {
		return "", &badValue{field, text, "an IP address or a go-sockaddr template"}
	}
	return first, nil
}
