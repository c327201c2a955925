package dev

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/google/renameio/v2"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/provision"
)

// minCompute is the CPU, in MHz, that the Nomad client claims to have at least. The
// sample jobs ask for what a rendering node has, and a laptop has less: the CPU is
// over-committed on purpose.
const minCompute = 16_000

func nodeName(role provision.Role) string { return string(role) + "-dev" }

// values are the values of production's templates for a node of the cluster. A dev
// site is two nodes on one machine, a server node and a stream node, which share one
// Consul agent. The APIs of the agents are on loopback, as in production. A site of a
// planet has a loopback of its own.
func (c *Cluster) values(role provision.Role, name string) provision.Values {
	v := provision.Values{
		Role: role, Site: c.Site, Node: nodeName(role), Interface: "lo", Address: c.at.Address, Servers: 1,
		// All jobs run in one node pool.
		Pool: "default",
		Ports: provision.Ports{
			ConsulHTTP: c.Ports.Consul, ConsulRPC: c.Ports.ConsulRPC, ConsulSerf: c.Ports.ConsulSerf, ConsulWAN: c.Ports.ConsulWAN, ConsulDNS: -1,
			NomadHTTP: c.Ports.Nomad, NomadRPC: c.Ports.NomadRPC, NomadSerf: c.Ports.NomadSerf,
		},
		// All sites of a planet start at the same time. Gossip keeps its defaults:
		// a planet shows what it does over a WAN.
		Tuning: provision.Tuning{RetryJoin: "1s", NoCloud: true},
		Paths: provision.Paths{
			ConsulConfig: filepath.Join(c.Dir, "consul"), ConsulData: filepath.Join(c.Dir, "consul", "data"),
			NomadConfig: filepath.Join(c.Dir, name), NomadData: filepath.Join(c.Dir, name, "data"), Alloc: filepath.Join(c.Dir, name, "data", "alloc"),
			Plugins: filepath.Join(c.bin, "plugins"), StreamHost: filepath.Join(c.bin, "stream-host"),
			RunDir: c.folder.RunDir, Cache: filepath.Join(c.Dir, "cache"),
		},
	}
	if c.at.Network != nil {
		v.Interface = c.at.Interface
	}
	if role == provision.Stream {
		v.Join, v.NomadJoin = []string{c.at.Address}, []string{c.address(c.Ports.NomadRPC)}
		v.Ports.NomadHTTP = c.Ports.NomadClient
		v.Tuning.CPU = minCompute
		// A developer's disk is often nearly full: Nomad must not forget ended seats then.
		v.Tuning.DiskThreshold = 99
		v.Tuning.Drivers = []string{"stream", "exec", "raw_exec"}
		v.Stream = provision.StreamValues{
			Loopback: c.at.Network == nil, Private: true, CacheSize: "4GiB",
			S3: provision.S3{Endpoint: c.S3Endpoint, Region: s3Region, PathStyle: true},
		}
	}
	return v
}

// peers are the addresses of the other sites' servers, with a port.
func (c *Cluster) peers(port int) (addresses []string) {
	for _, peer := range c.at.Peers {
		addresses = append(addresses, net.JoinHostPort(peer, strconv.Itoa(port)))
	}
	return addresses
}

// configure writes the configuration files of a node that an agent here reads, all
// into one folder, and returns their paths.
func (c *Cluster) configure(v provision.Values, dir string, names ...string) (paths []string, err error) {
	all, err := provision.Render(v, provision.Secrets{TicketKeys: filepath.Join(c.at.Keys, ticket.PublicKeysFile)})
	if err != nil {
		return nil, err
	}
	texts := make(map[string][]byte)
	for _, file := range all {
		texts[file.Path] = file.Text
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		text, ok := texts[path]
		if !ok {
			return nil, fmt.Errorf("a node of role %s has no file %s", v.Role, path)
		}
		if err := renameio.WriteFile(path, text, 0o644); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}
