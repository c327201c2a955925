// Package internet gives the network namespace of a cell the outside world, without
// the inside: an app with network = "internet" reaches public addresses and names, but
// neither the node, nor the site, nor the cloud's metadata address.
//
//	network, err := internet.Start(ctx, internet.Config{Netns: netns, UID: uid, GID: gid, Log: log})
//	os.WriteFile(root+"/etc/resolv.conf", []byte(internet.ResolvConf()), 0o644)
//	defer network.Close()
//
// The main of every program that calls Start begins with
//
//	if len(os.Args) > 1 && os.Args[1] == internet.HelperArg {
//		internet.HelperMain() // does not return
//	}
//
// # How packets leave
//
// A process of its own for each seat, slirp4netns, has the other end of the cell's only
// interface. It ends TCP and UDP of the cell and opens ordinary sockets of the node in
// their place. The node forwards nothing, has no interface, address or rule for a seat,
// and so has nothing to clean up: the interface ends with the process, and the process
// with its parent or with the namespace.
//
// Its sockets belong to Config.UID. Give it the uid of the seat's app: then a firewall of
// the node that looks at uids sees the same uid with every network mode. It runs in user,
// mount and pid namespaces of its own, with that uid alone: no capability on the node, no
// new privileges, a seccomp filter, and of the node's files only an /etc/resolv.conf.
//
// # What is refused
//
// Inside is each address that is not of the public internet (RFC 6890: private, shared,
// link-local with the metadata address, loopback, multicast, reserved), each address that
// the node has when the cell starts, also a public one, and Config.Deny. Two layers refuse
// it, and the app can change neither, because it has no capability in its namespace:
//
//   - routes of the type "unreachable" in the cell: a connection fails at once
//   - a filter on the interface, after the cell's kernel and before slirp4netns. It holds
//     for those too that pass routes by, for example with SO_BINDTODEVICE: Linux then
//     takes any address for one on the link
//
// Both look at addresses. A name that resolves to an address of the inside (DNS rebinding)
// gains nothing. There is no IPv6.
//
// Names are looked up by Config.Resolvers, or by the node's own resolver. The app reaches
// only port 53 of it, through slirp4netns, so it may have an address of the inside. A
// resolver that knows names of the inside tells them to the app: give others where that
// matters.
package internet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
)

// Config says which namespace gets the outside world, and how.
type Config struct {
	// Netns is the cell's network namespace. Start does not keep it: the namespace ends
	// with the caller's handle and its own processes.
	Netns *os.File
	// UID and GID are those of the helper and its sockets; not root's.
	UID, GID uint32
	// Deny is refused in addition to what is always refused. IPv6 is refused anyway.
	Deny []netip.Prefix
	// Resolvers replace the node's. Only the first one is asked.
	Resolvers []netip.Addr
	Log       *slog.Logger

	// open leaves out both layers of refusal. Tests set it to see that the layers, and
	// nothing else, refuse.
	open bool
	// noRoutes leaves out the routes alone.
	noRoutes bool
}

// Network is the outside world of one cell.
type Network struct {
	helper *helper
}

// Interface is the name of the interface in the cell.
const Interface = "internet"

// Addresses in the cell. They are of a range that is never public (RFC 2544), and the app
// reaches none of them but the resolver's port 53.
var (
	network  = netip.MustParsePrefix("198.18.0.0/24")
	gateway  = netip.MustParseAddr("198.18.0.2")
	resolver = netip.MustParseAddr("198.18.0.3")
	address  = netip.MustParseAddr("198.18.0.100")
)

// mtu is the largest that slirp4netns takes, rounded down: the fewer packets, the faster.
// It does not limit the node's packets, because slirp4netns ends the cell's connections.
const mtu = 65520

// ErrNotInstalled says that slirp4netns is missing.
var ErrNotInstalled = errors.New(`network "internet" needs slirp4netns on the node: install the package slirp4netns, or use network "none"`)

// Available returns why no cell of this node can get the outside world, or nil.
func Available() error {
	if os.Geteuid() != 0 {
		return errors.New(`network "internet" needs an agent that runs as root`)
	}
	if _, err := exec.LookPath(program); err != nil {
		return ErrNotInstalled
	}
	// This loads the kernel's module, where it is one.
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf(`network "internet" needs /dev/net/tun (modprobe tun): %w`, err)
	}
	return tun.Close()
}

// Start connects the namespace. It is connected when Start returns. ctx is for the start
// alone. Start must be called in the node's network namespace.
func Start(ctx context.Context, cfg Config) (*Network, error) {
	if cfg.UID == 0 || cfg.GID == 0 {
		return nil, errors.New("start network: root must not run slirp4netns")
	}
	cfg.switchedOff()
	if err := Available(); err != nil {
		return nil, err
	}
	denied, err := inside(cfg.Deny)
	if err != nil {
		return nil, err
	}
	names, err := resolvConf(cfg.Resolvers)
	if err != nil {
		return nil, err
	}
	h, err := startHelper(ctx, cfg, names)
	if err != nil {
		return nil, fmt.Errorf("start slirp4netns: %w", err)
	}
	if err := connect(cfg, h.pid, denied); err != nil {
		died := h.err() // which explains the other error
		h.stop()
		return nil, errors.Join(fmt.Errorf("connect the cell: %w", err), died)
	}
	return &Network{helper: h}, nil
}

// ResolvConf is the text of the cell's /etc/resolv.conf.
func ResolvConf() string { return "nameserver " + resolver.String() + "\n" }

// PID is the process of slirp4netns.
func (n *Network) PID() int { return n.helper.pid }

// Done is closed when the cell has no network any more: after Close, and when
// slirp4netns or the namespace ended.
func (n *Network) Done() <-chan struct{} { return n.helper.done }

// Err says why slirp4netns ended; nil before, and after Close.
func (n *Network) Err() error { return n.helper.err() }

// Close disconnects the cell.
func (n *Network) Close() error {
	n.helper.stop()
	return nil
}
