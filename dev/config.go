package dev

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/nearcast/nearcast/dev/wan"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/provision"
)

// minCompute is the CPU, in MHz, that the client claims to have at least. Seats
// are placed by what the sample jobs ask for, and a laptop has less than a
// rendering node: the CPU is over-committed on purpose.
const minCompute = 16_000

// values say what a host of the cluster is to be, for the templates that
// production's hosts have theirs from. A dev site is two of them on one machine, a
// server and a stream host, which share one Consul agent. The APIs of both agents
// are on loopback, as in production: of a planet's site, on its namespace's own.
func (c *Cluster) values(role provision.Role, name string) provision.Values {
	v := provision.Values{
		Role: role, Site: c.Site, Node: string(role) + "-dev", Interface: "lo", Address: c.at.host, Servers: 1,
		// Whatever a job asks for is here.
		Pool: "default",
		Ports: provision.Ports{
			ConsulHTTP: c.Ports.Consul, ConsulRPC: c.Ports.ConsulRPC, ConsulSerf: c.Ports.ConsulSerf, ConsulWAN: c.Ports.ConsulWAN, ConsulDNS: -1,
			NomadHTTP: c.Ports.Nomad, NomadRPC: c.Ports.NomadRPC, NomadSerf: c.Ports.NomadSerf,
		},
		// All sites of a planet start at the same time. The gossip itself keeps
		// its defaults: what it does over a WAN is what is looked at.
		Tuning: provision.Tuning{RetryJoin: "1s", NoCloud: true},
		Paths: provision.Paths{
			ConsulConfig: filepath.Join(c.Dir, "consul"), ConsulData: filepath.Join(c.Dir, "consul", "data"),
			NomadConfig: filepath.Join(c.Dir, name), NomadData: filepath.Join(c.Dir, name, "data"),
			Plugins: filepath.Join(c.bin, "plugins"), StreamHost: filepath.Join(c.bin, "stream-host"),
			RunDir: c.runDir, Cache: filepath.Join(c.Dir, "cache"),
		},
	}
	if c.at.ns != nil {
		v.Interface = wan.Device
	}
	if role == provision.Stream {
		v.Join, v.NomadJoin = []string{c.at.host}, []string{c.address(c.Ports.NomadRPC)}
		v.Ports.NomadHTTP = c.Ports.NomadClient
		v.Tuning.CPU = minCompute
		// A developer's disk is often nearly full, and that is no reason to forget sessions.
		v.Tuning.DiskThreshold = 99
		v.Tuning.Drivers = []string{"stream", "exec", "raw_exec"}
		v.Stream = provision.StreamValues{
			Loopback: c.at.ns == nil, CacheSize: "4GiB",
			S3: provision.S3{Endpoint: c.S3Endpoint, Region: S3Region, PathStyle: true},
		}
	}
	return v
}

// peers are the other sites' servers at a port of theirs.
func (c *Cluster) peers(port int) (addresses []string) {
	for _, peer := range c.at.peers {
		addresses = append(addresses, net.JoinHostPort(peer, strconv.Itoa(port)))
	}
	return addresses
}

// configure writes those of a host's files that an agent here reads, all in one
// folder, and returns their paths.
func (c *Cluster) configure(v provision.Values, dir string, names ...string) (paths []string, err error) {
	all, err := provision.Render(v, provision.Secrets{TicketKeys: filepath.Join(c.at.keys, ticket.PublicKeysFile)})
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
			return nil, fmt.Errorf("a %s has no file %s", v.Role, path)
		}
		if err := writeFile(path, text, 0o644); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}
