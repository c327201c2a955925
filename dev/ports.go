package dev

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Ports are the TCP ports of a cluster on 127.0.0.1; the serf ones are UDP too.
type Ports struct {
	Router     int `json:"router"`
	Brain      int `json:"brain"`
	S3         int `json:"s3"`
	Consul     int `json:"consul"`
	ConsulRPC  int `json:"consul_rpc"`
	ConsulSerf int `json:"consul_serf"`
	ConsulWAN  int `json:"consul_wan"`
	Nomad      int `json:"nomad"`
	NomadRPC   int `json:"nomad_rpc"`
	NomadSerf  int `json:"nomad_serf"`
	// NomadClient is the HTTP API of the client agent; Nomad is the server's.
	NomadClient int `json:"nomad_client"`
}

// DefaultPort is the router's port in a dev cluster; the others follow it.
const DefaultPort = 7700

// PortsFrom are eleven ports in a row, the router's first.
func PortsFrom(first int) Ports {
	var p Ports
	for i, port := range p.all() {
		*port.number = first + i
	}
	return p
}

// FreePorts are ports that nobody listens on now: for tests, which must not
// mind each other.
func FreePorts() (Ports, error) {
	var p Ports
	for _, port := range p.all() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return p, fmt.Errorf("find a free port: %w", err)
		}
		// Kept until all are found, so that all differ.
		defer l.Close()
		*port.number = l.Addr().(*net.TCPAddr).Port
	}
	return p, nil
}

type namedPort struct {
	name   string
	number *int
}

func (p *Ports) all() []namedPort {
	return []namedPort{
		{"router", &p.Router}, {"brain", &p.Brain}, {"S3", &p.S3},
		{"Consul", &p.Consul}, {"Consul RPC", &p.ConsulRPC}, {"Consul serf", &p.ConsulSerf}, {"Consul WAN", &p.ConsulWAN},
		{"Nomad", &p.Nomad}, {"Nomad RPC", &p.NomadRPC}, {"Nomad serf", &p.NomadSerf}, {"Nomad client", &p.NomadClient},
	}
}

// check reports ports that somebody else has, before a server fails on one
// with a message that only its log shows.
func (p *Ports) check() error {
	var taken []string
	for _, port := range p.all() {
		l, err := net.Listen("tcp", local(*port.number))
		if err != nil {
			taken = append(taken, fmt.Sprintf("%s (%s%s)", local(*port.number), port.name, listener(*port.number)))
			continue
		}
		l.Close()
	}
	if len(taken) > 0 {
		return fmt.Errorf("ports are taken by other programs: %s; end them, or choose others with --port", strings.Join(taken, ", "))
	}
	return nil
}

// listener names the process that listens on a TCP port, as far as this user
// may see it.
func listener(port int) string {
	inode := ""
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				inode = "socket:[" + f[9] + "]"
			}
		}
	}
	if inode == "" {
		return ""
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == inode {
			pid := strings.Split(link, "/")[2]
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			return fmt.Sprintf(", by %s, pid %s", strings.TrimSpace(string(name)), pid)
		}
	}
	return ""
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
