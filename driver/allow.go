package driver

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nearcast/nearcast/internal/unixuser"
	"github.com/nearcast/nearcast/internal/wire"
)

// allowed is what jobs may ask for.
type allowed struct {
	users    []string
	networks []string
	volumes  bool
	devices  []string // patterns
}

func (c *Config) allowed() (allowed, error) {
	var errs []error
	for _, u := range c.Allow.Users {
		if err := unixUser("allow.users", u); err != nil {
			errs = append(errs, err)
		}
	}
	for _, n := range c.Allow.Networks {
		errs = append(errs, oneOf("allow.networks", n, wire.NetworkNone, wire.NetworkInternet, wire.NetworkHost))
	}
	for _, d := range c.Allow.Devices {
		if _, err := filepath.Match(d, "/"); err != nil || !strings.HasPrefix(d, "/dev/") {
			errs = append(errs, &badValue{"allow.devices", d, `a pattern of device files, such as "/dev/dri/*"`})
		}
	}
	return allowed{users: c.Allow.Users, networks: c.Allow.Networks, volumes: c.Allow.Volumes, devices: c.Allow.Devices}, errors.Join(errs...)
}

// minWritable is what display and sound need.
const minWritable = 16 << 20

func writable(field, text string, bytes int64) error {
	if bytes < minWritable {
		return &badValue{field, text, `a size of at least "16MiB"`}
	}
	return nil
}

func (c *Config) cellSettings() (wire.Cell, error) {
	var errs []error
	cell := wire.Cell{Paths: c.Cell.Paths, UserNamespaces: c.Cell.UserNamespaces, I386: c.Cell.I386, Uinput: c.Cell.Uinput, Deny: c.Internet.Deny, Resolvers: c.Internet.Resolvers}
	for _, p := range c.Cell.Paths {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p || p == "/" {
			errs = append(errs, &badValue{"cell.paths", p, "an absolute path of the node, and not /"})
		}
	}
	var err error
	if cell.WritableBytes, err = bytesize("cell.writable", c.Cell.Writable); err == nil {
		err = writable("cell.writable", c.Cell.Writable, cell.WritableBytes)
	}
	errs = append(errs, err)
	cell.MaxProcesses, err = whole("cell.processes", c.Cell.Processes, 64, 1<<22)
	errs = append(errs, err)
	for _, d := range c.Internet.Deny {
		if _, err := netip.ParsePrefix(d); err != nil {
			errs = append(errs, &badValue{"internet.deny", d, `a network such as "203.0.113.0/24"`})
		}
	}
	for _, r := range c.Internet.Resolvers {
		if _, err := netip.ParseAddr(r); err != nil {
			errs = append(errs, &badValue{"internet.resolvers", r, "the IP address of a name server"})
		}
	}
	return cell, errors.Join(errs...)
}

// permit checks what a job asks for against what the operator allows. Each error says
// what the operator would have to change.
func (a allowed) permit(spec *wire.Spec, user string, devices []*drivers.DeviceConfig) error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if user != "" {
		switch {
		case !slices.Contains(a.users, user):
			refuse("user = %q: the operator of this node does not allow it; leave user empty, and the seat gets one of its own (or add it to allow.users in the plugin's config)", user)
		case hasUIDZero(user) && !slices.Contains(a.users, "root") && !slices.Contains(a.users, "0"):
			refuse("user = %q is root, which this node allows only where allow.users names root", user)
		}
	}
	if !slices.Contains(a.networks, spec.Network) {
		refuse("network = %q: the operator of this node allows %s (allow.networks in the plugin's config)", spec.Network, orNone(a.networks))
	}
	if len(spec.Mounts) > 0 && !a.volumes {
		refuse("the task has a volume at %s: the operator of this node allows none (allow.volumes in the plugin's config)", spec.Mounts[0].Task)
	}
	for _, d := range devices {
		// A path with ".." could match and be another's.
		if filepath.Clean(d.HostPath) != d.HostPath || !slices.ContainsFunc(a.devices, func(pattern string) bool { ok, _ := filepath.Match(pattern, d.HostPath); return ok }) {
			refuse("the task asks for the device %s: the operator of this node allows %s (allow.devices in the plugin's config)", d.HostPath, orNone(a.devices))
			continue
		}
		spec.Devices = append(spec.Devices, d.HostPath)
	}
	return errors.Join(errs...)
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// hasUIDZero reports whether a user has the uid 0, by whatever name. An account that cannot
// be looked up here fails the seat later.
func hasUIDZero(user string) bool {
	u, err := unixuser.Lookup(user)
	return err == nil && u.UID == 0 && os.Geteuid() == 0
}
